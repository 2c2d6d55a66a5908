//! All that happens between a start of the server and the next.

use std::fmt;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::child::{Child, Level};
use super::junk;
use super::listener::Listener;
use super::server::BULK_BYTES;
use crate::check::{Check, Kept};
use crate::connection::{open, wait_for_head};
use crate::limit::Limit;
use crate::plan::TYPES;
use crate::source::{Numbers, PUBLISHERS, Source};
use support::measure;
use support::{Client, Got, SOON};

/// The publishers that post over HTTP, and how many events each posts a second at most.
const POSTERS: std::ops::Range<usize> = 2..PUBLISHERS;
const POSTS_A_SECOND: u32 = 250;
/// Posts over one connection.
const POSTS: u64 = 100;
const JUNK_SENDERS: u64 = 3;
/// Listeners that are there when the server is shut down.
const HELD: usize = 5;
/// Seconds from one line to the next.
const PROGRESS: u64 = 10;
/// How long a round may take longer than it is to, on a busy machine.
const CALM: Duration = Duration::from_secs(120);

/// What was done since the beginning.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) rounds: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) resumed: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) posts: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) gaps: AtomicU64,
    /// Connections of slow and of prompt listeners that the server ended.
    pub(crate) slow_cut: AtomicU64,
    pub(crate) prompt_cut: AtomicU64,
    pub(crate) junk: AtomicU64,
}

pub(crate) fn add(to: &AtomicU64, count: u64) {
    to.fetch_add(count, Ordering::Relaxed);
}

impl Figures {
    /// There was what the soak is for.
    #[track_caller]
    pub(crate) fn assert_load(&self) {
        for figure in
            [&self.resumed, &self.posts, &self.events, &self.gaps, &self.slow_cut, &self.junk]
        {
            assert!(figure.load(Ordering::Relaxed) > 0, "{self}");
        }
        assert!(self.rounds.load(Ordering::Relaxed) >= 2, "{self}");
        let cut = self.prompt_cut.load(Ordering::Relaxed);
        assert_eq!(cut, 0, "who reads should not be let go of: {self}");
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |of: &AtomicU64| of.load(Ordering::Relaxed);
        write!(
            f,
            "round {}, {} connections ({} resumed), {} events published ({} posted), {} received; \
             {} gaps, {} slow and {} prompt listeners let go of, {} junk requests",
            number(&self.rounds),
            number(&self.connections),
            number(&self.resumed),
            number(&self.published),
            number(&self.posts),
            number(&self.events),
            number(&self.gaps),
            number(&self.slow_cut),
            number(&self.prompt_cut),
            number(&self.junk),
        )
    }
}

/// What the threads of a round share.
pub(crate) struct Stage<'f> {
    pub(crate) seed: u64,
    pub(crate) addr: SocketAddr,
    pub(crate) source: Source,
    pub(crate) figures: &'f Figures,
    pub(crate) limit: Limit,
    /// How many events each publisher has published, once that is certain. From then on nobody
    /// leaves before it has everything.
    pub(crate) published: OnceLock<Numbers>,
    /// Whoever sends requests shall end.
    stops: AtomicBool,
}

impl Stage<'_> {
    pub(crate) fn is_calm(&self) -> bool {
        self.published.get().is_some()
    }

    pub(crate) fn is_to_stop(&self) -> bool {
        self.stops.load(Ordering::SeqCst) || self.limit.is_over()
    }
}

/// What the server's process uses at the end of a round, with the server running, and without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Levels {
    pub(crate) running: Level,
    pub(crate) ended: Level,
}

/// Runs a round of this length with a new server; `soak` is when all began.
pub(crate) fn run(
    child: &mut Child,
    seed: u64,
    length: Duration,
    soak: Instant,
    listeners: &mut [Listener],
    figures: &Figures,
) -> Levels {
    add(&figures.rounds, 1);
    let seed = seed.wrapping_add(figures.rounds.load(Ordering::Relaxed));
    let idle = child.level();
    let stage = Stage {
        seed,
        addr: child.begin(seed),
        source: Source::new(seed, BULK_BYTES),
        figures,
        limit: Limit::new(length + CALM),
        published: OnceLock::new(),
        stops: AtomicBool::new(false),
    };
    let new = child.level();
    child.publish();
    under_load(&stage, child, length, soak, listeners);

    measure::wait_for("streams", SOON * 2, &0, || child.streams().0);
    child.wait_for_counts("with nobody connected", &new);
    let running = child.level();
    shut_down(&stage, child);
    child.wait_for_counts("after a shutdown", &idle);
    let ended = child.level();
    eprintln!("soak: {:.0?}: {running} with nobody connected, {ended} after it", soak.elapsed());
    Levels { running, ended }
}

