//! Request bodies and what they say: lengths, chunks, limits, forms, and the values of a message.
//! Heads: `requests.rs`.

use std::fmt::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::Hub;
use support::table::{accepted, refused, refused_for_good};
use websse::http::{Request, Response};

pub(crate) fn hub() -> Hub {
    Hub::plain(&["", "a", "é", "x y", "probe"])
}

/// `POST /send` + `query` with these further head lines, and `body` as it is.
pub(crate) fn post(query: &str, lines: &[&str], body: &[u8]) -> Vec<u8> {
    let mut raw = format!("POST /send{query} HTTP/1.1\r\nHost: a\r\n");
    for line in lines {
        write!(raw, "{line}\r\n").unwrap();
    }
    raw.push_str("\r\n");
    [raw.as_bytes(), body].concat()
}

/// `POST /send` + `query` with a body of this type.
pub(crate) fn post_as(query: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let kind = format!("Content-Type: {kind}");
    let length = format!("Content-Length: {}", body.len());
    post(query, &[&kind, &length], body)
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
const CHUNKED: &str = "Transfer-Encoding: chunked";
const TOO_LARGE: usize = (1 << 20) + 1;

#[test]
fn a_bad_length_is_refused_and_the_connection_ends() {
    let hub = hub();
    for length in [
        "+5", "-1", "-0", "0x5", "", " ", "5, 5", "5,6", "5,", ",5", "5 5", "5.0", "5e0", "1_0",
        "five", "٥", "5;", "\"5\"",
    ] {
        let raw = post("?event=a", &[&format!("Content-Length: {length}")], b"hello");
        refused_for_good(&hub, &format!("length {length:?}"), &raw, &[400]);
    }
    for (name, lines) in [
        ("two lengths", &["Content-Length: 5", "Content-Length: 6"][..]),
        ("the same length twice", &["Content-Length: 5", "Content-Length: 5"]),
        ("in odd case", &["Content-Length: 5", "content-LENGTH: 5"]),
        ("a good and an empty one", &["Content-Length: 5", "Content-Length:"]),
    ] {
        refused_for_good(&hub, name, &post("?event=a", lines, b"hello"), &[400]);
    }
    // More than any integer holds is still only too large.
    for length in ["18446744073709551615", "18446744073709551616", "99999999999999999999999999999"]
    {
        let raw = post("?event=a", &[&format!("Content-Length: {length}")], b"hello");
        refused_for_good(&hub, &format!("length {length}"), &raw, &[413]);
    }
}

#[test]
fn a_transfer_encoding_other_than_chunked_is_refused_and_the_connection_ends() {
    let hub = hub();
    let body = b"5\r\nhello\r\n0\r\n\r\n";
    for (name, lines) in [
        ("identity", &["Transfer-Encoding: identity"][..]),
        ("gzip", &["Transfer-Encoding: gzip"]),
        ("gzip, chunked", &["Transfer-Encoding: gzip, chunked"]),
        ("chunked, gzip", &["Transfer-Encoding: chunked, gzip"]),
        ("chunked, chunked", &["Transfer-Encoding: chunked, chunked"]),
        ("chunked twice", &[CHUNKED, CHUNKED]),
        ("xchunked", &["Transfer-Encoding: xchunked"]),
        ("chunked with a parameter", &["Transfer-Encoding: chunked;q=1"]),
        ("chunked in quotes", &["Transfer-Encoding: \"chunked\""]),
        ("vertical tab first", &["Transfer-Encoding: \u{b}chunked"]),
        ("empty", &["Transfer-Encoding:"]),
        ("chunked, then a length", &[CHUNKED, "Content-Length: 5"]),
        ("a length, then chunked", &["Content-Length: 15", CHUNKED]),
        ("a length of 0, and chunked", &["Content-Length: 0", CHUNKED]),
    ] {
        refused_for_good(&hub, name, &post("?event=a", lines, body), &[400]);
    }
    let old = [
        &b"POST /send?event=a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"[..],
        body,
    ];
    refused_for_good(&hub, "chunked on 1.0", &old.concat(), &[400]);
}

#[test]
fn chunks_are_put_together() {
    let hub = hub();
    let mut listener = hub.listen("?event=a");
    for (name, body, expected) in [
        ("one", &b"5\r\nhello\r\n0\r\n\r\n"[..], "hello"),
        ("none", b"0\r\n\r\n", ""),
        ("several", b"2\r\nhe\r\n1\r\nl\r\n2\r\nlo\r\n0\r\n\r\n", "hello"),
        ("a character cut in two", b"1\r\n\xc3\r\n1\r\n\xa9\r\n0\r\n\r\n", "é"),
        (
            "hex digits",
            b"a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n",
            "01234567890123456789a",
        ),
        ("leading zeros", b"005\r\nhello\r\n000\r\n\r\n", "hello"),
        ("line ends inside", b"7\r\na\r\n0\r\n\r\r\n0\r\n\r\n", "a\n0\n\n"),
        ("an extension", b"5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n", "hello"),
        ("trailers", b"5\r\nhello\r\n0\r\nX: y\r\nZ: 1\r\n\r\n", "hello"),
    ] {
        // A second request shows that exactly the chunks were taken.
        let both =
            [post("?event=a", &[CHUNKED], body), post("?event=&data=next", &[], b"")].concat();
        let mut client = hub.ask(both);
        assert_eq!(client.answer().line, "HTTP/1.1 200 OK", "{name}");
        assert_eq!(client.answer().line, "HTTP/1.1 200 OK", "after {name}");
        assert_eq!(listener.event().data.as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn a_bad_chunk_is_refused_and_the_connection_ends() {
    let hub = hub();
    for (name, body) in [
        ("no digit", &b"g\r\nhello\r\n0\r\n\r\n"[..]),
        ("empty size", b"\r\nhello\r\n0\r\n\r\n"),
        ("only an extension", b";a=b\r\nhello\r\n0\r\n\r\n"),
        ("plus", b"+5\r\nhello\r\n0\r\n\r\n"),
        ("minus", b"-5\r\nhello\r\n0\r\n\r\n"),
        ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
        ("underscore", b"0_5\r\nhello\r\n0\r\n\r\n"),
        ("blank before", b" 5\r\nhello\r\n0\r\n\r\n"),
        ("two numbers", b"5 5\r\nhello\r\n0\r\n\r\n"),
        ("bare LF after the size", b"5\nhello\r\n0\r\n\r\n"),
        ("bare CR after the size", b"5\rhello\r\n0\r\n\r\n"),
        ("bare LF in an extension", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("data longer than the size", b"4\r\nhello\r\n0\r\n\r\n"),
        ("data shorter than the size", b"6\r\nhello\r\n0\r\n\r\n"),
        ("nothing after the data", b"5\r\nhello0\r\n\r\n"),
        ("bare LF after the data", b"5\r\nhello\n0\r\n\r\n"),
        ("bare LF at the end", b"5\r\nhello\r\n0\n\n"),
        ("a trailer after a bare LF", b"5\r\nhello\r\n0\r\nX: y\nZ: 1\r\n\r\n"),
    ] {
        refused_for_good(&hub, name, &post("?event=a", &[CHUNKED], body), &[400]);
    }
    for (name, body) in [
        ("more than an integer holds", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("all of an integer", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("too many zeros", format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(20 << 10))),
        ("a long extension", format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(20 << 10))),
        ("an endless extension", format!("5;{}", "x".repeat(200 << 10))),
        ("many extensions", format!("1;{}\r\nx\r\n", "x".repeat(100)).repeat(5000)),
        ("long trailers", format!("0\r\nX: {}\r\n\r\n", "x".repeat(20 << 10))),
        ("many trailers", format!("0\r\n{}\r\n", "X: y\r\n".repeat(20 << 10))),
    ] {
        // Which limit it passes is a matter of taste; that there is one is not.
        let raw = post("?event=a", &[CHUNKED], body.as_bytes());
        refused_for_good(&hub, name, &raw, &[400, 413, 431]);
    }
}

/// A close with unread input would reset the connection, and destroy the answer on its way.
#[test]
fn a_body_over_the_limit_is_answered_although_the_client_keeps_sending() {
    let hub = hub();
    let one_chunk = format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10));
    let length = format!("Content-Length: {}", 2 * TOO_LARGE);
    for round in 0..10 {
        for (name, line, body) in [
            // As much as the server reads before it gives up, less what goes with the head.
            ("length", length.as_str(), "x".repeat(1 << 20).into_bytes()),
            // Over the limit by half of that.
            ("chunks", CHUNKED, one_chunk.repeat(24).into_bytes()),
        ] {
            let name = format!("{name}, round {round}");
            let mut client = hub.ask(post("?event=a", &[line], b""));
            for piece in body.chunks(10_000) {
                client.send(piece);
            }
            let answer = client.answer();
            assert_eq!(answer.status, 413, "{name}: {answer:?}");
            answer.assert_explained();
            client.assert_closed();
        }
    }
    hub.assert_still_serves();
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_sent() {
    let hub = hub();
    let length = format!("Content-Length: {TOO_LARGE}");
    let size = format!("{TOO_LARGE:x}\r\n");
    refused_for_good(&hub, "length", &post("?event=a", &[&length], b""), &[413]);
    refused_for_good(&hub, "chunk", &post("?event=a", &[CHUNKED], size.as_bytes()), &[413]);
}

#[test]
fn a_body_at_the_limit_is_taken() {
    let body = |request: &Request| Response::text(200, format!("{}\n", request.body().len()));
    let hub = Hub::with(&["probe"], |builder| builder, |http| http.post("/size", body));
    let raw =
        format!("POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", TOO_LARGE - 1);
    let mut client = hub.ask(raw);
    client.send("x".repeat(TOO_LARGE - 1));
    assert_eq!(client.answer().text(), "1048576\n");
}

#[test]
fn a_message_whose_frame_is_over_the_limit_is_refused() {
    let hub = hub();
    // A quarter of the body limit, seven times that as `data: ` lines.
    let raw = post_as("?event=a", "text/plain", "\n".repeat(256 << 10).as_bytes());
    refused(&hub, "line feeds", &raw, &[413]);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_only_if_its_body_is_wanted() {
    let hub = hub();
    let mut listener = hub.listen("?event=a");
    let expect = "Expect: 100-continue";
    for (name, line, body) in
        [("length", "Content-Length: 5", "hello"), ("chunks", CHUNKED, "5\r\nhello\r\n0\r\n\r\n")]
    {
        let mut client = hub.ask(post("?event=a", &[line, expect], b""));
        let interim = client.answer();
        assert_eq!(interim.line, "HTTP/1.1 100 Continue", "{name}: {interim:?}");
        client.send(body);
        assert_eq!(client.answer().line, "HTTP/1.1 200 OK", "{name}");
        assert_eq!(listener.event().data.as_deref(), Some("hello"), "{name}");
    }
    let length = format!("Content-Length: {TOO_LARGE}");
    let raw = post("?event=a", &[&length, expect], b"");
    refused_for_good(&hub, "a length over the limit", &raw, &[413]);
    // 1.0 knows no interim answers.
    let old = "POST /send?event=a HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    let mut client = hub.ask(old);
    let nothing = client.fill(Instant::now() + Duration::from_millis(100));
    assert!(nothing.is_err(), "expected nothing before the body, got {nothing:?}");
    client.send("x");
    assert_eq!(client.answer().line, "HTTP/1.1 200 OK");
}

#[test]
fn a_body_may_come_in_pieces() {
    let hub = hub();
    let mut listener = hub.listen("?event=a");
    for raw in [
        post_as("?event=a", "text/plain", "héllo".as_bytes()),
        post("?event=a", &[CHUNKED], "3\r\nhé\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n".as_bytes()),
    ] {
        let mut client = hub.connect();
        for byte in &raw {
            client.send([*byte]);
            thread::yield_now();
        }
        assert_eq!(client.answer().line, "HTTP/1.1 200 OK");
        assert_eq!(listener.event().data.as_deref(), Some("héllo"));
    }
}

#[test]
#[rustfmt::skip]
fn a_message_is_made_of_query_and_body() {
    let hub = hub();
    let mut listener = hub.listen("?event=*");
    let form = |query, body: &str| post_as(query, FORM, body.as_bytes());
    let plain = |kind, body: &str| post_as("?event=a", kind, body.as_bytes());
    for (name, raw, expected) in [
        ("query", post("?event=a&data=hi&id=7&retry=1500", &[], b""), "event: a\ndata: hi\nretry: 1500\nid: 7\n\n"),
        ("no data", post("?event=a", &[], b""), "event: a\ndata: \n\n"),
        ("general type", post("?event=&data=x", &[], b""), "data: x\n\n"),
        ("general type by name", post("?event=message&data=x", &[], b""), "data: x\n\n"),
        ("plus and percent", post("?event=x+y&data=a+b%2Bc%26d%3D%25", &[], b""), "event: x y\ndata: a b+c&d=%\n\n"),
        ("UTF-8 in a query", post("?event=%c3%a9&data=%F0%9F%98%80", &[], b""), "event: é\ndata: 😀\n\n"),
        ("line ends in a query", post("?data=a%0d%0ab%0dc%0a", &[], b""), "data: a\ndata: b\ndata: c\ndata: \n\n"),
        ("an equals sign in a value", post("?data=a=b", &[], b""), "data: a=b\n\n"),
        ("form", form("", "event=a&data=hi+there&id=8&retry=0"), "event: a\ndata: hi there\nretry: 0\nid: 8\n\n"),
        ("form with UTF-8", form("", "event=%C3%A9&data=%e2%82%ac"), "event: é\ndata: €\n\n"),
        ("form with an injection", form("", "event=a&data=x%0A%0Aevent:+b"), "event: a\ndata: x\ndata: \ndata: event: b\n\n"),
        ("empty form", form("?event=a&data=hi", ""), "event: a\ndata: hi\n\n"),
        ("form and query", form("?event=a&id=9", "data=hi&retry=5"), "event: a\ndata: hi\nretry: 5\nid: 9\n\n"),
        ("form with a charset", post_as("", "Application/X-WWW-Form-URLencoded; charset=UTF-8", b"event=a&data=x"), "event: a\ndata: x\n\n"),
        ("text", plain("text/plain", "a=b&c+d%20\r\nlast"), "event: a\ndata: a=b&c+d%20\ndata: last\n\n"),
        ("text with a charset", plain("text/plain; charset=utf-8", "é"), "event: a\ndata: é\n\n"),
        ("JSON of a type that nobody knows", plain("x/json", "{\"data\":\n 1}"), "event: a\ndata: {\"data\":\ndata:  1}\n\n"),
        ("a type nobody knows", plain("x/y", "data=1"), "event: a\ndata: data=1\n\n"),
        ("no type", post("?event=a", &["Content-Length: 6"], b"data=1"), "event: a\ndata: data=1\n\n"),
        // As an `id:` line it would make clients forget the last one.
        ("empty id", post("?event=a&data=x&id=", &[], b""), "event: a\ndata: x\n\n"),
        ("id of 256 bytes", post(&format!("?id={}", "x".repeat(256)), &[], b""), &format!("data: \nid: {}\n\n", "x".repeat(256))),
    ] {
        accepted(&hub, name, &raw);
        let raw = String::from_utf8(listener.event().raw).unwrap();
        assert_eq!(raw, expected, "{name}");
    }
}

#[test]
fn a_message_that_cannot_be_published_is_told_so() {
    let hub = hub();
    let mut listener = hub.listen("?event=*");
    let long_id = format!("id={}", "x".repeat(257));
    let values = "retry=%2B5 retry=+5 retry=-1 retry=1.5 retry=1e3 retry=abc retry= retry=5s \
        retry=0x5 retry=%205 retry=5%20 retry=5%0A retry=%D9%A5 retry=99999999999999999999999999 \
        event=nope event=A event=* event=stream-gap event=stream-open event=error event=a%0Ab \
        event=a%00 id=0123456789abc-17 \
        id=a%0Ab id=a%0D id=%00 id=a%09b id=+a id=a+ id=%7f id=%C3%A9 id=a%F0%9F%98%80 id=%EF%BB%BF1 \
        retry=2147483648 retry=18446744073709551615 retry=18446744073709551616";
    for values in values.split_whitespace().chain([long_id.as_str()]) {
        let query = format!("?data=x&{values}");
        refused(&hub, &query, &post(&query, &[], b""), &[422]);
        let form = format!("data=x&{values}");
        refused(&hub, &form, &post_as("", FORM, form.as_bytes()), &[422]);
    }
    accepted(&hub, "a good one", &post("?data=good", &[], b""));
    let mut got = listener.event();
    while got.event.as_deref() == Some("probe") {
        got = listener.event();
    }
    assert_eq!(got.data.as_deref(), Some("good"), "nothing refused was sent: {got:?}");
}

/// A proxy, a log or another server might take the one or the other.
#[test]
fn a_value_given_twice_is_refused() {
    let hub = hub();
    for (name, raw) in [
        ("in the query", post("?event=a&data=x&data=y", &[], b"")),
        ("the same value", post("?event=a&event=a", &[], b"")),
        ("in the form", post_as("?event=a", FORM, b"data=x&data=y")),
        ("in query and form", post_as("?event=a", FORM, b"event=a&data=y")),
        ("in query and body", post_as("?event=a&data=x", "text/plain", b"y")),
    ] {
        refused(&hub, name, &raw, &[400]);
    }
}

#[test]
fn what_is_not_utf8_in_a_body_is_refused() {
    let hub = hub();
    for (name, raw) in [
        ("raw", post_as("?event=a", "text/plain", b"a\xffb")),
        ("raw, cut short", post_as("?event=a", "text/plain", b"\xe2\x82")),
        ("raw surrogate", post_as("?event=a", "x/json", b"\xed\xa0\x80")),
        ("chunked", post("?event=a", &[CHUNKED], b"1\r\n\xff\r\n0\r\n\r\n")),
        ("form value", post_as("", FORM, b"event=a&data=%ff")),
        ("form name", post_as("", FORM, b"event=a&%ff=x")),
        ("form, overlong", post_as("", FORM, b"event=a&data=%c0%80")),
        ("form, raw byte", post_as("", FORM, b"event=a&data=\xff")),
    ] {
        refused(&hub, name, &raw, &[400]);
    }
}

#[test]
fn a_route_sees_the_request_decoded() {
    let echo = |request: &Request| {
        let mut text = format!("{} {}?", request.method(), request.path());
        for (name, value) in request.query() {
            write!(text, "{name}={value};").unwrap();
        }
        let header = request.header("x-odd").unwrap_or(b"none").escape_ascii();
        let body = request.body().escape_ascii();
        writeln!(text, " {header} {body}").unwrap();
        Response::text(200, text)
    };
    let hub = Hub::with(&[], |builder| builder, |http| http.get("/a+ b/é", echo).post("/é", echo));
    for (raw, expected) in [
        (&b"GET /a+%20b/%c3%a9?x=1+2&x=%2b&y&=z&%20=%26 HTTP/1.1\r\nHost: a\r\nX-Odd: \xff!\r\n\r\n"[..],
            "GET /a+ b/é?x=1 2;x=+;y=;=z; =&; \\xff! \n"),
        (b"POST http://b/%C3%A9 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\0\xffx", "POST /é? none \\x00\\xffx\n"),
    ] {
        assert_eq!(hub.ask(raw).answer().text(), expected);
    }
}

/// An answer that waited for a delayed acknowledgement would take 40 ms or more.
#[test]
fn answers_on_one_connection_do_not_wait_for_each_other() {
    let hub = hub();
    let mut client = hub.connect();
    let started = Instant::now();
    for _ in 0..50 {
        client.send(post("?event=a&data=x", &[], b""));
        assert_eq!(client.answer().status, 200);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "expected 50 answers in 1 s, got them in {took:?}");
}
