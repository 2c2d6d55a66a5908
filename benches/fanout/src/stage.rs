//! A server and a crowd before it, for one run.

use std::{
    ops::Range,
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    latency::Heard,
    metric::{Metric, Sample, float},
    peer::{Entrant, Peer},
    processes::{self, Used},
    publisher::{Publisher, Speech},
};
use crate::crowd::{Crowd, Report, Security, Tls};

/// Begins the arguments of a child process that is a crowd of [listeners](super::listener).
pub(crate) const LISTENERS: &str = "--as-listeners";

/// So many clients that connect wait for their response head at a time.
const WINDOW: usize = 100;
/// A run is over when nothing more has come to anyone for so long.
const QUIET: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// An event to warm up comes within this time, or the next is tried.
const WARM_UP: Duration = Duration::from_secs(3);

/// What is the same for all runs of a case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Requests on the connection that publishes that may wait for their answer.
    pub(crate) window: usize,
    /// A run that takes longer is given up.
    pub(crate) time: Duration,
}

/// Some of the clients, and how many events each of them is to get.
pub(crate) type Part = (Range<usize>, u64);

/// See the [module](self). The crowd leaves before the server ends.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) crowd: Crowd,
    pub(crate) peer: Peer,
    pub(crate) deadline: Instant,
    resident: u64,
}

impl Stage {
    pub(crate) fn start(entrant: &Entrant, types: usize, time: Duration) -> Result<Self> {
        let peer = Peer::start(entrant, types)?;
        let crowd = crowd_for(&peer);
        let resident = processes::resident(&peer.family());
        Ok(Self { crowd, peer, deadline: Instant::now() + time, resident })
    }

    /// Whose figures are not those of the first.
    pub(crate) fn another_crowd(&self) -> Crowd {
        crowd_for(&self.peer)
    }

    /// Ends the server, and starts another one in its place.
    pub(crate) fn start_again(&mut self, entrant: &Entrant) -> Result<()> {
        self.peer.end();
        self.peer = Peer::start(entrant, 1)?;
        Ok(())
    }

    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Connects so many clients and waits until each has its response head.
    pub(crate) fn join(&mut self, target: &str, count: usize) -> Result<Range<usize>> {
        let clients = self.crowd.connect(self.peer.address, target, count, WINDOW);
        self.joined(clients)
    }

    /// The same with small buffers.
    pub(crate) fn join_narrow(&mut self, target: &str, count: usize) -> Result<Range<usize>> {
        let clients = self.crowd.connect_narrow(self.peer.address, target, count, WINDOW);
        self.joined(clients)
    }

    fn joined(&mut self, clients: Range<usize>) -> Result<Range<usize>> {
        let left = self.left();
        let report = self.crowd.wait_heads(&clients, left);
        check_heads(&report)?;
        ensure!(report.trouble.is_empty(), "{}", report.trouble);
        Ok(clients)
    }

    pub(crate) fn publisher(&self, types: usize) -> Result<Publisher> {
        let (address, speech) = match self.peer.records {
            Some(records) => (records, Speech::Records),
            None => (self.peer.http, Speech::Http),
        };
        Publisher::connect(address, speech, types, self.deadline)
    }

    /// Publishes an event of each type, until each client has one of each of its types; then all
    /// is counted anew. `parts` says how many types a client has.
    pub(crate) fn warm_up(
        &mut self,
        publisher: &mut Publisher,
        types: usize,
        parts: &[Part],
    ) -> Result<()> {
        const TRIES: u32 = 5;
        let mut missing = 0;
        for attempt in 0..TRIES {
            for kind in 0..types {
                publisher.publish(kind, 1)?;
            }
            publisher.finish()?;
            let time = WARM_UP.min(self.left());
            missing = 0;
            for (clients, types) in parts {
                missing += self.crowd.wait_events(clients, *types, time).missing;
            }
            if missing == 0 {
                if attempt > 0 {
                    eprintln!("fanout: some clients missed events at first, though they had heads");
                    // What is still on its way must not count.
                    publisher.wait(Instant::now() + LOOK)?;
                }
                let report = self.crowd.restart();
                return check(&report);
            }
        }
        bail!("{missing} clients get nothing; {}", self.crowd.restart().trouble)
    }

    /// Waits until each client has its events, or it is of no use to wait.
    pub(crate) fn wait_events(&mut self, parts: &[Part]) -> Result<()> {
        let mut progress = (0, Instant::now());
        for (clients, count) in parts {
            loop {
                let (asked, time) = (Instant::now(), LOOK.min(self.left()));
                let report = self.crowd.wait_events(clients, *count, time);
                check(&report)?;
                if report.missing == 0 {
                    break;
                }
                let missing = format!("{} clients do not have all events", report.missing);
                ensure!(self.peer.is_running(), "the server has ended; {missing}");
                let is_open = asked.elapsed() >= time;
                ensure!(is_open, "{missing}, and their connections have ended");
                ensure!(!self.left().is_zero(), "time-out; {missing}");
                if report.events > progress.0 {
                    progress = (report.events, Instant::now());
                }
                let is_on = progress.1.elapsed() <= QUIET;
                ensure!(is_on, "{missing}, and nothing comes any more");
            }
        }
        Ok(())
    }

