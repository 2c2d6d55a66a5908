//! Unit tests of the history of a node that follows a log.

use super::*;
use crate::{
    broadcast::history::{HistoryLimits, Wanted, type_log::TypeLog},
    message::id::EventId,
};

fn logs(history: &History) -> impl Iterator<Item = &TypeLog> {
    history.topics.ids().map(|id| history.topics.get(id))
}

fn entry(number: u64) -> EntryId {
    EntryId { millis: 1_700_000_000_000 + number / 3, number: number % 3 }
}

fn history(events: usize) -> History {
    let limits = HistoryLimits { events, bytes: 1 << 20, all_bytes: 1 << 20, channels: 10 };
    let mut history = History::new(limits, String::new());
    history.begin_at(EntryId::ZERO);
    history
}

fn queued(kind: TypeId, encoded: Encoded) -> Queued {
    Queued { channel: None, kind, generation: 0, encoded }
}

fn record(history: &mut History, number: u64, kind: TypeId) {
    let lines = format!("data: {number}\n");
    let event = queued(kind, Encoded::raw(lines.as_bytes()));
    history.record_entry(Entry { id: entry(number), before: EntryId::ZERO, event });
}

fn replayed(history: &History, subscribed: &Subscribed, id: &str) -> Option<Vec<u64>> {
    let position = history.position_of(subscribed, id)?;
    let mut numbers = Vec::new();
    history.read(Wanted { subscribed, last_until: 0 }, position, &mut |original| {
        let pending = original.pending(&crate::broadcast::mailbox::MemoryInUse::default());
        let text = std::str::from_utf8(pending.as_bytes()).expect("it is UTF-8");
        let number = text["data: ".len()..].lines().next().expect("a line");
        numbers.push(number.parse().expect("a number"));
        true
    });
    Some(numbers)
}

/// Against a list of all events: what is replayed after any id is what came after it, or it is
/// said that something is missing.
#[test]
fn a_position_is_known_exactly_where_nothing_is_missing() {
    let kind_of = |number: u64| TypeId::from(!number.is_multiple_of(7));
    let mut history = history(10);
    for newest in 1..200 {
        record(&mut history, newest, kind_of(newest));
        for kinds in [&[0][..], &[1], &[0, 1]] {
            let subscribed = Subscribed::of_types(kinds);
            for asked in newest.saturating_sub(90)..newest {
                let missed = asked + 1..=newest;
                let missed = missed.filter(|&number| kinds.contains(&kind_of(number)));
                let is_kept = |number: &u64| {
                    let kind = kind_of(*number);
                    (*number..=newest).filter(|&other| kind_of(other) == kind).count() <= 10
                };
                let missed: Vec<u64> = missed.collect();
                let expected = missed.iter().all(is_kept).then_some(missed);
                let got = replayed(&history, &subscribed, &entry(asked).to_string());
                assert_eq!(got, expected, "{kinds:?} after {asked} of {newest}");
            }
        }
    }
    let all = Subscribed::all_types();
    assert_eq!(history.lacks(&all, &entry(200).to_string(), true), Some(Lack::Ahead(entry(200))));
    assert_eq!(history.lacks(&all, "somebody's", true), Some(Lack::Unknown(entry(199))));
}

