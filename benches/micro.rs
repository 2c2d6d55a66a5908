//! What single steps cost, to steer the work on them.
//!
//! ```console
//! $ cargo bench --bench micro
//! $ cargo bench --bench micro -- deliver
//! ```
//!
//! Framing and delivery are private. Their modules are compiled into this program as well, so that
//! the library has nothing that is there for benchmarks only. Requests and publishing go through
//! what is public.

#![allow(clippy::unwrap_used, clippy::wildcard_imports)]
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub, reason = "parts of a library")]

use std::{
    hint::black_box,
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use websse::{
    Server,
    http::{HttpServer, Request, Response},
};

#[path = "../src/broadcast/mod.rs"]
mod broadcast;
#[path = "../src/decimal.rs"]
mod decimal;
#[path = "../src/error.rs"]
mod error;
#[path = "../src/logs.rs"]
mod logs;
#[path = "../src/message/mod.rs"]
mod message;
#[path = "../src/panics.rs"]
mod panics;
#[path = "../src/quoted.rs"]
mod quoted;
#[path = "../src/socket.rs"]
mod socket;
#[path = "../src/tls/mod.rs"]
mod tls;

use broadcast::{
    arrival::{Arrival, Form, Resume, Via},
    clock::Now,
    history::{History, HistoryLimits},
    inbox::queue::{Batch, Queue, Queued},
    registry::{Kind, Registry},
    subscribers::{SubscriberLimits, Subscribers},
};
use message::{channels::Channels, event_types::Types, frame::Encoded, subscribed::Subscribed};

/// As the ids of a run begin.
const EPOCH: &str = "0mwscj3olj8rw";
const SMALL: usize = 128;

fn main() {
    divan::main();
}

fn message(bytes: usize) -> message::Message {
    message::Message::new("x".repeat(bytes)).event("event1")
}

/// From a message to the bytes of its frame, on the publisher's thread and on the broadcaster's.
#[divan::bench(args = [SMALL, 4096, 65_536])]
fn frame_of_bytes(bencher: Bencher<'_, '_>, bytes: usize) {
    let message = message(bytes);
    let mut buffer = Vec::new();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let encoded = Encoded::new(black_box(&message), 1 << 20).unwrap();
        message::frame::seal(&encoded.lines, Some((EPOCH, 1_234_567)), &mut buffer)
    });
}

/// A batch of so many events to so many clients, all caught up, whose sockets cost nothing.
#[divan::bench(args = [(1, 1), (1000, 1), (1000, 16), (10_000, 1)])]
fn deliver_to_clients_events(bencher: Bencher<'_, '_>, (clients, events): (usize, usize)) {
    let now = Now { instant: Instant::now(), second: 0 };
    let mut subscribers = shared(clients, now).subscribers;
    let encoded = Encoded::new(&message(SMALL), 1 << 20).unwrap();
    let (mut queue, mut batch) = (Queue::default(), Batch::default());
    bencher.counter(ItemsCount::new(clients * events)).bench_local(|| {
        for _ in 0..events {
            queue.push(&mut Queued {
                channel: None,
                kind: 0,
                generation: 0,
                encoded: encoded.clone(),
            });
        }
        queue.take(usize::MAX, &mut batch);
        subscribers.deliver(&mut batch, events, now);
    });
}

/// A round with an event to 9000 clients, while so many others are far behind.
#[divan::bench(args = [0, 1, 100])]
fn round_while_some_are_far_behind(bencher: Bencher<'_, '_>, far_behind: usize) {
    let now = Now { instant: Instant::now(), second: 0 };
    let mut shared = shared(9000, now);
    (0..far_behind).for_each(|_| shared.come(1, Sink { is_full: true }, now));
    let large = Encoded::new(&message(600_000), 1 << 20).unwrap();
    let small = Encoded::new(&message(SMALL), 1 << 20).unwrap();
    // One waits in the mailboxes behind the one being written.
    (0..2).for_each(|_| shared.round(1, &large, now));
    bencher.counter(ItemsCount::new(9000_usize)).bench_local(|| shared.round(0, &small, now));
}

/// An event to one of so many clients that do not read, while their memory is used up.
#[divan::bench(args = [100, 10_000])]
fn let_go_of_one_of_clients(bencher: Bencher<'_, '_>, clients: u32) {
    let mut now = Now { instant: Instant::now(), second: 0 };
    let limits = SubscriberLimits { mailboxes_bytes: 4000 * clients as usize, ..limits() };
    let mut shared = Shared::new(limits);
    (0..clients).for_each(|kind| shared.come(kind, Sink { is_full: true }, now));
    let encoded = Encoded::new(&message(1000), 1 << 20).unwrap();
    let mut event = 0;
    let mut publish = || {
        let (gone, kind) = (shared.subscribers.stats().disconnected.behind, event % clients);
        event += 1;
        // As time passes where each event comes alone.
        now.instant += Duration::from_micros(20);
        shared.round(kind, &encoded, now);
        let is_gone = shared.subscribers.stats().disconnected.behind > gone;
        if is_gone {
            shared.come(kind, Sink { is_full: true }, now);
        }
        is_gone
    };
    while !publish() {}
    bencher.counter(ItemsCount::new(1_usize)).bench_local(publish);
}

