//! Several nodes as one over a real Redis.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod batch;
mod channels;
mod cluster;
mod failure;
mod haproxy;
mod health;
mod nodes;
mod proxy;
mod returning;
mod sentinel;
mod sentinels;
mod store;
mod takeover;
#[cfg(feature = "redis-tls")]
mod tls;

use std::time::{Duration, Instant};

use proxy::{Proxy, Way};
use redis::Value;
use store::Store;
use support::sse::{Block, Item};
use support::{Client, Hub, SOON, StopOnDrop, eventually};
use websse::redis::RedisConfig;
use websse::{Builder, EventId, Message, PublishError};

/// Much longer than the time-outs of one try, for a node to find its way back.
const BACK: Duration = Duration::from_secs(15);

fn node_with(store: &Store, builder: impl FnOnce(Builder) -> Builder) -> Hub {
    let hub = Hub::with(&["", "a"], |b| builder(b).redis(store.config()), |http| http);
    // A server that has replicas no more could have been given up: it is waited for 30 s.
    eventually(3 * BACK, true, || hub.server.stats().redis.unwrap().connected);
    hub
}

fn node(store: &Store) -> Hub {
    node_with(store, |builder| builder)
}

fn node_at(config: RedisConfig) -> Hub {
    let hub = Hub::with(&[""], |builder| builder.redis(config), |http| http);
    eventually(SOON, true, || hub.server.stats().redis.unwrap().connected);
    hub
}

/// A client that comes back with this id.
fn back(hub: &Hub, query: &str, id: &str) -> Client {
    let head = "HTTP/1.1\r\nHost: a\r\nLast-Event-ID:";
    let mut client = hub.ask(format!("GET /event{query} {head} {id}\r\n\r\n"));
    assert_eq!(client.stream_head().status, 200);
    client
}

/// The next events' data; a `stream-gap` is `gap`.
fn data(client: &mut Client, count: usize) -> Vec<String> {
    let text = |block: Block| match block.event.as_deref() {
        Some("stream-gap") => "gap".to_owned(),
        _ => block.data.unwrap(),
    };
    (0..count).map(|_| text(client.event())).collect()
}

/// Two streams give the same id to what they take in the same millisecond: then nobody can tell them
/// apart.
fn let_a_millisecond_pass() {
    std::thread::sleep(Duration::from_millis(2));
}

/// What a client is given up to this event, whose data it is.
fn up_to(client: &mut Client, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|data| data != last) {
        heard.extend(data(client, 1));
    }
    heard
}

