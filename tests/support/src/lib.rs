//! What the tests over real sockets share: a hub on a free port, a client that sees every byte,
//! a strict parser of event streams, and waiting on conditions instead of sleeping.

#![allow(clippy::unwrap_used)]

use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use websse::http::HttpServer;
use websse::{Builder, Message, Server, Subscription};

mod answer;
mod client;
pub mod crowd;
pub mod measure;
pub mod panics;
pub mod process;
pub mod random;
pub mod resume;
pub mod sse;
pub mod table;

pub use answer::Answer;
pub use client::{Client, Got};
pub use panics::{assert_no_panics, watch_for_panics};

/// How long anything that must happen at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(5);

/// Waits until `got()` equals `expected`; fails with the last value otherwise.
#[allow(clippy::needless_pass_by_value)] // callers read better
#[track_caller]
pub fn eventually<T: PartialEq + Debug>(
    deadline: Duration,
    expected: T,
    mut got: impl FnMut() -> T,
) {
    let end = Instant::now() + deadline;
    loop {
        let last = got();
        if last == expected {
            return;
        }
        assert!(Instant::now() < end, "expected {expected:?} within {deadline:?}, got {last:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes as a failing test shows them.
pub fn shown(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(600)].escape_ascii().to_string();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// Whether a read with a time-out has only come to its end.
pub fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Tells threads that go on beside a test to end, also when the test fails.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A running [`Server`] with its two handlers on `/event` and `/send`, on a free port of loopback.
/// Ends both when dropped.
pub struct Hub {
    pub server: Server,
    pub http: HttpServer,
}

impl Hub {
    /// A hub with the default options and these event types.
    pub fn new(events: &[&str]) -> Hub {
        Hub::with(events, |builder| builder, |http| http)
    }

    /// A hub that keeps no history, so that the events have no ids but their own.
    pub fn plain(events: &[&str]) -> Hub {
        Hub::with(events, |builder| builder.history_events(0), |http| http)
    }

    /// A hub whose options `builder` sets, and whose limits and further routes `http` sets.
    pub fn with(
        events: &[&str],
        builder: impl FnOnce(Builder) -> Builder,
        http: impl FnOnce(HttpServer) -> HttpServer,
    ) -> Hub {
        watch_for_panics();
        let server = builder(Server::builder()).build();
        server.register_events(events.iter().copied()).unwrap();
        server.run().unwrap();
        let http = http(HttpServer::new())
            .get("/event", server.event_stream_handler())
            .post("/send", server.send_message_handler())
            .bind("127.0.0.1:0")
            .unwrap();
        Hub { server, http }
    }

    pub fn addr(&self) -> SocketAddr {
        self.http.local_addr().unwrap()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.addr())
    }

    /// A client that has sent `raw` on a connection of its own.
    pub fn ask(&self, raw: impl AsRef<[u8]>) -> Client {
        Client::ask(self.addr(), raw)
    }

    /// A client of `/event` + `query` that has its head and its preamble: from here on it gets
    /// every event of its types.
    #[track_caller]
    pub fn listen(&self, query: &str) -> Client {
        let mut client = self.ask(format!("GET /event{query} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.stream_head();
        client
    }

    #[track_caller]
    pub fn publish(&self, message: Message) {
        self.server.publish(message).unwrap();
    }

    /// A fresh client is served: it connects, subscribes and gets an event. Needs the registered
    /// event type `probe`, which no other client of the test should use.
    #[track_caller]
    pub fn assert_still_serves(&self) {
        let mut client = self.listen("?event=probe");
        self.publish(Message::new("alive").event("probe"));
        assert_eq!(client.event().data.as_deref(), Some("alive"));
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.http.shutdown(Duration::from_millis(500));
        self.server.shutdown(Duration::from_secs(2));
        if !thread::panicking() {
            assert_no_panics();
        }
    }
}

/// A server that runs, with the general type and `a`, and without ids but those of publishers.
pub fn running() -> Server {
    watch_for_panics();
    let server = Server::builder().history_events(0).build();
    server.register_events(["", "a"]).unwrap();
    server.run().unwrap();
    server
}

/// The next frame that is an event, as text.
#[track_caller]
pub fn next_event(subscription: &mut Subscription) -> String {
    let frame = subscription.next_event(SOON).unwrap();
    String::from_utf8(frame.as_bytes().to_vec()).unwrap()
}
