//! Unit tests of the history of events that are published here.

mod channels;

use super::*;
use std::sync::Arc;

use crate::{
    broadcast::mailbox::MemoryInUse,
    message::{
        channel::ChannelTable,
        event_types::Types,
        subscribed::{Listened, Subscribed},
    },
};

const MUCH: usize = usize::MAX / 2;

fn history(events: usize, bytes: usize, all_bytes: usize) -> History {
    History::new(HistoryLimits { events, bytes, all_bytes, channels: MUCH }, "e".to_owned())
}

fn publish(history: &mut History, kind: TypeId, text: &str, id: Option<&str>) {
    let id = id.map(|id| EventId::new(id).expect("the id is good"));
    let line = id.as_ref().map(|id| format!("id: {}\n", id.as_str())).unwrap_or_default();
    history.record(None, kind, id.as_ref(), format!("{text}\n{line}").as_bytes());
}

fn types(kinds: &[TypeId]) -> Subscribed {
    Subscribed::of_types(kinds)
}

fn wanted(subscribed: &Subscribed) -> Wanted<'_> {
    Wanted { subscribed, last_until: 0 }
}

/// The first lines of the events of these types after `position`.
fn read(history: &History, subscribed: &Subscribed, position: Sequence) -> Vec<String> {
    let mut texts = Vec::new();
    history.read(wanted(subscribed), position, &mut |original| {
        let pending = original.pending(&MemoryInUse::default());
        let text = String::from_utf8_lossy(pending.as_bytes()).into_owned();
        texts.push(text.lines().next().unwrap_or_default().to_owned());
        true
    });
    texts
}

#[test]
fn events_of_one_type_take_no_more_than_their_bytes() {
    let mut history = history(MUCH, 2000, MUCH);
    publish(&mut history, 1, &"y".repeat(100), None);
    for _ in 0..100 {
        publish(&mut history, 0, &"x".repeat(100), None);
    }
    let kept = read(&history, &types(&[0]), 0);
    let bytes = kept.iter().map(String::len).sum::<usize>();
    assert!((500..=2000).contains(&bytes), "{} events of 100 bytes are kept", kept.len());
    assert_eq!(read(&history, &types(&[1]), 0).len(), 1, "another type has room of its own");
}

#[test]
fn ids_of_publishers_take_of_the_room_for_events() {
    let memory = |id: &str| {
        let mut history = history(MUCH, MUCH, MUCH);
        let id = EventId::new(id).expect("the id is good");
        let own = (id.as_str() != "-").then_some(&id);
        let log = history.log_of(None, 0);
        history.keep(log, &Frame::from_block(b"data: x\nid: own\n\n"), own, EntryId::ZERO);
        history.bytes
    };
    assert!(memory("own") > memory("-"), "the same frame, without an id to be found by");
}

#[test]
fn the_id_of_an_event_that_is_dropped_is_forgotten() {
    let mut history = history(3, MUCH, MUCH);
    for number in 0..100 {
        publish(&mut history, 0, "x", Some(&number.to_string()));
        publish(&mut history, 1, "x", Some(&number.to_string()));
    }
    assert_eq!(history.ids.len(), 6);
    for gone in ["0", "96"] {
        assert_eq!(history.position_of(&Subscribed::all_types(), gone), None);
    }
    assert_eq!(history.position_of(&types(&[0]), "97"), Some(195));
    assert_eq!(history.position_of(&types(&[1]), "97"), Some(196));
}

#[test]
fn an_id_is_a_position_only_for_those_that_listen_to_its_event() {
    let mut history = history(10, MUCH, MUCH);
    publish(&mut history, 0, "a", Some("7"));
    publish(&mut history, 1, "b", None);
    assert_eq!(history.position_of(&types(&[1]), "7"), None, "it is of another type");
    assert_eq!(history.position_of(&types(&[0]), "7"), Some(1));
    assert_eq!(history.position_of(&types(&[0, 1]), "7"), Some(1));
    // Both types number their events alike.
    publish(&mut history, 1, "c", Some("7"));
    assert_eq!(history.position_of(&types(&[1]), "7"), Some(3));
    assert_eq!(history.position_of(&types(&[0]), "7"), Some(1));
}

/// All that was published: type, text, and the publisher's own id. Counted from 1, the index is the
/// sequence number.
type All = Vec<(TypeId, String, Option<String>)>;

/// The places of the events of these types that came after `position`, kept ones only or all.
fn after(all: &All, subscribed: &Subscribed, position: Sequence, keeps: Option<usize>) -> Vec<u64> {
    let is_kept = |at: usize| {
        let later = all[at..].iter().filter(|(kind, ..)| *kind == all[at].0);
        keeps.is_none_or(|keeps| later.count() <= keeps)
    };
    let wanted = (0..all.len()).filter(|&at| subscribed.includes(None, all[at].0) && is_kept(at));
    wanted.map(|at| at as u64 + 1).filter(|&sequence| sequence > position).collect()
}

