//! The event stream.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use crate::{
    broadcast::{
        arrival::{Form, Replay, Resume, Via},
        per_address::AddressCounts,
        registry::Kind,
        shared::Shared,
    },
    decimal::number,
    error::SubscribeError,
    handlers::{
        access::{Action, Authorize, Denied},
        parameters,
    },
    http::{Fate, Handler, Hint, Request, Response},
    message::{
        GENERAL, canonical,
        channels::Channels,
        frame::{Coding, Own},
    },
    quoted::Quoted,
    server::{Dropped, Server},
};

impl Server {
    /// Returns the handler that streams events; mount it for GET at any path.
    ///
    /// `?event=NAME` chooses an event type. It may be repeated; `*` means all types. Without it the
    /// stream is of the general type. A type that is not registered gets status 400, and so do more
    /// types than [`types_per_stream`](EventStreamHandler::types_per_stream).
    ///
    /// A client that reconnects sends the `Last-Event-ID` header, as browsers do by themselves. One
    /// that cannot set it sends `?last_event_id=`, which may also be written `lastEventId`,
    /// `lastEventID` or `last-event-id`; the header wins. It gets the events that it missed, as long
    /// as they are [kept](crate::Builder::history_events); otherwise a `stream-gap` event reports
    /// the gap. `?replay=N` begins a first connection with the last N events, `?replay=each` with
    /// the last event of each type in each of its channels.
    ///
    /// A near miss of these names, such as `events` or `event[]`, gets status 400 with the right
    /// one. Other parameters are ignored.
    ///
    /// `?heartbeat=SECONDS` asks for a comment after less silence than the server's own
    /// [heartbeat](crate::Builder::heartbeat), for clients that give up early. `?stream-open=1` or `0`
    /// says how the stream begins; see [`stream_open`](EventStreamHandler::stream_open).
    ///
    /// The body is chunked, so that clients see whether it was cut; it never ends of itself. Requests
    /// by HTTP/1.0, or with `Connection: close`, get a body that ends with the connection.
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
            dropped: self.dropped("event_stream_handler"),
            authorize: Authorize::default(),
            per_address: Vec::new(),
            stream_open: None,
            types_per_stream: TYPES_PER_STREAM,
            channels: ChannelsOf::Common,
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
#[must_use = "a handler does nothing until it is mounted"]
pub struct EventStreamHandler {
    shared: Arc<Shared>,
    dropped: Dropped,
    authorize: Authorize,
    per_address: Vec<PerAddress>,
    stream_open: Option<bool>,
    types_per_stream: usize,
    channels: ChannelsOf,
}

/// To which channels a client listens.
#[derive(Clone)]
enum ChannelsOf {
    Common,
    /// The client names them.
    Client,
    /// The client names them, and the program grants them.
    Granted(Arc<GrantChannels>),
    Decided(Arc<DecideChannels>),
}

type GrantChannels = dyn Fn(&Request, Channels) -> Result<Channels, Denied> + Send + Sync;
type DecideChannels = dyn Fn(&Request) -> Result<Channels, Denied> + Send + Sync;

impl fmt::Debug for ChannelsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Common => "the common one",
            Self::Client => "by the client",
            Self::Granted(_) => "by the client and the program",
            Self::Decided(_) => "by the program",
        })
    }
}

