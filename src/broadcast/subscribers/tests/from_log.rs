//! What the audience does with the steps of a log's reader.

use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, Machine, seen};
use crate::{
    broadcast::{
        arrival::Resume,
        inbox::queue::Queued,
        log::{Entry, Lack, Question, Step, input::Origin},
        stream::scripted::Scripted,
    },
    message::{entry_id::EntryId, frame::Encoded, subscribed::Subscribed},
};

const MILLIS: u64 = 1_700_000_000_000;

fn at(number: u64) -> EntryId {
    EntryId { millis: MILLIS, number }
}

fn event(number: u64, text: &str) -> Entry {
    let event = Queued {
        channel: None,
        kind: 1,
        generation: 0,
        encoded: Encoded::raw(format!("{text}\n").as_bytes()),
    };
    Entry { id: at(number), before: EntryId::ZERO, event }
}

/// A hub that follows a log from its beginning.
fn machine(change: impl FnOnce(&mut SubscriberLimits)) -> Machine {
    let mut machine = Machine::keeping(100, change);
    machine.follow(Step::Begin { floor: at(0), forgotten: EntryId::ZERO, is_first: true });
    machine
}

impl Machine {
    fn follow(&mut self, step: Step) {
        self.subscribers.follow(step, self.now);
    }

    fn flush(&mut self) {
        self.subscribers.flush(self.now);
    }
}

fn after(entry: EntryId) -> Resume {
    Resume { last_event_id: Some(entry.to_string()), ..Resume::default() }
}

/// What a client receives of these events after its beginning.
fn events(numbers: &[u64]) -> String {
    let event = |number| format!("text {number}id: {MILLIS}-{number}");
    numbers.iter().map(event).collect()
}

fn gap(requested: u64, oldest: u64) -> String {
    let ids =
        format!("{{\"requested\":\"{MILLIS}-{requested}\",\"oldest\":\"{MILLIS}-{oldest}\"}}");
    format!("event: stream-gapdata: {ids}")
}

#[test]
fn events_of_a_log_are_delivered_together_and_primed_ones_only_kept() {
    let mut machine = machine(|_| {});
    let client = machine.stream(&[1], []);
    let begin = seen(&client);
    assert_eq!(begin, format!("helloid: {MILLIS}-0"));
    machine.flush();
    let one = |number: u64| event(number, &format!("text {number}"));
    machine.follow(Step::Prime(vec![one(1), one(2)]));
    machine.follow(Step::Events(vec![one(3), one(4)]));
    machine.follow(Step::All(vec![Step::Events(vec![one(5)]), Step::Reach(at(9))]));
    assert_eq!((seen(&client), client.state().writes), (begin.clone(), 1));
    machine.flush();
    machine.flush();
    assert_eq!((seen(&client), client.state().writes), (begin + &events(&[3, 4, 5]), 2));
    assert_eq!(machine.subscribers.stats().published, 3);
    // Everything is kept; a client that comes now is where the reader is.
    let new = machine.stream(&[1], []);
    assert_eq!(seen(&new), format!("helloid: {MILLIS}-9"));
    let returning = machine.returning(&[1], after(at(1)), []);
    machine.catch_up();
    assert_eq!(seen(&returning), format!("helloid: {MILLIS}-1{}", events(&[2, 3, 4, 5])));
}

#[test]
fn events_of_a_log_wait_for_no_more_than_a_batch_or_half_a_budget() {
    let end = format!("\nid: {MILLIS}-1\n\n").len();
    for (budget, most) in [(1_000_000, 64 * 1024), (1000, 500)] {
        for (more, flushed) in [(0, false), (1, true)] {
            let mut machine = machine(|limits| limits.mailbox_bytes = budget);
            let client = machine.stream(&[1], []);
            let begin = client.state().received.len();
            // The first with its id; of the second, the id is not known yet.
            machine.follow(Step::Events(vec![event(1, &"x".repeat(400 - end))]));
            let rest = most - 400 - 2;
            machine.follow(Step::Events(vec![event(2, &"y".repeat(rest + more))]));
            let received = client.state().received.len() - begin;
            assert_eq!(received, if flushed { 400 } else { 0 }, "{} of {most}", most + more);
            machine.flush();
            assert_eq!(client.state().received.len() - begin, 400 + rest + more + end);
        }
    }
}