struct Shared {
    registry: Arc<Registry>,
    subscribers: Subscribers<Sink>,
    queue: Queue,
    batch: Batch,
}

/// So many clients, all caught up.
fn shared(clients: usize, now: Now) -> Shared {
    let mut shared = Shared::new(limits());
    (0..clients).for_each(|_| shared.come(0, Sink { is_full: false }, now));
    shared
}

impl Shared {
    fn new(limits: SubscriberLimits) -> Self {
        let history =
            HistoryLimits { events: 1024, bytes: 1 << 20, all_bytes: 64 << 20, channels: 1000 };
        let history = History::new(history, EPOCH.to_owned());
        let registry = Registry::new(usize::MAX);
        let subscribers = Subscribers::new(Arc::clone(&registry), Arc::default(), limits, history);
        Self { registry, subscribers, queue: Queue::default(), batch: Batch::default() }
    }

    fn come(&mut self, kind: u32, wire: Sink, now: Now) {
        let listened = Channels::default().listened(&Arc::default(), 0);
        let channels = listened.expect("the common one is there");
        let subscribed = Subscribed { channels, types: Types::Named(vec![kind].into()) };
        let seat = self.registry.register(Kind::Stream, subscribed, None).unwrap();
        let (head, preamble) = (Vec::new(), ":\n".to_owned());
        let (form, resume, via) = (Form::default(), Resume::default(), Via::Wire(wire));
        self.subscribers.admit(Arrival { seat, head, preamble, form, resume, via }, now);
    }

    /// What the broadcaster does for one event.
    fn round(&mut self, kind: u32, encoded: &Encoded, now: Now) {
        assert!(!self.subscribers.is_overloaded(now));
        self.queue.push(&mut Queued {
            channel: None,
            kind,
            generation: 0,
            encoded: encoded.clone(),
        });
        self.queue.take(usize::MAX, &mut self.batch);
        self.subscribers.deliver(&mut self.batch, 1, now);
        while self.subscribers.drop_one() {}
    }
}

fn limits() -> SubscriberLimits {
    SubscriberLimits {
        mailbox_bytes: 1 << 20,
        mailboxes_bytes: 256 << 20,
        stall_timeout: Duration::from_secs(10),
        heartbeat: Duration::from_secs(15),
        reconnect_spread: Duration::ZERO,
    }
}

/// A socket that takes everything at once, or nothing, and from which nothing comes.
#[derive(Debug)]
struct Sink {
    is_full: bool,
}

impl Read for Sink {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_full {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(black_box(bytes).len())
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(black_box(parts).iter().map(|part| part.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl socket::Wire for Sink {
    fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A call of `publish` while so many subscriptions listen, each on a thread of its own.
#[divan::bench(args = [0, 1])]
fn publish_to_subscriptions(bencher: Bencher<'_, '_>, subscriptions: usize) {
    let server = Server::new();
    server.register_event("event1").unwrap();
    server.run().unwrap();
    let listeners: Vec<_> = (0..subscriptions)
        .map(|_| {
            let subscription = server.subscribe(["event1"]).unwrap();
            thread::spawn(move || subscription.count())
        })
        .collect();
    let data = "x".repeat(SMALL);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        server.publish(websse::Message::new(&*data).event("event1")).unwrap();
    });
    server.shutdown(Duration::from_secs(10));
    for listener in listeners {
        listener.join().unwrap();
    }
}

/// What curl sends, and what a browser does.
const CURL: &str = "GET /event?event=event1 HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\
    User-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";
const BROWSER: &str = "GET /event?event=event1&event=event2 HTTP/1.1\r\nHost: shared.example\r\n\
    Connection: keep-alive\r\nCache-Control: no-cache\r\nAccept: text/event-stream\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/140.0.0.0 Safari/537.36\r\nSec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Dest: empty\r\nReferer: https://shared.example/\r\nCookie: websse_token=secret\r\n\
    Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n\
    Last-Event-ID: 0mwscj3olj8rw-1234567\r\n\r\n";
/// Requests in one write, so that system calls count little.
const PIPELINED: usize = 64;

/// Requests read, parsed, routed and answered by an empty 200, over one connection.
#[divan::bench(args = ["curl", "browser"])]
fn request_of(bencher: Bencher<'_, '_>, client: &str) {
    let request = if client == "curl" { CURL } else { BROWSER };
    let answer = |_: &Request| Response::new(200);
    let http = HttpServer::new().get("/event", answer).bind("127.0.0.1:0").unwrap();
    let mut socket = TcpStream::connect(http.local_addr().unwrap()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut first = Vec::new();
    while !first.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        first.push(byte[0]);
    }
    assert!(first.starts_with(b"HTTP/1.1 200 "));
    let requests = request.repeat(PIPELINED);
    let mut answers = first.repeat(PIPELINED);
    bencher.counter(ItemsCount::new(PIPELINED)).bench_local(|| {
        socket.write_all(requests.as_bytes()).unwrap();
        socket.read_exact(&mut answers).unwrap();
    });
    assert!(answers.ends_with(&first));
    drop(socket);
    http.shutdown(Duration::from_secs(1));
}
