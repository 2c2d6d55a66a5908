//! Clients by other people, each a process of its own, behind a proxy that cuts connections: each
//! gets everything exactly once and in order, with exact data, types and ids.
//!
//! `tests/clients/run` installs the clients and runs these tests. What is checked in them is this
//! server; where a client does not do what the standard asks for, the checks say so.

#![cfg(all(feature = "cli", unix))]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[cfg(feature = "tls")]
mod https;
mod others;
mod own;
mod plan;
mod program;
mod prompt;
mod proxy;
mod table;
#[cfg(feature = "jwt")]
mod tokens;
mod trial;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use plan::Run;
use program::{PATIENCE, Program};
use proxy::{Counts, Cut, Proxy};
use support::{Hub, SOON, eventually};
use websse::http::{HttpServer, Request, Response};

/// As `TYPES` has them.
const STREAM: &str = "/event?event=message&event=a&event=gr%C3%B6%C3%9Fe";
/// How many events are published at least while connections are cut.
const EVENTS: usize = 600;
/// How many cuts of each kind within events there are at least meanwhile.
const CUTS: usize = 4;

/// What a client makes of the id in the preamble, which comes without data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    /// It comes back with it, and has it as the id of what follows, as the standard says.
    Taken,
    /// It comes back without it: what happens before its first event passes it by if it is cut.
    Ignored,
}

#[test]
#[ignore = "needs node and npm packages: run tests/clients/run"]
fn the_javascript_client_eventsource() {
    story(Position::Ignored, |addr| start(table::javascript("eventsource@4"), addr));
}

#[test]
#[ignore = "needs node and npm packages: run tests/clients/run"]
fn the_javascript_client_undici() {
    story(Position::Ignored, |addr| start(table::javascript("undici"), addr));
}

#[test]
#[ignore = "needs python3 and packages for it: run tests/clients/run"]
fn the_python_client_launchdarkly_eventsource() {
    story(Position::Ignored, |addr| start(table::python("launchdarkly.py"), addr));
}

#[test]
#[ignore = "needs python3 and packages for it: run tests/clients/run"]
fn the_python_client_httpx_sse() {
    story(Position::Ignored, |addr| start(table::python("with_httpx.py"), addr));
}

#[test]
#[ignore = "needs crates that are built apart: run tests/clients/run --all"]
fn all_clients_in_rust_reqwest_eventsource() {
    story(Position::Ignored, |addr| start(table::rust("reqwest-eventsource"), addr));
}

#[test]
#[ignore = "needs crates that are built apart: run tests/clients/run --all"]
fn all_clients_in_rust_eventsource_client() {
    story(Position::Ignored, |addr| start(table::rust("eventsource-client"), addr));
}

#[test]
#[ignore = "needs chromium: run tests/clients/run"]
fn the_browser_chromium() {
    story(Position::Taken, |addr| Program::browser(addr, STREAM));
}

fn start(mut client: Command, addr: SocketAddr) -> Program {
    client.arg(format!("http://{addr}{STREAM}")).args(plan::TYPES).arg("stream-gap");
    Program::start(client)
}

/// A hub that keeps everything, with a page for browsers.
fn hub() -> Hub {
    Hub::with(
        &plan::ALL,
        |builder| {
            builder
                .retry(Duration::from_millis(20))
                .heartbeat(Duration::from_secs(1))
                .history_events(1 << 20)
                .history_bytes(1 << 30)
                .history_all_bytes(1 << 30)
        },
        |http| http.get("/page", page),
    )
}

fn page(_: &Request) -> Response {
    Response::html(include_str!("browser/page.html"))
}

/// The hub of one run, what it has published, and what a client must have said by now.
struct Stage {
    hub: Hub,
    run: Run,
    published: usize,
    /// The last event that a client has.
    last: usize,
    expected: Vec<String>,
}

impl Stage {
    fn new(expected: Vec<String>) -> Stage {
        let hub = hub();
        let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
        client.head();
        let position = client.preamble().1.id.unwrap();
        let name = position.strip_suffix("-0").unwrap().to_owned();
        Stage { hub, run: Run { name }, published: 0, last: 0, expected }
    }

    fn publish(&mut self, count: usize) {
        for _ in 0..count {
            self.published += 1;
            self.hub.publish(plan::message(self.published));
            if let Some(line) = self.run.line(self.published) {
                self.last = self.published;
                self.expected.push(line);
            }
        }
    }

    /// The HTTP server goes, and comes back at the same address; events are published meanwhile.
    fn restart_http(&mut self) {
        let addr = self.hub.addr();
        self.hub.http = HttpServer::new();
        let refused = TcpStream::connect_timeout(&addr, SOON).map_err(|error| error.kind());
        assert_eq!(refused.map(|_| ()), Err(ErrorKind::ConnectionRefused));
        self.publish(40);
        let end = Instant::now() + SOON;
        let listener = loop {
            match TcpListener::bind(addr) {
                // A connection from here may have the port for a moment.
                Err(error) if error.kind() == ErrorKind::AddrInUse && Instant::now() < end => {
                    thread::sleep(Duration::from_millis(2));
                }
                bound => break bound.unwrap(),
            }
        };
        let events = self.hub.server.event_stream_handler();
        self.hub.http = HttpServer::new().get("/event", events).serve(listener).unwrap();
    }
}

