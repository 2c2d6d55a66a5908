//! When publishers wait for clients that are far behind, and how much those may have waiting.

use std::iter::repeat_n;

use super::super::*;
use super::{BLOCK, Hub, seen};
use crate::broadcast::stream::scripted::{Answer::Take, Scripted};

/// Each frame is large enough for those who take it to count as reading.
fn large() -> String {
    "x".repeat(99_999)
}

fn hub(all: usize) -> Hub {
    Hub::with(|limits| (limits.mailbox_bytes, limits.mailboxes_bytes) = (1_000_000, all))
}

/// The preamble and one frame, and then nothing.
fn stuck() -> impl Iterator<Item = crate::broadcast::stream::scripted::Answer> {
    [Take(usize::MAX)].into_iter().chain(repeat_n(BLOCK, 1000))
}

#[test]
fn publishers_wait_while_most_clients_are_far_behind_and_go_on_reading() {
    let mut hub = hub(usize::MAX);
    let _slow: Vec<Scripted> = (0..2).map(|_| hub.stream(&[1], stuck())).collect();
    let _quick = hub.stream(&[1], []);
    for _ in 0..7 {
        hub.deliver(&[(1, &large())]);
        assert!(!hub.audience.is_overloaded(hub.moment));
    }
    hub.deliver(&[(1, &large())]);
    assert!(hub.audience.is_overloaded(hub.moment), "two of three are more than half behind");
    // They take nothing more, and nobody waits for them.
    hub.pass(overload::ACTIVE);
    assert!(!hub.audience.is_overloaded(hub.moment));
}

#[test]
fn a_client_that_was_just_reading_may_have_more_than_its_budget_for_a_moment() {
    let mut hub = hub(usize::MAX);
    let _stuck = hub.stream(&[1], stuck());
    let _quick: Vec<Scripted> = (0..2).map(|_| hub.stream(&[1], [])).collect();
    for _ in 0..50 {
        hub.deliver(&[(1, &large())]);
        assert!(!hub.audience.is_overloaded(hub.moment), "one of three holds up nobody");
    }
    assert_eq!(hub.disconnected().behind, 0);
    hub.pass(GRACE);
    hub.deliver(&[(1, &large())]);
    assert_eq!(hub.disconnected().behind, 1);
}

#[test]
fn it_is_disconnected_although_nothing_more_is_published() {
    let mut hub = hub(usize::MAX);
    let _stuck = hub.stream(&[1], stuck());
    let _quick: Vec<Scripted> = (0..2).map(|_| hub.stream(&[1], [])).collect();
    for _ in 0..20 {
        hub.deliver(&[(1, &large())]);
    }
    hub.pass(GRACE);
    hub.sweep();
    assert_eq!(hub.disconnected().behind, 1);
    assert_eq!(hub.registry.counts(), (2, 0));
}

#[test]
fn where_memory_is_short_the_budget_holds_at_once() {
    let mut hub = hub(4_000_000);
    let _stuck = hub.stream(&[1], stuck());
    let _quick: Vec<Scripted> = (0..2).map(|_| hub.stream(&[1], [])).collect();
    for waiting in 1..=20 {
        hub.deliver(&[(1, &large())]);
        assert_eq!(hub.disconnected().behind, 0, "{waiting}");
    }
    // The first went out at once; half of all that may wait is now used.
    for _ in 0..3 {
        hub.deliver(&[(1, &large())]);
    }
    assert_eq!(hub.disconnected().behind, 1);
    while hub.audience.bury_one() {}
    assert_eq!(hub.audience.load.bytes(), 0);
}

#[test]
fn who_reads_slowly_holds_up_nobody() {
    let mut hub = hub(10_000_000);
    let slow = (0..).flat_map(|_| [Take(2_000), BLOCK]).take(20_000);
    let _slow = hub.stream(&[1], slow);
    let _quick: Vec<Scripted> = (0..9).map(|_| hub.stream(&[2], [])).collect();
    for _ in 0..200 {
        hub.deliver(&[(1, &large())]);
        hub.pass(Duration::from_millis(5));
        while hub.audience.retry_one(hub.moment) {}
        assert!(!hub.audience.is_overloaded(hub.moment));
    }
    assert_eq!(hub.disconnected().behind, 1, "in the end memory is short");
}

#[test]
fn a_burst_waits_for_clients_that_had_no_time_to_read_yet() {
    // What a fresh connection over a network takes before the first acknowledgement comes back.
    let fresh = || [Take(49_000)].into_iter().chain(repeat_n(BLOCK, 8));
    let mut hub = hub(usize::MAX);
    let clients: Vec<Scripted> = (0..20).map(|_| hub.stream(&[1], fresh())).collect();
    for _ in 0..30 {
        while hub.audience.is_overloaded(hub.moment) {
            hub.pass(Duration::from_millis(1));
            while hub.audience.retry_one(hub.moment) {}
        }
        hub.deliver(&[(1, &large())]);
    }
    while let Some(at) = hub.audience.next_retry() {
        hub.pass(at - hub.moment.now);
        hub.audience.retry_one(hub.moment);
    }
    assert_eq!(hub.disconnected().behind, 0);
    assert!(clients.iter().all(|client| seen(client).len() == 5 + 30 * large().len()));
}
