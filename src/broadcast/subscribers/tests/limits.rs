//! Budgets, votes and the memory of all, each up to exactly its limit.

use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, BUDGET, Machine, seen, texts};
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
    for (quick, overloaded) in [(0, true), (1, true), (2, false), (3, false)] {
        let mut machine = machine();
        let _slow: Vec<Scripted> = (0..2).map(|_| machine.stream(&[1], stuck())).collect();
        let _quick: Vec<Scripted> = (0..quick).map(|_| machine.stream(&[1], [])).collect();
        fill(&mut machine, &[MUCH, 1000]);
        for _ in 0..2 {
            assert_eq!(
                machine.subscribers.is_overloaded(machine.now),
                overloaded,
                "two and {quick}"
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
    let mut machine = Machine::with(|limits| limits.mailboxes_bytes = 1500);
    let _stuck = machine.stream(&[1], repeat_n(BLOCK, 100));
    let quick = machine.stream(&[1], []);
    let (mailbox, counts) = machine.local(Resume::default());
    for _ in 0..3 {
        machine.deliver(&[(1, &text(450))]);
        assert_eq!(texts(&mailbox).last().map(String::len), Some(449));
        counts.took(450);
    }
    counts.took("hello\n\n".len());
    machine.pass(GRACE);
    machine.deliver(&[(1, &text(450))]);
    assert_eq!(machine.disconnected().behind, 1);
    assert_eq!(seen(&quick).len(), "hello".len() + 4 * 449);
    assert_eq!(machine.registry.counts(), (1, 1));
}
