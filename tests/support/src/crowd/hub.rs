//! The server that the crowd listens to, in this process or in one of its own.

use std::{
    io::{self, BufRead, Write},
    net::SocketAddr,
    process::{ExitCode, exit},
    sync::Arc,
    thread,
    time::Duration,
};

use websse::{
    Builder, Message, Server,
    http::{HttpServer, Request, Response},
};

use super::{HUB, LIFETIME, line_child::LineChild, payload};
use crate::{measure, panics};

/// The event type of all scenarios, and how to listen to it.
pub const EVENT: &str = "x";
pub const TARGET: &str = "/event?event=x";

/// Time that a shutdown may take.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// A server with its HTTP server on a free port of the loopback interface.
#[derive(Debug)]
pub struct Hub {
    pub server: Arc<Server>,
    http: HttpServer,
    pub address: SocketAddr,
}

impl Hub {
    pub fn start(builder: Builder) -> Self {
        let server = builder.build();
        server.register_events(["", EVENT]).expect("names that can be registered");
        server.run().expect("runs for the first time");
        let health = |_: &Request| Response::text(200, "well");
        let http = HttpServer::new()
            .get("/event", server.event_stream_handler())
            .post("/send", server.send_message_handler())
            .get("/health", health)
            .bind("127.0.0.1:0")
            .expect("port 0 is always free");
        let address = http.local_addr().expect("bound above");
        Self { server: Arc::new(server), http, address }
    }

    /// Publishes events of `bytes` bytes with these counters.
    pub fn publish(&self, counters: std::ops::Range<u32>, bytes: usize) {
        for counter in counters {
            let message = Message::new(payload::compose(counter, bytes)).event(EVENT);
            if let Err(error) = self.server.publish(message) {
                panic!("expected event {counter} to be accepted, got {error}");
            }
        }
    }

    /// Shuts down, which must take nothing from anyone and leave nothing behind.
    #[track_caller]
    pub fn end(self) {
        let report = self.server.shutdown(SHUTDOWN);
        assert_eq!(
            (report.undelivered, report.cut_streams),
            (0, 0),
            "a shutdown should lose nothing and cut nobody; got (undelivered, cut streams)"
        );
        self.end_http();
    }

    /// What remains to be done after the server is shut down.
    #[track_caller]
    pub fn end_http(self) {
        let stats = self.server.stats();
        assert_eq!(stats.streams, 0, "no stream should be left after shutdown; got {stats:?}");
        let running = self.http.shutdown(SHUTDOWN);
        assert_eq!(running, 0, "no connection thread should be left after shutdown");
        self.http.join();
    }
}

/// A [`Hub`] in a process of its own, so that its memory, threads and descriptors are its own.
#[derive(Debug)]
pub struct HubProcess {
    child: LineChild,
    pub address: SocketAddr,
}

impl HubProcess {
    pub fn start() -> Self {
        Self::greet(LineChild::of_this_program(&[HUB]))
    }

    /// A hub that may open at most `limit` descriptors.
    pub fn with_few_descriptors(limit: u32) -> Self {
        Self::greet(LineChild::with_few_descriptors(limit, &[HUB]))
    }

    fn greet(mut child: LineChild) -> Self {
        let address = child.next_line("its address");
        let address = address.parse().unwrap_or_else(|_| panic!("no address: {address:?}"));
        Self { child, address }
    }

    /// For `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Publishes `count` more events; each counts one up from the last.
    #[track_caller]
    pub fn publish(&mut self, count: u32, bytes: usize) {
        let answer = self.child.ask(&format!("publish {count} {bytes}"));
        assert_eq!(answer, "published", "the hub should publish {count} events");
    }

    /// Streams in the registry.
    #[track_caller]
    pub fn streams(&mut self) -> usize {
        let answer = self.child.ask("streams");
        answer.parse().unwrap_or_else(|_| panic!("expected a number of streams, got {answer:?}"))
    }

    /// Waits until so many streams are in the registry.
    #[track_caller]
    pub fn wait_streams(&mut self, expected: usize, time: Duration) {
        measure::wait_for("streams in the registry", time, &expected, || self.streams());
    }

    /// Shuts the hub down as [`Hub::end`] does.
    #[track_caller]
    pub fn end(self) {
        self.child.end(SHUTDOWN + SHUTDOWN);
    }
}

/// The hub's process: runs until its leader closes the other end of standard input.
pub(crate) fn run() -> ExitCode {
    let lifetime = thread::Builder::new().name("lifetime".into()).spawn(|| {
        thread::sleep(LIFETIME);
        eprintln!("the hub ends: it has lived for {LIFETIME:?}");
        exit(1);
    });
    let hub = Hub::start(Server::builder());
    let served = lifetime.and_then(|_| serve(&hub));
    hub.end();
    panics::assert_no_panics_since();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the hub ends: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(hub: &Hub) -> io::Result<()> {
    let mut published = 0;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", hub.address)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["publish", count, bytes] => {
                let count: u32 = count.parse().map_err(io::Error::other)?;
                let bytes = bytes.parse().map_err(io::Error::other)?;
                hub.publish(published..published + count, bytes);
                published += count;
                writeln!(out, "published")?;
            }
            ["streams"] => writeln!(out, "{}", hub.server.stats().streams)?,
            _ => return Err(io::Error::other(format!("no such command: {line:?}"))),
        }
    }
    Ok(())
}