fn under_load(
    stage: &Stage<'_>,
    child: &mut Child,
    length: Duration,
    soak: Instant,
    listeners: &mut [Listener],
) {
    let begin = Instant::now();
    thread::scope(|scope| {
        let listening: Vec<_> = listeners
            .iter_mut()
            .map(|listener| scope.spawn(move || listener.listen(stage)))
            .collect();
        let junk: Vec<_> = (0..JUNK_SENDERS)
            .map(|number| scope.spawn(move || junk::send(stage, number)))
            .collect();
        let posting: Vec<_> =
            POSTERS.map(|publisher| scope.spawn(move || post(stage, publisher))).collect();
        let mut told = 0;
        while begin.elapsed() < length && !stage.limit.is_over() {
            thread::sleep(Duration::from_millis(100));
            if soak.elapsed().as_secs() / PROGRESS > told {
                told = soak.elapsed().as_secs() / PROGRESS;
                let (streams, disconnected) = child.streams();
                eprintln!(
                    "soak: {:.0?}: {}; now {streams} streams, {}; {disconnected}",
                    soak.elapsed(),
                    stage.figures,
                    child.level()
                );
            }
        }
        stage.stops.store(true, Ordering::SeqCst);
        for junk in junk {
            unwrap(junk.join());
        }
        let mut published = [0; PUBLISHERS];
        for (publisher, posting) in POSTERS.zip(posting) {
            published[publisher] = unwrap(posting.join());
        }
        for (number, own) in published.iter_mut().zip(child.calm()) {
            *number += own;
        }
        add(&stage.figures.published, published.iter().sum());
        stage.published.set(published).unwrap();
        for listening in listening {
            unwrap(listening.join());
        }
    });
}

fn unwrap<T>(joined: thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Posts events until the round is over; returns how many.
fn post(stage: &Stage<'_>, publisher: usize) -> u64 {
    let _guard = stage.limit.guard();
    let mut number = 0;
    while !stage.is_to_stop() {
        let mut client = Client::connect(stage.addr);
        while !stage.is_to_stop() {
            number += 1;
            let event = TYPES[stage.source.kind(publisher, number)];
            let data = stage.source.data(publisher, number);
            let status = client.post(&format!("/send?event={event}"), &data).unwrap();
            assert_eq!(status, 200, "event {number}");
            add(&stage.figures.posts, 1);
            // The pace of the publisher.
            thread::sleep(Duration::from_secs(1) / POSTS_A_SECOND);
            if number.is_multiple_of(POSTS) {
                break;
            }
        }
    }
    number
}

/// Ends the server while some listen, whose streams end in order.
fn shut_down(stage: &Stage<'_>, child: &mut Child) {
    let held = (0..HELD).map(|number| {
        let mut check = Check::new(format!("held {number}"), [true; TYPES.len()], Kept::All);
        let mut connection = open(stage.addr, &check.request(false), false);
        assert!(wait_for_head(&mut connection), "a stream ended before its head");
        connection
    });
    let held: Vec<_> = held.collect();
    thread::scope(|scope| {
        let held = held.into_iter().map(|mut connection| {
            scope.spawn(move || {
                while connection.read(usize::MAX) != Got::End {
                    assert!(!stage.limit.is_over(), "a stream does not end with its server");
                }
                let event = std::iter::from_fn(|| connection.block()).find(|b| b.data.is_some());
                assert_eq!(event, None, "an event after the last");
                assert!(!connection.was_broken_off(), "a stream ended out of order");
            })
        });
        let held: Vec<_> = held.collect();
        child.shut_down();
        for held in held {
            unwrap(held.join());
        }
    });
}
