//! What one client does in front of the command while connections are cut and servers end.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::process::Serving;
use support::{Client, SOON, eventually};

use super::table::{Entry, Output};
use crate::program::Program;
use crate::proxy::{Cut, Proxy};

/// The one type of the events that the client listens to.
const TYPE: &str = "a";
/// Within this time a small event is handed out, or it is late.
const AT_ONCE: Duration = Duration::from_millis(200);
/// Within this time a client comes back, or gives up. Some wait for a multiple of `retry`.
const RETURN: Duration = Duration::from_secs(15);
/// How often a stream is cut within an event.
const CUTS: usize = 4;
/// Makes a client hand out what it has held back.
const FILLER: usize = 8 << 10;
const FILLERS: usize = 12;

/// What a client did, one word or two for each column of the table.
#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    /// When it hands out a small event.
    pub(crate) prompt: String,
    /// Events that it hands out and nobody published.
    pub(crate) empty: String,
    /// A connection closed between two events, and one reset.
    pub(crate) closed: String,
    pub(crate) reset: String,
    /// A server killed, and one that ends in good order.
    pub(crate) killed: String,
    pub(crate) restarted: String,
    /// A connection closed before its first event, and several in the midst of events.
    pub(crate) first: String,
    pub(crate) within: String,
}

/// What a client makes of the end of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It comes back.
    Back,
    /// It ends with an error, or as if all were well.
    Error,
    Quiet,
    /// Nothing at all.
    Silence,
}

/// What follows when a client that asks with `query` is cut off before its first event.
pub(crate) fn first(entry: &Entry, query: &'static str) -> String {
    Trial::of(entry, "1s", query).cut(Cut::Fin)
}

/// Whether a client is still there after a silence, for which it asks with `query`.
pub(crate) fn stays_in_silence(entry: &Entry, query: &'static str) -> bool {
    let mut trial = Trial::of(entry, "15s", query);
    trial.publish(1, 0);
    assert!(trial.arrives(), "{}", entry.name);
    if trial.end(1) != End::Silence {
        return false;
    }
    trial.publish(1, 0);
    trial.arrives()
}

/// Whether a client hands out nothing but what was published in a time with a heartbeat each second.
pub(crate) fn is_quiet_for(entry: &Entry, heartbeats: usize) -> bool {
    let mut trial = Trial::of(entry, "1s", "");
    let patience = Duration::from_secs(3 * heartbeats as u64);
    assert!(trial.comes(patience, |trial| trial.proxy.counts().heartbeats >= heartbeats));
    trial.publish(1, 0);
    trial.arrives() && trial.seen().eq([Seen::Event(1)])
}

struct Trial<'e> {
    entry: &'e Entry,
    heartbeat: &'static str,
    url: String,
    server: Serving,
    proxy: Proxy,
    program: Program,
    /// The number of the last event.
    published: usize,
    /// What earlier processes of this client have handed out without data.
    empty: usize,
    is_late: bool,
}

impl Behaviour {
    pub(crate) fn of(entry: &Entry) -> Behaviour {
        let mut trial = Trial::of(entry, "1s", "");
        let prompt = trial.prompt();
        trial.heartbeats();
        let closed = trial.cut(Cut::Fin);
        let reset = trial.cut(Cut::Rst);
        let killed = trial.restart("-KILL");
        let restarted = trial.restart("-TERM");
        let within = trial.cut_within();
        let first = trial.cut_first();
        let empty = if trial.empties() == 0 { "none" } else { "some" }.to_owned();
        Behaviour { prompt, empty, closed, reset, killed, restarted, first, within }
    }
}