#[test]
fn what_is_kept_is_what_a_plain_list_says() {
    const KEEPS: usize = 3;
    let mut history = history(KEEPS, MUCH, MUCH);
    let mut all = All::new();
    let sets = [Subscribed::all_types(), types(&[0]), types(&[0, 1]), types(&[1, 2]), types(&[9])];
    for number in 1..=60_u64 {
        // Few of type 0, many of type 2; every fifth has an id of its own, of which some repeat.
        let kind = [2, 1, 2, 0, 1, 2, 2][usize::try_from(number * number % 7).expect("small")];
        let id = number.is_multiple_of(5).then(|| format!("own-{}", number % 4));
        publish(&mut history, kind, &number.to_string(), id.as_deref());
        all.push((kind, number.to_string(), id));
        assert_eq!(history.newest(), number);
        assert_eq!(
            history.drops(),
            1 + number - after(&all, &sets[0], 0, Some(KEEPS)).len() as u64
        );
        for set in &sets {
            let kept = after(&all, set, 0, Some(KEEPS));
            for position in 0..=number {
                let expected = after(&all, set, position, Some(KEEPS));
                let texts: Vec<_> = expected.iter().map(u64::to_string).collect();
                assert_eq!(read(&history, set, position), texts, "{set:?} after {position}");
                let is_missing = after(&all, set, position, None).len() > expected.len();
                assert_eq!(history.has_gap(set, position, 0), is_missing, "{set:?}, {position}");
                let id = format!("e-{position}");
                assert_eq!(history.id_of(position), Some(id.clone()));
                assert_eq!(history.position_of(set, &id), Some(position));
            }
            let oldest = kept.first().map(|&place| {
                let own = all[usize::try_from(place).expect("small") - 1].2.clone();
                own.unwrap_or_else(|| format!("e-{place}"))
            });
            assert_eq!(history.oldest_id(set), oldest, "{set:?}");
            for last in 0..10 {
                let position = history.position_before_last(set, last);
                let expected = &kept[kept.len().saturating_sub(last)..];
                assert_eq!(after(&all, set, position, Some(KEEPS)), expected, "{set:?}: {last}");
                // Behind as many as there are before the last ones, or behind what was dropped.
                let dropped = after(&all, set, 0, None).into_iter().rfind(|at| !kept.contains(at));
                let oldest = kept.first().map_or(number, |oldest| oldest - 1);
                let begin = oldest.min(dropped.unwrap_or(0));
                let begin = kept.len().checked_sub(last + 1).map_or(begin, |at| kept[at]);
                assert_eq!(position, if last == 0 { number } else { begin }, "{set:?}: {last}");
            }
        }
    }
    for unknown in ["e-61", "e-", "e", "e-1x", "e-+1", "f-1", "1", "own-4", "own-", ""] {
        assert_eq!(history.position_of(&Subscribed::all_types(), unknown), None, "{unknown:?}");
    }
}

#[test]
fn reading_stops_where_it_is_told_to_and_goes_on_from_there() {
    let mut history = history(10, MUCH, MUCH);
    for (kind, text) in [(0, "a"), (1, "b"), (2, "-"), (0, "c"), (2, "-"), (2, "-")] {
        publish(&mut history, kind, text, None);
    }
    let (set, mut position) = (types(&[0, 1]), 0);
    // It passes over what nobody asked for, and is at the end with the last one.
    for expected in [1, 3, 6, 6] {
        position = history.read(wanted(&set), position, &mut |_| false);
        assert_eq!(position, expected);
    }
    assert_eq!(history.read(wanted(&set), 0, &mut |_| true), 6);
    assert_eq!(history.read(wanted(&types(&[7])), 0, &mut |_| true), 6);
}

#[test]
fn events_are_kept_up_to_exactly_the_limits() {
    let fill = |events, bytes, all_bytes| {
        let mut history = history(events, bytes, all_bytes);
        for (kind, id) in [(0, None), (0, Some("an id")), (1, None), (0, None)] {
            publish(&mut history, kind, "text", id);
        }
        let kept = read(&history, &Subscribed::all_types(), 0).len();
        (kept, history.topics.get(0).memory(), history.bytes)
    };
    let (kept, of_one, of_all) = fill(MUCH, MUCH, MUCH);
    assert_eq!(kept, 4);
    assert!(0 < of_one && of_one < of_all);
    assert_eq!([fill(MUCH, of_one, MUCH).0, fill(MUCH, of_one - 1, MUCH).0], [4, 3]);
    assert_eq!([fill(MUCH, MUCH, of_all).0, fill(MUCH, MUCH, of_all - 1).0], [4, 3]);
    assert_eq!([fill(3, MUCH, MUCH).0, fill(2, MUCH, MUCH).0], [4, 3]);
    // One event, which is kept or not without others giving way.
    let fill_one = |bytes, all_bytes| {
        let mut history = history(MUCH, bytes, all_bytes);
        publish(&mut history, 0, "text", None);
        (history.bytes, history.drops() - 1, history.has_gap(&Subscribed::all_types(), 0, 0))
    };
    let (frame, one) = ("text\nid: e-1\n\n".len(), fill_one(MUCH, MUCH).0);
    assert_eq!([fill_one(frame, MUCH), fill_one(MUCH, one)], [(one, 0, false); 2]);
    assert_eq!([fill_one(frame - 1, MUCH), fill_one(MUCH, one - 1)], [(0, 1, true); 2]);
}

