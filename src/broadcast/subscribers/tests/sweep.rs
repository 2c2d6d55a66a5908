//! What the sweep does with one client after the other, and letting go of those that are gone.

use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, BUDGET, Machine, seen, texts};
use crate::broadcast::{
    arrival::Resume,
    stream::scripted::{Answer::Take, Scripted},
};

#[test]
fn clients_that_are_gone_are_let_go_of_one_by_one() {
    let mut machine = Machine::with(|_| {});
    let wires: Vec<_> = (0..3).map(|_| machine.stream(&[1], [])).collect();
    assert!(!machine.subscribers.has_closing() && !machine.subscribers.drop_one());
    for wire in &wires[..2] {
        wire.state().closed = true;
    }
    machine.sweep();
    for left in [2, 1] {
        assert!(machine.subscribers.has_closing());
        assert_eq!(wires.iter().filter(|wire| wire.is_shared()).count(), left + 1);
        assert!(machine.subscribers.drop_one());
    }
    assert!(!machine.subscribers.has_closing() && !machine.subscribers.drop_one());
    assert_eq!(wires.iter().filter(|wire| wire.is_shared()).count(), 1, "one has not gone");
}

#[test]
fn the_sweep_ends_who_is_over_its_budget_and_takes_nothing() {
    let half = "x".repeat(BUDGET / 2 - 1);
    // One frame being written, two that wait, and one byte too many.
    for (more, ended) in [(0, 0), (1, 1), (100, 1)] {
        let mut machine = Machine::with(|_| {});
        let _stuck = machine.stream(&[1], repeat_n(BLOCK, 100));
        machine.deliver(&[(1, &half)]);
        machine.deliver(&[(1, &half)]);
        machine.deliver(&[(1, &("x".repeat(more) + &half))]);
        let now = Duration::from_millis(1);
        machine.pass(GRACE.saturating_sub(now));
        machine.sweep();
        assert_eq!(machine.disconnected().behind, 0, "it may have taken something just now");
        machine.pass(now);
        machine.sweep();
        assert_eq!(machine.disconnected().behind, ended, "{more} bytes more");
    }
}

#[test]
fn the_sweep_ends_clients_whose_time_is_over() {
    let mut machine = Machine::with(|_| {});
    let second = Duration::from_secs(1);
    machine.until = Some(machine.now.instant + second);
    let ends = machine.stream(&[1], []);
    let behind = machine.stream(&[1], [Take(1), BLOCK]);
    let (mailbox, counts) = machine.local(Resume::default());
    machine.until = machine.until.map(|until| until + second);
    let later = machine.stream(&[1], []);
    machine.until = None;
    let stays = machine.stream(&[1], []);
    machine.deliver(&[(1, "ab")]);
    let early = Duration::from_millis(1);
    machine.pass(second.saturating_sub(early));
    machine.sweep();
    assert_eq!(machine.disconnected().expired, 0);
    machine.pass(early);
    machine.sweep();
    assert_eq!(machine.disconnected().expired, 3);
    assert!(ends.state().finished, "its client sees an orderly end");
    assert_eq!(counts.reason(), Some(Disconnect::Expired));
    assert_eq!(texts(&mailbox), ["hello", "ab"]);
    assert_eq!(machine.registry.counts(), (2, 0));
    machine.deliver(&[(1, "cd")]);
    machine.catch_up();
    assert_eq!(
        [&ends, &behind, &later, &stays].map(seen),
        ["helloab", "helloa", "helloabcd", "helloabcd"]
    );
    machine.pass(second);
    machine.sweep();
    assert_eq!(machine.disconnected().expired, 4);
    machine.pass(Duration::from_secs(3600));
    machine.sweep();
    assert_eq!(machine.registry.counts(), (1, 0));
}

#[test]
fn silence_is_broken_by_a_heartbeat_for_those_who_have_everything() {
    let mut machine = Machine::new();
    let idle = machine.stream(&[1], []);
    let busy = machine.stream(&[2], []);
    let behind = machine.stream(&[3], repeat_n(BLOCK, 100));
    let (mailbox, counts) = machine.local(Resume::default());
    let waiting = machine.local(Resume::default()).0;
    machine.pass(Duration::from_secs(8));
    machine.deliver(&[(2, "x"), (3, "y")]);
    counts.took("hello\nx\ny\n".len());
    machine.pass(Duration::from_secs(13));
    machine.sweep();
    let heartbeat = |wire: &Scripted| wire.received().matches(":\n").count();
    assert_eq!([&idle, &busy, &behind].map(heartbeat), [1, 0, 0]);
    // The next sweep would be later than after 15 s.
    machine.pass(Duration::from_secs(1));
    machine.sweep();
    assert_eq!([&idle, &busy, &behind].map(heartbeat), [1, 1, 0]);
    assert_eq!(texts(&mailbox), ["hello", "x", "y", ":"]);
    assert_eq!(texts(&waiting), ["hello", "x", "y"], "it has something to read");
}

#[test]
fn the_sweep_finds_those_who_have_gone() {
    let mut machine = Machine::new();
    let streams: Vec<Scripted> = (0..10).map(|_| machine.stream(&[1], [])).collect();
    let (_mailbox, counts) = machine.local(Resume::default());
    for gone in [0, 4, 9] {
        streams[gone].state().closed = true;
    }
    counts.leave();
    machine.sweep();
    assert_eq!(machine.registry.counts(), (7, 0));
    assert_eq!(machine.disconnected().closed_by_peer, 4);
    for stream in &streams {
        stream.state().closed = true;
    }
    machine.sweep();
    assert!(machine.subscribers.is_empty());
    assert_eq!(machine.subscribers.slots(), 0, "an empty table takes no room");
}
