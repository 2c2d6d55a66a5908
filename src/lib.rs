//! Server-Sent Events for synchronous Rust programs: no async runtime, no `unsafe`, four
//! dependencies.
//!
//! Register event types, run the broadcaster, mount two handlers, publish. Browsers and `curl -N`
//! listen.
//!
//! ```
//! use websse::{Message, Server, http::HttpServer};
//!
//! let server = Server::new();
//! server.register_events(["", "event1", "event2"])?;
//! server.run()?; // the broadcaster thread
//!
//! let http = HttpServer::new()
//!     .get("/event", server.event_stream_handler()) // curl -N 'localhost:8080/event?event=event1'
//!     .post("/send", server.send_message_handler()) // curl -X POST 'localhost:8080/send?event=event1&data=hi'
//!     .bind("127.0.0.1:0")?;
//!
//! server.publish(Message::new("data").event("event1"))?; // who comes later adds &replay=1
//! # drop(http);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Events and their types
//!
//! A [`Message`] has data and, where you want them, an event type, an id and a reconnection time. A
//! type is [registered](Server::register_event) before it can be published or listened to, so that
//! a misspelt name is an error on both sides and not a silence. The general type, `""` or
//! `message`, is what a browser's `onmessage` hears.
//!
//! # What is guaranteed
//!
//! - Every event that [`publish`](Server::publish) accepted reaches every client whose response
//!   head had arrived before the call, once and in order, or that client is disconnected. There is
//!   never a silent gap.
//! - A client that does not read, or reads slowly, delays nobody. One that is more than
//!   [1 MiB](Builder::mailbox_bytes) behind is disconnected once it has taken nothing for 3 s,
//!   or at once where [memory](Builder::mailboxes_bytes) is short; one that takes nothing for
//!   [10 s](Builder::stall_timeout) in any case. Its browser comes back by itself. When most of the
//!   clients are far behind and go on reading, the publisher is too fast: `publish` blocks until
//!   they have caught up ([`try_publish`](Server::try_publish) says so instead).
//! - A client that comes back with its last event's id gets exactly what it missed, or is told of
//!   the gap by a `stream-gap` event.
//! - A client that disconnects, or closes only its sending side, is gone from the
//!   [figures](Server::stats) within two seconds.
//! - Nothing that is published can add a line to the stream that was not meant as data: line
//!   endings in the data become lines of data, and are forbidden elsewhere.
//! - What a client can make the server do is bounded in bytes and in time; [`Builder`] and
//!   [`http::Limits`] have the numbers.
//! - [`shutdown`](Server::shutdown) delivers what was accepted, ends every stream and joins every
//!   thread within its deadline.
//!
//! # Coming back
//!
//! Every event has an id, its publisher's own or one of the server's, and the last events of each
//! type are [kept](Builder::history_events). A browser that reconnects says which one it had last
//! (`Last-Event-ID`), and gets exactly what it missed, in order, before what is new. Where that is
//! not possible, since too much has happened or the server was started anew, the first event is a
//! `stream-gap`, with JSON as its data: the id `requested`, and the `oldest` that is kept. What
//! follows is all that is left.
//!
//! Some clients by other people do not send back an id that came without data, which every stream
//! begins with: cut before their first event, they come back as if for the first time.
//!
//! What to do on a `stream-gap` depends on what the events mean. Where each says all there is to
//! say (a reading, a price), nothing: the next one does. Where a page has added them up (a list, a
//! counter), it loads anew what it shows, as it did when it opened. Some of what follows is in that
//! already.
//!
//! ```js
//! const events = new EventSource('/event?event=cart')
//! events.addEventListener('stream-gap', () => location.reload())
//! ```
//!
//! The history is in memory: after a restart of your program everybody who comes back is told of a
//! gap.
//!
//! # Browsers
//!
//! `EventSource` comes back by itself, after the time that [`retry`](Builder::retry) sets, as long
//! as the answer is a stream. Any other status ends it for good; so what is refused for now only
//! (too many clients, a shutdown) is refused by a stream that says why and ends, and a proxy's 502
//! needs care.
//!
//! A browser opens six connections to one HTTP/1.1 server at most, its tabs together. A stream
//! holds one, and with six streams open everything else waits. Let a page have one stream of
//! several types (`?event=a&event=b`) instead of several; let tabs share one by a `SharedWorker`
//! (HTML standard, 9.2.7); or put a proxy that speaks HTTP/2 in front, which lifts that limit.
//!
//! It sends cookies, and no header fields of the page's choice: a token goes into a cookie, or into
//! the query, where proxies log it.
//!
//! # Threads
//!
//! - One broadcaster thread for each [`Server`], from [`run`](Server::run) to its shutdown. It owns
//!   all the streams and writes all of them, without ever blocking on one. No code of yours runs
//!   there.
//! - [Connection threads](http#threads) for each listener of an [`http::HttpServer`], only while a
//!   request is being read or answered: your handlers and `authorize` run there. An idle stream
//!   costs a socket and less than 1 KiB, no thread; of [those with work](http::Limits::connections)
//!   there are 1024 at most.
//! - A thread for hooks, which there is only where you set one.
//! - A [`Subscription`] has none: the thread that reads it is yours.
//!
//! [`publish`](Server::publish) may be called from any thread, handlers and hooks included, and may
//! block while the queue is full. No lock is held while code of yours runs.
//!
//! # Clients one by one
//!
//! [`on_connect`](Builder::on_connect) and [`on_disconnect`](Builder::on_disconnect) call your
//! program when a client has come and when it is gone. [`send_to`](Server::send_to) sends a message
//! to one client, [`disconnect`](Server::disconnect) ends one, and [`presence`](Builder::presence)
//! publishes how many there are.
//!
//! ```
//! use websse::{Message, Server};
//!
//! let server = Server::builder()
//!     .on_connect(|server, client| {
//!         let hello = Message::new(format!("hello, number {}", client.id));
//!         // Refused where it has left again.
//!         let _ = server.send_to(client.id, hello);
//!     })
//!     .on_disconnect(|_, client, reason| eprintln!("{:?} has left: {reason:?}", client.peer))
//!     .presence("clients")
//!     .build();
//! # drop(server);
//! ```
//!
//! # Who may do what
//!
//! By default everybody who reaches the server may listen and publish, but for the pages of other
//! origins, whose POSTs [`http::Policy`] refuses. [`authorize`](EventStreamHandler::authorize) lets
//! your program decide; [`streams_per_address`](EventStreamHandler::streams_per_address) limits
//! each client. A server on `127.0.0.1` is reached by every page that its user visits: name the
//! hosts that it answers to ([`Policy::allow_host`](http::Policy::allow_host)). TLS is a proxy's
//! work.
//!
//! The `websse` command, with the tokens `pub` to publish, `sub` to listen, and `news=paper` to
//! listen to the type `news` only, answers with these statuses:
//!
//! | | no token | a wrong one | `paper` | `pub` | `sub` |
//! |---|---|---|---|---|---|
//! | `GET /event?event=news` | 401 | 401 | 200 | 401 | 200 |
//! | `GET /event?event=other` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event?event=*` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event?event=news&event=other` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /event?event=unknown` | 401 | 401 | 403 | 401 | 400 |
//! | `POST /send?event=news` | 401 | 401 | 401 | 200 | 401 |
//! | `POST /send?event=other` | 401 | 401 | 401 | 200 | 401 |
//! | `POST /send` | 401 | 401 | 401 | 200 | 401 |
//! | `GET /stats` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /metrics` | 401 | 401 | 403 | 401 | 200 |
//! | `GET /healthz` | 200 | 200 | 200 | 200 | 200 |
//! | `GET /` | 200 | 200 | 200 | 200 | 200 |
//!
//! # Figures
//!
//! [`stats`](Server::stats) and [`clients`](Server::clients) tell what goes on, and
//! [`answers_within`](Server::answers_within) whether anything does.
//! [`metrics_handler`](Server::metrics_handler), [`stats_handler`](Server::stats_handler) and
//! [`health_handler`](Server::health_handler) tell it over HTTP.
//!
//! # Testing
//!
//! Your tests need no socket to see what was published. A [`Subscription`] has everything that is
//! published from then on. Each of its frames is one block of the stream, and tells
//! [type](Frame::event_type), [data](Frame::data) and [id](Frame::id) where it is an
//! [event](Frame::is_event):
//!
//! ```
//! use std::time::Duration;
//! use websse::{Frame, Message, PublishError, Server};
//!
//! // What is to be tested.
//! fn sell(server: &Server, price: u32) -> Result<(), PublishError> {
//!     server.publish(Message::new(price.to_string()).event("sold"))
//! }
//!
//! let server = Server::new();
//! server.register_event("sold")?;
//! server.run()?;
//! let mut events = server.subscribe(["*"])?;
//! sell(&server, 3)?;
//! let event = events.next_event(Duration::from_secs(5))?;
//! assert_eq!((event.event_type(), event.data().as_str()), ("sold", "3"));
//!
//! // To see that nothing else comes needs no wait: a shutdown delivers all there is, and ends it.
//! sell(&server, 4)?;
//! server.shutdown(Duration::from_secs(5));
//! let rest: Vec<_> = events.filter(Frame::is_event).map(|event| event.data()).collect();
//! assert_eq!(rest, ["4"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Handlers of yours take a [`Request`](http::Request::new) made by hand; over sockets, `bind` to
//! port 0.
//!
//! # Another server
//!
//! In a program that has a synchronous HTTP server already, [`Server::subscribe`] gives a blocking
//! [`Subscription`]: an iterator of frames that can also write itself to any connection
//! ([`stream_to`](Subscription::stream_to)). It takes a thread for each client. The examples
//! `embed-subscription` (`tiny_http` 0.12), `embed-touche` (`touche` 0.0.15) and `embed-listener`
//! (a bare `TcpListener`) do so.
//!
//! `rouille` 3.6 and `astra` 0.4 hold a streamed body back: in a trial with an event a second, none
//! came out within twelve. Beside those, and beside any other server, an [`http::HttpServer`] can listen
//! on a port of its own, and allow the pages of the other one to use it:
//!
//! ```
//! use websse::{Server, http::{HttpServer, Policy}};
//!
//! # let (own, pages) = ("127.0.0.1:0", "http://localhost:8000");
//! let server = Server::new();
//! server.register_event("")?;
//! server.run()?;
//! let http = HttpServer::new()
//!     .policy(Policy::default().allow_origin(pages)) // such as http://localhost:8000
//!     .get("/event", server.event_stream_handler())
//!     .bind(own)?; // such as 127.0.0.1:8001: new EventSource('http://localhost:8001/event')
//! # drop(http);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Behind a proxy
//!
//! Streams say `X-Accel-Buffering: no` and `Cache-Control: no-transform`, which nginx and others
//! follow, so that events pass at once. What is left to configure is the time that the proxy lets a
//! stream be silent: more than the [heartbeat](Builder::heartbeat), which it is by default with
//! most. And a browser's `EventSource` closes for good when the proxy answers 502 or 503 while your
//! program is restarted: let the proxy wait meanwhile, or answer as below; or make a new
//! `EventSource` when its `readyState` is `CLOSED`.
//!
//! These are tested with nginx 1.22, haproxy 2.6 and caddy 2.6, before the command as
//! `websse --allow-host hub.example --trusted-proxy 127.0.0.1`, which takes the clients' addresses
//! from the proxy. With `--listen unix:/run/websse/socket --trusted-proxy unix`, the place of
//! `127.0.0.1:8080` is taken by `unix:/run/websse/socket` (nginx), `unix@/run/websse/socket`
//! (haproxy) or `unix//run/websse/socket` (caddy).
//!
#![doc = concat!("```nginx\n", include_str!("../examples/proxies/nginx.conf"), "```")]
//!
#![doc = concat!("```text\n", include_str!("../examples/proxies/haproxy.cfg"), "```")]
//!
#![doc = concat!("```text\n", include_str!("../examples/proxies/Caddyfile"), "```")]
//!
//! # Small hosts
//!
//! What the server may use is the sum of its limits: by default 64 MiB of history, 16 MiB of queue,
//! 64 MiB of request bodies, 256 MiB of mailboxes for clients that are behind, and 1 KiB at most for each
//! idle stream; and the [stacks](http::Limits::stack_bytes) of connection threads. None of it is
//! taken before it is needed. [`Builder`] and [`http::Limits`] have all the limits, with their
//! defaults:
//!
//! ```
//! use websse::{Server, http::{HttpServer, Limits}};
//!
//! const KIB: usize = 1024;
//! let server = Server::builder()
//!     .max_streams(100)
//!     .max_frame_bytes(16 * KIB)
//!     .publish_queue_bytes(256 * KIB)
//!     .mailbox_bytes(64 * KIB)
//!     .mailboxes_bytes(1024 * KIB)
//!     .history_bytes(64 * KIB)
//!     .history_all_bytes(512 * KIB)
//!     .build();
//! let limits = Limits::default()
//!     .connections(16)
//!     .stack_bytes(128 * KIB)
//!     .body_bytes(16 * KIB)
//!     .bodies_bytes(64 * KIB);
//! let http = HttpServer::new().limits(limits);
//! # drop((server, http));
//! ```
//!
//! The example `sensors` was seen to take 4 MB with 16 clients. On the other hand, for thousands of
//! streams raise the limit of open descriptors (`ulimit -n`), and listen with a
//! [larger backlog](http::HttpServer::bind).
//!
//! # Shutting down
//!
//! ```
//! # use std::time::Duration;
//! # use websse::{Server, http::HttpServer};
//! # let server = Server::new();
//! # server.run()?;
//! # let http = HttpServer::new().bind("127.0.0.1:0")?;
//! # let (stop, stopped) = std::sync::mpsc::channel();
//! # stop.send(())?; // in a program: ctrlc::set_handler(move || stop.send(()).unwrap())
//! stopped.recv()?; // instead of http.join(), which waits until another thread shuts it down
//! http.shutdown(Duration::from_secs(1)); // answers what is on its way
//! server.shutdown(Duration::from_secs(10)); // delivers what was accepted, ends the streams
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Platforms
//!
//! It is tested on Linux, 64-bit x86. The tests have passed on 32-bit x86 as well, and it needs no
//! 64-bit atomics: it compiles for 32-bit PowerPC, which has none. There a process has 2 or 3 GiB
//! of addresses: set [`stack_bytes`](http::Limits::stack_bytes), since 1024 stacks of 2 MiB would
//! take them all.
//!
//! For macOS and Windows it compiles, by the standard library alone, and should work; it is not
//! tested there. The command `websse` needs a Unix.
//!
//! It needs Rust 1.88; a later version of the crate may need a later one, and says so in the
//! changelog.
//!
//! # Cargo features
//!
//! The library needs none of them.
//!
//! - `json` makes messages of anything that serde can serialize (`Message::json`), and lets
//!   `send_message_handler` take many in one request, a JSON object a line
//!   (`application/x-ndjson`).
//! - `log` tells the facade of the `log` crate, under the target `websse`, what goes on: at level
//!   `debug` the start and the end of the broadcaster, and clients that come and go; at `info` clients
//!   disconnected for being behind, stalled or broken, and requests refused with a status below 500 or,
//!   on the stream endpoint, for now; at `warn` statuses above 500, and connections that cannot be
//!   accepted; at `error` hooks that panic, and status 500, which is what a handler that panics
//!   answers. A request is told by method and path, without its query, which may hold a token. Your
//!   logger runs on the caller's thread, the hooks' (which there is then at level `info`, as it is when
//!   the server is run) or a connection's; if it blocks, it never blocks the broadcaster.
//! - `socket2` notices within about 30 s that a client's machine or network is gone without a word:
//!   every TCP connection of [`http`] is asked for a sign of life after 15 s of silence
//!   (`SO_KEEPALIVE`), and on Linux what is sent must be acknowledged within 30 s
//!   (`TCP_USER_TIMEOUT`, RFC 5482). That ends a client as well that reads so little that its
//!   receive buffer stays full for that long; it comes back and resumes. Without it that is left to
//!   the kernel. Heartbeats make sure that something is unacknowledged; Linux gives up after about
//!   15 minutes (`net.ipv4.tcp_retries2`), and until then the stream counts. One that is busy ends
//!   earlier, when its buffers are full for the [stall time-out](Builder::stall_timeout).
//! - `redis` makes several servers one over a stream of Redis or Valkey (`websse::redis`), and
//!   `redis-tls` lets the way there be TLS. They need crates of their own, but no async runtime.
//! - `cli` is for the `websse` command. It has `json`, `log` and `socket2`; with `redis` beside it the command
//!   has `--redis`.

// In the order of the floors: each imports from those above it.
mod error;
mod logs;
mod panics;
mod quoted;
mod socket;

mod message;

pub mod http;

mod broadcast;

mod server;

mod handlers;
#[cfg(feature = "redis")]
pub mod redis;

#[cfg(feature = "json")]
pub use message::json::JsonError;
pub use {
    broadcast::{
        broadcaster::ShutdownReport,
        client::{Client, ClientId, SendToError, UnknownClient},
        stats::{Disconnect, Disconnected, LogStats, Stats},
    },
    error::{
        PublishAllError, PublishError, RunError, StreamError, SubscribeError, TryPublishError,
    },
    handlers::{
        Action, Denied, EventStreamHandler, FiguresHandler, HealthHandler, SendMessageHandler,
    },
    message::{Message, MessageError, event_types::RegisterError, frame::Frame, id::EventId},
    server::{Builder, Publisher, RecvTimeoutError, Server, Subscription, SubscriptionBuilder},
};

/// Compiles the README's program.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