fn story(position: Position, start: impl FnOnce(SocketAddr) -> Program) {
    let mut stage = Stage::new(Vec::new());
    let proxy = Proxy::begin(stage.hub.addr());
    let mut client = start(proxy.addr());
    let seen = if position == Position::Taken { whole } else { gap_without_id };
    streams(&proxy, 1);

    if position == Position::Taken {
        // Away before it has had an event.
        proxy.refuse();
        proxy.cut(Cut::Fin);
        stage.publish(5);
        proxy.accept(stage.hub.addr());
    } else {
        stage.publish(5);
    }
    client.says(&stage.expected, seen);

    // In the middle of events, while more are published.
    proxy.be_bad(true);
    let before = proxy.counts();
    publish_while_cut(&mut stage, &proxy, before, 1);
    proxy.refuse();
    proxy.cut(Cut::Rst);
    stage.restart_http();
    proxy.accept(stage.hub.addr());
    publish_while_cut(&mut stage, &proxy, before, 2);
    proxy.be_bad(false);
    client.says(&stage.expected, seen);
    let after = proxy.counts();
    assert!(after.resumed >= before.resumed + 3 * CUTS, "from {before:?} to {after:?}");

    // Heartbeats are no events.
    eventually(PATIENCE, true, || proxy.counts().heartbeats > after.heartbeats);

    // With nothing missed.
    for cut in [Cut::Rst, Cut::Fin] {
        let before = proxy.counts();
        proxy.cut(cut);
        streams(&proxy, before.streams + 1);
        stage.publish(8);
        client.says(&stage.expected, seen);
    }

    // To another run of the server, where the id is unknown.
    proxy.refuse();
    let report = stage.hub.server.shutdown(SOON);
    assert_eq!(report.undelivered, 0);
    let last = stage.run.id(stage.last);
    let mut stage = Stage::new(stage.expected);
    stage.expected.push(stage.run.gap_line(&last));
    stage.publish(3);
    proxy.accept(stage.hub.addr());
    client.says(&stage.expected, seen);
    stage.publish(3);
    client.says(&stage.expected, seen);
    let before = proxy.counts();
    proxy.cut(Cut::Rst);
    streams(&proxy, before.streams + 1);
    stage.publish(3);
    client.says(&stage.expected, seen);
    client.end();
    client.says(&stage.expected, seen);
    let test = thread::current();
    let (name, events) = (test.name().unwrap_or_default(), stage.expected.len());
    eprintln!("figure: {name}: {events} events, {:?}", proxy.counts());
}

/// Publishes until the proxy has cut often enough, at about 1000 a second.
fn publish_while_cut(stage: &mut Stage, proxy: &Proxy, before: Counts, round: usize) {
    let end = Instant::now() + PATIENCE;
    let goal = stage.published + EVENTS / 2;
    loop {
        let counts = proxy.counts();
        let is_enough = counts.fin_within >= before.fin_within + round * CUTS
            && counts.rst_within >= before.rst_within + round * CUTS;
        if stage.published >= goal && is_enough {
            return;
        }
        assert!(Instant::now() < end, "expected more cuts, from {before:?} to {counts:?}");
        stage.publish(1);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until the proxy has passed on the preamble of so many streams.
#[track_caller]
fn streams(proxy: &Proxy, count: usize) {
    eventually(PATIENCE, true, || proxy.counts().streams >= count);
}

fn whole(line: &str) -> &str {
    line
}

/// A line without the id, if it is about a gap: that event has none of its own.
fn gap_without_id(line: &str) -> &str {
    let is_gap = line.starts_with(r#"{"type":"stream-gap""#);
    line.rsplit_once(r#","lastEventId":"#).filter(|_| is_gap).map_or(line, |(rest, _)| rest)
}

#[test]
fn the_proxy_cuts_within_events_by_fin_and_by_rst() {
    let mut stage = Stage::new(Vec::new());
    let proxy = Proxy::begin(stage.hub.addr());
    stage.publish(100);
    proxy.be_bad(true);
    let (mut by_fin, mut by_rst) = (0, 0);
    for _ in 0..18 {
        let mut socket = TcpStream::connect_timeout(&proxy.addr(), SOON).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let request = format!("GET {STREAM}&replay=100 HTTP/1.1\r\nHost: a\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        match socket.read_to_end(&mut response) {
            Ok(_) => by_fin += 1,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => by_rst += 1,
            Err(error) => panic!("expected a cut, got {error}"),
        }
        let response = String::from_utf8_lossy(&response);
        let body = response.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(!body.is_empty() && !body.ends_with("\n\n"), "expected half an event: {body:?}");
    }
    assert_eq!((by_fin, by_rst), (9, 9));
    let Counts { fin_within, rst_within, .. } = proxy.counts();
    assert_eq!((fin_within, rst_within), (9, 9));
}
