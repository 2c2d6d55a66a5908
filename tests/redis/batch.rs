//! Batches that Redis takes in part, or not at all.

use std::thread;

use websse::http::Limits;

use support::Answer;

use super::*;

/// A node that takes large batches over HTTP.
fn node_for_batches(store: &Store) -> Hub {
    let limits = Limits::default().body_bytes(16 << 20);
    let hub = Hub::with(&[""], |b| b.redis(store.config()), |http| http.limits(limits));
    eventually(SOON, true, || hub.server.stats().redis.unwrap().connected);
    hub
}

/// Sends a batch whose messages are numbered, each of about so many bytes.
fn send(hub: &Hub, messages: usize, bytes: usize) -> Client {
    let line = |number| format!("{{\"data\":\"{number} {}\"}}\n", "x".repeat(bytes));
    let body: String = (0..messages).map(line).collect();
    hub.ask(format!(
        "POST /send HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// The numbers of what is in the stream.
fn numbers(store: &Store) -> Vec<usize> {
    let Value::Array(entries) = store.run("XRANGE websse - +") else { panic!("no entries") };
    let number = |entry| {
        let Value::Array(parts) = entry else { panic!("no entry: {entry:?}") };
        let Value::Array(fields) = &parts[1] else { panic!("no fields: {parts:?}") };
        let Value::BulkString(data) = &fields[1] else { panic!("no data: {fields:?}") };
        let data = String::from_utf8_lossy(data);
        data.split(' ').next().unwrap().parse().unwrap()
    };
    entries.into_iter().map(number).collect()
}

/// The answer fits what the stream has of a batch: all of it, nothing, or its beginning.
#[track_caller]
fn assert_fits(answer: &Answer, numbers: &[usize], messages: usize) {
    let count = numbers.len();
    assert!(numbers.iter().copied().eq(0..count), "something is left out of {numbers:?}");
    let expected = match count {
        0 => (503, Some("1")),
        _ if count == messages => (200, None),
        _ => (504, None),
    };
    let told = (answer.status, answer.field("retry-after"));
    assert_eq!(told, expected, "{count} of {messages}: {answer:?}");
    if answer.status == 504 {
        answer.assert_explained();
        let (text, next) = (answer.text(), count + 1);
        assert!(text.contains(&format!("{count} were accepted")), "{count}: {text}");
        assert!(text.contains(&format!("from message {next} on")), "{count}: {text}");
    }
}

/// Sends a batch to a Redis that is nearly full, with more room each time until all of it fits;
/// returns how often a part of it was taken.
fn parts_taken(messages: usize, bytes: usize) -> usize {
    let store = Store::with(&[]);
    let hub = node_for_batches(&store);
    let mut parts = 0;
    for step in 1..100 {
        eventually(BACK, true, || hub.server.publish(Message::new("there is room")).is_ok());
        store.run("XTRIM websse MAXLEN 0");
        let used: usize = store.info("memory", "used_memory").trim().parse().unwrap();
        store.run(&format!("CONFIG SET maxmemory {}", used + step * 100_000));
        let answer = send(&hub, messages, bytes).answer();
        store.run("CONFIG SET maxmemory 0");
        let numbers = numbers(&store);
        assert_fits(&answer, &numbers, messages);
        match numbers.len() {
            0 => {}
            count if count == messages => return parts,
            _ => parts += 1,
        }
    }
    panic!("it never fits");
}

#[test]
#[ignore = "needs redis-server"]
fn a_batch_is_taken_whole_or_not_by_a_redis_that_is_nearly_full() {
    assert_eq!(parts_taken(700, 1000), 0);
}

#[test]
#[ignore = "needs redis-server"]
fn a_large_batch_that_redis_takes_in_part_is_not_to_be_sent_again() {
    assert!(parts_taken(5000, 100) > 0, "it was all or nothing each time");
}

#[test]
#[ignore = "needs redis-server"]
fn a_shutdown_within_a_batch_tells_how_much_was_published() {
    let store = Store::with(&[]);
    let hub = node_for_batches(&store);
    hub.publish(Message::new("0"));
    store.run("XTRIM websse MAXLEN 0");
    store.run("CLIENT PAUSE 1500 WRITE");
    let mut client = send(&hub, 5000, 10);
    // Redis holds the first part back. The next one waits for the writer, all else for room.
    let is_held = |line: &str| {
        let mut words = line.split(' ');
        let is_blocked = words.any(|word| word.starts_with("flags=") && word.contains('b'));
        is_blocked && line.contains(" cmd=xadd ")
    };
    eventually(SOON, true, || {
        let Value::BulkString(clients) = store.run("CLIENT LIST") else { panic!("no clients") };
        String::from_utf8(clients).unwrap().lines().any(is_held)
    });
    thread::scope(|scope| {
        scope.spawn(|| hub.server.shutdown(SOON));
        let answer = client.answer();
        let numbers = numbers(&store);
        assert!((1..5000).contains(&numbers.len()), "{} of 5000: {answer:?}", numbers.len());
        assert_fits(&answer, &numbers, 5000);
        assert!(answer.text().contains("shut down"), "{answer:?}");
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_batch_of_which_redis_says_nothing_is_open_in_part_only() {
    let store = Store::with(&[]);
    let proxy = Proxy::new(store.port);
    let hub = node_at(proxy.config().timeout(Duration::from_millis(300)));
    let messages: Vec<_> = (0..3000).map(|number| Message::new(number.to_string())).collect();
    proxy.set(Way::Mute);
    let error = hub.server.publish_all(&messages).unwrap_err();
    let numbers = numbers(&store);
    assert!(!numbers.is_empty(), "Redis was given nothing");
    assert_eq!((error.index, error.accepted, error.unknown), (0, 0, numbers.len()));
    assert_eq!(error.error, PublishError::OutcomeUnknown);
    assert!(numbers.len() < 3000 && numbers.iter().copied().eq(0..numbers.len()), "{numbers:?}");
    let log = hub.server.stats().redis.unwrap();
    let (unknown, refused) = (numbers.len() as u64, (3000 - numbers.len()) as u64);
    assert_eq!((log.outcome_unknown, log.refused, log.appended), (unknown, refused, 0));
}

#[test]
#[ignore = "needs redis-server"]
fn without_transactions_what_redis_took_counts() {
    let store = Store::with(&[]);
    store.run("ACL SETUSER node on >geheim ~websse* +@all -multi");
    let url = format!("redis://node:geheim@127.0.0.1:{}", store.port);
    let hub = node_at(RedisConfig::new(&url).unwrap());
    hub.server.publish_all(&["0", "1", "2"].map(Message::new)).unwrap();
    assert_eq!(numbers(&store), [0, 1, 2]);
    assert_eq!(hub.server.stats().redis.unwrap().appended, 3);
}