/// It is told of a gap, and of nothing else before this event. The nodes do not agree on who tells the
/// others: each may be told once more.
#[track_caller]
fn assert_gap_before(client: &mut Client, next: &str) {
    let heard = up_to(client, next);
    assert!(heard == ["gap", next] || heard == ["gap", "gap", next], "{heard:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn what_one_node_publishes_all_hear_in_one_order() {
    let store = Store::durable();
    let nodes = [node(&store), node(&store), node(&store)];
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.listen("?event=*")).collect();
    std::thread::scope(|scope| {
        for (number, node) in nodes.iter().enumerate() {
            scope.spawn(move || {
                for event in 0..100 {
                    let kind = if event % 2 == 0 { "" } else { "a" };
                    node.publish(Message::new(format!("{number}-{event}")).event(kind));
                }
            });
        }
    });
    let heard: Vec<_> = clients.iter_mut().map(|client| data(client, 300)).collect();
    assert_eq!(heard[0], heard[1]);
    assert_eq!(heard[0], heard[2]);
    for number in 0..3 {
        let own = heard[0].iter().filter(|data| data.starts_with(&format!("{number}-")));
        let expected: Vec<String> = (0..100).map(|event| format!("{number}-{event}")).collect();
        assert!(own.eq(&expected), "of node {number} came {:?}", heard[0]);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_client_goes_on_at_another_node() {
    let store = Store::durable();
    let (one, two) = (node(&store), node(&store));
    let mut client = one.listen("");
    one.publish(Message::new("1"));
    one.publish(Message::new("2").id(EventId::new("own").unwrap()));
    one.publish(Message::new("3"));
    let first = client.event().id.unwrap();
    assert_eq!(client.event().id.as_deref(), Some("own"));
    assert_eq!(data(&mut back(&two, "", &first), 2), ["2", "3"]);
    assert_eq!(data(&mut back(&two, "", "own"), 1), ["3"]);
    // Nobody has ever had this one.
    assert_eq!(data(&mut back(&two, "", "nobody's"), 4), ["gap", "1", "2", "3"]);
    // A node that starts now begins with the end of the stream.
    let three = node(&store);
    assert_eq!(data(&mut back(&three, "", &first), 2), ["2", "3"]);
    assert_eq!(data(&mut back(&three, "", "own"), 1), ["3"]);
    let mut replayed = three.listen("?replay=2");
    assert_eq!(data(&mut replayed, 2), ["2", "3"]);
    three.publish(Message::new("4"));
    assert_eq!(up_to(&mut client, "4"), ["3", "4"]);
    assert_eq!(up_to(&mut replayed, "4"), ["4"]);
}

#[test]
#[ignore = "needs redis-server"]
fn what_the_node_forgot_comes_out_of_redis() {
    let store = Store::durable();
    let forgetful = |builder: Builder| builder.history_events(4);
    let node = node_with(&store, forgetful);
    let mut client = node.listen("");
    let messages: Vec<_> = (0..2000).map(|event| Message::new(event.to_string())).collect();
    node.server.publish_all(&messages).unwrap();
    node.publish(Message::new("other").event("a"));
    let first = client.event().id.unwrap();
    let expected: Vec<String> = (1..2000).map(|event| event.to_string()).collect();
    assert_eq!(data(&mut back(&node, "", &first), 1999), expected);
    // Also by a node that knows its end only, and on to what is published later.
    let late = node_with(&store, forgetful);
    let mut client = back(&late, "?event=*", &first);
    assert_eq!(data(&mut client, 1999), expected);
    late.publish(Message::new("live"));
    assert_eq!(data(&mut client, 2), ["other", "live"]);
    let stats = late.server.stats();
    assert_eq!((stats.gaps, stats.redis.unwrap().gaps), (0, 0));
}

/// Nothing is read out of Redis for it.
#[test]
#[ignore = "needs redis-server"]
fn what_the_node_forgot_is_a_gap_to_a_subscription() {
    let store = Store::durable();
    let node = node_with(&store, |builder| builder.history_events(4));
    let mut client = node.listen("");
    for event in 0..10 {
        node.publish(Message::new(event.to_string()));
    }
    let first = client.event().id.unwrap();
    assert_eq!(data(&mut client, 9).last().unwrap(), "9");
    for id in [&*first, "nobody's"] {
        let subscription = node.server.subscription([""]).last_event_id(id).open();
        let mut subscription = subscription.unwrap();
        let gap = subscription.next_event(SOON).unwrap();
        assert_eq!(gap.event(), "stream-gap", "after {id}");
        let rest = [(); 4].map(|()| subscription.next_event(SOON).unwrap().data());
        assert_eq!(rest, ["6", "7", "8", "9"], "after {id}");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_publisher_is_told_the_id_that_the_clients_of_all_nodes_are_sent() {
    let store = Store::durable();
    let nodes = [node(&store), node(&store)];
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.listen("")).collect();
    let server = &nodes[0].server;
    let own = EventId::new("order-17").unwrap();
    let mut told = vec![
        server.publish("1").unwrap(),
        server.try_publish("2").unwrap(),
        server.publish(Message::new("3").id(own)).unwrap(),
    ];
    // More than one transaction.
    let many: Vec<Message> = (4..=1500).map(|number| Message::new(number.to_string())).collect();
    told.extend(server.publish_all(&many).unwrap());
    for client in &mut clients {
        for (number, published) in (1..).zip(&told) {
            let event = client.event();
            assert_eq!((event.data, event.id), (Some(number.to_string()), published.id()));
            assert_eq!(published.listeners(), 1, "at its own node");
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn what_redis_forgot_is_a_gap() {
    let store = Store::durable();
    let node = node_with(&store, |builder| builder.history_events(4));
    let mut client = node.listen("");
    for event in 0..40 {
        node.publish(Message::new(event.to_string()));
    }
    let first = client.event().id.unwrap();
    eventually(SOON, 40, || node.server.stats().redis.unwrap().read);
    store.run("XTRIM websse MAXLEN 10");
    let mut client = back(&node, "", &first);
    let mut expected = vec!["gap".to_owned()];
    expected.extend((30..40).map(|event| event.to_string()));
    assert_eq!(data(&mut client, 11), expected);
    eventually(SOON, 1, || node.server.stats().redis.unwrap().gaps);
}

#[test]
#[ignore = "needs redis-server"]
fn a_stream_that_was_made_anew_is_a_gap() {
    let store = Store::durable();
    let one = node_with(&store, |builder| builder.history_events(4));
    let mut client = one.listen("");
    one.publish(Message::new("1"));
    let first = client.event().id.unwrap();
    store.run("DEL websse");
    let_a_millisecond_pass();
    for event in ["2", "3"] {
        store.run(&format!("XADD websse * data {event}"));
    }
    // Nothing was ever trimmed from this one, and all of it is in the node's memory.
    let two = node(&store);
    assert_eq!(data(&mut back(&two, "", &first), 3), ["gap", "2", "3"]);
}

#[test]
#[ignore = "needs redis-server"]
fn an_id_of_the_future_is_a_gap_at_once() {
    let store = Store::durable();
    let node = node(&store);
    node.publish(Message::new("1"));
    let start = Instant::now();
    let mut client = back(&node, "", "9999999999999-0");
    assert_eq!(data(&mut client, 1), ["gap"]);
    assert!(start.elapsed() < Duration::from_secs(2), "it was waited for");
    node.publish(Message::new("2"));
    assert_eq!(data(&mut client, 1), ["2"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_client_that_is_ahead_of_the_node_is_waited_for() {
    let store = Store::durable();
    let proxy = Proxy::new(store.port);
    let one = node(&store);
    let two = node_at(proxy.config());
    let mut client = one.listen("");
    one.publish(Message::new("1"));
    eventually(SOON, 1, || two.server.stats().redis.unwrap().read);
    // The second node learns nothing for a moment, and the client is faster.
    proxy.set(Way::Late(Duration::from_millis(600)));
    one.publish(Message::new("2"));
    let last = data_and_id(&mut client, "2");
    let start = Instant::now();
    let mut client = back(&two, "", &last);
    assert!(start.elapsed() > Duration::from_millis(100), "the node was faster");
    one.publish(Message::new("3"));
    assert_eq!(data(&mut client, 1), ["3"]);
    assert_eq!(two.server.stats().gaps, 0);
    // Where it takes too long, the client is sent away, and no wiser.
    proxy.set(Way::Late(BACK));
    one.publish(Message::new("4"));
    let mut client = one.listen("?replay=1");
    let last = data_and_id(&mut client, "4");
    let mut client =
        two.ask(format!("GET /event HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {last}\r\n\r\n"));
    assert_eq!(client.head().status, 200);
    let rest = String::from_utf8(client.drain(BACK)).unwrap();
    let reason = ": this node has not read as far as you have\nretry: ";
    assert!(rest.starts_with(reason), "{rest:?}");
    assert!(!rest.contains("id:") && !rest.contains("event:"), "{rest:?}");
}

/// The id of the next event with this data.
fn data_and_id(client: &mut Client, data: &str) -> String {
    loop {
        let event = client.event();
        if event.data.as_deref() == Some(data) {
            return event.id.unwrap();
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_no_event_is_passed_over_and_counted() {
    let store = Store::durable();
    let node = node_with(&store, |builder| builder.max_frame_bytes(1000));
    let mut client = node.listen("?event=*");
    let huge = "x".repeat(2000);
    for fields in [
        &[&b"foreign"[..], b"1"][..],
        &[b"data", b"\xff\xfe"],
        &[b"data", b"x", b"event", b"two\nlines"],
        &[b"data", b"x", b"id", b"a\nevent: b"],
        &[b"data", b"x", b"id", b"1700000000000-0"],
        &[b"data", b"x", b"retry", b"soon"],
        &[b"data", b"x", b"data", b"y"],
        &[b"data", huge.as_bytes()],
    ] {
        let command: Vec<&[u8]> =
            [&b"XADD"[..], b"websse", b"*"].into_iter().chain(fields.iter().copied()).collect();
        store.run_bytes(&command);
    }
    store.run("XADD websse * event unknown data x");
    store.run("XADD websse * event a data good trace 17");
    assert_eq!(data(&mut client, 1), ["good"]);
    let log = node.server.stats().redis.unwrap();
    assert_eq!((log.read, log.malformed, log.unknown_types), (10, 8, 1));
}

#[test]
#[ignore = "needs redis-server"]
fn a_type_that_is_registered_later_is_found_in_redis() {
    let store = Store::durable();
    let (one, two) = (node(&store), node(&store));
    one.server.register_event("late").unwrap();
    let mut client = one.listen("?event=late&event=a");
    one.publish(Message::new("1").event("a"));
    one.publish(Message::new("2").event("late"));
    let first = client.event().id.unwrap();
    eventually(SOON, 1, || two.server.stats().redis.unwrap().unknown_types);
    two.server.register_event("late").unwrap();
    one.publish(Message::new("3").event("late"));
    assert_eq!(data(&mut back(&two, "?event=late", &first), 2), ["2", "3"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_shutdown_delivers_what_was_acknowledged() {
    let store = Store::durable();
    let (one, two) = (node(&store), node(&store));
    let mut client = one.listen("");
    for event in 0..100 {
        two.publish(Message::new(event.to_string()));
        one.publish(Message::new(event.to_string()));
    }
    let report = one.server.shutdown(SOON);
    assert_eq!((report.undelivered, report.cut_streams), (0, 0));
    assert_eq!(one.server.publish(Message::new("late")), Err(PublishError::ShutDown));
    let expected: Vec<String> = (0..200).map(|event| (event / 2).to_string()).collect();
    assert_eq!(data(&mut client, 200), expected);
}

#[test]
#[ignore = "needs redis-server"]
fn a_password_is_used() {
    let store = Store::with(&["--requirepass", "geheim"]);
    let url = format!("redis://:geheim@127.0.0.1:{}", store.port);
    let config = RedisConfig::new(&url).unwrap();
    let hub = Hub::with(&[""], |b| b.redis(config), |http| http);
    hub.publish(Message::new("1"));
    let shown = format!("{:?} {:?}", hub.server, hub.server.event_stream_handler());
    assert!(!shown.contains("geheim"), "{shown}");
    let wrong = RedisConfig::new(&url.replace("geheim", "falsch")).unwrap();
    let hub = Hub::with(&[""], |b| b.redis(wrong), |http| http);
    let Err(PublishError::RedisUnavailable(reason)) = hub.server.publish(Message::new("1")) else {
        panic!("it was published")
    };
    assert!(reason.contains("authentication") && !reason.contains("falsch"), "{reason}");
}