#[test]
fn an_event_that_is_too_large_to_be_kept_displaces_no_other() {
    let large = "x".repeat(500);
    let alone = {
        let mut history = history(MUCH, MUCH, MUCH);
        publish(&mut history, 0, &large, Some("own"));
        history.bytes
    };
    for (bytes, all_bytes) in [(500, MUCH), (MUCH, alone - 1)] {
        let mut history = history(MUCH, bytes, all_bytes);
        publish(&mut history, 0, "small", None);
        publish(&mut history, 0, &large, Some("own"));
        assert_eq!(read(&history, &Subscribed::all_types(), 0), ["small"]);
        assert!(history.has_gap(&Subscribed::all_types(), 1, 0));
        assert_eq!(history.position_of(&Subscribed::all_types(), "own"), None);
    }
}

#[test]
fn where_nothing_is_kept_the_last_events_are_none() {
    let mut history = history(MUCH, MUCH, 1000);
    for newest in 0..3 {
        assert_eq!(history.position_before_last(&Subscribed::all_types(), 2), newest);
        publish(&mut history, 0, &"x".repeat(1000), None);
    }
}

#[test]
fn over_the_limit_of_all_types_the_oldest_event_goes_whatever_its_type() {
    let fill = |all_bytes| {
        let mut history = history(MUCH, MUCH, all_bytes);
        for (kind, text) in [(1, "a"), (0, "b"), (2, "c"), (0, "d"), (1, "e")] {
            publish(&mut history, kind, text, None);
        }
        (read(&history, &Subscribed::all_types(), 0), history.bytes)
    };
    let (all, most) = fill(MUCH);
    let mut lengths = Vec::new();
    for limit in (0..=most).rev() {
        let (kept, bytes) = fill(limit);
        assert_eq!(kept, all[all.len() - kept.len()..], "within {limit} bytes");
        assert!(bytes <= limit && (bytes > 0) != kept.is_empty(), "{bytes} of {limit} bytes");
        lengths.push(kept.len());
    }
    // Not each after the other: room for events that are gone may be kept too.
    lengths.sort_unstable();
    lengths.dedup();
    assert_eq!(lengths, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_history_that_may_keep_nothing_is_off_and_gives_no_ids() {
    for (events, bytes, all_bytes) in [(0, 9999, 9999), (9, 0, 9999), (9, 9999, 0), (9, 9999, 9999)]
    {
        let mut history = history(events, bytes, all_bytes);
        let is_on = events * bytes * all_bytes > 0;
        assert_eq!((history.is_on(), history.keeps_own()), (is_on, is_on));
        let frame = history.record(None, 0, None, b"data: x\n");
        let text = String::from_utf8_lossy(frame.as_bytes()).into_owned();
        assert_eq!(text, if is_on { "data: x\nid: e-1\n\n" } else { "data: x\n\n" });
        assert_eq!(history.id_of(1).is_some(), is_on);
        assert_eq!(read(&history, &Subscribed::all_types(), 0).len(), usize::from(is_on));
        let own = EventId::new("own").expect("the id is good");
        let frame = history.record(None, 0, Some(&own), b"data: y\nid: own\n");
        assert_eq!(frame.as_bytes(), b"data: y\nid: own\n\n");
        // What several nodes share comes out of their log.
        history.begin_at(EntryId::ZERO);
        assert!(!history.keeps_own());
    }
}

#[test]
fn a_gap_is_one_that_came_after_so_many_drops() {
    let mut history = history(1, MUCH, MUCH);
    for kind in [0, 0, 1, 1, 0] {
        publish(&mut history, kind, "x", None);
    }
    // Dropped are 1, 3 and 2, in this order.
    let gaps = |set: &Subscribed, position| [0, 2, 3, 4].map(|d| history.has_gap(set, position, d));
    assert_eq!(gaps(&types(&[0]), 1), [true, true, true, false]);
    assert_eq!(gaps(&types(&[0]), 2), [false; 4]);
    assert_eq!(gaps(&types(&[1]), 2), [true, true, false, false]);
    assert_eq!(gaps(&types(&[1]), 3), [false; 4]);
}
