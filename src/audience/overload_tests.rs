//! When publishers wait for clients that are far behind, and when no longer.

use std::iter::repeat_n;

use super::{
    tests::{BLOCK, Hub, seen},
    *,
};
use crate::{
    meter::PATIENCE,
    scripted::{Answer::Take, Scripted},
    types::TypeId,
};

#[test]
fn publishers_wait_when_most_clients_that_read_are_far_behind() {
    // Each frame is large enough for those who take it to count as reading.
    let large = "x".repeat(99_999);
    let mut hub = Hub::with(|limits| limits.mailbox_bytes = 1_000_000);
    let read_one = || [Take(usize::MAX), BLOCK].into_iter().chain(repeat_n(BLOCK, 1000));
    let _slow: Vec<Scripted> = (0..2).map(|_| hub.stream(&[1], read_one())).collect();
    let _quick = hub.stream(&[1], []);
    for _ in 0..7 {
        hub.deliver(&[(1, &large)]);
        assert!(!hub.audience.is_overloaded(hub.moment));
    }
    hub.deliver(&[(1, &large)]);
    assert!(hub.audience.is_overloaded(hub.moment), "two of three are more than half behind");
    // They take nothing more: they are stuck, and soon nobody waits for them.
    hub.pass(PATIENCE);
    assert!(!hub.audience.is_overloaded(hub.moment));
    for _ in 0..7 {
        hub.deliver(&[(1, &large)]);
    }
    assert_eq!(hub.disconnected().behind, 2);
}

#[test]
fn a_pause_lasts_until_the_last_reader_has_caught_up_but_not_for_ever() {
    let large = "x".repeat(99_999);
    let mut hub = Hub::with(|limits| limits.mailbox_bytes = 1_000_000);
    let blocked = |count| [Take(usize::MAX)].into_iter().chain(repeat_n(BLOCK, count));
    let _quick: Vec<Scripted> = (0..2).map(|_| hub.stream(&[1], blocked(2))).collect();
    let slow = hub.stream(&[1], blocked(1).chain((0..1000).flat_map(|_| [Take(1), BLOCK])));
    for _ in 0..8 {
        hub.deliver(&[(1, &large)]);
    }
    assert!(hub.audience.is_overloaded(hub.moment));
    let start = hub.moment.now;
    while hub.audience.is_overloaded(hub.moment) {
        hub.pass(Duration::from_millis(50));
        while hub.audience.retry_one(hub.moment) {}
    }
    let waited = hub.moment.now - start;
    let most = PATIENCE;
    assert!((most..most + Duration::from_millis(200)).contains(&waited), "{waited:?}");
    assert!(seen(&slow).len() < 200_000, "it goes on by the byte");
    assert_eq!(hub.disconnected().behind, 0, "and is not cut off for that");
}

#[test]
fn a_few_stuck_clients_hold_up_publishers_once_and_shortly() {
    let large = "x".repeat(99_999);
    let mut hub = Hub::with(|limits| limits.mailbox_bytes = 1_000_000);
    let stuck = [Take(usize::MAX)].into_iter().chain(repeat_n(BLOCK, 1000));
    let _stuck = hub.stream(&[1], stuck);
    let _quick: Vec<Scripted> = (0..2).map(|_| hub.stream(&[1], [])).collect();
    let start = hub.moment.now;
    for _ in 0..20 {
        while hub.audience.is_overloaded(hub.moment) {
            hub.pass(Duration::from_millis(1));
        }
        hub.deliver(&[(1, &large)]);
    }
    assert_eq!(hub.disconnected().behind, 1);
    assert_eq!(hub.moment.now - start, PATIENCE);
}

