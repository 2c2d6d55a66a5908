//! Budgets, votes and the memory of all, each up to exactly its limit.

use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, BUDGET, Machine, seen};
use crate::broadcast::{
    arrival::Resume,
    stream::scripted::{
        Answer::{self, Take},
        Scripted,
    },
};

/// More than a client has to take in a second to count as one that reads.
const MUCH: usize = 100_000;

fn text(frame: usize) -> String {
    "x".repeat(frame - 1)
}

/// A hub of clients with a budget of two large frames.
fn machine() -> Machine {
    Machine::with(|limits| limits.mailbox_bytes = 2 * MUCH)
}

/// Takes the preamble and one frame, and then nothing.
fn stuck() -> impl Iterator<Item = Answer> {
    [Take(usize::MAX)].into_iter().chain(repeat_n(BLOCK, 1000))
}

/// Has a frame written to the stuck clients, one that they cannot take, and these that wait.
fn fill(machine: &mut Machine, waiting: &[usize]) {
    for &frame in [MUCH, 100].iter().chain(waiting) {
        machine.deliver(&[(1, &text(frame))]);
    }
}

#[test]
fn a_client_may_have_its_whole_budget_waiting_and_not_a_byte_more() {
    for (last, ended) in [(BUDGET / 2, 0), (BUDGET / 2 + 1, 1)] {
        let mut machine = Machine::with(|_| {});
        let _stuck = machine.stream(&[1], repeat_n(BLOCK, 100));
        machine.deliver(&[(1, &text(100)), (1, &text(100))]);
        machine.deliver(&[(1, &text(BUDGET / 2))]);
        machine.pass(GRACE);
        machine.deliver(&[(1, &text(last))]);
        assert_eq!(machine.disconnected().behind, ended, "published: {last}");

        let mut machine = Machine::with(|_| {});
        let _stuck = machine.stream(&[1], repeat_n(BLOCK, 100));
        machine.send_to(0, "being written");
        machine.send_to(0, &"x".repeat(BUDGET / 2));
        machine.pass(GRACE);
        machine.send_to(0, &"x".repeat(last));
        assert_eq!(machine.disconnected().behind, ended, "sent to it: {last}");
    }
}

#[test]
fn half_of_the_clients_that_read_are_not_most_of_them() {
    let cases = (1..4).flat_map(|slow| (0..5).map(move |quick| (slow, quick, slow > quick)));
    for (slow, quick, overloaded) in cases {
        let mut machine = machine();
        let _slow: Vec<Scripted> = (0..slow).map(|_| machine.stream(&[1], stuck())).collect();
        let _quick: Vec<Scripted> = (0..quick).map(|_| machine.stream(&[1], [])).collect();
        fill(&mut machine, &[MUCH, 1000]);
        for _ in 0..2 {
            assert_eq!(
                machine.subscribers.is_overloaded(machine.now),
                overloaded,
                "{slow} and {quick}"
            );
        }
    }
}

#[test]
fn half_a_budget_behind_is_not_far_behind() {
    for (waiting, overloaded) in [(MUCH - 1, false), (MUCH, false), (MUCH + 1, true)] {
        let mut machine = machine();
        let _slow = machine.stream(&[1], stuck());
        fill(&mut machine, &[waiting]);
        assert_eq!(
            machine.subscribers.is_overloaded(machine.now),
            overloaded,
            "{waiting} bytes wait"
        );

        // One that is far behind holds up nobody alone, but has the others looked at.
        let mut machine = self::machine();
        let _far = machine.stream(&[2], stuck());
        let _slow = machine.stream(&[1], stuck());
        let _quick = machine.stream(&[3], []);
        for kind in [2, 1] {
            machine.deliver(&[(kind, &text(MUCH))]);
            machine.deliver(&[(kind, &text(100))]);
        }
        machine.deliver(&[(2, &text(MUCH + 1))]);
        machine.deliver(&[(1, &text(waiting))]);
        assert_eq!(
            machine.subscribers.is_overloaded(machine.now),
            overloaded,
            "{waiting} bytes wait"
        );
    }
}