#[test]
fn what_is_kept_of_a_type_and_of_all_is_within_its_limits() {
    let of = |limits| History::new(limits, "e".to_owned());
    let limits = HistoryLimits { events: 1 << 20, bytes: 10_000, all_bytes: 50_000, channels: 10 };
    let mut history = of(limits.clone());
    let memory = |history: &History| {
        let logs: Vec<usize> = logs(history).map(TypeLog::memory).collect();
        assert_eq!(history.bytes, logs.iter().sum::<usize>());
        logs
    };
    for number in 0..5000 {
        let id = EventId::new(format!("own-{}", number % 700)).expect("it is good");
        let lines = format!("data: {}\nid: {}\n", "x".repeat(number % 90), id.as_str());
        let kind = TypeId::try_from(number % 97 * (number % 11) % 30).expect("small");
        let id = Some(&id).filter(|_| number % 3 > 0);
        history.record(None, kind, id, lines.as_bytes());
        let logs = memory(&history);
        assert!(logs.iter().all(|&log| log <= limits.bytes) && history.bytes <= limits.all_bytes);
    }
    assert!(history.bytes > limits.all_bytes * 9 / 10, "{} bytes", history.bytes);
    let ids = |log: &TypeLog| log.kept.iter().filter(|kept| kept.has_id).count();
    assert_eq!(history.ids.len(), logs(&history).map(ids).sum::<usize>());
    let oldest = |log: &TypeLog| log.kept.front().map(|kept| kept.sequence);
    let first = logs(&history).filter_map(oldest).min();
    let at = history.common.order.first().expect("something is kept").1;
    assert_eq!(oldest(history.topics.get(at)), first);
    // An event that takes all of its type's limit is kept, and a larger one is not.
    for (length, kept) in [(limits.bytes, 1), (limits.bytes + 1, 0)] {
        let mut history = of(limits.clone());
        history.record(None, 0, Some(&EventId::new("own").expect("good")), &vec![b'x'; length - 1]);
        assert_eq!(history.topics.get(0).kept.len(), kept);
    }
    for at in history.topics.ids().collect::<Vec<_>>() {
        while !history.topics.get(at).kept.is_empty() {
            history.drop_oldest(at);
        }
    }
    assert_eq!((history.bytes, history.ids.len(), history.common.order.first()), (0, 0, None));
}

#[test]
fn a_new_beginning_forgets_and_a_break_is_remembered() {
    let mut history = history(10);
    (1..=5).for_each(|number| record(&mut history, number, 0));
    let (all, id) = (Subscribed::all_types(), entry(3).to_string());
    assert_eq!(replayed(&history, &all, &id), Some(vec![4, 5]));
    history.break_at(entry(4));
    assert!(history.is_broken_after(&all, &id));
    assert!(!history.is_broken_after(&all, &entry(4).to_string()));
    history.begin_at(entry(2));
    assert_eq!(history.lacks(&all, &entry(2).to_string(), true), None, "a log that was set back");
    history.begin_at(entry(6));
    assert_eq!(history.lacks(&all, &id, true), Some(Lack::Older(entry(3))));
    assert_eq!(history.id_of(history.newest()), Some(entry(6).to_string()));
}

#[test]
fn the_oldest_id_is_that_of_the_oldest_entry_or_its_publishers() {
    let mut history = history(3);
    assert_eq!(history.oldest_id(&Subscribed::all_types()), None);
    (1..=9).for_each(|number| record(&mut history, 2 * number, 0));
    record(&mut history, 20, 1);
    history.reach(entry(30));
    for (kinds, oldest) in [(&[0][..], 14), (&[1], 20), (&[0, 1], 14)] {
        let oldest = entry(oldest).to_string();
        assert_eq!(history.oldest_id(&Subscribed::of_types(kinds)), Some(oldest));
    }
    let id = Some(EventId::new("own").expect("the id is good"));
    let encoded = Encoded { id, ..Encoded::raw(b"data: x\nid: own\n") };
    history.record_entry(Entry { id: entry(31), before: EntryId::ZERO, event: queued(2, encoded) });
    assert_eq!(history.oldest_id(&Subscribed::of_types(&[2])), Some("own".to_owned()));
}

#[test]
fn a_place_that_is_not_kept_is_asked_for_once() {
    let mut history = history(3);
    (1..=9).for_each(|number| record(&mut history, 2 * number, 0));
    history.reach(entry(30));
    let all = Subscribed::all_types();
    let lack = |id: EntryId, checked| history.lacks(&all, &id.to_string(), checked);
    for known in [entry(14), entry(14).before(), entry(18), entry(30)] {
        assert_eq!(lack(known, false), lack(known, true), "{known}");
    }
    for unseen in [entry(10), entry(17), entry(20)] {
        assert_eq!(lack(unseen, false), Some(Lack::Unseen(unseen)));
    }
    assert_eq!(lack(entry(10), true), Some(Lack::Older(entry(10))));
    assert_eq!(lack(entry(20), true), None);
    assert_eq!(lack(entry(31), false), Some(Lack::Ahead(entry(31))));
}

