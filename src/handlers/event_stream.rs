//! The event stream.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use crate::{
    broadcast::{
        arrival::{Resume, Via},
        per_address::AddressCounts,
        registry::Kind,
        shared::Shared,
    },
    error::SubscribeError,
    handlers::{
        access::{Action, Authorize, Denied},
        parameters::{self, LAST_EVENT_ID},
    },
    http::{Fate, Handler, Request, Response},
    message::{GENERAL, canonical, frame},
    quoted::{Quoted, number},
    server::Server,
};

impl Server {
    /// Returns the handler that streams events; mount it for GET at any path.
    ///
    /// `?event=NAME` chooses an event type. It may be repeated; `*` means all types. Without it the
    /// stream is of the general type. A type that is not registered gets status 400.
    ///
    /// A client that reconnects sends the `Last-Event-ID` header, as browsers do by themselves. One
    /// that cannot set it sends `?last_event_id=`, which may also be written `lastEventId`,
    /// `lastEventID` or `last-event-id`; the header wins. It gets the events that it missed, as long
    /// as they are [kept](crate::Builder::history_events); otherwise a `stream-gap` event reports
    /// the gap. `?replay=N` begins a first connection with the last N events.
    ///
    /// A near miss of these names, such as `events` or `event[]`, gets status 400 with the right
    /// one. Other parameters are ignored.
    ///
    /// If a stream is refused for now only (too many clients, or the server is shut down), the
    /// answer is a stream that gives the reason in a comment and ends. Any status but 200 would
    /// make a browser's `EventSource` give up for good.
    ///
    /// ```
    /// # use websse::{Server, http::HttpServer};
    /// # let server = Server::new();
    /// // curl -N 'http://127.0.0.1:8080/event?event=news&event=weather'
    /// let http = HttpServer::new().get("/event", server.event_stream_handler());
    /// ```
    pub fn event_stream_handler(&self) -> EventStreamHandler {
        EventStreamHandler {
            shared: Arc::clone(self.shared()),
            authorize: Authorize::default(),
            per_address: Vec::new(),
        }
    }
}

/// Streams events; made by [`Server::event_stream_handler`].
///
/// ```
/// use websse::{Server, http::{Handler, Request}};
///
/// let handler = Server::new().event_stream_handler();
/// let unknown = Request::new("GET", "/event?event=unknown").expect("a good target");
/// assert_eq!(handler.handle(&unknown).status(), 500, "there is no connection to stream over");
/// ```
#[derive(Clone, Debug)]
pub struct EventStreamHandler {
    shared: Arc<Shared>,
    authorize: Authorize,
    per_address: Vec<PerAddress>,
}

type AddressOf = dyn Fn(&Request) -> Option<IpAddr> + Send + Sync;

/// A limit for each address.
#[derive(Clone)]
struct PerAddress {
    limit: usize,
    address: Arc<AddressOf>,
    counts: AddressCounts,
}

impl fmt::Debug for PerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerAddress").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl EventStreamHandler {
    /// Lets `decide` allow or refuse a stream, by [`Action::Subscribe`]. It runs on the
    /// connection's own thread and may block. If there are several, all must agree: they are called
    /// in their order, and the first refusal is the answer.
    ///
    /// ```
    /// # use websse::{Action, Denied, Server, http::Request};
    /// # let server = Server::new();
    /// let handler = server.event_stream_handler().authorize(|_: &Request, action| match action {
    ///     Action::Subscribe(types) if !types.contains(&"staff") => Ok(()),
    ///     _ => Err(Denied::forbidden("for staff only")),
    /// });
    /// ```
    pub fn authorize(
        self,
        decide: impl Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { authorize: self.authorize.and(decide), ..self }
    }

    /// Limits each client to `limit` connections at a time; one more is refused for now. `address`
    /// returns the client's address; `None` is not limited. Behind a proxy the peer is the proxy,
    /// and the proxy names the client's address. If there are several limits, all hold: for example
    /// one for each host and one for its network.
    ///
    /// ```
    /// # use websse::{Server, http::{HttpServer, Request}};
    /// # let server = Server::new();
    /// let peer = |request: &Request| request.peer().map(|peer| peer.ip());
    /// let http = HttpServer::new()
    ///     .get("/event", server.event_stream_handler().streams_per_address(6, peer));
    /// ```
    pub fn streams_per_address(
        mut self,
        limit: usize,
        address: impl Fn(&Request) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        let (address, counts) = (Arc::new(address), AddressCounts::default());
        self.per_address.push(PerAddress { limit, address, counts });
        self
    }
}