#[test]
fn who_takes_nothing_any_more_has_no_vote_and_is_not_waited_for() {
    let mut machine = machine();
    let _stuck: Vec<Scripted> = (0..3).map(|_| machine.stream(&[1], stuck())).collect();
    fill(&mut machine, &[MUCH + 1]);
    assert!(machine.subscribers.is_overloaded(machine.now));
    machine.pass(Duration::from_secs(2));
    let slow = machine.stream(&[2], stuck());
    machine.deliver(&[(2, &text(MUCH))]);
    assert!(
        !machine.subscribers.is_overloaded(machine.now),
        "only one is left, which has everything"
    );
    machine.deliver(&[(2, &text(100))]);
    machine.deliver(&[(2, &text(MUCH + 1))]);
    assert!(machine.subscribers.is_overloaded(machine.now), "the one that reads is far behind");
    assert_eq!(seen(&slow).len(), "hello".len() + MUCH - 1);
}

#[test]
fn messages_to_one_client_make_publishers_wait_as_well() {
    let mut machine = machine();
    let _slow = machine.stream(&[1], stuck());
    machine.send_to(0, &text(MUCH));
    machine.send_to(0, "being written");
    machine.send_to(0, &text(MUCH));
    assert!(!machine.subscribers.is_overloaded(machine.now));
    machine.send_to(0, &text(MUCH));
    assert!(machine.subscribers.is_overloaded(machine.now));
    machine.send_to(0, "one more");
    assert!(machine.subscribers.is_overloaded(machine.now));
}

#[test]
fn memory_is_short_from_one_byte_beyond_half_of_it_on() {
    let memory = {
        let mut machine = machine();
        let _slow = machine.stream(&[1], stuck());
        fill(&mut machine, &[MUCH, 1000]);
        machine.subscribers.memory.bytes()
    };
    for (half, overloaded) in [(memory, false), (memory - 1, true)] {
        let mut machine = machine();
        machine.subscribers.limits.mailboxes_bytes = 2 * half;
        let _slow = machine.stream(&[1], stuck());
        fill(&mut machine, &[MUCH, 1000]);
        machine.pass(Duration::from_millis(500));
        // It takes nothing just now, so publishers wait only if memory is short.
        assert_eq!(machine.subscribers.is_overloaded(machine.now), overloaded);
    }
}

#[test]
fn all_mailboxes_together_may_have_exactly_their_limit() {
    let run = |limit| {
        let mut machine = Machine::with(|limits| limits.mailboxes_bytes = limit);
        let (_one, _other) = (machine.stream(&[1], [BLOCK]), machine.stream(&[2], [BLOCK]));
        for kind in [1, 2, 1] {
            machine.deliver(&[(kind, &text(100))]);
        }
        (machine.subscribers.memory.bytes(), machine.disconnected().behind)
    };
    let (memory, _) = run(usize::MAX);
    assert_eq!(run(memory), (memory, 0));
    assert_eq!(run(memory - 1).1, 1);
}

#[test]
fn of_those_with_nothing_in_their_mailboxes_the_one_with_the_larger_frame_goes() {
    for large in [0, 1, 2] {
        let mut machine = Machine::with(|limits| limits.mailboxes_bytes = 3000);
        let wires: Vec<Scripted> = (0..3).map(|_| machine.stream(&[1], [BLOCK])).collect();
        for client in (0..3).filter(|&client| client != large) {
            machine.send_to(client, &text(500));
        }
        machine.send_to(large, &text(2500));
        assert_eq!(machine.disconnected().behind, 1);
        machine.catch_up();
        for (client, wire) in (0..).zip(&wires) {
            let received = seen(wire).len() - "hello".len();
            assert_eq!(received, if client == large { 0 } else { 499 }, "{client} of {large}");
        }
    }
}

#[test]
fn nobody_goes_for_the_memory_of_those_that_are_gone() {
    let mut machine = Machine::with(|_| {});
    let _stuck = machine.stream(&[1], repeat_n(BLOCK, 100));
    let behind = machine.stream(&[2], [BLOCK]);
    machine.deliver(&[(2, &text(100))]);
    for _ in 0..3 {
        machine.deliver(&[(1, &text(450))]);
    }
    machine.pass(GRACE);
    machine.subscribers.limits.mailboxes_bytes = machine.subscribers.memory.bytes() + 100;
    // With this one the first is over its budget, and all together over their limit.
    machine.deliver(&[(1, &text(450))]);
    assert_eq!(machine.disconnected().behind, 1);
    machine.catch_up();
    assert_eq!(seen(&behind).len(), "hello".len() + 99);
}

