//! What a stream carries, byte for byte, over a real socket.

use std::thread;
use std::time::{Duration, Instant};

use support::sse::Item;
use support::{Hub, SOON, shown};
use websse::{EventId, Message, MessageError, PublishError};

fn text(frame: &[u8]) -> &str {
    std::str::from_utf8(frame).unwrap()
}

fn id(id: &str) -> EventId {
    EventId::new(id).unwrap()
}

#[test]
fn the_head_of_a_stream_is_what_browsers_and_proxies_need() {
    let hub = Hub::plain(&[""]);
    let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\n\r\n");
    let head = client.head();
    assert_eq!(head.line, "HTTP/1.1 200 OK");
    for (name, expected) in [
        ("content-type", Some("text/event-stream; charset=utf-8")),
        ("cache-control", Some("no-cache, no-transform")),
        ("x-accel-buffering", Some("no")),
        ("connection", None),
        ("content-length", None),
        ("transfer-encoding", Some("chunked")),
        ("content-encoding", None),
        // CORS is off unless configured.
        ("access-control-allow-origin", None),
        ("access-control-allow-credentials", None),
    ] {
        assert_eq!(head.field(name), expected, "{name} in {head:?}");
    }
}

#[test]
fn a_comment_and_the_reconnection_time_come_before_any_event() {
    let hub = Hub::plain(&[""]);
    let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let (_comment, block) = client.preamble();
    assert_eq!(text(&block.raw), "retry: 3000\n");
    hub.publish(Message::new("x"));
    assert_eq!(text(&client.event().raw), "data: x\n\n");
}

#[test]
fn the_reconnection_time_is_the_one_configured() {
    let retry = Duration::from_millis(1234);
    let hub = Hub::with(&[""], |builder| builder.retry(retry), |http| http);
    let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    assert_eq!(client.preamble().1.retry, Some(1234));
}

#[test]
fn every_kind_of_data_is_framed_line_by_line() {
    let hub = Hub::plain(&[""]);
    let mut client = hub.listen("");
    for (name, data, expected) in [
        ("one line", "hello", "data: hello\n\n"),
        ("LF", "a\nb", "data: a\ndata: b\n\n"),
        ("CR", "a\rb", "data: a\ndata: b\n\n"),
        ("CRLF", "a\r\nb", "data: a\ndata: b\n\n"),
        ("LF CR", "a\n\rb", "data: a\ndata: \ndata: b\n\n"),
        ("CR CRLF", "a\r\r\nb", "data: a\ndata: \ndata: b\n\n"),
        ("CRLF LF", "a\r\n\nb", "data: a\ndata: \ndata: b\n\n"),
        ("nothing", "", "data: \n\n"),
        ("only LF", "\n", "data: \ndata: \n\n"),
        ("only CRLF", "\r\n", "data: \ndata: \n\n"),
        ("trailing LF", "a\n", "data: a\ndata: \n\n"),
        ("trailing CR", "a\r", "data: a\ndata: \n\n"),
        ("trailing CRLF", "a\r\n", "data: a\ndata: \n\n"),
        ("leading LF", "\na", "data: \ndata: a\n\n"),
        ("leading space", " x", "data:  x\n\n"),
        ("leading tab", "\tx", "data: \tx\n\n"),
        ("only a space", " ", "data:  \n\n"),
        ("trailing space", "x ", "data: x \n\n"),
        ("leading colon", ":x", "data: :x\n\n"),
        ("colon in it", "a: b", "data: a: b\n\n"),
        (
            "a block of its own",
            "a\n\nid: 1\ndata: b",
            "data: a\ndata: \ndata: id: 1\ndata: data: b\n\n",
        ),
        (
            "fields behind CR",
            "a\revent: b\rretry: 1\r\r",
            "data: a\ndata: event: b\ndata: retry: 1\ndata: \ndata: \n\n",
        ),
        ("UTF-8", "é€😀", "data: é€😀\n\n"),
        ("controls that end no line", "a\u{b}b\u{c}c\u{1f}", "data: a\u{b}b\u{c}c\u{1f}\n\n"),
        (
            "line ends of Unicode only",
            "a\u{85}b\u{2028}c\u{2029}",
            "data: a\u{85}b\u{2028}c\u{2029}\n\n",
        ),
        ("byte order mark", "\u{feff}x", "data: \u{feff}x\n\n"),
    ] {
        hub.publish(Message::new(data));
        let raw = client.event().raw;
        assert_eq!(text(&raw), expected, "{name}");
    }
}