/// The default of [`EventStreamHandler::types_per_stream`].
const TYPES_PER_STREAM: usize = 100;

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
    /// Lets `decide` allow or refuse a stream, by [`Action::Subscribe`]. Its channels are decided
    /// before. It runs on the
    /// connection's own thread and may block. If there are several, all must agree: they are called
    /// in their order, and the first refusal is the answer.
    ///
    /// ```
    /// # use websse::{Action, Denied, Server, http::Request};
    /// # let server = Server::new();
    /// let handler = server.event_stream_handler().authorize(|_: &Request, action| match action {
    ///     Action::Subscribe { events, .. } if !events.contains(&"staff") => Ok(()),
    ///     _ => Err(Denied::forbidden("for staff only")),
    /// });
    /// ```
    pub fn authorize(
        self,
        decide: impl Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { authorize: self.authorize.and(decide), ..self }
    }

    /// Whether a stream begins with an event `stream-open`, where the client does not say so by
    /// `?stream-open=`. Default: yes for browsers, by their `User-Agent`, as some of them note an id
    /// only in a block with data; no for others, of which some would hand the event out.
    pub fn stream_open(self, stream_open: bool) -> Self {
        Self { stream_open: Some(stream_open), ..self }
    }

    /// Lets `decide` say to which channels a client listens, by its session for example. It runs on
    /// the connection's own thread and may block. By default clients listen to the common channel.
    ///
    /// ```
    /// # use websse::{Channels, Denied, Server, http::Request};
    /// # let server = Server::new();
    /// # fn user_of(_: &Request) -> Option<u32> { None }
    /// // Each user hears what is for all, and what is for this user.
    /// let handler = server.event_stream_handler().channels(|request| {
    ///     let user = user_of(request).ok_or(Denied::unauthorized("log in first"))?;
    ///     let channels = Channels::new([String::new(), format!("user/{user}")]);
    ///     channels.map_err(Denied::from)
    /// });
    /// ```
    pub fn channels(
        self,
        decide: impl Fn(&Request) -> Result<Channels, Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { channels: ChannelsOf::Decided(Arc::new(decide)), ..self }
    }

    /// Lets clients name their channels by `?channel=NAME`, which may be repeated. An empty name is
    /// the common channel, which is also the default; `*` means all. `authorize` can restrict it.
    /// [`types_per_stream`](Self::types_per_stream) is the limit for these names as well.
    pub fn client_channels(self) -> Self {
        Self { channels: ChannelsOf::Client, ..self }
    }

    /// As [`client_channels`](Self::client_channels), and `grant` decides to which of the channels
    /// that a client named it listens. It can also [attach](Channels::attach) a value, or say
    /// [how long](Channels::until). It runs on the connection's own thread and may block.
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use websse::{Channels, Denied, Server, http::Request};
    /// # let server = Server::new();
    /// # fn session_of(_: &Request) -> Option<(u32, SystemTime)> { None }
    /// // A page names the rooms that it shows, until its session ends.
    /// let handler = server.event_stream_handler().grant_channels(|request, named: Channels| {
    ///     let (_, until) = session_of(request).ok_or(Denied::unauthorized("log in first"))?;
    ///     let is_room = |name: &&str| name.starts_with("room/");
    ///     if !named.names().iter().all(is_room) {
    ///         return Err(Denied::forbidden("rooms only"));
    ///     }
    ///     Ok(named.until(until))
    /// });
    /// ```
    pub fn grant_channels(
        self,
        grant: impl Fn(&Request, Channels) -> Result<Channels, Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { channels: ChannelsOf::Granted(Arc::new(grant)), ..self }
    }

    /// How many types a stream may name; a request that names more is refused (400). Default: 100.
    /// Each takes some 20 bytes as long as the stream is open. `*` names none.
    ///
    /// ```
    /// # let server = websse::Server::new();
    /// let handler = server.event_stream_handler().types_per_stream(500);
    /// ```
    pub fn types_per_stream(self, types_per_stream: usize) -> Self {
        Self { types_per_stream, ..self }
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
        let form = match self.read_form(request) {
            Ok(form) => form,
            Err(response) => return response,
        };
        let refuse_for_now = |reason: &str| refuse_for_now(form.own, reason);
        let names: Vec<Cow<'_, str>> =
            request.query().filter(|(key, _)| key == "event").map(|(_, name)| name).collect();
        let mut types: Vec<&str> = names.iter().map(|name| canonical(name)).collect();
        if types.is_empty() {
            types.push(GENERAL);
        }
        let deny =
            |denied: Denied| denied.for_now().map_or_else(|| denied.response(), &refuse_for_now);
        let channels = match self.read_channels(request) {
            Ok(channels) => channels,
            Err(NoChannels::Bad(response)) => return response,
            Err(NoChannels::Denied(denied)) => return deny(denied),
        };
        let action = Action::Subscribe { events: &types, channels: &channels.names() };
        if let Err(denied) = self.authorize.decide(request, action) {
            return deny(denied);
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
        let mut seat = match self.shared.register(Kind::Stream, types, &channels, address_slot) {
            Ok(seat) => seat,
            Err(error @ SubscribeError::EventNotRegistered(_)) => {
                return Response::text(400, error.to_string());
            }
            Err(error) => {
                return refuse_for_now(&error.to_string()).warning(self.dropped.warning());
            }
        };
        let (count, limit) = (seat.subscribed.types.named().len(), self.types_per_stream);
        if count > limit {
            let text = format!("a stream names at most {limit} types, not {count}; * means all");
            return Response::text(400, text);
        }
        seat.peer = request.peer();
        let shared = Arc::clone(&self.shared);
        let admits_at_once = shared.admits_at_once(&resume);
        let answer = move || {
            Response::event_stream().take_over(move |socket, head| {
                // An error means that the client was told, or that the server has ended; the client
                // reconnects.
                let _ = shared.admit(seat, head, form, resume, Via::Wire(socket));
            })
        };
        if admits_at_once { answer() } else { Response::deferred(answer) }
    }

    fn may_block(&self, _: Hint) -> bool {
        let decides = matches!(self.channels, ChannelsOf::Decided(_) | ChannelsOf::Granted(_));
        self.authorize.asks() || decides || !self.per_address.is_empty()
    }
}