#[test]
fn nobody_goes_for_the_memory_of_what_a_subscriber_has_taken() {
    let mut machine = Machine::with(|_| {});
    let quick = machine.stream(&[1], []);
    let (mailbox, counts) = machine.local(Resume::default());
    machine.deliver(&[(1, &text(450))]);
    let taken: Vec<Pending> = mailbox.try_iter().collect();
    counts.took(taken.iter().map(|pending| pending.as_bytes().len()).sum());
    machine.subscribers.limits.mailboxes_bytes = 400;
    machine.send_to(0, "to one");
    assert!(machine.subscribers.memory.bytes() > 400);
    assert_eq!(machine.registry.counts(), (1, 1));
    assert!(seen(&quick).ends_with("to one"));
}

/// Clients with this much waiting for each of them, and one that has gone for all of their memory.
fn crowded(machine: &mut Machine, waiting: [usize; 3]) -> Vec<Scripted> {
    let kinds = 1..;
    let wires: Vec<Scripted> = kinds
        .clone()
        .take(3)
        .map(|kind| machine.stream(&[kind], [BLOCK, Take(600), BLOCK]))
        .collect();
    for (kind, bytes) in kinds.zip(waiting) {
        machine.deliver(&[(kind, &text(600)), (kind, &text(1))]);
        machine.deliver(&[(kind, &text(bytes))]);
    }
    let _far = machine.stream(&[9], [BLOCK]);
    machine.deliver(&[(9, &text(100))]);
    machine.deliver(&[(9, &text(900))]);
    machine.subscribers.limits.mailboxes_bytes = machine.subscribers.memory.bytes();
    machine.deliver(&[(9, "x")]);
    assert_eq!(machine.disconnected().behind, 1);
    machine.subscribers.limits.mailboxes_bytes = machine.subscribers.memory.bytes();
    wires
}

#[test]
fn who_took_something_since_it_was_seen_is_not_the_furthest_behind() {
    let mut machine = Machine::with(|_| {});
    let wires = crowded(&mut machine, [800, 700, 600]);
    // The first takes what is being written to it, and then nothing waits beyond that.
    wires[0].state().answers.pop_front();
    machine.pass(Duration::from_millis(2));
    assert!(machine.subscribers.retry_one(machine.now));
    machine.subscribers.limits.mailboxes_bytes = machine.subscribers.memory.bytes();
    machine.deliver(&[(3, "x")]);
    assert_eq!(machine.disconnected().behind, 2);
    let stays = wires.iter().map(Scripted::is_shared).collect::<Vec<_>>();
    assert_eq!(stays, [true, false, true]);
}

#[test]
fn who_fell_behind_since_the_others_were_seen_may_be_the_furthest() {
    let mut machine = Machine::with(|_| {});
    let wires = crowded(&mut machine, [800, 700, 600]);
    machine.subscribers.limits.mailboxes_bytes = usize::MAX;
    machine.deliver(&[(3, &text(250))]);
    machine.pass(Duration::from_millis(20));
    machine.subscribers.limits.mailboxes_bytes = machine.subscribers.memory.bytes();
    machine.deliver(&[(2, "x")]);
    assert_eq!(machine.disconnected().behind, 2);
    let stays = wires.iter().map(Scripted::is_shared).collect::<Vec<_>>();
    assert_eq!(stays, [true, true, false]);
}

#[test]
fn who_has_the_place_of_one_that_left_is_not_taken_for_it() {
    let mut machine = Machine::with(|_| {});
    let wires = crowded(&mut machine, [800, 700, 600]);
    wires[0].state().closed = true;
    machine.sweep();
    while machine.subscribers.drop_one() {}
    let new = machine.stream(&[4], [BLOCK]);
    machine.subscribers.limits.mailboxes_bytes = machine.subscribers.memory.bytes();
    machine.deliver(&[(4, "x")]);
    assert_eq!(machine.disconnected().behind, 2);
    let stays = [&new, &wires[1], &wires[2]].map(Scripted::is_shared);
    assert_eq!(stays, [true, false, true]);
}

#[test]
fn who_is_not_far_behind_any_more_is_not_waited_for() {
    for (more, overloaded) in [(0, false), (1, true)] {
        let mut machine = machine();
        let slow = [Take(usize::MAX), BLOCK, Take(5)].into_iter().chain(repeat_n(BLOCK, 100));
        let _slow = machine.stream(&[1], slow);
        fill(&mut machine, &[70_000, MUCH + more]);
        assert!(machine.subscribers.is_overloaded(machine.now));
        // The first of these is being written now, and half a budget waits behind it.
        machine.pass(Duration::from_millis(1));
        assert!(machine.subscribers.retry_one(machine.now));
        assert_eq!(machine.subscribers.is_overloaded(machine.now), overloaded, "{more} bytes more");
    }
}
