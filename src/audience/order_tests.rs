use std::iter::repeat_n;

use super::{
    tests::{BLOCK, BUDGET, Hub, cost, seen, texts},
    *,
};
use crate::{
    notices::Notice,
    scripted::Answer::{Fail, Take},
};

/// A client that comes back with the id of the event at this place in the order.
fn after(position: u64) -> Resume {
    Resume { last_event_id: Some(format!("e-{position}")), ..Resume::default() }
}

#[test]
fn a_message_to_one_client_takes_its_place_among_the_events() {
    let mut hub = Hub::with(|_| {});
    let caught_up = hub.stream(&[1], []);
    let behind = hub.stream(&[1], [BLOCK]);
    let (mailbox, _tally) = hub.feed(Resume::default());
    hub.deliver(&[(1, "a")]);
    for client in 0..3 {
        hub.send_to(client, "to one ");
    }
    hub.deliver(&[(1, "b")]);
    hub.catch_up();
    assert_eq!([seen(&caught_up), seen(&behind)], ["helloato one b", "helloato one b"]);
    assert_eq!(texts(&mailbox), ["hello", "a", "to one ", "b"]);
    let stats = hub.audience.stats();
    assert_eq!((stats.published, stats.direct, stats.deliveries), (2, 3, 9));
    assert_eq!(stats.behind, 0);
}

#[test]
fn a_message_to_a_client_that_replays_comes_after_what_it_has_missed() {
    let mut hub = Hub::keeping(100, |_| {});
    hub.deliver(&[(1, "a"), (1, "b")]);
    let (mailbox, _tally) = hub.feed(after(0));
    let returning = hub.returning(&[1], after(0), [BLOCK, Take(3), BLOCK]);
    hub.send_to(0, "to one ");
    hub.send_to(1, "to one ");
    // Published after it; the replay goes on to the newest event.
    hub.deliver(&[(1, "c")]);
    hub.send_to(1, "once more ");
    hub.catch_up();
    hub.deliver(&[(1, "d")]);
    let events = "aid: e-1bid: e-2cid: e-3to one once more did: e-4";
    assert_eq!(seen(&returning), format!("helloid: e-0{events}"));
    let own = ["helloid: e-0", "aid: e-1", "bid: e-2", "to one ", "cid: e-3", "did: e-4"];
    assert_eq!(texts(&mailbox), own, "a subscription has it in order");
}

#[test]
fn what_a_replay_needed_is_let_go_of_when_nobody_waits_for_it() {
    let mut hub = Hub::keeping(100, |_| {});
    for _ in 0..50 {
        hub.deliver(&[(1, "a"), (2, "b")]);
    }
    let (mailbox, _tally) = hub.feed(after(0));
    assert_eq!(hub.audience.history.parcels(), 100);
    let _returning = hub.returning(&[2], after(0), []);
    hub.catch_up();
    while hub.audience.release_some() {}
    assert_eq!(hub.audience.history.parcels(), 100, "the subscription has not taken them");
    texts(&mailbox);
    assert!(hub.audience.release_some() && hub.audience.has_released());
    while hub.audience.release_some() {}
    assert!(!hub.audience.has_released());
    assert_eq!(hub.audience.history.parcels(), 0);
    hub.returning(&[1], after(0), []);
    hub.catch_up();
    assert_eq!(hub.audience.history.parcels(), 50);
}

#[test]
fn messages_to_one_client_count_against_its_budget() {
    let mut hub = Hub::with(|_| {});
    let _stuck = hub.stream(&[1], repeat_n(BLOCK, 100));
    let text = "x".repeat(BUDGET / 2);
    // One being written, and two that wait.
    for _ in 0..3 {
        hub.send_to(0, &text);
    }
    hub.pass(GRACE);
    assert_eq!(hub.disconnected().behind, 0);
    hub.send_to(0, &text);
    assert_eq!(hub.disconnected().behind, 1);
    hub.send_to(0, &text);
    assert_eq!(hub.audience.stats().direct, 4, "it has gone");
}

#[test]
fn a_client_is_disconnected_when_it_is_its_turn() {
    let mut hub = Hub::with(|_| {});
    let done = hub.stream(&[1], []);
    let behind = hub.stream(&[1], [Take(1), BLOCK]);
    let stays = hub.stream(&[1], []);
    let (mailbox, tally) = hub.feed(Resume::default());
    hub.deliver(&[(1, "ab")]);
    hub.send_to(0, "bye");
    for client in [0, 1, 3, 3] {
        hub.disconnect(client);
    }
    hub.deliver(&[(1, "cd")]);
    hub.catch_up();
    assert_eq!(seen(&done), "helloabbye");
    assert!(done.state().finished, "its client sees an orderly end");
    assert_eq!(seen(&behind), "helloa", "what waits for it is dropped");
    assert_eq!(seen(&stays), "helloabcd");
    assert_eq!(tally.reason(), Some(Disconnect::ClosedByServer));
    assert_eq!(texts(&mailbox), ["hello", "ab"]);
    assert_eq!(hub.disconnected().closed_by_server, 3);
    assert_eq!((hub.registry.counts(), hub.audience.stats().behind), ((1, 0), 0));
    while hub.audience.bury_one() {}
    assert!(!done.is_shared() && !behind.is_shared() && stays.is_shared());
    assert_eq!(hub.audience.load.bytes(), 0);
}

#[test]
fn who_comes_and_goes_is_told_in_order() {
    let mut hub = Hub::keeping(100, |_| {});
    let notices = Arc::<Notices>::default();
    hub.audience.tell(Arc::clone(&notices));
    hub.deliver(&[(1, "a")]);
    hub.arrive(&[1], after(1), [Fail(std::io::ErrorKind::BrokenPipe)]);
    let _stays = hub.stream(&[2], []);
    hub.disconnect(1);
    notices.close();
    let told = std::iter::from_fn(|| notices.next()).map(|notice| match notice {
        Notice::Connected(client) => (client.id.0, client.last_event_id, None),
        Notice::Disconnected(id, reason) => (id.0, None, Some(reason)),
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
    let mut hub = Hub::with(|limits| limits.mailboxes_bytes = 9 * cost(&text));
    let _stuck: Vec<_> = (0..20).map(|_| hub.stream(&[1], repeat_n(BLOCK, 100))).collect();
    for client in 0..20 {
        hub.send_to(client, &text);
    }
    assert_eq!(hub.disconnected().behind, 11, "nine frames with their places fit");
}
