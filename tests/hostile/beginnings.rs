//! What no request begins with is refused at the byte that shows it, while the client keeps its side
//! open; what one may begin with is waited for.

use std::time::Duration;

use super::alone;
use support::{Client, Hub};
use websse::http::{Limits, Request, Response};

/// A hub with such a time-out that no answer comes from it.
fn patient() -> Hub {
    let limits = Limits::default().head_timeout(Duration::from_secs(86_400));
    let hello = |_: &Request| Response::text(200, "hello");
    Hub::with(&["", "probe"], |builder| builder, |http| http.limits(limits).get("/hello", hello))
}

const TLS: &str = "this looks like TLS; this port speaks plain HTTP, use http://";
const PROXY: &str = "this looks like the PROXY protocol";
const NO_REQUEST: &str = "malformed request";
const NO_TARGET: &str = "the request target is";

/// What other programs say first, how much of it shows that, and what is answered.
pub(crate) const STRANGERS: &[(&[u8], usize, u16, &str)] = &[
    (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 1, 400, TLS),
    (b"\r\n\x16\x03\x01", 3, 400, TLS),
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\nGET / HTTP/1.1\r\n", 7, 400, PROXY),
    (b"PROXY TCP6 ::1 ::1 5 6\r\n", 7, 400, PROXY),
    (b"PROXY UNKNOWN\r\n", 7, 400, PROXY),
    (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc0\0\x02\x02", 5, 400, PROXY),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 5, 505, "this looks like HTTP/2"),
    (b"SSH-2.0-OpenSSH_9.6\r\n", 20, 400, NO_REQUEST),
    (b"*1\r\n$4\r\nPING\r\n", 3, 400, NO_REQUEST),
    (b"\x05\x01\0", 1, 400, NO_REQUEST),
    (b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0", 1, 400, NO_REQUEST),
    (b"\0", 1, 400, NO_REQUEST),
    (b"\r\n\0", 3, 400, NO_REQUEST),
    (b"\n", 1, 400, "lines of a request head end with CR and LF"),
    (b"\rGET", 2, 400, NO_REQUEST),
    (b"\xef\xbb\xbfGET", 1, 400, NO_REQUEST),
    (b" GET", 1, 400, NO_REQUEST),
    (b"{\"jsonrpc\":", 1, 400, NO_REQUEST),
    (b"QUIT\r\n", 5, 400, NO_REQUEST),
    (b"GET\t/hello", 4, 400, NO_REQUEST),
    (b"GET  /hello", 5, 400, NO_REQUEST),
    (b"EHLO a\r\n", 6, 400, NO_TARGET),
    (b"GET ./hello", 5, 400, NO_TARGET),
];

fn assert_refused(client: &mut Client, name: &str, status: u16, why: &str) {
    let answer = client.answer();
    assert_eq!(answer.status, status, "{name}: {answer:?}");
    answer.assert_explained();
    assert!(answer.text().starts_with(why), "{name}: {answer:?}");
    assert_eq!(answer.field("connection"), Some("close"), "{name}");
    client.assert_closed();
}

#[test]
fn what_no_request_begins_with_is_refused_at_the_byte_that_shows_it() {
    let _alone = alone();
    let hub = patient();
    for &(bytes, shown, status, why) in STRANGERS {
        let name = bytes.escape_ascii().to_string();
        for cut in 0..shown {
            let mut client = hub.ask(&bytes[..cut]);
            client.send(&bytes[cut..shown]);
            assert_refused(&mut client, &format!("{name} cut at {cut}"), status, why);
        }
        let mut byte_by_byte = hub.connect();
        for byte in bytes {
            // It may be closed by then.
            if byte_by_byte.try_send([*byte]).is_err() {
                break;
            }
        }
        assert_refused(&mut byte_by_byte, &name, status, why);
        assert_refused(&mut hub.ask(bytes), &name, status, why);
    }
    hub.assert_still_serves();
}

#[test]
fn a_first_byte_is_refused_or_waited_for() {
    let _alone = alone();
    let hub = patient();
    let mut waiting = Vec::new();
    for byte in 0..=u8::MAX {
        let may_begin = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~\r".contains(&byte);
        let mut client = hub.ask([byte]);
        if may_begin {
            waiting.push((byte, client));
        } else {
            assert_eq!(client.answer().status, 400, "{byte:#x}");
        }
    }
    // All those before have been read by now.
    hub.assert_still_serves();
    for (byte, mut client) in waiting {
        let (rest, status) = match byte {
            b'\r' => ("\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            _ => ("ET /hello HTTP/1.1\r\nHost: a\r\n\r\n", if byte == b'G' { 200 } else { 405 }),
        };
        client.send(rest);
        assert_eq!(client.answer().status, status, "{byte:#x}");
    }
}

#[test]
fn what_may_still_become_a_request_is_waited_for() {
    let _alone = alone();
    let hub = patient();
    for (beginning, rest, status) in [
        ("P", "OST /send?data=a HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("PRO", "XY /hello HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("PROXY ", "/hello HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("PROXY h", "ttp://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("PRI ", "/hello HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("\r\n\r\n", "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("\r\n\r", "\nGET HTTP://a/hello HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("OPTIONS *", " HTTP/1.1\r\nHost: a\r\n\r\n", 204),
    ] {
        for cut in 1..=beginning.len() {
            let mut client = hub.ask(&beginning[..cut]);
            // Meanwhile that has been read.
            hub.assert_still_serves();
            client.send([&beginning[cut..], rest].concat());
            assert_eq!(client.answer().status, status, "{beginning:?} cut at {cut}");
        }
    }
}

#[test]
fn a_later_request_is_looked_at_in_the_same_way() {
    let _alone = alone();
    let hub = patient();
    let hello = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    let body = "POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\ndata=x";
    for first in [hello, body] {
        for &(bytes, shown, status, why) in STRANGERS {
            let mut pipelined = hub.ask([first.as_bytes(), &bytes[..shown]].concat());
            assert_eq!(pipelined.answer().status, 200);
            assert_refused(&mut pipelined, &bytes.escape_ascii().to_string(), status, why);
        }
        // Some clients send an empty line after a body.
        let mut good = hub.ask([first, "\r\n", hello].concat());
        assert_eq!(good.answer().status, 200);
        assert_eq!(good.answer().text(), "hello\n");
    }
}