/// How long publishers are held up by one client of eighty that reads by the byte.
fn held_up_by_a_slow_one(between: Duration) -> Duration {
    let large = "x".repeat(99_999);
    let mut hub = Hub::with(|limits| limits.mailbox_bytes = 1_000_000);
    let slow =
        [Take(usize::MAX)].into_iter().chain((0..).flat_map(|_| [Take(1), BLOCK]).take(10_000));
    let _slow = hub.stream(&[1], slow);
    let _quick: Vec<Scripted> = (0..79).map(|_| hub.stream(&[1], [])).collect();
    let mut waited = Duration::ZERO;
    for _ in 0..30 {
        while hub.audience.is_overloaded(hub.moment) {
            hub.pass(Duration::from_millis(1));
            waited += Duration::from_millis(1);
            while hub.audience.retry_one(hub.moment) {}
        }
        hub.deliver(&[(1, &large)]);
        hub.pass(between);
    }
    assert_eq!(hub.disconnected().behind, 1);
    waited
}

#[test]
fn a_few_slow_readers_are_waited_for_shortly_in_a_flood_and_else_not_at_all() {
    let in_a_flood = held_up_by_a_slow_one(Duration::ZERO);
    let step = Duration::from_millis(1);
    assert!((PATIENCE..=PATIENCE + 2 * step).contains(&in_a_flood), "{in_a_flood:?}");
    assert_eq!(held_up_by_a_slow_one(Duration::from_millis(500)), Duration::ZERO);
}

/// Publishes 2 MB/s for 20 s while one client reads 200 KB/s and comes back whenever it is
/// disconnected; returns how long publishers were held up.
fn held_up_by_one_that_comes_back(others: &[TypeId]) -> Duration {
    let large = "x".repeat(9_999);
    let mut hub = Hub::with(|limits| limits.mailbox_bytes = 100_000);
    let slow = || (0..).flat_map(|_| [Take(200), BLOCK]).take(20_000);
    let _others: Vec<Scripted> = (0..9).map(|_| hub.stream(others, [])).collect();
    let mut waited = Duration::ZERO;
    let mut came = 0;
    while hub.moment.now.duration_since(hub.start) < Duration::from_secs(20) {
        if hub.registry.counts().0 < 10 {
            hub.stream(&[1], slow());
            came += 1;
        }
        if hub.audience.is_overloaded(hub.moment) {
            waited += Duration::from_millis(1);
            hub.pass(Duration::from_millis(1));
        } else {
            hub.deliver(&[(1, &large)]);
            hub.pass(Duration::from_millis(5));
        }
        while hub.audience.retry_one(hub.moment) {}
    }
    assert!(came > 2, "it is disconnected and comes back");
    waited
}

#[test]
fn one_slow_client_holds_up_publishers_a_tenth_of_the_time_at_most_in_the_long_run() {
    let most = overload::ALLOWANCE + Duration::from_secs(2);
    for others in [&[1][..], &[2]] {
        let waited = held_up_by_one_that_comes_back(others);
        assert!(waited <= most, "{waited:?} of 20 s beside clients of {others:?}");
    }
}

#[test]
fn a_burst_waits_for_clients_that_had_no_time_to_read_yet() {
    // What a fresh connection over a network takes before the first acknowledgement comes back.
    let fresh = || [Take(49_000)].into_iter().chain(repeat_n(BLOCK, 8));
    let large = "x".repeat(99_999);
    let mut hub = Hub::with(|limits| limits.mailbox_bytes = 1_000_000);
    let clients: Vec<Scripted> = (0..20).map(|_| hub.stream(&[1], fresh())).collect();
    for _ in 0..30 {
        while hub.audience.is_overloaded(hub.moment) {
            hub.pass(Duration::from_millis(1));
            while hub.audience.retry_one(hub.moment) {}
        }
        hub.deliver(&[(1, &large)]);
    }
    while let Some(at) = hub.audience.next_retry() {
        hub.pass(at - hub.moment.now);
        hub.audience.retry_one(hub.moment);
    }
    assert_eq!(hub.disconnected().behind, 0);
    assert!(clients.iter().all(|client| seen(client).len() == 5 + 30 * large.len()));
}
