//! A small, strict HTTP/1.1 server with a thread per connection, for the two handlers of this crate
//! and for your program's own pages.
//!
//! ```
//! use websse::http::{HttpServer, Request, Response};
//!
//! let http = HttpServer::new()
//!     .get("/", |_: &Request| Response::html("<h1>hello</h1>"))
//!     .post("/echo", |request: &Request| Response::new(200).with_body(request.body().to_vec()))
//!     .bind("127.0.0.1:0")?;
//! # drop(http);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Threads
//!
//! Connection threads take turns accepting: the thread that accepts a connection also serves it.
//! Before anything that may block, it lets another thread accept. A connection holds a thread while
//! it has work that blocks: a request that is still arriving, a handler of yours, a connection kept
//! alive. An event stream holds none, unless your program writes it itself
//! ([`Response::events`]).
//!
//! # What is refused
//!
//! Everything that two readers could read differently gets status 400: bare line feeds, folded
//! header fields, `Content-Length` twice or together with `Transfer-Encoding`, and so on (RFC
//! 9112). Bytes that cannot begin a request are refused at once; if they are TLS, the PROXY
//! protocol or HTTP/2, the answer says so. [`Limits`] names the rest.

// | file | owns |
// |---|---|
// | `(this file)` | `HttpServer`: routes, limits, policies, binding |
// | `binding` | binding, and what was wrong where it fails |
// | `listener` | a listening socket, and accepting whatever goes wrong |
// | `leader/` | which thread accepts: leader/followers, and a walk through all its states |
// | `service` | a listener with its rules and threads, and which of them leads |
// | `accepting` | what the threads do |
// | `slots` | how many connections hold a thread, and which one gives way |
// | `connection` | one connection, from its first byte to its orderly close |
// | `transport` | its socket: what may block comes after another thread leads |
// | `read_buffer` | the bytes between socket and parser |
// | `beginning` | the first bytes: another protocol is refused at once |
// | `request/` | a request, what handlers look for in it, and the strict reading of its head |
// | `target` | path and query |
// | `body` | bodies: their length, chunks and form |
// | `date` | dates as HTTP writes them |
// | `response` | a response, and how it looks on the wire |
// | `body_writer` | a body that the program writes, and how its client leaves |
// | `event_writer` | the same of events |
// | `streams_of_own` | how many of these there are |
// | `router` | which handler a request goes to |
// | `at_once` | a handler that never blocks, of the command or of a test |
// | `policy` | which pages and host names are allowed, CORS |
// | `host` | hosts and origins, in the form in which they are compared |
// | `limits` | every limit of one client, with its default |
// | `refusals` | the requests that were refused: counts and log lines |
//
// Imports nothing of `broadcast`, `server`, `handlers` or `redis`.

mod accepting;
mod at_once;
mod beginning;
mod binding;
mod body;
mod body_writer;
mod connection;
mod date;
mod event_writer;
mod host;
mod leader;
mod limits;
mod listener;
mod policy;
mod read_buffer;
mod refusals;
mod request;
mod response;
mod router;
mod service;
mod slots;
mod streams_of_own;
mod target;
mod transport;

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs},
    sync::Arc,
    time::{Duration, Instant},
};

#[doc(hidden)]
pub use self::at_once::AtOnce;
pub use self::{
    body_writer::BodyWriter,
    event_writer::EventWriter,
    limits::Limits,
    listener::Listener,
    policy::{Policy, PolicyError},
    refusals::Refusals,
    request::{Request, RequestError},
    response::Response,
    router::Handler,
    streams_of_own::StreamsOfOwn,
};
use self::{
    listener::Acceptor,
    service::{Rules, Service},
};
pub(crate) use self::{
    request::{Fate, LAST_EVENT_ID},
    router::Hint,
};
#[cfg(feature = "tls")]
pub use crate::tls::{Certificate, TlsConfig};