impl Trial<'_> {
    /// With a client that listens, with this heartbeat and more in its query.
    fn of<'e>(entry: &'e Entry, heartbeat: &'static str, query: &'static str) -> Trial<'e> {
        let server = serve(heartbeat);
        let proxy = Proxy::begin(server.address);
        let url = format!("http://{}/event?event={TYPE}{query}", proxy.addr());
        let program = entry.start(&url);
        let trial = Trial {
            entry,
            heartbeat,
            url,
            server,
            proxy,
            program,
            published: 0,
            empty: 0,
            is_late: false,
        };
        trial.await_streams(1);
        trial
    }

    /// How long three small events take at best.
    fn prompt(&mut self) -> String {
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let start = Instant::now();
            self.publish(1, 0);
            let is_there = |trial: &Self| trial.has(trial.published);
            if self.comes(Duration::from_secs(1), is_there) {
                best = best.min(start.elapsed());
            }
        }
        self.is_late = best > AT_ONCE;
        if !self.is_late {
            "at once"
        } else if self.arrives() {
            "late"
        } else {
            "at the end"
        }
        .to_owned()
    }

    fn heartbeats(&mut self) {
        let before = self.proxy.counts().heartbeats;
        eventually(SOON, true, || self.proxy.counts().heartbeats >= before + 2);
        // What a client makes of them takes it a moment; an event after them comes later.
        self.publish(1, 0);
        self.arrives();
    }

    /// Cuts the connection; three events are published meanwhile.
    fn cut(&mut self, cut: Cut) -> String {
        let before = self.proxy.counts();
        self.proxy.refuse();
        self.proxy.cut(cut);
        let missed = self.publish(3, 0);
        self.proxy.accept(self.server.address);
        let end = self.end(before.streams);
        self.after(end, before.resumed, missed)
    }

    fn cut_first(&mut self) -> String {
        self.begin();
        self.cut(Cut::Fin)
    }

    /// Ends the server by this signal; another begins at once.
    fn restart(&mut self, signal: &str) -> String {
        let before = self.proxy.counts();
        let gaps = |trial: &Self| trial.seen().filter(|seen| *seen == Seen::Gap).count();
        let told = gaps(self);
        self.proxy.refuse();
        self.server.running.signal(signal);
        eventually(SOON, true, || self.server.running.child.try_wait().unwrap().is_some());
        self.server = serve(self.heartbeat);
        let missed = self.publish(1, 0);
        self.proxy.accept(self.server.address);
        let end = self.end(before.streams);
        let is_back = end == End::Back;
        let said = self.after(end, before.resumed, missed);
        if !is_back {
            return said;
        }
        if gaps(self) > told { "told" } else { "not told" }.to_owned()
    }

    /// Cuts the connection in the midst of events.
    fn cut_within(&mut self) -> String {
        let before = self.proxy.counts();
        self.proxy.be_bad(true);
        let first = self.published + 1;
        let deadline = Instant::now() + RETURN;
        let cuts = |counts: crate::proxy::Counts| counts.fin_within + counts.rst_within;
        // Some wait longer each time.
        while cuts(self.proxy.counts()) < cuts(before) + CUTS && Instant::now() < deadline {
            self.publish(1, 300);
            if self.program.exit().is_some() {
                self.proxy.be_bad(false);
                return "–".to_owned();
            }
            thread::sleep(Duration::from_millis(15));
        }
        self.proxy.be_bad(false);
        let counts = self.proxy.counts();
        assert!(cuts(counts) > cuts(before), "{}: no cut", self.entry.name);
        let end = self.end(counts.streams - 1);
        self.after(end, before.resumed, first)
    }

    /// Waits for what the client makes of an end.
    fn end(&mut self, streams: usize) -> End {
        let deadline = Instant::now() + RETURN;
        while Instant::now() < deadline {
            if let Some(status) = self.program.exit() {
                return if status.success() { End::Quiet } else { End::Error };
            }
            if self.proxy.counts().streams > streams {
                return End::Back;
            }
            thread::sleep(Duration::from_millis(2));
        }
        End::Silence
    }

    /// Whether all from `missed` on are there, once one more event is.
    fn after(&mut self, end: End, resumed: usize, missed: usize) -> String {
        if end != End::Back {
            self.begin();
            self.publish(1, 0);
            assert!(
                self.arrives() || self.is_late,
                "{}: nothing after it was started",
                self.entry.name
            );
            return match end {
                End::Error => "error",
                End::Quiet => "end",
                _ => "silence",
            }
            .to_owned();
        }
        self.publish(1, 0);
        if !self.arrives() {
            self.begin();
            return "stays without events".to_owned();
        }
        if self.is_repeated() {
            self.begin();
            return "twice".to_owned();
        }
        let is_lost = (missed..=self.published).any(|number| !self.has(number));
        match (is_lost, self.proxy.counts().resumed > resumed) {
            (false, _) => "all".to_owned(),
            (true, true) => "lost".to_owned(),
            (true, false) => "lost, no id".to_owned(),
        }
    }

    /// Starts the client anew.
    fn begin(&mut self) {
        self.empty = self.empties();
        let streams = self.proxy.counts().streams;
        self.program = self.entry.start(&self.url);
        self.await_streams(streams + 1);
    }

    fn await_streams(&self, count: usize) {
        eventually(4 * SOON, true, || self.proxy.counts().streams >= count);
    }

    /// Publishes some events with their number and padding, and gives the number of the first.
    fn publish(&mut self, count: usize, padding: usize) -> usize {
        let first = self.published + 1;
        for _ in 0..count {
            self.published += 1;
            let text = format!("{} é{}", self.published, "x".repeat(padding));
            let target = format!("/send?event={TYPE}");
            let status = Client::connect(self.server.address).post(&target, &text).unwrap();
            assert_eq!(status, 200);
        }
        first
    }

    /// Whether the last event arrives, if need be with more behind it.
    fn arrives(&mut self) -> bool {
        let last = self.published;
        let is_there = |trial: &Self| trial.has(last);
        if !self.is_late {
            return self.comes(RETURN, is_there);
        }
        (0..FILLERS).any(|_| {
            self.publish(1, FILLER);
            self.comes(Duration::from_millis(100), is_there)
        })
    }

    fn comes(&mut self, within: Duration, is_there: impl Fn(&Self) -> bool) -> bool {
        let end = Instant::now() + within;
        loop {
            if is_there(self) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn has(&self, number: usize) -> bool {
        self.seen().any(|seen| seen == Seen::Event(number))
    }

    fn empties(&self) -> usize {
        self.empty + self.seen().filter(|seen| *seen == Seen::Empty).count()
    }

    /// Whether an event came again.
    fn is_repeated(&self) -> bool {
        let events = self.seen().filter_map(|seen| match seen {
            Seen::Event(number) => Some(number),
            Seen::Gap | Seen::Empty => None,
        });
        let events: Vec<usize> = events.collect();
        assert!(events.iter().all(|number| *number <= self.published), "{}", self.entry.name);
        !events.is_sorted_by(|one, next| one < next)
    }

    fn seen(&self) -> impl Iterator<Item = Seen> {
        let output = self.entry.output;
        self.program.lines().into_iter().filter_map(move |line| Seen::of(&line, output))
    }
}

/// What a client has handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Event(usize),
    /// Events were missed.
    Gap,
    Empty,
}

impl Seen {
    fn of(line: &str, output: Output) -> Option<Seen> {
        let data = match output {
            Output::Events => {
                let event: Value = serde_json::from_str(line).expect("a line of JSON");
                event["data"].as_str().expect("data").to_owned()
            }
            Output::Bytes => line.strip_prefix("data: ")?.to_owned(),
        };
        match &*data {
            "" => return Some(Seen::Empty),
            // Of `stream-open`, to those that call themselves Mozilla.
            "{}" => return None,
            _ => {}
        }
        if data.starts_with("{\"requested\"") {
            return Some(Seen::Gap);
        }
        let number = data.split_once(" é").and_then(|(number, _)| number.parse().ok());
        Some(Seen::Event(number.unwrap_or_else(|| panic!("nobody published {data:?}"))))
    }
}

fn serve(heartbeat: &str) -> Serving {
    let mut websse = Command::new(env!("CARGO_BIN_EXE_websse"));
    websse.args(["--listen", "127.0.0.1:0", "--allow-host", "hub", "--event", TYPE]);
    websse.args(["--heartbeat", heartbeat, "--retry", "300ms", "--log-level", "error"]);
    Serving::start(&mut websse)
}