#[test]
fn the_fields_of_an_event_come_in_one_order() {
    let hub = Hub::plain(&["", "a", "é ü", "x: y"]);
    let mut client = hub.listen("?event=*");
    let ms = Duration::from_millis;
    for (message, expected) in [
        (Message::new("x").event("a"), "event: a\ndata: x\n\n"),
        (Message::new("x").event(""), "data: x\n\n"),
        (Message::new("x").event("message"), "data: x\n\n"),
        (Message::new("x").event("é ü"), "event: é ü\ndata: x\n\n"),
        (Message::new("x").event("x: y"), "event: x: y\ndata: x\n\n"),
        (Message::new("x").id(id("7")), "data: x\nid: 7\n\n"),
        (Message::new("x").id(id("e: 1")), "data: x\nid: e: 1\n\n"),
        (Message::new("x").retry(ms(2_147_483_647)), "data: x\nretry: 2147483647\n\n"),
        (Message::new("x").retry(ms(0)), "data: x\nretry: 0\n\n"),
        (Message::new("x").retry(ms(1500)), "data: x\nretry: 1500\n\n"),
        (
            Message::new("x\ny").retry(ms(60_000)).id(id("7-b")).event("a"),
            "event: a\ndata: x\ndata: y\nretry: 60000\nid: 7-b\n\n",
        ),
        (Message::new("").event("a").id(id("8")), "event: a\ndata: \nid: 8\n\n"),
    ] {
        hub.publish(message.clone());
        let raw = client.event().raw;
        assert_eq!(text(&raw), expected, "{message:?}");
    }
}

#[test]
fn every_client_gets_its_own_types_in_the_order_of_publishing() {
    let hub = Hub::plain(&["", "a", "b"]);
    let mut clients = [
        ("", vec!["0", "3", "6"]),
        ("?event=a", vec!["1", "4", "7"]),
        ("?event=b&event=", vec!["0", "2", "3", "5", "6", "8"]),
        ("?event=*", vec!["0", "1", "2", "3", "4", "5", "6", "7", "8"]),
    ]
    .map(|(query, expected)| (query, expected, hub.listen(query)));
    for number in 0..9 {
        let event = ["", "a", "b"][number % 3];
        hub.publish(Message::new(number.to_string()).event(event));
    }
    for (query, expected, client) in &mut clients {
        let got: Vec<_> = expected.iter().map(|_| client.event().data.unwrap()).collect();
        assert_eq!(&got, expected, "{query}");
    }
    hub.server.shutdown(SOON);
    for (_, _, client) in &mut clients {
        client.assert_stream_ends();
    }
}

#[test]
fn one_frame_serves_every_client_unchanged() {
    let hub = Hub::plain(&["a"]);
    let mut clients = ["?event=a", "?event=a&event=a", "?event=*"].map(|query| hub.listen(query));
    hub.publish(Message::new("x\r\ny").event("a").id(id("7")));
    for client in &mut clients {
        let raw = client.event().raw;
        assert_eq!(text(&raw), "event: a\ndata: x\ndata: y\nid: 7\n\n");
    }
}

/// Flushed per batch: nothing waits for the next event, the next second or the next heartbeat.
#[test]
fn a_lone_event_arrives_at_once() {
    let hub = Hub::plain(&[""]);
    let mut client = hub.listen("");
    let waits: Vec<Duration> = (0..21)
        .map(|_| {
            let published = Instant::now();
            hub.publish(Message::new("x"));
            client.event();
            published.elapsed()
        })
        .collect();
    // Each begins where the one before has arrived, so that all would wait for whatever that is. On a
    // busy machine some are late.
    let best = waits.iter().min().unwrap();
    assert!(*best < Duration::from_millis(50), "expected one below 50 ms, got {waits:?}");
}

#[test]
fn large_events_arrive_whole_at_a_client_that_reads_in_small_pieces() {
    let hub = Hub::plain(&[""]);
    let mut client = hub.listen("");
    let large = |number: usize| number.to_string().repeat(80_000);
    for number in 0..9 {
        hub.publish(Message::new(large(number)));
        hub.publish(Message::new(number.to_string()));
    }
    for number in 0..9 {
        let raw = client.event().raw;
        let expected = format!("data: {}\n\n", large(number));
        assert!(
            raw == expected.as_bytes(),
            "expected 80,000 times {number}, got {:?}",
            shown(&raw)
        );
        assert_eq!(client.event().data, Some(number.to_string()));
        thread::sleep(Duration::from_millis(10)); // a slow reader; nothing waits for this
    }
}

#[test]
fn silence_is_broken_by_comments_only() {
    let heartbeat = Duration::from_millis(100);
    let hub =
        Hub::with(&[""], |builder| builder.heartbeat(heartbeat).history_events(0), |http| http);
    let mut client = hub.listen("");
    // Heartbeats are looked after once a second.
    for number in 0..3 {
        match client.item_within(Duration::from_secs(3)) {
            Some(Item::Comment(_)) => {}
            other => panic!("expected heartbeat {number}, got {other:?}"),
        }
    }
    hub.publish(Message::new("x"));
    assert_eq!(text(&client.event().raw), "data: x\n\n");
}

