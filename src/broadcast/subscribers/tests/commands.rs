use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, BUDGET, Machine, cost, seen, texts};
use crate::broadcast::{
    arrival::Resume,
    hook_queue::HookEvent,
    stream::scripted::Answer::{Fail, Take},
};

/// A client that comes back with the id of the event with this sequence.
fn after(position: u64) -> Resume {
    Resume { last_event_id: Some(format!("e-{position}")), ..Resume::default() }
}

#[test]
fn a_message_to_one_client_takes_its_place_among_the_events() {
    let mut machine = Machine::with(|_| {});
    let caught_up = machine.stream(&[1], []);
    let behind = machine.stream(&[1], [BLOCK]);
    let (mailbox, _tally) = machine.local(Resume::default());
    machine.deliver(&[(1, "a")]);
    for client in 0..3 {
        machine.send_to(client, "to one ");
    }
    machine.deliver(&[(1, "b")]);
    machine.catch_up();
    assert_eq!([seen(&caught_up), seen(&behind)], ["helloato one b", "helloato one b"]);
    assert_eq!(texts(&mailbox), ["hello", "a", "to one ", "b"]);
    let stats = machine.subscribers.stats();
    assert_eq!((stats.published, stats.direct_messages, stats.deliveries), (2, 3, 9));
    assert_eq!(stats.behind, 0);
}

#[test]
fn a_message_to_a_client_that_replays_comes_after_what_it_has_missed() {
    let mut machine = Machine::keeping(100, |_| {});
    // More than a slice has.
    for _ in 0..65 {
        machine.deliver(&[(1, "a")]);
    }
    let (mailbox, _tally) = machine.local(after(0));
    let returning = machine.arrive(&[1], after(0), [Take(3), BLOCK, Take(3), BLOCK]);
    machine.send_to(0, "to one ");
    machine.send_to(1, "to one ");
    // Published after it. The replay goes on to the newest event.
    machine.deliver(&[(1, "c")]);
    machine.send_to(1, "once more ");
    machine.catch_up();
    machine.deliver(&[(1, "d")]);
    let missed: Vec<_> = (1..=65).map(|number| format!("aid: e-{number}")).collect();
    let events = missed.concat() + "cid: e-66to one once more did: e-67";
    assert_eq!(seen(&returning), format!("helloid: e-0{events}"));
    let own = texts(&mailbox);
    assert_eq!(own[..2], ["helloid: e-0", "aid: e-1"]);
    assert_eq!(own[66..], ["to one ", "cid: e-66", "did: e-67"], "a subscription has it in order");
}

#[test]
fn what_a_replay_needed_is_let_go_of_when_nobody_waits_for_it() {
    let mut machine = Machine::keeping(100, |_| {});
    for _ in 0..50 {
        machine.deliver(&[(1, "a"), (2, "b")]);
    }
    let (mailbox, _tally) = machine.local(after(0));
    assert_eq!(machine.subscribers.history.waiting_frames(), 100);
    let _returning = machine.returning(&[2], after(0), []);
    machine.catch_up();
    while machine.subscribers.release_some() {}
    assert_eq!(
        machine.subscribers.history.waiting_frames(),
        100,
        "the subscription has not taken them"
    );
    texts(&mailbox);
    assert!(machine.subscribers.release_some() && machine.subscribers.has_released());
    while machine.subscribers.release_some() {}
    assert!(!machine.subscribers.has_released());
    assert_eq!(machine.subscribers.history.waiting_frames(), 0);
    machine.returning(&[1], after(0), []);
    assert_eq!(machine.subscribers.history.waiting_frames(), 0, "its socket took all at once");
    let _slow = machine.arrive(&[1], after(0), [BLOCK]);
    assert_eq!(machine.subscribers.history.waiting_frames(), 50);
    machine.catch_up();
    while machine.subscribers.release_some() {}
    assert_eq!(machine.subscribers.history.waiting_frames(), 0);
}

#[test]
fn messages_to_one_client_count_against_its_budget() {
    let mut machine = Machine::with(|_| {});
    let _stuck = machine.stream(&[1], repeat_n(BLOCK, 100));
    let text = "x".repeat(BUDGET / 2);
    // One frame is being written, and two wait.
    for _ in 0..3 {
        machine.send_to(0, &text);
    }
    machine.pass(GRACE);
    assert_eq!(machine.disconnected().behind, 0);
    machine.send_to(0, &text);
    assert_eq!(machine.disconnected().behind, 1);
    machine.send_to(0, &text);
    assert_eq!(machine.subscribers.stats().direct_messages, 4, "it has gone");
}

#[test]
fn a_client_is_disconnected_when_it_is_its_turn() {
    let mut machine = Machine::with(|_| {});
    let done = machine.stream(&[1], []);
    let behind = machine.stream(&[1], [Take(1), BLOCK]);
    let stays = machine.stream(&[1], []);
    let (mailbox, counts) = machine.local(Resume::default());
    machine.deliver(&[(1, "ab")]);
    machine.send_to(0, "bye");
    for client in [0, 1, 3, 3] {
        machine.disconnect(client);
    }
    machine.deliver(&[(1, "cd")]);
    machine.catch_up();
    assert_eq!(seen(&done), "helloabbye");
    assert!(done.state().finished, "its client sees an orderly end");
    assert_eq!(seen(&behind), "helloa", "what waits for it is dropped");
    assert_eq!(seen(&stays), "helloabcd");
    assert_eq!(counts.reason(), Some(Disconnect::ClosedByServer));
    assert_eq!(texts(&mailbox), ["hello", "ab"]);
    assert_eq!(machine.disconnected().closed_by_server, 3);
    assert_eq!((machine.registry.counts(), machine.subscribers.stats().behind), ((1, 0), 0));
    while machine.subscribers.drop_one() {}
    assert!(!done.is_shared() && !behind.is_shared() && stays.is_shared());
    assert_eq!(machine.subscribers.memory.bytes(), 0);
}

#[test]
fn who_comes_and_goes_is_told_in_order() {
    let mut machine = Machine::keeping(100, |_| {});
    let hook_queue = Arc::<HookQueue>::default();
    machine.subscribers.tell(Arc::clone(&hook_queue));
    machine.deliver(&[(1, "a")]);
    machine.arrive(&[1], after(1), [Fail(std::io::ErrorKind::BrokenPipe)]);
    let _stays = machine.stream(&[2], []);
    machine.disconnect(1);
    hook_queue.close();
    let told = std::iter::from_fn(|| hook_queue.next()).map(|event| match event {
        HookEvent::Connected(client) => (client.id.0, client.last_event_id, None),
        HookEvent::Disconnected(id, reason) => (id.0, None, Some(reason)),
    });
    let expected = [
        (0, Some("e-1".to_owned()), None),
        (0, None, Some(Disconnect::ClosedByPeer)),
        (1, None, None),
        (1, None, Some(Disconnect::ClosedByServer)),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn frames_being_written_to_one_client_alone_count_against_the_memory_of_all() {
    let text = "x".repeat(BUDGET);
    let mut machine = Machine::with(|limits| limits.mailboxes_bytes = 9 * cost(&text));
    let _stuck: Vec<_> = (0..20).map(|_| machine.stream(&[1], repeat_n(BLOCK, 100))).collect();
    for client in 0..20 {
        machine.send_to(client, &text);
    }
    assert_eq!(machine.disconnected().behind, 11, "nine frames with their places fit");
}