#[test]
fn what_was_passed_over_may_be_of_types_that_came_later_only() {
    let (early, late) = (Subscribed::of_types(&[0]), Subscribed::of_types(&[1]));
    let mut history = history(10);
    let lack = |history: &History, of: &Subscribed, after| {
        history.lacks(of, &entry(after).to_string(), true).map(|lack| {
            assert_eq!(lack, Lack::Older(entry(after)));
        })
    };
    // One type is registered, and there was no event of it: there is none among these either.
    history.pass_unknown(entry(7), 1);
    for of in [&early, &Subscribed::all_types()] {
        assert_eq!(lack(&history, of, 2), None, "{of:?}");
    }
    assert!(lack(&history, &late, 6).is_some() && lack(&history, &late, 7).is_none());
    // Two are.
    history.pass_unknown(entry(9), 2);
    assert!(lack(&history, &late, 6).is_some() && lack(&history, &late, 7).is_none());
    assert!(lack(&history, &Subscribed::all_types(), 6).is_some(), "7 may be of the second");
    record(&mut history, 10, 1);
    history.pass_unknown(entry(11), 2);
    assert!(lack(&history, &late, 6).is_some());
    for of in [&late, &Subscribed::all_types()] {
        assert_eq!(replayed(&history, of, &entry(7).to_string()), Some(vec![10]), "{of:?}");
    }
    assert_eq!(lack(&history, &early, 2), None);
}

#[test]
fn of_what_was_passed_over_the_last_is_known_for_each_number_of_types() {
    let mut history = history(10);
    for number in 1..=30 {
        history.pass_unknown(entry(number), 1 + TypeId::from(number > 20));
    }
    let places = history.known_log().expect("it follows a log");
    assert_eq!(places.unknown, [(1, entry(20)), (2, entry(30))]);
    // Events of a type that was registered after these change nothing for one that was before.
    record(&mut history, 31, 5);
    let lack = |kind: TypeId, after| {
        history.lacks(&Subscribed::of_types(&[kind]), &entry(after).to_string(), true)
    };
    for (kind, passed_over) in [(1, 20), (2, 30), (4, 30), (9, 30)] {
        assert_eq!(lack(kind, passed_over), None, "of type {kind}");
        let before = passed_over - 1;
        assert_eq!(lack(kind, before), Some(Lack::Older(entry(before))), "of type {kind}");
    }
    assert_eq!(lack(0, 0), None);
}

#[test]
fn an_entry_that_is_too_large_to_be_kept_is_missing() {
    let limits = HistoryLimits { events: 10, bytes: 100, all_bytes: 1 << 20, channels: 10 };
    let mut history = History::new(limits, String::new());
    history.begin_at(EntryId::ZERO);
    let large = Encoded::raw("x".repeat(200).as_bytes());
    history.record_entry(Entry { id: entry(5), before: EntryId::ZERO, event: queued(0, large) });
    let lack = |after| history.lacks(&Subscribed::all_types(), &entry(after).to_string(), true);
    assert_eq!((lack(4), lack(5)), (Some(Lack::Older(entry(4))), None));
}

#[test]
fn what_a_log_has_lost_within_a_topic_is_a_gap_and_a_new_epoch_is_none() {
    let subscribed = Subscribed::all_types();
    let at = |epoch: u64, number: u64| EntryId { millis: 1_700_000_000_000 + epoch, number };
    let record = |history: &mut History, id: EntryId, before: EntryId| {
        let event = queued(0, Encoded::raw(b"data: x\n"));
        history.record_entry(Entry { id, before, event });
    };
    for (before, is_lost) in [(1, false), (2, true)] {
        let mut history = history(10);
        record(&mut history, at(0, 1), at(0, 0));
        record(&mut history, at(5, 3), at(5, before));
        record(&mut history, at(5, 4), at(5, 3));
        let first = at(0, 1).to_string();
        let lacks = history.lacks(&subscribed, &first, true);
        assert_eq!(lacks.is_some(), is_lost, "{lacks:?}");
        let second = at(5, 3).to_string();
        assert_eq!(history.lacks(&subscribed, &second, true), None);
    }
}
