//! Clients that come back: what they have missed, or a gap; what a first connection may ask for.

mod same_events;
mod subscription;

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use support::resume::{come_back, first, open, own, parts, publish, publish_all, request};
use support::sse::{Block, Item};
use support::{Hub, SOON};
use websse::{Builder, Message};

const TYPES: [&str; 4] = ["", "a", "b", "rare"];

fn hub() -> Hub {
    Hub::new(&TYPES)
}

fn hub_with(builder: impl FnOnce(Builder) -> Builder) -> Hub {
    Hub::with(&TYPES, builder, |http| http)
}

#[test]
fn ids_name_the_run_and_grow_and_heartbeats_have_none() {
    let hub = hub_with(|builder| builder.heartbeat(Duration::from_millis(1)));
    let mut all = first(&hub, "?event=*");
    let (run, mut last) = {
        let (run, sequence) = parts(all.position.as_deref().unwrap());
        (run.to_owned(), sequence)
    };
    for round in 0..2 {
        publish(&hub, &[("a", "1"), ("", "2"), ("b", "3"), ("a", "4")]);
        for _ in 0..4 {
            let id = all.client.event().id.unwrap();
            let (same, sequence) = parts(&id);
            assert_eq!(same, run, "round {round}");
            assert!(sequence > last, "expected more than {last}, got {id}");
            last = sequence;
        }
        // Whatever a heartbeat consists of, it is a comment.
        let heartbeat = all.client.item_within(SOON);
        assert!(matches!(heartbeat, Some(Item::Comment(_))), "{heartbeat:?}");
    }
    let other = Hub::new(&TYPES);
    let position = first(&other, "").position.unwrap();
    assert_ne!(parts(&position).0, run, "the run of another server");
}

#[test]
fn the_preamble_has_the_position_at_registration() {
    let hub = hub();
    let mut all = first(&hub, "?event=*");
    for data in ["1", "2"] {
        publish(&hub, &[("a", data)]);
        let id = all.client.event().id;
        // Of a type of which nothing was published, too.
        assert_eq!(first(&hub, "?event=b").position, id, "after event {data}");
    }
}

#[test]
fn a_client_that_comes_back_gets_what_it_missed_in_publishing_order_across_its_types() {
    let hub = hub();
    let mut leaver = first(&hub, "?event=a&event=b");
    publish(&hub, &[("a", "a0"), ("b", "b0")]);
    let ids = [leaver.client.event().id.unwrap(), leaver.client.event().id.unwrap()];
    drop(leaver);
    publish(&hub, &[("b", "b1"), ("", "other"), ("a", "a1"), ("a", "a2"), ("b", "b2")]);
    publish(&hub, &[("rare", "other"), ("b", "b3"), ("a", "a3")]);

    let missed = ["b1", "a1", "a2", "b2", "b3", "a3"];
    let mut header = come_back(&hub, "?event=a&event=b", &ids[1]);
    assert_eq!(header.position.as_ref(), Some(&ids[1]), "the preamble repeats the position");
    header.gets_then_live(&hub, &missed);

    let query = format!("?event=a&event=b&last_event_id={}", ids[1]);
    let missed = ["b1", "a1", "a2", "b2", "b3", "a3", "live"];
    first(&hub, &query).gets_then_live(&hub, &missed);

    let query = format!("?event=a&last_event_id={}", ids[0]);
    let mut winner = come_back(&hub, &query, &ids[1]);
    assert_eq!(winner.position.as_ref(), Some(&ids[1]), "the header wins");
    for name in ["lastEventId", "lastEventID", "last-event-id"] {
        let query = format!("?event=a&event=b&{name}={}", ids[1]);
        assert_eq!(first(&hub, &query).position.as_ref(), Some(&ids[1]), "{name}");
        let query = format!("?event=a&{name}={}", ids[0]);
        let winner = come_back(&hub, &query, &ids[1]);
        assert_eq!(winner.position.as_ref(), Some(&ids[1]), "the header wins over {name}");
    }
    // An empty one is none, wherever it stands.
    for query in [
        format!("?event=a&last_event_id={}", ids[1]),
        format!("?event=a&last_event_id={}&lastEventId=", ids[1]),
    ] {
        assert_eq!(come_back(&hub, &query, "").position.as_ref(), Some(&ids[1]), "{query}");
    }
    winner.gets_then_live(&hub, &["a1", "a2", "a3", "live", "live"]);

    let missed = ["b0", "b1", "other", "a1", "a2", "b2", "other", "b3", "a3"];
    let mut all = come_back(&hub, "?event=*", &ids[0]);
    all.gets_then_live(&hub, &[&missed[..], &["live"; 3]].concat());
}

