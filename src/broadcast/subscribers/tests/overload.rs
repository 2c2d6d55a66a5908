//! When publishers wait for clients that are far behind, and how much may wait for these clients.

use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, Machine, seen};
use crate::broadcast::stream::scripted::{Answer::Take, Scripted};

/// Frames are so large that a client which takes them counts as reading.
fn large() -> String {
    "x".repeat(99_999)
}

fn machine(all: usize) -> Machine {
    Machine::with(|limits| (limits.mailbox_bytes, limits.mailboxes_bytes) = (1_000_000, all))
}

/// Takes the preamble and one frame, and then nothing.
fn stuck() -> impl Iterator<Item = crate::broadcast::stream::scripted::Answer> {
    [Take(usize::MAX)].into_iter().chain(repeat_n(BLOCK, 1000))
}

#[test]
fn publishers_wait_while_most_clients_are_far_behind_and_go_on_reading() {
    let mut machine = machine(usize::MAX);
    let _slow: Vec<Scripted> = (0..2).map(|_| machine.stream(&[1], stuck())).collect();
    let _quick = machine.stream(&[1], []);
    for _ in 0..7 {
        machine.deliver(&[(1, &large())]);
        assert!(!machine.subscribers.is_overloaded(machine.now));
    }
    machine.deliver(&[(1, &large())]);
    assert!(
        machine.subscribers.is_overloaded(machine.now),
        "two of three are more than half behind"
    );
    // They take nothing more, and no publisher waits for them.
    machine.pass(overload::ACTIVE);
    assert!(!machine.subscribers.is_overloaded(machine.now));
}

#[test]
fn a_client_that_was_just_reading_may_have_more_than_its_budget_for_a_moment() {
    let mut machine = machine(usize::MAX);
    let _stuck = machine.stream(&[1], stuck());
    let _quick: Vec<Scripted> = (0..2).map(|_| machine.stream(&[1], [])).collect();
    for _ in 0..50 {
        machine.deliver(&[(1, &large())]);
        assert!(!machine.subscribers.is_overloaded(machine.now), "one of three holds up nobody");
    }
    assert_eq!(machine.disconnected().behind, 0);
    machine.pass(GRACE);
    machine.deliver(&[(1, &large())]);
    assert_eq!(machine.disconnected().behind, 1);
}

#[test]
fn it_is_disconnected_although_nothing_more_is_published() {
    let mut machine = machine(usize::MAX);
    let _stuck = machine.stream(&[1], stuck());
    let _quick: Vec<Scripted> = (0..2).map(|_| machine.stream(&[1], [])).collect();
    for _ in 0..20 {
        machine.deliver(&[(1, &large())]);
    }
    machine.pass(GRACE);
    machine.sweep();
    assert_eq!(machine.disconnected().behind, 1);
    assert_eq!(machine.registry.counts(), (2, 0));
}

#[test]
fn where_memory_is_short_the_budget_holds_at_once() {
    let mut machine = machine(4_000_000);
    let _stuck = machine.stream(&[1], stuck());
    let _quick: Vec<Scripted> = (0..2).map(|_| machine.stream(&[1], [])).collect();
    for waiting in 1..=20 {
        machine.deliver(&[(1, &large())]);
        assert_eq!(machine.disconnected().behind, 0, "{waiting}");
    }
    // The first frame went out at once. Half of what may wait in all is used now.
    for _ in 0..3 {
        machine.deliver(&[(1, &large())]);
    }
    assert_eq!(machine.disconnected().behind, 1);
    while machine.subscribers.drop_one() {}
    assert_eq!(machine.subscribers.memory.bytes(), 0);
}

#[test]
fn who_reads_slowly_holds_up_nobody() {
    let mut machine = machine(10_000_000);
    let slow = (0..).flat_map(|_| [Take(2_000), BLOCK]).take(20_000);
    let _slow = machine.stream(&[1], slow);
    let _quick: Vec<Scripted> = (0..9).map(|_| machine.stream(&[2], [])).collect();
    for _ in 0..200 {
        machine.deliver(&[(1, &large())]);
        machine.pass(Duration::from_millis(5));
        while machine.subscribers.retry_one(machine.now) {}
        assert!(!machine.subscribers.is_overloaded(machine.now));
    }
    assert_eq!(machine.disconnected().behind, 1, "in the end memory is short");
}

#[test]
fn a_burst_waits_for_clients_that_had_no_time_to_read_yet() {
    // What a fresh connection over a network takes before the first acknowledgement comes back.
    let fresh = || [Take(49_000)].into_iter().chain(repeat_n(BLOCK, 8));
    let mut machine = machine(usize::MAX);
    let clients: Vec<Scripted> = (0..20).map(|_| machine.stream(&[1], fresh())).collect();
    for _ in 0..30 {
        while machine.subscribers.is_overloaded(machine.now) {
            machine.pass(Duration::from_millis(1));
            while machine.subscribers.retry_one(machine.now) {}
        }
        machine.deliver(&[(1, &large())]);
    }
    while let Some(at) = machine.subscribers.next_retry() {
        machine.pass(at - machine.now.instant);
        machine.subscribers.retry_one(machine.now);
    }
    assert_eq!(machine.disconnected().behind, 0);
    assert!(clients.iter().all(|client| seen(client).len() == 5 + 30 * large().len()));
}