#[test]
fn an_oversized_frame_is_refused_and_nothing_of_it_is_sent() {
    let limit = 6000;
    let hub = Hub::with(&[""], |builder| builder.max_frame_bytes(limit), |http| http);
    let mut client = hub.listen("");
    for (name, data) in [
        ("long", "x".repeat(limit)),
        // 1000 bytes that would take 6000 or more on the wire.
        ("line feeds", "\n".repeat(1000)),
    ] {
        match hub.server.publish(Message::new(data)) {
            Err(PublishError::TooLarge { size, limit: told }) => {
                assert_eq!(told, limit, "{name}");
                assert!(size > limit, "{name}: expected over {limit}, got {size}");
            }
            other => panic!("{name}: expected TooLarge, got {other:?}"),
        }
    }
    hub.publish(Message::new("x".repeat(limit / 2)));
    assert_eq!(client.event().data, Some("x".repeat(limit / 2)));
}

#[test]
fn names_that_would_break_a_stream_cannot_be_registered() {
    let hub = Hub::plain(&[]);
    for name in [
        "a\nb",
        "a\rb",
        "a\r\nb",
        "\n",
        "a\0b",
        "\0",
        "*",
        "stream-gap",
        "stream-open",
        "open",
        "error",
    ] {
        let got = hub.server.register_event(name);
        assert!(got.is_err(), "{name:?}: expected an error, got {got:?}");
        assert!(!hub.server.event_exists(name), "{name:?} exists");
    }
}

#[test]
fn a_message_with_a_line_break_in_its_event_is_refused_and_nothing_of_it_is_sent() {
    let hub = Hub::plain(&["", "a"]);
    let mut client = hub.listen("?event=*");
    for event in ["a\nb", "a\rb", "a\r\nid: 1", "a\n", "a\0", "\n"] {
        match hub.server.publish(Message::new("x").event(event)) {
            Err(PublishError::Message(_)) => {}
            other => panic!("{event:?}: expected a refused message, got {other:?}"),
        }
    }
    hub.publish(Message::new("next"));
    assert_eq!(text(&client.event().raw), "data: next\n\n");
}

#[test]
fn data_and_a_time_that_clients_read_differently_are_refused_and_not_sent() {
    let hub = Hub::plain(&["", "a"]);
    let mut client = hub.listen("?event=*");
    for (message, error) in [
        (Message::new("a\0b"), MessageError::DataNul),
        (Message::new("\0").event("a"), MessageError::DataNul),
        (
            Message::new("").retry(Message::MAX_RETRY + Duration::from_millis(1)),
            MessageError::RetryTooLong,
        ),
        (Message::new("").retry(Duration::MAX), MessageError::RetryTooLong),
    ] {
        assert_eq!(message.check(), Err(error.clone()), "{message:?}");
        let refused = hub.server.publish(message.clone());
        assert_eq!(refused, Err(PublishError::Message(error)), "{message:?}");
    }
    hub.publish(Message::new("next"));
    assert_eq!(text(&client.event().raw), "data: next\n\n");
}

#[test]
fn no_stream_begins_with_a_time_that_clients_cannot_keep() {
    let hub = Hub::with(&[""], |builder| builder.retry(Duration::MAX), |http| http);
    let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let beginning = String::from_utf8(client.piece()).unwrap();
    assert!(beginning.starts_with(": websse\nretry: 2147483647\n"), "{beginning:?}");
}

#[test]
fn an_id_that_would_not_come_back_as_it_was_is_refused() {
    let long = "x".repeat(257);
    let long_in_bytes = "é".repeat(129);
    for refused in [
        "",
        "a\nb",
        "a\rb",
        "a\r\nb",
        "a\0",
        "\u{1}a",
        "a\tb",
        "a\u{1b}",
        "a\u{7f}",
        "a\u{85}b",
        "é",
        "a\u{ff}b",
        "😀",
        "\u{feff}a",
        " a",
        "a ",
        " ",
        "\ta",
        "a\t",
        &long,
        &long_in_bytes,
    ] {
        let got = EventId::new(refused);
        assert!(got.is_err(), "{refused:?}: expected an error, got {got:?}");
    }
}

#[test]
fn an_id_that_is_fit_is_sent_as_it_is() {
    let hub = Hub::plain(&[""]);
    let mut client = hub.listen("");
    let long = "x".repeat(256);
    let printable: String = ('!'..='~').collect();
    for fit in ["0", "a b", "a:b", ":", "{\"n\": 1}", "%0A", &long, &printable] {
        hub.publish(Message::new("x").id(id(fit)));
        let raw = client.event().raw;
        assert_eq!(text(&raw), format!("data: x\nid: {fit}\n\n"));
    }
}