impl Handler for EventStreamHandler {
    fn handle(&self, request: &Request) -> Response {
        if let Some(text) = parameters::misspelt(request) {
            return Response::text(400, text);
        }
        let names: Vec<Cow<'_, str>> =
            request.query().filter(|(key, _)| key == "event").map(|(_, name)| name).collect();
        let mut types: Vec<&str> = names.iter().map(|name| canonical(name)).collect();
        if types.is_empty() {
            types.push(GENERAL);
        }
        if let Err(denied) = self.authorize.decide(request, Action::Subscribe(&types)) {
            return denied.for_now().map_or_else(|| denied.response(), refuse_for_now);
        }
        let resume = match read_resume(request) {
            Ok(resume) => resume,
            Err(response) => return response,
        };
        match request.fate() {
            Fate::Open => {}
            Fate::Close => return refuse_for_now("no descriptors left"),
            Fate::None => {
                let text = "streaming is not supported: there is no connection to take over";
                return Response::text(500, text);
            }
        }
        let mut address_slot = None;
        for PerAddress { limit, address, counts } in &self.per_address {
            let Some(address) = address(request) else { continue };
            let Some(taken) = counts.take(address, *limit) else {
                return refuse_for_now(&format!("{limit} streams of yours are open already"));
            };
            address_slot = Some(taken.beside(address_slot));
        }
        let mut seat = match self.shared.register(Kind::Stream, types, address_slot) {
            Ok(seat) => seat,
            Err(error @ SubscribeError::EventNotRegistered(_)) => {
                return Response::text(400, error.to_string());
            }
            Err(error) => return refuse_for_now(&error.to_string()),
        };
        seat.peer = request.peer();
        let shared = Arc::clone(&self.shared);
        let admits_at_once = shared.admits_at_once(&resume);
        let answer = move || {
            event_stream().take_over(move |socket, head| {
                // An error means that the client was told, or that the server has ended; the client
                // reconnects.
                let _ = shared.admit(seat, head, resume, Via::Wire(socket));
            })
        };
        if admits_at_once { answer() } else { Response::deferred(answer) }
    }

    fn may_block(&self) -> bool {
        self.authorize.asks() || !self.per_address.is_empty()
    }
}

/// Where the client wants to begin. A browser sends the header when it reconnects. The header wins
/// over the parameter, which is for the first connection.
fn read_resume(request: &Request) -> Result<Resume, Response> {
    let mut resume = Resume::default();
    for (name, value) in request.query() {
        match &*name {
            name if LAST_EVENT_ID.contains(&name) => resume.after(value.into_owned()),
            "replay" => {
                let events: Option<u64> = number(&value);
                let events = events.ok_or_else(|| {
                    let value = Quoted(&value);
                    let text = format!("replay is a number of events in digits, not {value}");
                    Response::text(400, text)
                })?;
                // A number too large for a 32-bit host means all events.
                resume.replay = usize::try_from(events).unwrap_or(usize::MAX);
            }
            _ => {}
        }
    }
    if let Some(id) = request.header("last-event-id") {
        resume.after(String::from_utf8_lossy(id).into_owned());
    }
    Ok(resume)
}

/// The head of every answer after which a client reconnects.
fn event_stream() -> Response {
    Response::new(200)
        .header("Content-Type", "text/event-stream")
        // Proxies and compression would delay events.
        .header("Cache-Control", "no-cache, no-transform")
        .header("X-Accel-Buffering", "no")
}

/// A stream that ends at once, so that the client reconnects later.
fn refuse_for_now(reason: &str) -> Response {
    event_stream()
        .with_body(frame::refusal(reason).into_bytes())
        .refusing(reason.to_owned())
        .close()
}