/// A request does not get channels.
enum NoChannels {
    Bad(Response),
    Denied(Denied),
}

impl EventStreamHandler {
    /// To which channels the client listens.
    fn read_channels(&self, request: &Request) -> Result<Channels, NoChannels> {
        let bad = |text: String| NoChannels::Bad(Response::text(400, text));
        let named = || request.query().filter(|(key, _)| key == "channel").map(|(_, name)| name);
        let by_client = || match (named().count(), self.types_per_stream) {
            (0, _) => Ok(Channels::default()),
            (count, limit) if count > limit => {
                Err(bad(format!("a stream names at most {limit} channels, not {count}")))
            }
            _ => Channels::new(named()).map_err(|error| bad(error.to_string())),
        };
        match &self.channels {
            ChannelsOf::Decided(decide) => decide(request).map_err(NoChannels::Denied),
            ChannelsOf::Common if named().next().is_some() => {
                Err(bad("clients of this server cannot choose a channel".to_owned()))
            }
            ChannelsOf::Common => Ok(Channels::default()),
            ChannelsOf::Client => by_client(),
            ChannelsOf::Granted(grant) => grant(request, by_client()?).map_err(NoChannels::Denied),
        }
    }

    /// How the stream is written: by what the client is, and what it asks for.
    fn read_form(&self, request: &Request) -> Result<Form, Response> {
        let refuse = |name, what, value: &str| {
            Response::text(400, format!("{name} is {what}, not {}", Quoted(value)))
        };
        let coding = if request.takes_chunks() { Coding::Chunked } else { Coding::Plain };
        let (mut stream_open, mut heartbeat) = (self.stream_open, 0);
        for (name, value) in request.query() {
            match (&*name, &*value) {
                ("stream-open", "1") => stream_open = Some(true),
                ("stream-open", "0") => stream_open = Some(false),
                ("stream-open", other) => return Err(refuse("stream-open", "1 or 0", other)),
                ("heartbeat", text) => {
                    let seconds: Option<u64> = number(text).filter(|&seconds| seconds > 0);
                    let what = "a number of seconds in digits, at least 1";
                    let seconds = seconds.ok_or_else(|| refuse("heartbeat", what, text))?;
                    // More than the server's own has no effect.
                    heartbeat = u16::try_from(seconds).unwrap_or(u16::MAX);
                }
                _ => {}
            }
        }
        // Every browser's begins so. `Sec-Fetch-Mode` does not tell: Node's fetch sends it too.
        let is_browser =
            || request.header("user-agent").is_some_and(|it| it.starts_with(b"Mozilla/"));
        let is_event = stream_open.unwrap_or_else(is_browser);
        Ok(Form { coding, own: if is_event { Own::Event } else { Own::Lines }, heartbeat })
    }
}

/// Where the client wants to begin. A browser sends the id when it reconnects; `replay` is for the
/// first connection.
fn read_resume(request: &Request) -> Result<Resume, Response> {
    let mut resume = Resume::default();
    for (_, value) in request.query().filter(|(name, _)| name == "replay") {
        if value == "each" {
            resume.replay = Replay::Each;
            continue;
        }
        let events: Option<u64> = number(&value);
        let events = events.ok_or_else(|| {
            let value = Quoted(&value);
            let text = format!("replay is a number of events in digits, or each; not {value}");
            Response::text(400, text)
        })?;
        // A number too large for a 32-bit host means all events.
        resume.replay = Replay::Last(usize::try_from(events).unwrap_or(usize::MAX));
    }
    if let Some(id) = request.last_event_id() {
        resume.after(id.into_owned());
    }
    Ok(resume)
}

/// A stream that ends at once, so that the client reconnects later.
fn refuse_for_now(own: Own, reason: &str) -> Response {
    let body = own.refusal(reason).into_bytes();
    Response::event_stream().with_body(body).refusing(reason.to_owned()).cut()
}
