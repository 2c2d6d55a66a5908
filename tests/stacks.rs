//! On how little stack connection threads serve everything.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;

use support::{
    Client, Hub, SOON, eventually,
    process::{alone, assert_passes, is_alone, this_program},
};
use websse::http::{HttpServer, Limits, Request, Response};

/// A thread that needs more stack than it has ends its process, so this is one of its own; and
/// there panics look for all that a backtrace can tell.
#[test]
fn the_least_stack_serves_every_handler_and_a_panic() {
    if is_alone() {
        return serve_everything();
    }
    let itself = "the_least_stack_serves_every_handler_and_a_panic";
    assert_passes(alone(&mut this_program(), itself).env("RUST_BACKTRACE", "full"));
}

/// The size of the mapping that this thread's stack is.
fn own_stack(_: &Request) -> Response {
    let here = 0_u8;
    let here = (&raw const here).addr();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut sizes = maps.lines().filter_map(|line| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let range = from..usize::from_str_radix(to, 16).ok()?;
        range.contains(&here).then_some(range.len())
    });
    Response::text(200, sizes.next().unwrap().to_string())
}

#[test]
fn a_thread_has_the_stack_that_was_asked_for() {
    // The smallest first: the C library may give a thread the larger stack of one that has ended.
    for (limits, least, most) in [
        (Limits::default().stack_bytes(0), 64 << 10, 128 << 10),
        (Limits::default().stack_bytes(256 << 10), 256 << 10, 384 << 10),
        (Limits::default(), 2 << 20, 3 << 20),
    ] {
        let hub = Hub::with(&[], |builder| builder, |http| http.limits(limits).get("/", own_stack));
        let answer = hub.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer();
        let size: usize = answer.text().trim().parse().unwrap();
        assert!((least..=most).contains(&size), "{size} bytes, not {least} to {most}");
    }
}

fn serve_everything() {
    let panics = |_: &Request| -> Response { panic!("as the test wants") };
    let limits = Limits::default().stack_bytes(0).headers(1024).head_bytes(1 << 20);
    let http = |http: HttpServer| http.limits(limits.clone()).get("/panic", panics);
    let hub = Hub::with(&["", "a"], |builder| builder, http);
    let (server, http) = (&hub.server, &hub.http);
    let more = HttpServer::new()
        .limits(limits.clone())
        .get("/metrics", server.metrics_handler().with_http(http))
        .get("/stats", server.stats_handler())
        .get("/healthz", server.health_handler())
        .bind("127.0.0.1:0")
        .unwrap();
    let mut listener = hub.listen("?event=a&event=*&replay=9");
    let fields = "X: y\r\n".repeat(1000);
    let mut client = hub.ask(format!("GET /event HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    client.stream_head();
    let post = |rest: &str, body: &str| {
        let length = body.len();
        let head = format!("POST /send{rest}\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        hub.ask(head + body).answer().status
    };
    let form = " HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    assert_eq!(post(form, &format!("event=a&data={}", "x%0a".repeat(100_000))), 200);
    assert_eq!(listener.event().data.unwrap().len(), 200_000);
    assert_eq!(post(&format!("?event={} HTTP/1.1", "%0a".repeat(2000)), ""), 422);
    let nested = format!("{{\"data\":{}{}}}\n", "[".repeat(5000), "]".repeat(5000));
    let answer = post(" HTTP/1.1\r\nContent-Type: application/x-ndjson", &nested);
    assert!(matches!(answer, 200 | 400 | 415), "{answer}");
    for path in ["/metrics", "/stats", "/healthz"] {
        let mut client = Client::connect(more.local_addr().unwrap());
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.answer().status, 200, "{path}");
    }
    for _ in 0..2 {
        assert_eq!(hub.ask("GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").answer().status, 500);
    }
    drop(listener);
    drop(client);
    eventually(SOON, 0, || hub.server.stats().streams);
}
