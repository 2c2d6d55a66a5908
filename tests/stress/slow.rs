//! Listeners too slow for what is published: each ends with everything, or is let go of and gets
//! the rest, or a gap and what is kept, when it comes back. Those who read miss nothing.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use websse::Builder;

use super::{LONGEST, alone, seed};
use crate::check::{Check, Kept};
use crate::connection::{LOOK, open, wait_for_head};
use crate::limit::Limit;
use crate::plan::TYPES;
use crate::source::{LAST, Numbers, PUBLISHERS, Set, Source};
use support::{Client, Got, Hub, eventually};

/// Events at least: some 15 MB for who listens to everything, several times what the kernel and the
/// mailbox of a client hold. And at most, until the server has let go of everybody too slow.
const EVENTS: Range<u64> = 100_000..2_000_000;
/// How far the publisher gets ahead of those who read: less than the kernel holds for them.
const AHEAD: u64 = 2000;
/// What waits for a client that takes nothing, and for all of them.
const MAILBOX: usize = 64 * 1024;
const MAILBOXES: usize = 32 << 20;
/// Events of each type that are kept, where not all are.
const KEPT: usize = 500;
/// The server needs some seconds to see that nothing moves any more.
const SETTLED: Duration = Duration::from_secs(60);

const ALL: Set = [true; TYPES.len()];

/// How a listener reads while there is too much for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Full,
    /// So many bytes at a time, and how long until the next time.
    Slow(usize, Duration),
    Stuck,
}

/// Less than a window in a second, so that the server sees no progress, and several.
const KIB_A_SECOND: Pace = Pace::Slow(256, Duration::from_millis(250));
const MANY_KIB_A_SECOND: Pace = Pace::Slow(512, Duration::from_millis(20));
const MIB_A_SECOND: Pace = Pace::Slow(16 * 1024, Duration::from_millis(16));

/// Who listens: how many of each pace.
const CROWD: [(usize, Pace); 5] = [
    (6, Pace::Full),
    (8, KIB_A_SECOND),
    (8, Pace::Stuck),
    (4, MANY_KIB_A_SECOND),
    (4, MIB_A_SECOND),
];
/// Those of them that never get near to the end by themselves.
const TOO_SLOW: u64 = 20;

/// What the listeners do now, but for those who read at full pace.
const READ: u8 = 0;
/// Nothing, until the server has let go of whoever it lets go of.
const SETTLE: u8 = 1;
/// Read what is left, and come back, at full pace.
const FINISH: u8 = 2;

struct Run {
    source: Source,
    hub: Hub,
    limit: Limit,
    /// What is published in all, and what of it is kept, when all is.
    published: OnceLock<(Numbers, Kept)>,
    phase: AtomicU8,
    /// Listeners that have their head.
    here: AtomicUsize,
    /// How far those who read at full pace are.
    progress: Vec<AtomicU64>,
}

impl Run {
    fn phase(&self) -> u8 {
        self.phase.load(Ordering::SeqCst)
    }

    /// Everybody too slow is gone.
    fn is_enough(&self) -> bool {
        let disconnected = self.hub.server.stats().disconnected;
        disconnected.behind + disconnected.stalled >= TOO_SLOW || self.limit.is_over()
    }
}

#[derive(Debug, Default)]
struct Tally {
    /// Connections that the server ended, and those of them that it broke off.
    ended: u64,
    broken_off: u64,
    gaps: u64,
    events: u64,
}

#[test]
fn a_slow_reader_ends_with_everything_or_comes_back_for_exactly_what_it_missed() {
    let gaps = overload(|builder| builder.history_events(1 << 20), false);
    assert_eq!(gaps, 0);
}

#[test]
fn a_slow_reader_that_missed_too_much_is_told_and_gets_what_is_kept() {
    let gaps = overload(|builder| builder.history_events(KEPT), true);
    assert!(gaps >= TOO_SLOW, "expected {TOO_SLOW} gaps, got {gaps}");
}

/// Returns how many gaps were told.
fn overload(history: impl FnOnce(Builder) -> Builder, drops: bool) -> u64 {
    let _alone = alone();
    let source = Source::new(seed(), 0);
    let small = |builder: Builder| {
        let large = 1 << 30;
        let builder = builder.history_bytes(large).history_all_bytes(large);
        history(builder.mailbox_bytes(MAILBOX).mailboxes_bytes(MAILBOXES))
    };
    let run = Run {
        published: OnceLock::new(),
        hub: Hub::with(&TYPES, small, |http| http),
        limit: Limit::new(LONGEST),
        phase: AtomicU8::new(READ),
        here: AtomicUsize::new(0),
        progress: (0..CROWD[0].0).map(|_| AtomicU64::new(0)).collect(),
        source,
    };
    let begin = Instant::now();
    let paces = CROWD.iter().flat_map(|&(count, pace)| (0..count).map(move |_| pace));
    let (disconnected, tallies) = thread::scope(|scope| {
        let listeners: Vec<_> = (0..)
            .zip(paces)
            .map(|(number, pace)| {
                let run = &run;
                scope.spawn(move || (pace, Listener::new(run, number, pace).listen()))
            })
            .collect();
        eventually(SETTLED, true, || {
            run.here.load(Ordering::SeqCst) == listeners.len() || run.limit.is_over()
        });
        let mut published = [0; PUBLISHERS];
        published[LAST] = publish(&run);
        let kept = if drops { first_kept(&run.source, published[LAST]) } else { Kept::All };
        run.published.set((published, kept)).ok().unwrap();
        run.phase.store(SETTLE, Ordering::SeqCst);
        eventually(SETTLED, 0, || run.hub.server.stats().behind);
        let disconnected = run.hub.server.stats().disconnected;
        run.phase.store(FINISH, Ordering::SeqCst);
        let tallies = listeners.into_iter().map(ScopedJoinHandle::join);
        let tallies: Vec<_> =
            tallies.map(|tally| tally.unwrap_or_else(|panic| resume_unwind(panic))).collect();
        (disconnected, tallies)
    });
    let mut gaps = 0;
    for (count, pace) in CROWD {
        let mut sum = Tally::default();
        tallies.iter().filter(|(own, _)| *own == pace).for_each(|(_, tally)| sum.add(tally));
        eprintln!("figure: {count} listeners that read {pace:?}: {sum:?}");
        gaps += sum.gaps;
    }
    let published = run.published.get().unwrap().0[LAST];
    eprintln!("figure: {published} events in {:.1?}; {disconnected:?}", begin.elapsed());
    assert!(disconnected.behind + disconnected.stalled >= TOO_SLOW, "{disconnected:?}");
    assert!(disconnected.behind > 0, "{disconnected:?}");
    gaps
}

