//! A server with its handlers, for one test.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use websse::{Builder, Message, Server, Subscription, http::HttpServer};

use crate::{Client, SOON, assert_no_panics, tls, watch_for_panics};

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
        Hub::bound(events, builder, http, tls::bind)
    }

    /// The same without TLS in any case, for a test of what a connection costs without: then it may
    /// be served without a slot.
    pub fn over_tcp(
        events: &[&str],
        builder: impl FnOnce(Builder) -> Builder,
        http: impl FnOnce(HttpServer) -> HttpServer,
    ) -> Hub {
        Hub::bound(events, builder, http, |http| http.bind("127.0.0.1:0"))
    }

    /// The same, with TLS in this way.
    #[cfg(feature = "tls")]
    pub fn over_tls(
        events: &[&str],
        builder: impl FnOnce(Builder) -> Builder,
        http: impl FnOnce(HttpServer) -> HttpServer,
        config: websse::http::TlsConfig,
    ) -> Hub {
        Hub::bound(events, builder, http, |http| http.bind_tls("127.0.0.1:0", config))
    }

    fn bound(
        events: &[&str],
        builder: impl FnOnce(Builder) -> Builder,
        http: impl FnOnce(HttpServer) -> HttpServer,
        bind: impl FnOnce(HttpServer) -> io::Result<HttpServer>,
    ) -> Hub {
        watch_for_panics();
        let server = builder(Server::builder()).build();
        server.register_events(events.iter().copied()).unwrap();
        server.run().unwrap();
        let http = http(HttpServer::new())
            .get("/event", server.event_stream_handler())
            .post("/send", server.send_message_handler());
        let http = bind(http).unwrap();
        Hub { server, http }
    }

    /// The URL of a path, for a client of its own. A certificate has to be let pass.
    pub fn url(&self, path: &str) -> String {
        let scheme = if tls::is_spoken_at(self.addr()) { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.addr())
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
        tls::forget(self.http.local_addr());
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

/// Whether at least so many clients are behind for a while. A socket that is full for a moment only
/// takes the rest when it is tried again.
pub fn are_behind_for_a_while(server: &Server, clients: usize) -> bool {
    let end = Instant::now() + Duration::from_millis(200);
    let are_behind = || server.stats().behind >= clients;
    while are_behind() && Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    are_behind()
}