    pub(crate) fn heard(&mut self) -> Result<Heard> {
        heard(&mut self.crowd)
    }

    /// Fills what the server keeps of each type for those who come back: it is no stream's memory.
    /// One client hears all of it, so that nothing of it is still on its way to those that come
    /// next: an answer to a publish says that the event waits, not that it was sent.
    pub(crate) fn fill_history(&mut self, types: usize) -> Result<()> {
        const BYTES: usize = 4096;
        const EVENTS: usize = 300;
        let names: Vec<String> = (0..types).map(|kind| format!("event=t{kind}")).collect();
        let listener = self.join(&format!("/event?{}", names.join("&")), 1)?;
        let mut publisher = self.publisher(types)?;
        self.warm_up(&mut publisher, types, &[(listener.clone(), types as u64)])?;
        publisher.bytes = BYTES;
        for event in 0..EVENTS * types {
            publisher.publish(event % types, 1)?;
        }
        publisher.finish()?;
        self.wait_events(&[(listener.clone(), (EVENTS * types) as u64)])?;
        self.crowd.close(&listener);
        self.resident = processes::resident(&self.peer.family());
        Ok(())
    }

    /// What the server's memory has grown since then, or since the start.
    pub(crate) fn growth(&self) -> f64 {
        float(processes::resident(&self.peer.family()).saturating_sub(self.resident))
    }

    pub(crate) fn costs(&self) -> Costs {
        let family = self.peer.family();
        Costs([&family[..], &[self.crowd.pid()], &[process::id()]].map(Used::by))
    }

    /// Waits until the server has done nothing for a while, or time is short.
    pub(crate) fn wait_idle(&self) {
        const A_WHILE: Duration = Duration::from_millis(300);
        // What it does at times, such as heartbeats, is less.
        const NOTHING: Duration = Duration::from_micros(300);
        const MOST: Duration = Duration::from_secs(10);
        let time = MOST.min(self.left() / 2);
        let (family, started) = (self.peer.family(), Instant::now());
        let mut before = Used::by(&family);
        while started.elapsed() < time {
            thread::sleep(A_WHILE);
            let now = Used::by(&family);
            if now.since(before) <= NOTHING {
                return;
            }
            before = now;
        }
    }

    /// What can be said of the server after any run.
    pub(crate) fn describe(&self, sample: &mut Sample) {
        let family = self.peer.family();
        sample.set(Metric::Peak, float(processes::peak(&family)));
        sample.set(Metric::Threads, float(processes::threads(&family)));
    }
}

/// Its clients speak TLS if the server does.
fn crowd_for(peer: &Peer) -> Crowd {
    let mut crowd = Crowd::with_ear(LISTENERS);
    if peer.speaks_tls {
        crowd.protect(Security::Tls(Tls { is_12: false, resumes: false }));
    }
    crowd
}

pub(crate) fn heard(crowd: &mut Crowd) -> Result<Heard> {
    let line = crowd.figures();
    line.parse().with_context(|| format!("no figures of a crowd: {line:?}"))
}

/// Puts down what went wrong for clients that should have so many events in all.
pub(crate) fn put_down_faults(report: &Report, expected: u64, sample: &mut Sample) {
    sample.set(Metric::Lost, float(expected.saturating_sub(report.events)));
    sample.set(Metric::Repeated, float(report.repeated));
    sample.set(Metric::Late, float(report.late));
    sample.set(Metric::Closed, float(report.clients - report.open));
}

/// Fails unless each has a stream.
pub(crate) fn check_heads(report: &Report) -> Result<()> {
    ensure!(
        report.ok == report.clients,
        "{} of {} clients have a stream, {} have another answer, {} wait, {} were cut, {} were refused \
         or reset; {}",
        report.ok,
        report.clients,
        report.unavailable + report.other,
        report.on_the_way,
        report.cut + report.ended,
        report.failed,
        report.trouble
    );
    Ok(())
}

/// Fails if anything wrong came to anyone.
pub(crate) fn check(report: &Report) -> Result<()> {
    ensure!(report.faulty == 0, "wrong: {}", report.trouble);
    Ok(())
}

/// Processor time of the server, the crowd, and this process, which leads and publishes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs([Used; 3]);

impl Costs {
    /// Microseconds that the server has used since `before`.
    pub(crate) fn of_server(self, before: Self) -> f64 {
        self.0[0].since(before.0[0]).as_secs_f64() * 1e6
    }

    /// Puts down what was used since `before`, divided by a number of things done.
    pub(crate) fn put_down(self, before: Self, metric: Metric, things: u64, sample: &mut Sample) {
        if things == 0 {
            return;
        }
        let metrics = [metric, Metric::LoadCpu, Metric::DriverCpu];
        for (metric, (used, before)) in metrics.into_iter().zip(self.0.into_iter().zip(before.0)) {
            sample.set(metric, used.since(before).as_secs_f64() * 1e6 / float(things));
        }
    }
}