/// The last events of each type.
fn first_kept(source: &Source, published: u64) -> Kept {
    Kept::From(std::array::from_fn(|kind| {
        let of_kind = (1..=published).rev().filter(|&number| source.kind(LAST, number) == kind);
        of_kind.take(KEPT).last().unwrap()
    }))
}

/// As fast as those who read allow; returns how many events.
fn publish(run: &Run) -> u64 {
    for number in 1..EVENTS.end {
        while run.progress.iter().any(|at| at.load(Ordering::SeqCst) + AHEAD < number) {
            assert!(!run.limit.is_over(), "publishing {number} events took too long");
            thread::yield_now();
        }
        run.hub.publish(run.source.message(LAST, number));
        if number >= EVENTS.start && number.is_multiple_of(100) && run.is_enough() {
            return number;
        }
    }
    panic!("{} events let go of too few: {:?}", EVENTS.end, run.hub.server.stats())
}

struct Listener<'r> {
    run: &'r Run,
    number: usize,
    pace: Pace,
    check: Check,
    tally: Tally,
}

impl<'r> Listener<'r> {
    fn new(run: &'r Run, number: usize, pace: Pace) -> Listener<'r> {
        let set = match (pace, number % 3) {
            // The kernel and what it reads in time hold most of it.
            (MIB_A_SECOND, _) => [false, false, false, true, true],
            (Pace::Full, _) | (_, 0) => ALL,
            (_, 1) => [true, true, false, false, true],
            _ => [true, false, true, false, false],
        };
        let check = Check::new(format!("listener {number}, {pace:?}"), set, Kept::All);
        Listener { run, number, pace, check, tally: Tally::default() }
    }

    fn listen(mut self) -> Tally {
        let _guard = self.run.limit.guard();
        while !self.has_everything() {
            let is_first = self.check.is_here_for_the_first_time();
            let has_small_buffer = matches!(self.pace, KIB_A_SECOND | MANY_KIB_A_SECOND);
            let request = self.check.request(false);
            let mut connection = open(self.run.hub.addr(), &request, has_small_buffer);
            if wait_for_head(&mut connection) && is_first {
                self.check.has_its_head(&self.run.source, &[0; PUBLISHERS]);
                self.run.here.fetch_add(1, Ordering::SeqCst);
            }
            self.hear(&mut connection);
            drop(connection);
            self.wait_until_all_is_published();
        }
        self.tally.gaps = self.check.gaps;
        self.tally.events = self.check.events;
        self.tally
    }

    fn has_everything(&self) -> bool {
        self.run.published.get().is_some_and(|(published, _)| self.check.has_everything(published))
    }

    /// Whoever comes back then can say exactly what it has to get.
    fn wait_until_all_is_published(&mut self) {
        self.check.kept = loop {
            if let Some((_, kept)) = self.run.published.get() {
                break *kept;
            }
            self.run.limit.enforce(|| self.check.fail("publishing does not end"));
            thread::sleep(LOOK);
        };
    }

    /// Until it has everything, or the connection ends.
    fn hear(&mut self, connection: &mut Client) {
        while !self.has_everything() {
            self.run.limit.enforce(|| self.check.fail("not all is here in time"));
            let (most, nap) = match (self.pace, self.run.phase()) {
                (Pace::Full, _) | (_, FINISH) => (usize::MAX, Duration::ZERO),
                (Pace::Slow(bytes, nap), READ) => (bytes, nap),
                _ => (0, LOOK),
            };
            // The pace of this listener.
            thread::sleep(nap);
            if most == 0 {
                continue;
            }
            let got = connection.read(most);
            while let Some(block) = connection.block() {
                self.check.take(&block, &self.run.source);
            }
            if let Some(progress) = self.run.progress.get(self.number) {
                progress.store(self.check.place(), Ordering::SeqCst);
            }
            if got == Got::End {
                if self.pace == Pace::Full {
                    self.check.fail("who reads was let go of");
                }
                self.tally.ended += 1;
                self.tally.broken_off += u64::from(connection.was_broken_off());
                return;
            }
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.ended += other.ended;
        self.broken_off += other.broken_off;
        self.gaps += other.gaps;
        self.events += other.events;
    }
}
