//! How streams end when the server does.

use std::iter::repeat_n;

use super::*;

#[test]
fn at_the_end_everybody_gets_what_is_left_and_has_a_moment_to_close() {
    let mut machine = Machine::new();
    let done = machine.stream(&[1], []);
    let behind = machine.stream(&[1], [BLOCK]);
    let (mailbox, counts) = machine.local(Resume::default());
    machine.deliver(&[(1, "x")]);
    machine.subscribers.end_all(machine.now);
    assert!(done.state().finished && !behind.state().finished);
    assert_eq!(counts.reason(), Some(Disconnect::Shutdown));
    assert_eq!(texts(&mailbox), ["hello", "x"], "what was sent can still be taken");
    machine.pass(Duration::from_millis(1));
    machine.subscribers.retry_one(machine.now);
    done.state().closed = true;
    machine.subscribers.end_all(machine.now);
    assert!(behind.state().finished);
    assert_eq!(seen(&behind), "hellox");
    assert_eq!(machine.registry.counts(), (1, 0), "one has closed, the other has not");
    machine.pass(super::super::closing::LINGER);
    machine.subscribers.end_all(machine.now);
    assert!(machine.subscribers.is_empty());
    assert_eq!(machine.disconnected().shutdown, 3);
}

#[test]
fn who_does_not_read_at_the_end_is_cut_off_and_counted() {
    let mut machine = Machine::new();
    let _reads = machine.stream(&[1], []);
    let _stuck = machine.stream(&[1], repeat_n(BLOCK, 100));
    machine.deliver(&[(1, "x")]);
    machine.subscribers.end_all(machine.now);
    assert_eq!(machine.subscribers.cut_all(), 1);
    assert!(machine.subscribers.is_empty());
    assert_eq!(machine.registry.counts(), (0, 0));
}
