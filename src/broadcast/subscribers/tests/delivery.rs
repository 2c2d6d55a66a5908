//! How much goes out at once, and what is counted of it.

use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, Machine, seen, texts};
use crate::{
    broadcast::{
        arrival::Resume,
        inbox::queue::{Batch, Queue, Queued},
        stream::scripted::Answer::Take,
    },
    message::{event_types::TypeId, frame::Encoded},
};

/// A client that comes back with the id of the event at this place in the order.
fn after(position: u64) -> Resume {
    Resume { last_event_id: Some(format!("e-{position}")), ..Resume::default() }
}

#[test]
fn of_a_batch_as_many_events_are_delivered_as_are_asked_for() {
    let mut machine = Machine::with(|_| {});
    let client = machine.stream(&[1], []);
    let (mut queue, mut batch) = (Queue::default(), Batch::default());
    for text in ["a", "b", "c"] {
        queue.push(&mut Queued {
            channel: None,
            kind: 1,
            generation: 0,
            encoded: Encoded::raw(text.as_bytes()),
        });
    }
    queue.take(usize::MAX, &mut batch);
    for (count, expected) in [(0, "hello"), (2, "helloab"), (0, "helloab"), (5, "helloabc")] {
        machine.subscribers.deliver(&mut batch, count, machine.now);
        assert_eq!(seen(&client), expected);
    }
    assert_eq!(machine.subscribers.stats().published, 3);
}

#[test]
fn what_is_delivered_is_counted_in_events_and_bytes_once_for_each_client() {
    let mut machine = Machine::keeping(100, |_| {});
    let figures = |machine: &Machine| {
        let stats = machine.subscribers.stats();
        [stats.published, stats.deliveries, stats.delivered_bytes, stats.gaps, stats.resumed]
    };
    let _both: Vec<_> = (0..2).map(|_| machine.stream(&[1], [])).collect();
    let _other = machine.stream(&[2], []);
    // Frames of 10 bytes: the text, its line feed and the id `id: e-1`.
    let frame = "a\nid: e-1\n\n".len() as u64;
    machine.deliver(&[(1, "a\n"), (1, "b\n"), (2, "c\n")]);
    assert_eq!(figures(&machine), [3, 5, 5 * frame, 0, 0]);
    // What is replayed is counted as it is sent.
    let returning = machine.returning(&[1], after(1), []);
    assert_eq!(figures(&machine), [3, 6, 6 * frame, 0, 1]);
    machine.deliver(&[(1, "d\n")]);
    assert_eq!(figures(&machine), [4, 9, 9 * frame, 0, 1]);
    assert_eq!(seen(&returning), "helloid: e-1bid: e-2did: e-4");
    let (mailbox, _tally) = machine.local(after(2));
    assert_eq!(texts(&mailbox).len(), 3);
    assert_eq!(figures(&machine), [4, 11, 11 * frame, 0, 2]);
    machine.send_to(0, "1234567");
    assert_eq!(figures(&machine), [4, 12, 11 * frame + 7, 0, 2]);
    let _unknown: Vec<_> = (0..2).map(|_| machine.returning(&[9], after(99), [])).collect();
    assert_eq!(figures(&machine)[3..], [2, 4]);
}

/// How many events a returning client has been sent as it comes, and after each step.
fn steps(count: usize, frame: usize) -> Vec<u64> {
    let mut machine = Machine::keeping(1000, |_| {});
    let text = |number: usize| {
        let id = format!("\nid: e-{number}\n\n");
        "x".repeat(frame - id.len()) + "\n"
    };
    for number in 1..=count {
        machine.deliver(&[(1, &text(number))]);
    }
    let returning = machine.returning(&[1], after(0), []);
    let mut steps = vec![machine.subscribers.stats().deliveries];
    while machine.subscribers.next_retry().is_some() {
        assert!(machine.subscribers.retry_one(machine.now));
        steps.push(machine.subscribers.stats().deliveries);
    }
    assert_eq!(returning.received().len(), "hello\nid: e-0\n".len() + count * frame);
    assert_eq!(machine.subscribers.stats().delivered_bytes, (count * frame) as u64);
    steps
}

#[test]
fn what_was_missed_is_sent_in_slices_of_64_events_and_of_64_kib() {
    assert_eq!(steps(130, 20), [64, 128, 130]);
    assert_eq!(steps(64, 20), [64]);
    assert_eq!(steps(9, 16 * 1024), [4, 8, 9]);
    assert_eq!(steps(9, 16 * 1024 - 1), [5, 9]);
    assert_eq!(steps(3, 100 * 1024), [1, 2, 3]);
}

#[test]
fn a_client_that_catches_up_writes_256_kib_before_others_have_their_turn() {
    let frame = 32 * 1024;
    let text = "x".repeat(frame - 1);
    let mut machine = Machine::with(|limits| limits.mailbox_bytes = usize::MAX);
    let kinds: [TypeId; 2] = [1, 2];
    let clients = kinds.map(|kind| machine.stream(&[kind], [BLOCK]));
    for _ in 0..20 {
        machine.deliver(&kinds.map(|kind| (kind, &*text)));
    }
    machine.pass(Duration::from_millis(2));
    let received =
        || clients.each_ref().map(|client| client.state().received.len() - "hello\n".len());
    let mut had = vec![received()];
    while machine.subscribers.retry_one(machine.now) {
        had.push(received());
        machine.pass(Duration::from_micros(1));
    }
    had.iter_mut().flatten().for_each(|bytes| *bytes /= frame);
    assert_eq!(had, [[0, 0], [8, 0], [8, 8], [16, 8], [16, 16], [20, 16], [20, 20]]);
}

#[test]
fn who_ends_is_told_when_to_come_back_each_at_a_time_of_its_own() {
    let mut machine = Machine::with(|limits| limits.reconnect_spread = Duration::from_secs(5));
    let clients: Vec<_> = (0..30).map(|_| machine.stream(&[1], [])).collect();
    let behind = machine.stream(&[1], [Take(1), BLOCK]);
    machine.deliver(&[(1, "ab")]);
    machine.subscribers.end_all(machine.now);
    assert!(clients.iter().all(|client| !client.state().finished), "they are told first");
    let time = |client: &crate::broadcast::stream::scripted::Scripted| -> u64 {
        let received = client.received();
        let time = received.strip_prefix("hello\nab\nretry: ").expect("it is told");
        time.trim_end().parse().expect("a number")
    };
    let mut times: Vec<u64> = clients.iter().map(time).collect();
    assert!(times.iter().all(|&time| time <= 5000), "{times:?}");
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 20, "{times:?}");
    machine.subscribers.end_all(machine.now);
    assert!(clients.iter().all(|client| client.state().finished));
    assert!(!behind.state().finished);
    machine.catch_up();
    for _ in 0..2 {
        machine.subscribers.end_all(machine.now);
    }
    assert!(behind.state().finished && time(&behind) <= 5000);
    // Where it is left to them, they are told nothing.
    let mut machine = Machine::with(|_| {});
    let client = machine.stream(&[1], repeat_n(Take(1), 2));
    machine.subscribers.end_all(machine.now);
    assert_eq!(seen(&client), "hello");
    assert!(client.state().finished);
}
