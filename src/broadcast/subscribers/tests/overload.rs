//! When publishers wait for clients that are far behind, and how much may wait for these clients.

use std::iter::repeat_n;

use proptest::prelude::*;

use super::super::*;
use super::{BLOCK, Machine, cost, seen};
use crate::broadcast::{
    arrival::Resume,
    stream::scripted::{
        Answer::{self, Take},
        Scripted,
    },
};

/// Frames are so large that a client which takes them counts as reading.
fn large() -> String {
    "x".repeat(99_999)
}

fn machine(all: usize) -> Machine {
    Machine::with(|limits| (limits.mailbox_bytes, limits.mailboxes_bytes) = (1_000_000, all))
}

/// The preamble and one frame, and then nothing.
fn stuck() -> impl Iterator<Item = Answer> {
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

/// How many clients are looked at meanwhile to find those that are too far behind.
fn looks_of(run: impl FnOnce()) -> usize {
    let before = LOOKED_AT.with(std::cell::Cell::get);
    run();
    LOOKED_AT.with(std::cell::Cell::get) - before
}

#[test]
fn one_client_far_behind_costs_no_look_at_all_the_others() {
    let mut machine = machine(usize::MAX);
    let _others: Vec<Scripted> = (0..1000).map(|_| machine.stream(&[2], [])).collect();
    let _far = machine.stream(&[1], stuck());
    for _ in 0..8 {
        machine.deliver(&[(1, &large())]);
    }
    let looks = looks_of(|| assert!(!machine.subscribers.is_overloaded(machine.now)));
    assert!(looks <= 2, "{looks} clients were looked at");
}

#[test]
fn to_let_go_of_one_client_is_no_look_at_all_of_them() {
    const CLIENTS: usize = 1000;
    let text = "x".repeat(967);
    let mut machine = Machine::with(|limits| limits.mailboxes_bytes = CLIENTS * cost(&text));
    let wires: Vec<Scripted> =
        (0..).take(CLIENTS).map(|kind| machine.stream(&[kind], repeat_n(BLOCK, 100))).collect();
    for kind in 0..1000 {
        machine.deliver(&[(kind, &text)]);
    }
    assert_eq!(machine.disconnected().behind, 0);
    // Each of these is too much, and has one client let go (of the first, two frames waited).
    let looks = looks_of(|| {
        for kind in 0..100 {
            machine.deliver(&[(kind, &text)]);
            machine.pass(Duration::from_micros(1));
        }
    });
    let gone = machine.disconnected().behind;
    assert!((90..=100).contains(&gone), "{gone} were let go");
    assert!(looks <= CLIENTS + 3 * 100, "{looks} looks at clients for the {gone} that went");
    // Those that are further behind by now are seen a moment later.
    machine.pass(Duration::from_millis(10));
    let far = u32::try_from(CLIENTS - 1).expect("few");
    for _ in 0..3 {
        machine.deliver(&[(far, &text)]);
    }
    assert!(!wires[CLIENTS - 1].state().finished);
    assert!(!machine.registry.has(ClientId(u64::from(far))), "it is the furthest behind");
}

impl Subscribers<Scripted> {
    /// The rule by counting everybody.
    fn is_overloaded_by_count(&mut self, now: Now) -> bool {
        let (mut all, mut far_behind, mut active) = (0, 0, false);
        for subscriber in self.table.iter_mut().flatten() {
            let reads = subscriber.sink.reads(now);
            all += usize::from(reads);
            if reads
                && subscriber.sink.waiting() > self.limits.mailbox_bytes / 2
                && let Some(progress) = subscriber.sink.progress()
                && now.is_recent(progress)
            {
                far_behind += 1;
                active |= now.instant.saturating_duration_since(progress) < overload::ACTIVE;
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
        let mut machine = machine(8_000_000);
        let mut subscriptions = Vec::new();
        for step in steps {
            match step {
                Step::Come(answers) => drop(machine.stream(&[1], answers)),
                Step::Subscribe => subscriptions.push(machine.local(Resume::default())),
                Step::Leave(client) => machine.disconnect(client),
                Step::Publish => machine.deliver(&[(1, &large())]),
                Step::SendTo(client) => machine.send_to(client, &large()),
                Step::Take(at, part) => {
                    if let Some((mailbox, counts)) = subscriptions.get(at) {
                        for pending in mailbox.try_iter().take(mailbox.len() / part) {
                            counts.took(pending.as_bytes().len());
                        }
                    }
                }
                Step::Pass(millis) => {
                    machine.pass(Duration::from_millis(millis));
                    while machine.subscribers.retry_one(machine.now) {}
                }
            }
            let expected = machine.subscribers.is_overloaded_by_count(machine.now);
            assert_eq!(machine.subscribers.is_overloaded(machine.now), expected);
        }
    }
}
