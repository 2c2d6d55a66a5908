//! What the head of a stream's request can carry: ids from strangers, floods of types.

use super::process::Level;
use super::{alone, hub};
use support::{Hub, SOON, eventually};
use websse::Message;

/// Asks for a stream of `own`, and for something else right behind it, which is not served.
fn ask(target: &[u8], lines: &[u8]) -> Vec<u8> {
    let head = [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n"].concat();
    [&head, &b"POST /send?event=own&data=smuggled HTTP/1.1\r\nHost: a\r\n\r\n"[..]].concat()
}

/// The stream begins, tells of a gap after the id that JSON writes as `requested`, or of none, and
/// has the next event.
#[track_caller]
fn assert_streams(hub: &Hub, raw: &[u8], requested: Option<&str>) {
    let mut client = hub.ask(raw);
    client.stream_head();
    hub.publish(Message::new("next").event("own"));
    let mut event = client.event();
    if let Some(requested) = requested {
        let data = event.data.as_deref().unwrap();
        let expected = format!("{{\"requested\":\"{requested}\",\"oldest\":");
        let begins = data.starts_with(&expected) && event.event.as_deref() == Some("stream-gap");
        assert!(begins, "expected a gap after {requested:?}, got {event:?}");
        // All that is kept follows.
        while event.data.as_deref() != Some("next") {
            event = client.event();
        }
    }
    assert_eq!(event.event.as_deref(), Some("own"), "{event:?}");
    assert_eq!(event.data.as_deref(), Some("next"), "{event:?}");
}

#[test]
fn an_id_from_a_stranger_is_told_back_on_one_line_and_costs_nobody_a_stream() {
    let _alone = alone();
    let long = "x".repeat(10 << 10);
    // Nobody's id is so long; a part of it is told.
    let part = "x".repeat(64) + "…";
    for (value, requested) in [
        (&b""[..], None),
        (b" \t ", None),
        (b"0", Some("0")),
        (b"-1", Some("-1")),
        (b"x-1", Some("x-1")),
        (b"a\tb", Some("a\\u0009b")),
        (b"\"},\"oldest\":\"x\\", Some("\\\"},\\\"oldest\\\":\\\"x\\\\")),
        (b"\\u000a\\n", Some("\\\\u000a\\\\n")),
        (b"data: x", Some("data: x")),
        (b"\xff\xfe", Some("\u{fffd}\u{fffd}")),
        (b"\xed\xa0\x80", Some("\u{fffd}\u{fffd}\u{fffd}")),
        (b"\xe2\x80\xa8\xc2\x85", Some("\u{2028}\u{85}")),
        (b"\xef\xbb\xbf", Some("\u{feff}")),
        (b"../../etc/passwd", Some("../../etc/passwd")),
        (long.as_bytes(), Some(&part)),
        (b"first\r\nLast-Event-ID: second", Some("first")),
    ] {
        // One for each, or there would be more and more to replay.
        let hub = hub();
        let lines = [b"Last-Event-ID: ", value].concat();
        assert_streams(&hub, &ask(b"/event?event=own", &lines), requested);
    }
    for (query, requested) in [
        ("", ""),
        ("%0d%0adata:%20x%0a%0a", "\\u000d\\u000adata: x\\u000a\\u000a"),
        ("%00%1b%7f", "\\u0000\\u001b\u{7f}"),
        ("first&last_event_id=second", "second"),
        ("x&replay=5", "x"),
        (&long[..8000], &part),
    ] {
        let hub = hub();
        let target = format!("/event?event=own&last_event_id={query}");
        let requested = Some(requested).filter(|requested| !requested.is_empty());
        assert_streams(&hub, &ask(target.as_bytes(), b"X: y"), requested);
    }
}

/// Positions that this run never gave, though they look like it.
#[test]
fn an_id_that_was_never_given_is_told_of_as_a_gap() {
    let _alone = alone();
    let hub = hub();
    let mut first = hub.ask("GET /event?event=own HTTP/1.1\r\nHost: a\r\n\r\n");
    first.head();
    let (_, position) = first.preamble();
    let position = position.id.unwrap();
    let epoch = position.rsplit_once('-').unwrap().0;
    for number in [
        "1000000",
        "18446744073709551615",
        "18446744073709551616",
        "-1",
        "+0",
        "",
        "0x0",
        "0 0",
        "٠",
        "99999999999999999999999999999999999999999",
    ] {
        let id = format!("{epoch}-{number}");
        let lines = format!("Last-Event-ID: {id}");
        assert_streams(&hub, &ask(b"/event?event=own", lines.as_bytes()), Some(&id));
    }
}

#[test]
fn a_head_that_asks_for_the_impossible_gets_one_answer_and_no_stream() {
    let _alone = alone();
    let hub = hub();
    let before = Level::of_the_hub(&hub);
    let stream = |lines: &[u8]| ask(b"/event?event=own", lines);
    let query =
        |query: &str| format!("GET /event?{query} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
    let replay = |number: &str| query(&format!("event=own&replay={number}"));
    for (raw, status) in [
        (stream(b"Last-Event-ID: \x01"), 400),
        (stream(b"Last-Event-ID: a\0b"), 400),
        (stream(b"Last-Event-ID: a\x7fb"), 400),
        (stream(b"Last-Event-ID: a\x1b[2J"), 400),
        (stream(b"Last-Event-ID: a\rb"), 400),
        (stream(b"Last-Event-ID: a\nb"), 400),
        (stream(b"Last-Event-ID: a\r\n b"), 400),
        (stream(&[b"Last-Event-ID: ", &vec![b'x'; 17_000][..]].concat()), 431),
        (replay("-1"), 400),
        (replay("+1"), 400),
        (replay(""), 400),
        (replay("1e9"), 400),
        (replay("0x1"), 400),
        (replay("%00"), 400),
        (replay("18446744073709551616"), 400),
        (replay("1&replay=x"), 400),
        (query("event=own&last_event_id=%ff"), 400),
        (query("event=own&event=*x"), 400),
        (query("event=%2a%00"), 400),
        (query("event=own%0d%0adata:x"), 400),
    ] {
        let answer = hub.ask(&raw).answer();
        assert_eq!(answer.status, status, "{}: {answer:?}", raw.escape_ascii());
        answer.assert_explained();
    }
    for number in ["0", "18446744073709551615", "000000000000000000000000001"] {
        assert_streams(&hub, &replay(number), None);
    }
    eventually(SOON, 0, || hub.server.stats().streams);
    before.assert_again(&hub);
}

#[test]
fn a_flood_of_types_is_one_subscription_of_each() {
    let _alone = alone();
    let hub = hub();
    for name in ["own", "*"] {
        let target = format!("/event?event=own{}", format!("&event={name}").repeat(500));
        let mut client = hub.ask(ask(target.as_bytes(), b"X: y"));
        client.stream_head();
        hub.publish(Message::new("one").event("own"));
        hub.publish(Message::new("two").event("own"));
        for data in ["one", "two"] {
            assert_eq!(client.event().data.as_deref(), Some(data), "{name}");
        }
    }
}