#[test]
fn a_gap_in_the_log_is_told_in_its_place_unless_it_was() {
    let step = |number: u64| Step::Events(vec![event(number, &format!("text {number}"))]);
    let steps: [(Step, Option<u64>); 4] = [
        (Step::Begin { floor: at(5), forgotten: EntryId::ZERO, is_first: true }, None),
        (Step::Begin { floor: at(5), forgotten: EntryId::ZERO, is_first: false }, Some(5)),
        (Step::Gap { at: at(7), told: true }, None),
        (Step::Gap { at: at(7), told: false }, Some(7)),
    ];
    for (broken, told) in steps {
        let mut machine = machine(|_| {});
        let clients: Vec<Scripted> = (0..2).map(|_| machine.stream(&[1], [])).collect();
        let shown = format!("{broken:?}");
        for step in [step(1), broken, step(8)] {
            machine.follow(step);
        }
        machine.flush();
        let gap = told.map_or_else(String::new, |place| gap(place - 1, place));
        for client in &clients {
            let expected = format!("helloid: {MILLIS}-0{}{gap}{}", events(&[1]), events(&[8]));
            assert_eq!(seen(client), expected, "{shown}");
        }
        assert_eq!(machine.subscribers.stats().gaps, if told.is_some() { 2 } else { 0 }, "{shown}");
    }
}

#[test]
fn who_replays_across_a_gap_in_the_log_has_to_come_back() {
    let mut machine = machine(|_| {});
    // A slice has only the first.
    machine.follow(Step::Events(vec![event(1, &"x".repeat(64 * 1024)), event(2, "text 2")]));
    machine.flush();
    let _replays = machine.arrive(&[1], after(at(0)), repeat_n(BLOCK, 10));
    let behind = machine.stream(&[1], [BLOCK]);
    machine.follow(Step::Events(vec![event(3, "text 3")]));
    machine.follow(Step::Gap { at: at(7), told: false });
    assert_eq!((machine.disconnected().behind, machine.subscribers.stats().gaps), (1, 1));
    machine.catch_up();
    assert_eq!(seen(&behind), format!("helloid: {MILLIS}-2{}{}", events(&[3]), gap(6, 7)));
    // After that it gets the gap.
    let again = machine.returning(&[1], after(at(1)), []);
    assert!(seen(&again).contains("stream-gap"), "{}", seen(&again));
    let later = machine.returning(&[1], after(at(7)), []);
    assert!(!seen(&later).contains("stream-gap"), "{}", seen(&later));
}

#[test]
fn the_log_hears_why_a_client_cannot_be_served_from_here() {
    let mut machine = machine(|_| {});
    machine.follow(Step::Events(vec![event(3, "text 3")]));
    machine.follow(Step::Unknown { entry: at(5), types: 2 });
    machine.follow(Step::Reach(at(9)));
    machine.flush();
    let subscribed = Arc::new(Subscribed::of_types(&[1]));
    let lack = |id: &str, is_checked| {
        let (answer, answered) = crossbeam_channel::unbounded();
        let (subscribed, last_event_id) = (Arc::clone(&subscribed), id.to_owned());
        let mut questions = vec![Question::Lacks { subscribed, last_event_id, is_checked, answer }];
        machine.subscribers.answer(&mut questions);
        answered.try_recv().expect("it is answered at once").err()
    };
    let unseen = at(7).to_string();
    assert_eq!(lack(&unseen, false), Some(Lack::Unseen(at(7))));
    assert_eq!(lack(&unseen, true), None, "the log was asked");
    assert_eq!(lack("own", true), Some(Lack::Unknown(at(9))));
    assert_eq!(lack(&at(10).to_string(), true), Some(Lack::Ahead(at(10))));
    assert_eq!(lack(&at(2).to_string(), true), None);
}

#[test]
fn a_client_that_the_history_has_left_behind_meanwhile_is_disconnected() {
    let mut machine = machine(|_| {});
    machine.follow(Step::Events(vec![event(3, "text 3")]));
    machine.flush();
    // The log begins again, as after a failover: event 6 may never have been in it.
    machine.follow(Step::Begin { floor: at(1), forgotten: EntryId::ZERO, is_first: false });
    machine.follow(Step::Events(vec![event(3, "text 3"), event(8, "text 8")]));
    machine.flush();
    let (unknown, log) = (Origin::Unknown, Origin::Log);
    for (last, is_covered, origin, stays) in [
        (3, true, unknown, true),
        (9, false, unknown, true),
        (9, true, log, false),
        (6, true, unknown, false),
        (6, true, log, true),
    ] {
        let mut resume = after(at(last));
        (resume.from_log.is_covered, resume.from_log.origin) = (is_covered, origin);
        let wire = machine.returning(&[1], resume, vec![]);
        assert_eq!(wire.is_shared(), stays, "after {last}");
        let refused = wire.received().starts_with(": this node has gone on meanwhile\nretry: ");
        assert_eq!(refused, !stays, "{}", wire.received());
    }
    assert_eq!(machine.registry.counts(), (3, 0));
}