#[test]
fn a_client_cut_before_its_first_event_comes_back_with_the_id_of_the_preamble() {
    let hub = hub();
    let at_the_start = first(&hub, "?event=a").position.unwrap();
    publish(&hub, &[("a", "1"), ("b", "other"), ("a", "2")]);
    let later = first(&hub, "?event=a").position.unwrap();
    publish(&hub, &[("a", "3")]);
    come_back(&hub, "?event=a", at_the_start).gets_then_live(&hub, &["1", "2", "3"]);
    come_back(&hub, "?event=a", &later).gets_then_live(&hub, &["3", "live"]);
    // Cut before its first event again.
    let again = come_back(&hub, "?event=a", later).position.unwrap();
    come_back(&hub, "?event=a", again).gets_then_live(&hub, &["3", "live", "live"]);
}

#[test]
fn a_client_comes_back_with_an_id_of_the_publisher() {
    let hub = hub_with(|builder| builder.history_events(4));
    publish_all(&hub, vec![own("same", "1"), own("e 17", "2"), own("same", "3"), own("x", "4")]);
    let mut back = come_back(&hub, "?event=a", "e 17");
    assert_eq!(parts(back.position.as_deref().unwrap()).1, 2);
    assert_eq!(back.next(2), ["3", "4"]);
    let mut same = come_back(&hub, "?event=a&event=b", "same");
    assert_eq!(same.next(3), ["2", "3", "4"], "after the earliest use");
    // Drops the first use.
    publish_all(&hub, vec![own("y", "5")]);
    come_back(&hub, "?event=a", "same").gets_then_live(&hub, &["4", "5"]);
    assert_eq!(come_back(&hub, "?event=a", "e 17").gap().0, "e 17");
}

