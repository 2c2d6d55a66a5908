//! Thousands of registrations while several threads publish at full speed.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use super::{LONGEST, alone, seed};
use crate::check::{Check, Kept};
use crate::connection::{open, wait_for_head};
use crate::level::level;
use crate::limit::Limit;
use crate::plan::{Random, TYPES};
use crate::source::{LAST, Numbers, PUBLISHERS, Source, random_set};
use support::{Client, Got, Hub, SOON, eventually};

/// So many that the usual backlog of a listener has room for all.
const LISTENERS: u64 = 48;
/// Registrations of each.
const VISITS: u64 = 105;
/// What one visit hears at most before it begins to leave.
const MOST_EVENTS: usize = 400;
/// What a newcomer asks for at most of what was published before.
const MOST_REPLAYED: usize = 200;
/// How often somebody reads who would like to leave nothing unread.
const DRAINS: usize = 8;
/// The publisher that posts over HTTP.
const POSTS: usize = PUBLISHERS - 1;
/// Client threads do little.
const STACK: usize = 256 * 1024;

struct Run {
    seed: u64,
    source: Source,
    hub: Hub,
    limit: Limit,
    /// The number that each publisher has begun to publish.
    begun: [AtomicU64; PUBLISHERS],
    /// How many events each has published, once that is certain.
    published: [AtomicU64; PUBLISHERS],
    is_published: AtomicBool,
    /// Listeners that have made all their visits.
    through: AtomicU64,
}

impl Run {
    fn numbers(of: &[AtomicU64; PUBLISHERS]) -> Numbers {
        std::array::from_fn(|publisher| of[publisher].load(Ordering::SeqCst))
    }

    fn has_published(&self) -> Option<Numbers> {
        self.is_published.load(Ordering::SeqCst).then(|| Run::numbers(&self.published))
    }

    fn goes_on(&self) -> bool {
        self.through.load(Ordering::SeqCst) < LISTENERS && !self.limit.is_over()
    }
}

#[derive(Default)]
struct Tally {
    registrations: u64,
    resumed: u64,
    /// By how it was left: at once, with something unread, with nothing unread, half-closed.
    left: [u64; 4],
    /// Connections that the server ended.
    ended: u64,
    events: u64,
}

