//! Requests to the command: which of them are understood, and what a trusted proxy adds.
#![cfg(all(feature = "cli", unix))]
use std::{process::Command, time::Instant};

use support::{Client, SOON};

use crate::command_access::{ask, end, on_loopback};

#[test]
fn a_trusted_network_tells_the_host_that_was_asked_for() {
    for (trusted, status) in [("127.0.0.0/8", 200), ("127.0.0.1", 200), ("10.0.0.0/8", 403)] {
        let arguments = ["--allow-host", "hub.example", "--trusted-proxy", trusted];
        let (_hub, address) = on_loopback(&arguments, &[]);
        let fields = "Host: 10.1.2.3:8080\r\nX-Forwarded-Host: hub.example\r\n\
            Origin: https://hub.example\r\n";
        assert_eq!(ask(address, "POST /send?data=x", fields).status, status, "{trusted}");
        // Any page can send the field, but only with its own host.
        let rebound = "Host: evil.example\r\nX-Forwarded-Host: hub.example\r\n\
            Sec-Fetch-Site: same-origin\r\n";
        assert_eq!(ask(address, "POST /send?data=x", rebound).status, 403, "{trusted}");
    }
}

#[test]
fn a_trusted_network_tells_its_clients_addresses() {
    let arguments = ["--streams-per-address", "1", "--trusted-proxy", "127.0.0.0/8"];
    let (_hub, address) = on_loopback(&arguments, &[]);
    let mut streams = Vec::new();
    let mut listen = |named: &str| {
        let fields = format!("Host: localhost\r\nX-Forwarded-For: {named}\r\n");
        let mut stream = Client::ask(address, format!("GET /event HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(stream.head().status, 200);
        let is_open = stream.piece().starts_with(b": websse\n");
        streams.push(stream);
        is_open
    };
    assert!(listen("192.0.2.1"));
    assert!(listen("192.0.2.2, 127.9.9.9"), "another client, by two proxies of the network");
    assert!(!listen("192.0.2.1, 127.0.0.77"), "the first one again");
}

#[test]
fn a_setting_that_can_never_match_is_refused_when_it_is_set() {
    for (flag, value, right) in [
        ("--allow-host", "hub.example:8080", "a host has none: hub.example"),
        ("--allow-host", "https://hub.example", "a host has no scheme"),
        ("--allow-host", "2001:db8::5", "in brackets: [2001:db8::5]"),
        ("--allow-host", "b\u{fc}cher.example", "xn--"),
        ("--allow-host", "*.example.org", "pattern"),
        ("--allow-host", "a.example,b.example", "list"),
        ("--cors-origin", "https://*.example.org", "pattern"),
        ("--cors-origin", "https://a.example,https://b.example", "list"),
        ("--cors-origin", "https://app.example.org/path", "more than an origin"),
        ("--cors-origin", "https://b\u{fc}cher.example", "xn--"),
        ("--trusted-proxy", "10.0.0.0/33", "a network such as 10.0.0.0/8"),
        ("--trusted-proxy", "proxy.example", "neither an IP address"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        let output = command.args(["--check", flag, value]).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{flag} {value}");
        let told = errors.contains(&format!("{flag} {value}: ")) && errors.contains(right);
        assert!(told && errors.lines().count() == 1, "{flag} {value}: {errors}");
    }
    let good = ["--check", "--cors-origin", "https://app.example.org:443", "--allow-host", "a."];
    let status = Command::new(env!("CARGO_BIN_EXE_websse")).args(good).output().unwrap().status;
    assert!(status.success());
}

#[test]
fn another_protocol_is_refused_at_once_with_a_line_in_the_log() {
    let (hub, address) = on_loopback(&[], &[]);
    for (beginning, status) in [
        (&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n", 400),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 400),
    ] {
        let start = Instant::now();
        let mut client = Client::ask(address, beginning);
        assert_eq!(client.answer().status, status, "{}", beginning.escape_ascii());
        // Of the 10 s in which a head has to come.
        assert!(start.elapsed() < SOON, "{}", beginning.escape_ascii());
    }
    let errors = end(hub);
    let lines: Vec<_> = errors.lines().collect();
    // A line is written after its answer was sent, perhaps when the next one is written already.
    for looks in [
        "400, \"this looks like TLS; this port speaks plain HTTP, use http://\"",
        "505, \"this looks like HTTP/2; use HTTP/1.1 or HTTP/1.0\"",
        "400, \"this looks like the PROXY protocol (version 1)\"",
        "400, \"this looks like the PROXY protocol (version 2)\"",
    ] {
        let begins = "websse: info: a malformed request from 127.0.0.1:";
        let is_it = |line: &&&str| line.starts_with(begins) && line.ends_with(looks);
        assert_eq!(lines.iter().filter(is_it).count(), 1, "{looks}: {errors}");
    }
    assert_eq!(lines.len(), 5, "four, and the shutdown: {errors}");
}

#[test]
fn a_slash_at_the_end_of_a_path_does_no_harm() {
    let variables = [("WEBSSE_PUBLISH_TOKEN", "pub"), ("WEBSSE_SUBSCRIBE_TOKEN", "sub")];
    let (_hub, address) = on_loopback(&["--event", "news"], &variables);
    for (request, token, status) in [
        ("GET /event/?event=news", "sub", 200),
        ("HEAD /event/", "sub", 200),
        ("POST /send/?event=news&data=x", "pub", 200),
        ("GET /stats/", "sub", 200),
        ("GET /metrics/", "sub", 200),
        ("GET /healthz/", "", 200),
        // As without the slash.
        ("GET /event/", "pub", 401),
        ("POST /send/", "sub", 401),
        ("GET /stats/", "", 401),
        ("GET /send/", "pub", 405),
        ("GET /event//", "sub", 404),
        ("GET /nothing/", "sub", 404),
    ] {
        let fields = format!("Authorization: Bearer {token}\r\n");
        let fields = if token.is_empty() { "" } else { &fields };
        assert_eq!(ask(address, request, fields).status, status, "{request} with {token:?}");
    }
}