#[test]
fn an_id_that_is_not_known_gets_a_gap_and_then_all_that_is_kept() {
    let hub = hub();
    let other = Hub::new(&TYPES);
    publish(&other, &[("a", "of another run")]);
    publish(&hub, &[("a", "1"), ("b", "2"), ("a", "3")]);
    let position = first(&hub, "").position.unwrap();
    let run = parts(&position).0;
    let another_run = first(&other, "").position.unwrap();
    let long = "x".repeat(5000);
    let header = |id: &[u8]| request("?event=a&event=b", &[&[b"Last-Event-ID: ", id].concat()]);
    let query = |id: &str| request(&format!("?event=a&event=b&last_event_id={id}"), &[]);
    let huge = format!("{run}-99999999999999999999999");
    for (name, raw, requested) in [
        ("of another run", header(another_run.as_bytes()), another_run.as_str()),
        ("of nobody", header(b"nobody's"), "nobody's"),
        ("ahead of the newest", header(format!("{run}-4").as_bytes()), &format!("{run}-4")),
        ("beyond all numbers", header(huge.as_bytes()), &huge),
        ("without its number", header(format!("{run}-").as_bytes()), &format!("{run}-")),
        ("with a sign", header(format!("{run}-+1").as_bytes()), &format!("{run}-+1")),
        ("quotes and backslashes", header(br#"\"}\u0041","#), r#"\"}\u0041","#),
        ("markup and a tab", header(b"</script>\t&"), "</script>\t&"),
        ("not UTF-8", header(b"a\xff\xfe"), "a\u{fffd}\u{fffd}"),
        ("emoji", header("é😀".as_bytes()), "é😀"),
        ("a line of its own", query("%0Adata:%20x%0D%0A%0A%00%1F"), "\ndata: x\r\n\n\0\u{1f}"),
        ("quotes in the query", query("%22%5C"), "\"\\"),
        ("long", header(long.as_bytes()), &long),
        ("long, in the query", query(&long), &long),
    ] {
        let mut back = open(&hub, &raw);
        let (got, oldest) = back.gap();
        let is_it = match requested.len() {
            ..=256 => got == requested,
            // A part of it is enough.
            _ => got.len() <= 260 && requested.starts_with(got.trim_end_matches('…')),
        };
        assert!(is_it, "{name}: expected {requested:?}, got {got:?}");
        assert_eq!(oldest, Some(format!("{run}-1")), "{name}");
        assert_eq!(back.next(3), ["1", "2", "3"], "{name}");
    }
}

#[test]
fn a_client_whose_events_are_dropped_gets_a_gap_and_then_what_is_kept() {
    let hub = hub_with(|builder| builder.history_events(3));
    let start = first(&hub, "?event=a").position.unwrap();
    let run = parts(&start).0;
    publish(&hub, &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("a", "5")]);
    for (id, missed) in [(0, 5), (1, 4)] {
        let id = format!("{run}-{id}");
        let mut back = come_back(&hub, "?event=a", &id);
        assert_eq!(back.gap(), (id, Some(format!("{run}-3"))), "{missed} missed");
        assert_eq!(back.next(3), ["3", "4", "5"]);
    }
    come_back(&hub, "?event=a", format!("{run}-2")).gets_then_live(&hub, &["3", "4", "5"]);
    // Nothing but live events after the gap, where nothing else is kept; the bytes of all types.
    let hub = hub_with(|builder| builder.history_all_bytes(1100));
    let start = first(&hub, "?event=b").position.unwrap();
    publish(&hub, &[("b", "dropped"), ("a", &"x".repeat(800)), ("a", "kept")]);
    let mut back = come_back(&hub, "?event=b", &start);
    assert_eq!(back.gap(), (start, None));
    publish(&hub, &[("b", "live")]);
    assert_eq!(back.next(1), ["live"]);
}

#[test]
fn a_busy_type_causes_no_gap_for_a_rare_one() {
    let hub = hub_with(|builder| builder.history_events(10));
    let start = first(&hub, "?event=rare").position.unwrap();
    publish(&hub, &[("rare", "1")]);
    publish(&hub, &vec![("a", "busy"); 1000]);
    publish(&hub, &[("rare", "2")]);
    publish(&hub, &vec![("a", "busy"); 1000]);
    let mut rare = come_back(&hub, "?event=rare", &start);
    assert_eq!(rare.next(2), ["1", "2"]);
    publish(&hub, &[("rare", "live")]);
    assert_eq!(rare.next(1), ["live"]);
    assert_eq!(come_back(&hub, "?event=rare&event=a", &start).gap().0, start);
}

#[test]
fn an_event_larger_than_the_history_is_delivered_and_causes_a_gap() {
    let hub = hub_with(|builder| builder.history_bytes(4096));
    let mut listener = first(&hub, "?event=a");
    let start = listener.position.clone().unwrap();
    let large = "x".repeat(5000);
    publish(&hub, &[("a", "1"), ("a", &large), ("a", "2")]);
    let events = [listener.client.event(), listener.client.event(), listener.client.event()];
    let data = events.iter().map(|event| event.data.as_deref().unwrap());
    assert_eq!(data.collect::<Vec<_>>(), ["1", &large, "2"]);
    let ids = events.map(|event| event.id.unwrap());

    let mut back = come_back(&hub, "?event=a", &ids[0]);
    assert_eq!(back.gap(), (ids[0].clone(), Some(ids[0].clone())));
    back.gets_then_live(&hub, &["2"]);
    // It has the large one.
    come_back(&hub, "?event=a", &ids[1]).gets_then_live(&hub, &["2", "live"]);
    let mut back = come_back(&hub, "?event=a", &start);
    assert_eq!(back.gap(), (start, Some(ids[0].clone())));
    back.gets_then_live(&hub, &["1", "2", "live", "live"]);
}

#[test]
fn without_history_there_are_no_ids_and_whoever_comes_back_gets_a_gap() {
    let limits: [fn(Builder) -> Builder; 3] =
        [|b| b.history_events(0), |b| b.history_bytes(0), |b| b.history_all_bytes(0)];
    for limit in limits {
        let hub = hub_with(limit);
        let mut listener = first(&hub, "?event=a&replay=5");
        assert_eq!(listener.position, None);
        publish_all(&hub, vec![Message::new("1").event("a"), own("own", "2")]);
        assert_eq!(listener.client.event().raw, b"event: a\ndata: 1\n\n");
        assert_eq!(listener.client.event().raw, b"event: a\ndata: 2\nid: own\n\n");
        let mut back = come_back(&hub, "?event=a", "own");
        assert_eq!(back.position, None);
        assert_eq!(back.gap(), ("own".to_owned(), None));
        back.gets_then_live(&hub, &[]);
    }
}

#[test]
fn a_first_connection_is_replayed_as_much_as_it_asks_for() {
    let all_of_both = ["a1", "b1", "a2", "b2", "a3"];
    for (query, expected) in [
        ("?event=a", &[][..]),
        ("?event=*", &[]),
        ("?event=a&last_event_id=", &[]),
        ("?event=a&replay=0", &[]),
        ("?event=a&replay=1", &["a3"]),
        ("?event=a&replay=2", &["a2", "a3"]),
        ("?event=a&event=b&replay=2", &["b2", "a3"]),
        ("?event=b&replay=4&event=a", &all_of_both[1..]),
        ("?event=a&event=b&replay=5", &all_of_both),
        ("?event=a&event=b&replay=99999", &all_of_both),
        ("?event=a&replay=3&last_event_id=", &["a1", "a2", "a3"]),
        ("?event=*&replay=3", &["b2", "a3", "other"]),
    ] {
        let hub = hub();
        publish(&hub, &[("a", "a1"), ("b", "b1"), ("", "other"), ("a", "a2"), ("b", "b2")]);
        publish(&hub, &[("a", "a3"), ("rare", "other")]);
        let mut listener = first(&hub, query);
        // An empty id is what a client sends that never got one.
        let mut empty = open(&hub, &request(query, &[b"Last-Event-ID:"]));
        // Cut before its first event it gets the same again.
        let mut back = come_back(&hub, query, listener.position.as_ref().unwrap());
        publish(&hub, &[("a", "live")]);
        let expected = [expected, &["live"]].concat();
        for (name, client) in
            [("first", &mut listener), ("empty id", &mut empty), ("back", &mut back)]
        {
            assert_eq!(client.next(expected.len()), expected, "{query}, {name}");
        }
    }
}

#[test]
fn a_replay_of_all_that_is_kept_misses_nothing_if_it_is_cut_before_its_first_event() {
    let hub = hub_with(|builder| builder.history_events(3));
    publish(&hub, &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4"), ("a", "5")]);
    let position = first(&hub, "?event=a&replay=99").position.unwrap();
    come_back(&hub, "?event=a", position).gets_then_live(&hub, &["3", "4", "5"]);
}

#[test]
fn an_id_wins_over_a_number_of_events_to_replay() {
    let hub = hub();
    let start = first(&hub, "").position.unwrap();
    publish(&hub, &[("a", "1"), ("a", "2"), ("a", "3")]);
    come_back(&hub, "?event=a&replay=1", start).gets_then_live(&hub, &["1", "2", "3"]);
    assert_eq!(come_back(&hub, "?event=a&replay=1", "nobody's").gap().0, "nobody's");
}

#[test]
fn a_bad_number_of_events_to_replay_is_refused() {
    let hub = Hub::new(&["a", "probe"]);
    for replay in
        ["", "x", "-1", "%2B1", "+1", "1.5", "1e3", "1%20", "٣", "99999999999999999999999"]
    {
        let raw = request(&format!("?event=a&replay={replay}"), &[]);
        support::table::refused(&hub, replay, &raw, &[400]);
    }
}

/// The items up to the end of a stream.
fn items(mut listener: support::resume::Listener) -> Vec<Item> {
    std::iter::from_fn(|| listener.client.item_within(SOON)).collect()
}

/// As the manual advises programs that keep their events elsewhere.
#[test]
fn a_restart_is_no_gap_where_the_same_events_are_published_again_with_their_own_ids() {
    let events = |from: usize, to: usize| {
        (from..to).map(|number| own(&format!("order-{number}"), &number.to_string())).collect()
    };
    let before = hub();
    let mut client = first(&before, "?event=a");
    publish_all(&before, events(0, 5));
    let ids = (0..5).map(|_| client.client.event().id.unwrap()).collect::<Vec<_>>();
    drop(before);
    // A part of them, and what was added meanwhile.
    let after = hub();
    publish_all(&after, events(2, 7));
    come_back(&after, "?event=a", &ids[4]).gets_then_live(&after, &["5", "6"]);
    come_back(&after, "?event=a", &ids[2]).gets_then_live(&after, &["3", "4", "5", "6"]);
    assert_eq!(come_back(&after, "?event=a", &ids[1]).gap().0, "order-1");
}

#[test]
fn at_shutdown_each_client_is_told_when_to_come_back() {
    let hub = hub_with(|builder| builder.reconnect_spread(Duration::from_secs(10)));
    let listeners: Vec<_> = (0..50).map(|_| first(&hub, "?event=a")).collect();
    publish(&hub, &[("a", "last")]);
    let readers: Vec<_> =
        listeners.into_iter().map(|listener| thread::spawn(|| items(listener))).collect();
    hub.server.shutdown(SOON);
    let mut retries = HashSet::new();
    for reader in readers {
        let mut items = reader.join().unwrap();
        items.retain(|item| matches!(item, Item::Block(_)));
        let Some(Item::Block(Block {
            event: None, data: None, id: None, retry: Some(retry), ..
        })) = items.pop()
        else {
            panic!("expected a retry last, after {items:?}");
        };
        assert!(retry <= 10_000, "retry: {retry}");
        retries.insert(retry);
        let last = items.pop();
        assert!(matches!(&last, Some(Item::Block(block)) if block.data.is_some()), "{last:?}");
    }
    assert!(retries.len() >= 40, "expected 50 times of 10,000, got {retries:?}");
    let (least, most) = (retries.iter().min().unwrap(), retries.iter().max().unwrap());
    assert!(*least < 3000 && *most > 7000, "expected all of the range, got {retries:?}");
}

#[test]
fn without_a_spread_nothing_comes_after_the_last_event() {
    let hub = hub();
    let listener = first(&hub, "?event=a");
    publish(&hub, &[("a", "last")]);
    let reader = thread::spawn(|| items(listener));
    hub.server.shutdown(SOON);
    let items = reader.join().unwrap();
    assert!(
        matches!(&items[..], [Item::Block(block)] if block.data.as_deref() == Some("last")),
        "{items:?}"
    );
}