/// How long dropping a server may wait for requests in progress.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// An HTTP server: routes, limits, and any number of listeners.
///
/// Each [`bind`](Self::bind) or [`serve`](Self::serve) uses the routes and limits that were set
/// before it. What is set after it holds for the next listener; so a second port can have more
/// routes, for example. Dropping the server shuts it down; requests in progress have 5 s.
///
/// ```
/// use std::time::Duration;
/// use websse::http::{HttpServer, Limits, Policy, Request, Response};
///
/// let http = HttpServer::new()
///     .limits(Limits::default().connections(64))
///     .policy(Policy::default().allow_host("localhost")?)
///     .get("/", |_: &Request| Response::html("<h1>hello</h1>"))
///     .post("/count", |request: &Request| Response::text(200, request.body().len().to_string()))
///     .bind("127.0.0.1:0")?;
/// println!("http://{}/", http.local_addr().expect("it listens over TCP"));
/// let refusals = http.refusals();
/// assert_eq!(http.shutdown(Duration::from_secs(1)), 0, "no thread is left");
/// assert!(refusals.counts().is_empty(), "nobody asked");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "dropping the server ends it: keep it, and let it `join`"]
pub struct HttpServer {
    rules: Rules,
    services: Vec<Arc<Service>>,
}

impl HttpServer {
    /// A server without routes or listeners, with the default [`Limits`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all limits. If it is called several times, the last call counts.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.rules.limits = limits;
        self
    }

    /// Sets which web pages may use the server, and which host names it answers to. If it is called
    /// several times, only the last policy counts. Within one policy, what it
    /// [allows](Policy::allow_host) adds up.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.rules.policy = policy;
        self
    }

    /// Answers GET and HEAD for exactly this path. Two handlers with the same method and path are
    /// an error of [`bind`](Self::bind) and [`serve`](Self::serve), as only one of them could be
    /// called; paths that differ only in the name of a parameter are the same.
    ///
    /// One part of a path may be a parameter, `/jobs/:id`, for any one part that is not empty; the
    /// handler gets it by [`Request::param`]. A path that ends with `/*` stands for all paths below
    /// it. If several routes fit, an exact path wins over one with a parameter, and that over `/*`;
    /// of two parameters the later one wins, of two `/*` the longer path.
    ///
    /// [`Request::path`] is percent-decoded: a handler that opens files must look out for `..`.
    ///
    /// ```
    /// # use websse::http::{HttpServer, Request, Response};
    /// let http = HttpServer::new()
    ///     .get("/", |_: &Request| Response::html("<a href=/notes/today>today</a>"))
    ///     .get("/notes/*", |request: &Request| Response::text(200, request.path()))
    ///     .route("DELETE", "/jobs/:id", |request: &Request| {
    ///         let id = request.param("id").expect("the route has it");
    ///         Response::text(200, format!("{id} is gone"))
    ///     });
    /// ```
    pub fn get(self, path: &str, handler: impl Handler) -> Self {
        self.route("GET", path, handler)
    }

    /// Answers POST for this path, as [`get`](Self::get) does.
    pub fn post(self, path: &str, handler: impl Handler) -> Self {
        self.route("POST", path, handler)
    }

    /// Answers this method, in capital letters, for this path, as [`get`](Self::get) does for GET.
    pub fn route(mut self, method: &str, path: &str, handler: impl Handler) -> Self {
        self.rules.router.add(method, path, Arc::new(handler));
        self
    }

    /// Answers all requests for paths without a route, in place of status 404. If it is called
    /// several times, the last call counts.
    ///
    /// ```
    /// # use websse::http::{HttpServer, Request, Response};
    /// let http = HttpServer::new()
    ///     .fallback(|_: &Request| Response::html("<h1>not here</h1>").with_status(404));
    /// ```
    pub fn fallback(mut self, handler: impl Handler) -> Self {
        self.rules.router.set_fallback(Arc::new(handler));
        self
    }

    /// Listens on an address; port 0 means any free port.
    ///
    /// The standard library listens with a backlog of 128 connections. If thousands of clients may
    /// connect in the same second, make a listener with a larger backlog and use
    /// [`serve`](Self::serve).
    ///
    /// # Errors
    /// Those of the operating system: the host is not found, the address is in use, not permitted,
    /// or none of this machine. The text names the address and says what would be right; the
    /// [kind](io::Error::kind) is that of the operating system's error, which is its
    /// [source](std::error::Error::source). Also those of [`serve`](Self::serve).
    ///
    /// ```
    /// # use std::io::ErrorKind;
    /// # use websse::http::HttpServer;
    /// let first = HttpServer::new().bind("127.0.0.1:0")?;
    /// let address = first.local_addr().expect("it listens over TCP");
    /// let error = HttpServer::new().bind(address).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AddrInUse);
    /// assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind(self, address: impl ToSocketAddrs + fmt::Debug) -> io::Result<Self> {
        self.serve(binding::bind(address)?)
    }

    /// Serves a listener made elsewhere, a `TcpListener` or a `UnixListener`.
    ///
    /// # Errors
    /// If the operating system gives no thread, or no descriptors to end the listening with: the
    /// text names the address or the path of the listener, and the operating system's error is its
    /// [source](std::error::Error::source). [`InvalidInput`](io::ErrorKind::InvalidInput) if two
    /// handlers have the same [method and path](Self::get). The earlier listeners then end with the
    /// server.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use std::os::unix::net::UnixListener;
    /// use websse::http::HttpServer;
    ///
    /// let path = std::env::temp_dir().join("websse-example.sock");
    /// // A program that was killed leaves its socket behind.
    /// let _ = std::fs::remove_file(&path);
    /// let http = HttpServer::new().serve(UnixListener::bind(&path)?)?;
    /// # drop(http);
    /// # std::fs::remove_file(&path)?;
    /// # }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn serve(mut self, listener: impl Into<Listener>) -> io::Result<Self> {
        self.rules.router.check()?;
        let listener = listener.into();
        let place = listener.place();
        let service = Acceptor::new(listener)
            .and_then(|acceptor| Service::start(self.rules.clone(), acceptor, accepting::work));
        self.services.push(service.map_err(|error| binding::listen_error(place, "", error))?);
        Ok(self)
    }

    /// Listens on an address as [`bind`](Self::bind) does, for HTTPS.
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind).
    ///
    /// ```no_run
    /// use websse::http::{HttpServer, Request, Response, TlsConfig};
    ///
    /// let tls = TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?;
    /// let http = HttpServer::new()
    ///     .get("/", |_: &Request| Response::html("<h1>hello</h1>"))
    ///     .bind_tls("0.0.0.0:443", tls)?;
    /// http.join();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn bind_tls(
        self,
        address: impl ToSocketAddrs + fmt::Debug,
        config: TlsConfig,
    ) -> io::Result<Self> {
        self.serve_tls(binding::bind(address)?, config)
    }

    /// Serves a listener made elsewhere as [`serve`](Self::serve) does, for HTTPS.
    ///
    /// # Errors
    /// Those of [`serve`](Self::serve).
    #[cfg(feature = "tls")]
    pub fn serve_tls(self, listener: impl Into<Listener>, config: TlsConfig) -> io::Result<Self> {
        self.serve(listener.into().with_tls(config))
    }

    /// Counts of the requests refused, by status.
    pub fn refusals(&self) -> Refusals {
        self.rules.refusals.clone()
    }

    /// How many bodies the program is writing now.
    pub fn streams_of_own(&self) -> StreamsOfOwn {
        self.rules.streams_of_own.clone()
    }

    /// The address of the first TCP listener.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.services.iter().find_map(|service| service.acceptor.local_addr())
    }

    /// Stops listening, closes connections without a request, and waits for the others for at most
    /// `deadline`; then it cuts them off. Returns the number of threads that are still in handlers
    /// of your program, which cannot be interrupted. 0 means that all threads have ended, except
    /// the caller's own if it is one of them.
    ///
    /// A body that your program writes ([`Response::events`]) is a request in progress, unless it
    /// [has no end](EventWriter::has_no_end): then it is ended at once.
    ///
    /// Event streams of a [`Server`](crate::Server) go on:
    /// [`Server::shutdown`](crate::Server::shutdown) ends them, before or after. Calling it again
    /// does no harm.
    pub fn shutdown(&self, deadline: Duration) -> usize {
        let now = Instant::now();
        // A deadline beyond the clock's range counts as a year.
        let end = now.checked_add(deadline).unwrap_or(now + Duration::from_secs(31_536_000));
        self.services.iter().for_each(|service| service.stop());
        self.services.iter().map(|service| service.finish(end)).sum()
    }

    /// Waits until another thread has called [`shutdown`](Self::shutdown) and everything is done.
    /// Returns at once if nothing listens.
    ///
    /// ```
    /// # use std::{sync::Arc, thread, time::Duration};
    /// # use websse::http::HttpServer;
    /// let http = Arc::new(HttpServer::new().bind("127.0.0.1:0")?);
    /// let other = Arc::clone(&http);
    /// thread::spawn(move || other.shutdown(Duration::from_secs(1)));
    /// http.join();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn join(&self) {
        self.services.iter().for_each(|service| service.wait());
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}
