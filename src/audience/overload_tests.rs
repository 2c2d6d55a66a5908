//! When publishers wait for clients that are far behind, and how much those may have waiting.

use std::iter::repeat_n;

use proptest::prelude::*;

use super::{
    tests::{BLOCK, Hub, cost, seen},
    *,
};
use crate::scripted::{
    Answer::{self, Take},
    Scripted,
};

/// Each frame is large enough for those who take it to count as reading.
fn large() -> String {
    "x".repeat(99_999)
}

fn hub(all: usize) -> Hub {
    Hub::with(|limits| (limits.mailbox_bytes, limits.mailboxes_bytes) = (1_000_000, all))
}

/// The preamble and one frame, and then nothing.
fn stuck() -> impl Iterator<Item = Answer> {
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

/// How many clients are looked at meanwhile to find those that are too far behind.
fn looks_of(run: impl FnOnce()) -> usize {
    let before = LOOKED_AT.with(std::cell::Cell::get);
    run();
    LOOKED_AT.with(std::cell::Cell::get) - before
}

#[test]
fn one_client_far_behind_costs_no_look_at_all_the_others() {
    let mut hub = hub(usize::MAX);
    let _others: Vec<Scripted> = (0..1000).map(|_| hub.stream(&[2], [])).collect();
    let _far = hub.stream(&[1], stuck());
    for _ in 0..8 {
        hub.deliver(&[(1, &large())]);
    }
    let looks = looks_of(|| assert!(!hub.audience.is_overloaded(hub.moment)));
    assert!(looks <= 2, "{looks} clients were looked at");
}

#[test]
fn to_let_go_of_one_client_is_no_look_at_all_of_them() {
    const CLIENTS: usize = 1000;
    let text = "x".repeat(967);
    let mut hub = Hub::with(|limits| limits.mailboxes_bytes = CLIENTS * cost(&text));
    let wires: Vec<Scripted> =
        (0..).take(CLIENTS).map(|kind| hub.stream(&[kind], repeat_n(BLOCK, 100))).collect();
    for kind in 0..1000 {
        hub.deliver(&[(kind, &text)]);
    }
    assert_eq!(hub.disconnected().behind, 0);
    // Each of these is too much, and has one client let go (of the first, two frames waited).
    let looks = looks_of(|| {
        for kind in 0..100 {
            hub.deliver(&[(kind, &text)]);
            hub.pass(Duration::from_micros(1));
        }
    });
    let gone = hub.disconnected().behind;
    assert!((90..=100).contains(&gone), "{gone} were let go");
    assert!(looks <= CLIENTS + 3 * 100, "{looks} looks at clients for the {gone} that went");
    // Those that are further behind by now are seen a moment later.
    hub.pass(Duration::from_millis(10));
    let far = u32::try_from(CLIENTS - 1).expect("few");
    for _ in 0..3 {
        hub.deliver(&[(far, &text)]);
    }
    assert!(!wires[CLIENTS - 1].state().finished);
    assert!(!hub.registry.has(ClientId(u64::from(far))), "it is the furthest behind");
}

impl Audience<Scripted> {
    /// The rule by counting everybody.
    fn is_overloaded_by_count(&mut self, moment: Moment) -> bool {
        let (mut all, mut far_behind, mut active) = (0, 0, false);
        for member in self.members.iter_mut().flatten() {
            let reads = member.outlet.reads(moment);
            all += usize::from(reads);
            if reads
                && member.outlet.waiting() > self.limits.mailbox_bytes / 2
                && let Some(progress) = member.outlet.progress()
                && moment.is_recent(progress)
            {
                far_behind += 1;
                active |= moment.now.saturating_duration_since(progress) < overload::ACTIVE;
            }
        }
        far_behind * 2 > all && (active || self.is_short_of_memory())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Come(Vec<Answer>),
    Subscribe,
    Leave(u64),
    Publish,
    SendTo(u64),
    /// A subscription takes so much of what waits for it.
    Take(usize, usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let answer = prop_oneof![
        1 => (1..99_999_usize).prop_map(Take),
        2 => Just(BLOCK),
    ];
    let step = prop_oneof![
        2 => prop::collection::vec(answer, 0..40).prop_map(Step::Come),
        1 => Just(Step::Subscribe),
        1 => (0..20_u64).prop_map(Step::Leave),
        8 => Just(Step::Publish),
        2 => (0..20_u64).prop_map(Step::SendTo),
        2 => (0..5_usize, 1..3_usize).prop_map(|(at, part)| Step::Take(at, part)),
        2 => (0..400_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_rule_is_the_same_as_by_counting_everybody(steps in steps()) {
        let mut hub = hub(8_000_000);
        let mut subscriptions = Vec::new();
        for step in steps {
            match step {
                Step::Come(answers) => drop(hub.stream(&[1], answers)),
                Step::Subscribe => subscriptions.push(hub.feed(Resume::default())),
                Step::Leave(client) => hub.disconnect(client),
                Step::Publish => hub.deliver(&[(1, &large())]),
                Step::SendTo(client) => hub.send_to(client, &large()),
                Step::Take(at, part) => {
                    if let Some((mailbox, tally)) = subscriptions.get(at) {
                        for mail in mailbox.try_iter().take(mailbox.len() / part) {
                            tally.took(mail.len());
                        }
                    }
                }
                Step::Pass(millis) => {
                    hub.pass(Duration::from_millis(millis));
                    while hub.audience.retry_one(hub.moment) {}
                }
            }
            let expected = hub.audience.is_overloaded_by_count(hub.moment);
            assert_eq!(hub.audience.is_overloaded(hub.moment), expected);
        }
    }
}
