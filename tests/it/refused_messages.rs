//! Messages over HTTP that are refused for what is in them, with the reason.

use support::table::{accepted, refused};

use crate::requests_bodies::{FORM, hub, post, post_as};

#[test]
fn what_clients_could_not_send_back_or_read_is_refused_with_the_reason() {
    let hub = hub();
    let mut listener = hub.listen("?event=*");
    let nul = "data has no NUL in it; encode it as text\n";
    let id = "an id is printable ASCII, and neither begins nor ends with a blank\n";
    let own = "an id of 13 characters 0-9a-z, a hyphen and digits is reserved for the server\n";
    let retry = "retry is at most 2147483647 milliseconds\n";
    for (name, raw, reason) in [
        ("NUL in the query", post("?data=a%00b", &[], b""), nul),
        ("NUL in the form", post_as("", FORM, b"data=%00"), nul),
        ("NUL in a text", post_as("", "text/plain", b"a\0b"), nul),
        ("NUL in any type", post_as("", "application/octet-stream", b"\0"), nul),
        ("an id beyond ASCII", post("?data=x&id=%C3%A9", &[], b""), id),
        ("an id with a blank at its end", post("?data=x&id=7+", &[], b""), id),
        ("an id of the server's own form", post("?data=x&id=0mwscj3olj8rw-1", &[], b""), own),
        ("a time beyond 31 bits", post("?data=x&retry=2147483648", &[], b""), retry),
        ("a time beyond 64 bits", post("?data=x&retry=99999999999999999999", &[], b""), retry),
    ] {
        let (answer, _) = refused(&hub, name, &raw, &[422]);
        assert_eq!(answer.text(), reason, "{name}");
    }
    accepted(&hub, "the longest time", &post("?data=good&retry=2147483647", &[], b""));
    let mut got = listener.event();
    while got.event.as_deref() == Some("probe") {
        got = listener.event();
    }
    assert_eq!((got.data.as_deref(), got.retry), (Some("good"), Some(2_147_483_647)), "{got:?}");
}

#[test]
fn a_coded_body_is_refused_and_not_published() {
    let hub = hub();
    let mut listener = hub.listen("?event=a");
    for (coding, shown) in [
        ("gzip", "gzip"),
        ("aes128gcm", "aes128gcm"),
        ("identity, br", "br"),
        ("identity\r\nContent-Encoding: zstd", "zstd"),
        ("x-identity", "x-identity"),
    ] {
        let field = format!("Content-Encoding: {coding}");
        for kind in ["text/plain", FORM, "application/x-ndjson"] {
            let kind = format!("Content-Type: {kind}");
            let raw = post("?event=a", &[&field, &kind, "Content-Length: 3"], b"abc");
            let (answer, _) = refused(&hub, coding, &raw, &[415]);
            assert_eq!(answer.field("accept-encoding"), Some("identity"), "{coding}");
            assert!(answer.text().contains(&format!("\"{shown}\"")), "{answer:?}");
        }
    }
    for coding in ["identity", "Identity", "", "identity, identity"] {
        let field = format!("Content-Encoding: {coding}");
        let raw = post("?event=a", &[&field, "Content-Length: 3"], b"abc");
        accepted(&hub, coding, &raw);
        assert_eq!(listener.event().data.as_deref(), Some("abc"), "{coding:?}");
    }
}