#[test]
fn thousands_register_and_leave_while_publishers_go_at_full_speed_and_miss_nothing() {
    let _alone = alone();
    let seed = seed();
    // Whoever comes back, however late a busy machine makes it, finds everything kept.
    let keep = |builder: websse::Builder| {
        builder.history_events(1 << 24).history_bytes(1 << 30).history_all_bytes(1 << 30)
    };
    let run = Run {
        seed,
        source: Source::new(seed, 0),
        hub: Hub::with(&TYPES, keep, |http| http),
        limit: Limit::new(LONGEST),
        begun: Default::default(),
        published: Default::default(),
        is_published: AtomicBool::new(false),
        through: AtomicU64::new(0),
    };
    // Its threads name themselves: the broadcaster, and the one that accepts.
    eventually(SOON, true, || level().is_none_or(|(threads, _)| threads == 2));
    let before = level();
    let begin = Instant::now();
    let mut sum = Tally::default();
    thread::scope(|scope| {
        let listeners: Vec<_> = (0..LISTENERS)
            .map(|number| {
                let run = &run;
                let visit = move || Listener::new(run, number).visit();
                thread::Builder::new().stack_size(STACK).spawn_scoped(scope, visit).unwrap()
            })
            .collect();
        let others: Vec<_> = (0..PUBLISHERS)
            .filter(|&publisher| publisher != LAST)
            .map(|publisher| {
                let run = &run;
                scope.spawn(move || publish(run, publisher))
            })
            .collect();
        let mut number = publish(&run, LAST);
        for other in others {
            other.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
        run.source.to_the_end(&mut number, |number| publish_one(&run, LAST, number));
        run.published[LAST].store(number, Ordering::SeqCst);
        run.is_published.store(true, Ordering::SeqCst);
        for listener in listeners {
            sum.add(&listener.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
    });
    let published: u64 = Run::numbers(&run.published).iter().sum();
    let Tally { registrations, resumed, left, ended, events } = sum;
    eprintln!(
        "figure: {registrations} registrations ({resumed} with Last-Event-ID), {published} events \
         from {PUBLISHERS} publishers and {events} received, {:.1?}; left at once, by RST, by FIN, \
         half-closed: {left:?}; ended by the server: {ended}; {:?}",
        begin.elapsed(),
        run.hub.server.stats()
    );
    let stats = || run.hub.server.stats();
    eventually(SOON, (0, 0, 0), || (stats().streams, stats().subscriptions, stats().behind));
    // Connection threads end after some seconds without work.
    eventually(SOON * 6, before, level);
    assert!(left.iter().all(|&left| left >= LISTENERS / 2), "ways to leave: {left:?}");
    // Only a machine that is much too busy lets them fall so far behind.
    assert!(ended <= registrations / 100, "{ended} listeners that read were let go of");
    assert!(registrations >= LISTENERS * VISITS && resumed > LISTENERS * VISITS / 4);
    assert!(events > registrations * MOST_EVENTS as u64 / 4, "{events} events received");
}

/// Publishes until everybody has made all visits; the last number.
fn publish(run: &Run, publisher: usize) -> u64 {
    let _guard = run.limit.guard();
    let mut number = 0;
    let mut posts = (publisher == POSTS).then(|| run.hub.connect());
    while run.goes_on() {
        number += 1;
        match &mut posts {
            Some(client) => post(run, client, publisher, number),
            None => publish_one(run, publisher, number),
        }
    }
    run.published[publisher].store(number, Ordering::SeqCst);
    number
}

fn publish_one(run: &Run, publisher: usize, number: u64) {
    let message = run.source.message(publisher, number);
    run.begun[publisher].store(number, Ordering::SeqCst);
    run.hub.publish(message);
}

fn post(run: &Run, client: &mut Client, publisher: usize, number: u64) {
    let event = TYPES[run.source.kind(publisher, number)];
    let data = run.source.data(publisher, number);
    run.begun[publisher].store(number, Ordering::SeqCst);
    let status = client.post(&format!("/send?event={event}"), &data).unwrap();
    assert_eq!(status, 200, "event {number}");
}

struct Listener<'r> {
    run: &'r Run,
    number: u64,
    random: Random,
    check: Check,
    /// The server ended its last connection: then it comes back.
    was_ended: bool,
    tally: Tally,
}

impl<'r> Listener<'r> {
    fn new(run: &'r Run, number: u64) -> Listener<'r> {
        let mut random = Random::new(run.seed, number);
        let check = Listener::newcomer(number, &mut random);
        Listener { run, number, random, check, was_ended: false, tally: Tally::default() }
    }

    /// Somebody who comes for the first time.
    fn newcomer(number: u64, random: &mut Random) -> Check {
        let mut check = Check::new(format!("listener {number}"), random_set(random), Kept::All);
        if random.one_in(2) {
            check.replay = random.below(MOST_REPLAYED);
        }
        check
    }

    fn visit(mut self) -> Tally {
        let _guard = self.run.limit.guard();
        for _ in 0..VISITS {
            if !self.was_ended && self.random.one_in(2) {
                self.tally.events += self.check.events;
                self.check = Listener::newcomer(self.number, &mut self.random);
            }
            self.listen_and_leave();
        }
        self.run.through.fetch_add(1, Ordering::SeqCst);
        // All who stay have all that was published to read; a few of them are enough.
        while self.number.is_multiple_of(4) && !self.has_everything() {
            let mut connection = self.register();
            if self.begin(&mut connection) {
                while !self.has_everything() {
                    if self.hear(&mut connection) == Got::End {
                        self.note_end();
                        break;
                    }
                }
            }
        }
        self.tally.events += self.check.events;
        self.tally
    }

    fn has_everything(&self) -> bool {
        let published = self.run.has_published();
        let late = || self.check.fail(&format!("not all is here in time of {published:?}"));
        self.run.limit.enforce(late);
        published.is_some_and(|published| self.check.has_everything(&published))
    }

    fn register(&mut self) -> Client {
        self.was_ended = false;
        self.tally.registrations += 1;
        self.tally.resumed += u64::from(!self.check.is_here_for_the_first_time());
        let request = self.check.request(self.random.one_in(4));
        open(self.run.hub.addr(), &request, false)
    }

    /// Waits for the head; from then on everything has to come.
    fn begin(&mut self, connection: &mut Client) -> bool {
        if !wait_for_head(connection) {
            self.note_end();
            return false;
        }
        if self.check.is_here_for_the_first_time() {
            self.check.has_its_head(&self.run.source, &Run::numbers(&self.run.begun));
        }
        true
    }

    fn note_end(&mut self) {
        self.tally.ended += 1;
        self.was_ended = true;
    }

    /// Reads once and checks what is whole.
    fn hear(&mut self, connection: &mut Client) -> Got {
        let got = connection.read(usize::MAX);
        while let Some(block) = connection.block() {
            self.check.take(&block, &self.run.source);
        }
        got
    }

    fn listen_and_leave(&mut self) {
        let mut connection = self.register();
        if self.random.one_in(16) {
            self.tally.left[0] += 1;
            return;
        }
        if !self.begin(&mut connection) {
            return;
        }
        let enough = self.check.events + self.random.below(MOST_EVENTS) as u64;
        while self.check.events < enough {
            if self.hear(&mut connection) == Got::End {
                return self.note_end();
            }
            self.run.limit.enforce(|| self.check.fail("events come too slowly"));
        }
        match self.random.below(80) {
            0..39 => {
                while !connection.has_something_unread() && !self.run.limit.is_over() {}
                self.tally.left[1] += 1;
            }
            39..79 => {
                // At this speed there may always be more; then it leaves by RST, too.
                connection.wait_no_more();
                let drained = (0..DRAINS).any(|_| self.hear(&mut connection) == Got::Nothing);
                self.tally.left[if drained { 2 } else { 1 }] += 1;
            }
            _ => {
                connection.half_close();
                let end = Instant::now() + SOON * 2;
                while self.hear(&mut connection) != Got::End {
                    assert!(Instant::now() < end, "a half-closed stream does not end");
                }
                self.tally.left[3] += 1;
            }
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.registrations += other.registrations;
        self.resumed += other.resumed;
        self.ended += other.ended;
        self.events += other.events;
        for (left, other) in self.left.iter_mut().zip(&other.left) {
            *left += other;
        }
    }
}
