//! Request heads, as they come from clients of every kind: what is understood, what is refused and
//! how, and that a fresh client is served afterwards. Bodies: `requests_bodies.rs`.

use support::table::{accepted, refused, refused_for_good};
use support::{Answer, Hub, SOON, eventually};
use websse::Message;
use websse::http::{Request, Response};

fn hub() -> Hub {
    let hello = |_: &Request| Response::text(200, "hello\n");
    Hub::with(
        &["", "a", "b", "x y", "probe"],
        |builder| builder,
        |http| http.get("/hello", hello).get("/a+b", hello),
    )
}

/// A head of lines with their CRLF and the blank line at its end.
fn head(lines: &[&str]) -> Vec<u8> {
    (lines.join("\r\n") + "\r\n\r\n").into_bytes()
}

/// The methods in `Allow`.
#[track_caller]
fn allowed(answer: &Answer) -> Vec<String> {
    let allow = answer.field("allow");
    let allow = allow.unwrap_or_else(|| panic!("expected an Allow field: {answer:?}"));
    allow.split(',').map(|method| method.trim().to_owned()).collect()
}

#[test]
fn a_malformed_head_is_refused_and_the_connection_ends() {
    let hub = hub();
    for (name, raw) in [
        ("no Host on 1.1", &b"GET /hello HTTP/1.1\r\n\r\n"[..]),
        ("two Hosts", b"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        ("the same Host twice", b"GET /hello HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"),
        ("line folding with a space", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
        ("line folding with a tab", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"),
        ("line folding of the first field", b"GET /hello HTTP/1.1\r\n X: b\r\nHost: a\r\n\r\n"),
        ("bare LF everywhere", b"GET /hello HTTP/1.1\nHost: a\n\n"),
        ("bare LF after the request line", b"GET /hello HTTP/1.1\nHost: a\r\n\r\n"),
        ("bare LF after a field", b"GET /hello HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
        ("bare LF at the end", b"GET /hello HTTP/1.1\r\nHost: a\r\n\n"),
        ("bare LF before the last line", b"GET /hello HTTP/1.1\r\nHost: a\n\r\n"),
        ("bare CR in a value", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n"),
        ("NUL in a value", b"GET /hello HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
        ("no colon", b"GET /hello HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
        ("space before the colon", b"GET /hello HTTP/1.1\r\nHost : a\r\n\r\n"),
        ("no field name", b"GET /hello HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        ("space in a field name", b"GET /hello HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n"),
        ("garbage", b"what is this?\r\n\r\n"),
        ("only a method", b"GET\r\nHost: a\r\n\r\n"),
        ("no version", b"GET /hello\r\nHost: a\r\n\r\n"),
        ("no target", b"GET  HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("space in the target", b"GET /hel lo HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("control in the target", b"GET /hello?\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("something else than HTTP", b"GET /hello FTP/1.1\r\nHost: a\r\n\r\n"),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    ] {
        refused_for_good(&hub, name, raw, &[400]);
    }
}

#[test]
fn what_follows_a_refused_head_is_not_taken_for_a_request() {
    let hub = hub();
    let mut listener = hub.listen("?event=a");
    let smuggled = "POST /send?event=a&data=smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked";
    let post = "POST /send?event=b HTTP/1.1";
    for (name, lines) in [
        ("no Host", &["GET /hello HTTP/1.1"][..]),
        ("two lengths", &[post, "Host: a", "Content-Length: 0", "Content-Length: 9"]),
        ("length and chunks", &[post, "Host: a", "Content-Length: 5", chunked, "", "0"]),
        ("chunks on 1.0", &["POST /send?event=b HTTP/1.0", chunked, "", "0"]),
    ] {
        let raw = [&head(lines)[..], smuggled.as_bytes()].concat();
        refused_for_good(&hub, name, &raw, &[400]);
    }
    hub.publish(Message::new("first").event("a"));
    assert_eq!(listener.event().data.as_deref(), Some("first"));
}

#[test]
fn a_version_that_is_not_spoken_here_is_refused_as_such() {
    let hub = hub();
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/9.9"] {
        let raw = head(&[&format!("GET /hello {version}"), "Host: a"]);
        refused_for_good(&hub, version, &raw, &[505]);
    }
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    refused_for_good(&hub, "the preface of HTTP/2", preface, &[505]);
}

#[test]
fn a_head_over_a_limit_is_refused_with_the_status_for_that_limit() {
    let hub = hub();
    let get = "GET /hello HTTP/1.1";
    let fields = |count: usize| {
        let mut lines = vec![get.to_owned(), "Host: a".to_owned()];
        lines.extend((0..count).map(|number| format!("X-{number}: b")));
        head(&lines.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let target = |length: usize| {
        let target = format!("/hello?{}", "x".repeat(length - 7));
        head(&[&format!("GET {target} HTTP/1.1"), "Host: a"])
    };
    let field = |length: usize| head(&[get, "Host: a", &format!("X: {}", "x".repeat(length))]);
    let endless = format!("{get}\r\nHost: a\r\nX: {}", "x".repeat(20 << 10)).into_bytes();

    refused_for_good(&hub, "target of 8193", &target(8193), &[414]);
    // It passes both limits, and either is told rightly.
    refused_for_good(&hub, "target of 40,000", &target(40_000), &[414, 431]);
    refused_for_good(&hub, "101 fields", &fields(100), &[431]);
    refused_for_good(&hub, "2000 fields", &fields(2000), &[431]);
    refused_for_good(&hub, "field of 17 KiB", &field(17 << 10), &[431]);
    refused_for_good(&hub, "field of 300 KiB", &field(300 << 10), &[431]);
    refused_for_good(&hub, "a head that does not end", &endless, &[431]);

    for (name, raw) in [
        ("target of 8192", target(8192)),
        ("100 fields", fields(99)),
        ("field of 15 KiB", field(15 << 10)),
    ] {
        assert_eq!(hub.ask(raw).answer().status, 200, "{name}");
    }
}

#[test]
fn what_is_not_utf8_after_percent_decoding_is_refused() {
    let hub = hub();
    for (name, raw) in [
        ("path", &b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n"[..]),
        ("path of a route, then more", b"GET /hello%c3 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("value on GET", b"GET /event?event=%ff HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("name on GET", b"GET /event?%ff=a HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("overlong", b"GET /event?event=%c0%af HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("surrogate", b"GET /event?event=%ed%a0%80 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("cut short", b"POST /send?event=a&data=%e2%82 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("value on POST", b"POST /send?event=a&data=a%ffb HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("raw byte", b"POST /send?event=a&data=\xff HTTP/1.1\r\nHost: a\r\n\r\n"),
    ] {
        refused(&hub, name, raw, &[400]);
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let hub = hub();
    for (target, right, wrong) in [
        ("/event", vec!["GET", "HEAD"], vec!["POST", "PUT", "DELETE", "BREW", "get"]),
        ("/send", vec!["POST"], vec!["GET", "PUT", "PATCH", "BREW", "post"]),
        ("/hello", vec!["GET", "HEAD"], vec!["POST", "DELETE"]),
    ] {
        for method in wrong {
            let name = format!("{method} {target}");
            let raw = head(&[&format!("{name} HTTP/1.1"), "Host: a", "Content-Length: 0"]);
            let (answer, _) = refused(&hub, &name, &raw, &[405]);
            let allowed = allowed(&answer);
            for method in &right {
                assert!(allowed.iter().any(|a| a == method), "{name}: {allowed:?}");
            }
            assert!(!allowed.iter().any(|a| a == method), "{name}: {allowed:?}");
        }
    }
}

#[test]
fn an_unknown_path_is_not_found() {
    let hub = hub();
    for target in ["/", "/nope", "/event/", "/Event", "//event", "/event%2f", "/a%20b", "/se+nd"] {
        for method in ["GET", "POST"] {
            let name = format!("{method} {target}");
            let raw = head(&[&format!("{name} HTTP/1.1"), "Host: a", "Content-Length: 0"]);
            refused(&hub, &name, &raw, &[404]);
        }
    }
}

#[test]
fn a_stream_names_only_so_many_types() {
    let names: Vec<String> = (0..101).map(|name| format!("n{name}")).collect();
    let hub = Hub::new(&names.iter().map(|name| &**name).collect::<Vec<_>>());
    let query = |count: usize| format!("?event={}", names[..count].join("&event="));
    drop(hub.listen(&query(100)));
    let answer = hub.ask(format!("GET /event{} HTTP/1.1\r\nHost: a\r\n\r\n", query(101))).answer();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("at most 100 types, not 101"), "{}", answer.text());
    eventually(SOON, 0, || hub.server.stats().streams);
}

#[test]
fn head_is_answered_like_get_without_a_body() {
    let hub = hub();
    for (name, target, status, kind, length) in [
        ("a stream", "/event?event=a", 200, "text/event-stream; charset=utf-8", None),
        ("a plain route", "/hello", 200, "text/plain", Some("6")),
    ] {
        let first = format!("HEAD {target} HTTP/1.1");
        let mut client = hub.ask(head(&[&first, "Host: a", "Connection: close"]));
        let answer = client.head();
        assert_eq!(answer.status, status, "{name}");
        let got = answer.field("content-type").unwrap_or_default();
        assert!(got.starts_with(kind), "{name}: {got:?}");
        assert_eq!(answer.field("content-length"), length, "{name}");
        client.assert_closed();
    }
    for (name, target, status) in [
        ("a refused stream", "/event?event=nope", 400),
        ("a wrong method", "/send", 405),
        ("an unknown path", "/nope", 404),
    ] {
        let first = format!("HEAD {target} HTTP/1.1");
        let mut client = hub.ask(head(&[&first, "Host: a", "Connection: close"]));
        assert_eq!(client.head().status, status, "{name}");
        client.assert_closed();
    }
    assert_eq!(hub.server.stats().streams, 0, "HEAD opens no stream");
}

#[test]
fn after_head_the_next_answer_follows_at_once() {
    let hub = hub();
    let both =
        [head(&["HEAD /hello HTTP/1.1", "Host: a"]), head(&["GET /hello HTTP/1.1", "Host: a"])];
    let mut client = hub.ask(both.concat());
    assert_eq!(client.head().field("content-length"), Some("6"));
    assert_eq!(client.answer().text(), "hello\n");
}

#[test]
fn options_tells_the_methods() {
    let hub = hub();
    for (target, expected) in [("/event", "GET"), ("/send", "POST"), ("/hello", "GET")] {
        let first = format!("OPTIONS {target} HTTP/1.1");
        let answer = hub.ask(head(&[&first, "Host: a"])).answer();
        assert_eq!(answer.status, 204, "{target}: {answer:?}");
        let allowed = allowed(&answer);
        assert!(allowed.iter().any(|a| a == expected), "{target}: {allowed:?}");
        let cors = answer.field("access-control-allow-origin");
        assert_eq!(cors, None, "CORS is off unless configured");
    }
    let answer = hub.ask(head(&["OPTIONS * HTTP/1.1", "Host: a"])).answer();
    assert_eq!(answer.status, 204, "OPTIONS *: {answer:?}");
}

#[test]
fn a_stream_is_opened_by_every_form_of_a_good_request() {
    let hub = hub();
    let many: Vec<String> = (0..60).map(|number| format!("X-{number}: b")).collect();
    let many = many.join("\r\n");
    let a = "GET /event?event=a HTTP/1.1";
    for (name, raw, event) in [
        ("plain", head(&[a, "Host: a"]), "a"),
        ("HTTP/1.0 without Host", head(&["GET /event?event=a HTTP/1.0"]), "a"),
        ("HTTP/1.0 with Host", head(&["GET /event?event=a HTTP/1.0", "Host: a"]), "a"),
        ("absolute form", head(&["GET http://b.example/event?event=a HTTP/1.1", "Host: a"]), "a"),
        ("absolute, a port", head(&["GET HTTP://b:80/event?event=a HTTP/1.1", "Host: b:80"]), "a"),
        ("empty Host", head(&[a, "Host:"]), "a"),
        ("no blank around values", head(&[a, "hOsT:a"]), "a"),
        ("blanks around values", head(&[a, "HOST: \t a \t "]), "a"),
        ("an empty line first", [b"\r\n", &head(&[a, "Host: a"])[..]].concat(), "a"),
        ("percent-encoded path", head(&["GET /%65ven%74?event=a HTTP/1.1", "Host: a"]), "a"),
        ("percent-encoded name", head(&["GET /event?%65vent=a HTTP/1.1", "Host: a"]), "a"),
        ("percent-encoded value", head(&["GET /event?event=%61 HTTP/1.1", "Host: a"]), "a"),
        ("plus for a space", head(&["GET /event?event=x+y HTTP/1.1", "Host: a"]), "x y"),
        ("%20 for a space", head(&["GET /event?event=x%20y HTTP/1.1", "Host: a"]), "x y"),
        ("no query", head(&["GET /event HTTP/1.1", "Host: a"]), ""),
        ("empty query", head(&["GET /event? HTTP/1.1", "Host: a"]), ""),
        ("empty value", head(&["GET /event?event= HTTP/1.1", "Host: a"]), ""),
        ("the general type's name", head(&["GET /event?event=message HTTP/1.1", "Host: a"]), ""),
        ("first of two", head(&["GET /event?event=a&event=b HTTP/1.1", "Host: a"]), "a"),
        ("second of two", head(&["GET /event?event=a&event=b HTTP/1.1", "Host: a"]), "b"),
        ("other parameters", head(&["GET /event?_=17&event=a&x HTTP/1.1", "Host: a"]), "a"),
        ("all", head(&["GET /event?event=* HTTP/1.1", "Host: a"]), "b"),
        ("all, percent-encoded", head(&["GET /event?event=%2A HTTP/1.1", "Host: a"]), ""),
        ("all and one", head(&["GET /event?event=a&event=* HTTP/1.1", "Host: a"]), "b"),
        ("many fields", head(&[a, "Host: a", &many]), "a"),
        ("Connection: keep-alive", head(&[a, "Host: a", "Connection: keep-alive"]), "a"),
        ("as browsers ask", head(&[a, "Host: a", "Accept: text/event-stream"]), "a"),
        // Any other status would end a browser's attempts for good.
        ("an id of nobody", head(&[a, "Host: a", "Last-Event-ID: nobody's"]), "a"),
        ("an id in UTF-8", head(&[a, "Host: a", "Last-Event-ID: é😀"]), "a"),
        ("a parameter", head(&["GET /event?event=a&last_event_id=x HTTP/1.1", "Host: a"]), "a"),
    ] {
        let mut client = hub.ask(raw);
        client.stream_head();
        hub.publish(Message::new(name).event(event));
        let mut got = client.event();
        if got.event.as_deref() == Some("stream-gap") {
            // The whole of the history follows, and then what is new.
            while got.data.as_deref() != Some(name) {
                got = client.event();
            }
        }
        assert_eq!(got.data.as_deref(), Some(name));
    }
}

#[test]
fn a_misspelt_parameter_of_a_stream_is_told_the_right_name() {
    let hub = hub();
    for (name, right) in [
        ("events=a", "event"),
        ("Event=a", "event"),
        ("event[]=a", "event"),
        ("event%5B0%5D=a", "event"),
        ("event=a&EVENT=b", "event"),
        ("event=a&Replay=1", "replay"),
        ("event=a&lasteventid=x", "last_event_id"),
        ("event=a&Last-Event-ID=x", "last_event_id"),
        ("event=a&LASTEVENTID", "last_event_id"),
        ("event=a&HeartBeat=1", "heartbeat"),
        ("event=a&streamOpen=1", "stream-open"),
        ("event=a&stream_open=1", "stream-open"),
    ] {
        let raw = head(&[&format!("GET /event?{name} HTTP/1.1"), "Host: a"]);
        let (answer, _) = refused(&hub, name, &raw, &[400]);
        let text = answer.text();
        assert!(text.trim_end().ends_with(&format!("; it is written {right}")), "{name}: {text}");
    }
    let foreign = "event=a&access_token=x&_=17&type=b&eventually=c&id=7&lastEvent=x&=&events_of=x";
    let mut client = hub.listen(&format!("?{foreign}"));
    hub.publish(Message::new("x").event("a"));
    assert_eq!(client.event().data.as_deref(), Some("x"));
}

#[test]
fn subscribing_to_an_unregistered_type_is_refused() {
    let hub = hub();
    for event in ["nope", "a&event=nope", "A", "stream-gap", "stream-open", "a%0Ab", "a%00", "a,b"]
    {
        let raw = head(&[&format!("GET /event?event={event} HTTP/1.1"), "Host: a"]);
        refused(&hub, event, &raw, &[400]);
    }
    let without_general = Hub::new(&["a", "probe"]);
    let raw = head(&["GET /event HTTP/1.1", "Host: a"]);
    refused(&without_general, "the general type", &raw, &[400]);
}

#[test]
fn a_client_of_all_types_gets_the_ones_registered_later_too() {
    let hub = hub();
    let mut all = hub.listen("?event=*");
    hub.server.register_event("later").unwrap();
    hub.publish(Message::new("x").event("later"));
    assert_eq!(all.event().event.as_deref(), Some("later"));
}

#[test]
fn a_client_of_repeated_types_gets_each_event_once() {
    let hub = hub();
    let mut client = hub.listen("?event=a&event=b&event=a&event=&event=message");
    for event in ["a", "b", "x y", ""] {
        hub.publish(Message::new(event).event(event));
    }
    let got: Vec<_> = (0..3).map(|_| client.event().data.unwrap()).collect();
    assert_eq!(got, ["a", "b", ""]);
    hub.server.shutdown(SOON);
    client.assert_stream_ends();
}

#[test]
fn what_a_client_sends_after_its_request_does_not_disturb_its_stream() {
    let hub = hub();
    let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\nGET /nope HTTP/1.1\r\n\r\n");
    client.stream_head();
    client.send("more of it\n\n");
    hub.publish(Message::new("x"));
    assert_eq!(client.event().data.as_deref(), Some("x"));
}

#[test]
fn requests_on_one_connection_are_answered_in_order() {
    let hub = hub();
    let mut listener = hub.listen("");
    let post = |data: u32| head(&[&format!("POST /send?data={data} HTTP/1.1"), "Host: a"]);
    let hello = head(&["GET /hello HTTP/1.1", "Host: a"]);
    let nope = head(&["GET /nope HTTP/1.1", "Host: a"]);

    let mut one_by_one = hub.connect();
    for data in 0..2 {
        one_by_one.send(post(data));
        let answer = one_by_one.answer();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-length"), Some("16"));
    }
    let mut pipelined = hub.ask([post(2), hello.clone(), nope].concat());
    assert_eq!(pipelined.answer().status, 200);
    assert_eq!(pipelined.answer().text(), "hello\n");
    assert_eq!(pipelined.answer().status, 404);

    let mut then_a_stream =
        hub.ask([hello, post(3), head(&["GET /event HTTP/1.1", "Host: a"])].concat());
    assert_eq!(then_a_stream.answer().text(), "hello\n");
    assert_eq!(then_a_stream.answer().status, 200);
    then_a_stream.stream_head();
    hub.publish(Message::new("4"));
    let seen: Vec<_> = (0..5).map(|_| listener.event().data.unwrap()).collect();
    assert_eq!(seen, ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_connection_ends_after_its_answer_where_that_is_the_rule() {
    let hub = hub();
    for (name, raw) in [
        ("Connection: close", head(&["GET /hello HTTP/1.1", "Host: a", "Connection: close"])),
        ("in odd case", head(&["GET /hello HTTP/1.1", "Host: a", "connection: Close"])),
        ("among others", head(&["GET /hello HTTP/1.1", "Host: a", "Connection: x, close"])),
        ("HTTP/1.0", head(&["GET /hello HTTP/1.0"])),
    ] {
        let mut client = hub.ask(raw);
        let answer = client.answer();
        assert_eq!(answer.text(), "hello\n", "{name}");
        assert_eq!(answer.field("connection"), Some("close"), "{name}");
        client.assert_closed();
    }
    accepted(&hub, "POST on 1.0", &head(&["POST /send?event=a HTTP/1.0"]));
    accepted(
        &hub,
        "POST with a body on 1.0",
        b"POST /send?event=a HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
    );
}

#[test]
fn a_half_closed_stream_counts_as_gone() {
    let hub = hub();
    let mut client = hub.listen("?event=a");
    client.half_close();
    eventually(SOON, 0, || hub.server.stats().streams);
}
