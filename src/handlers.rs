//! The two handlers: the event stream, and publishing over HTTP.

use std::{
    borrow::Cow,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use crate::{
    access::{Action, Authorize, Denied},
    audience::{Resume, Via},
    error::{MessageError, PublishError, SubscribeError, TryPublishError},
    http::{Fate, Handler, Request, Response},
    hub::Hub,
    message::{EventId, GENERAL, Message, canonical},
    registry::Kind,
    server::Server,
};

impl Server {
    /// The handler that streams events, to be mounted for GET at any path.
    ///
    /// `?event=NAME` chooses an event type; it may come several times, and `*` means all types.
    /// Without it the stream is of the general type. A type that is not registered gets status 400.
    ///
    /// A client that comes back with the `Last-Event-ID` header, as browsers do by themselves, or
    /// with `?last_event_id=`, gets what it has missed, as long as it is
    /// [kept](crate::Builder::history_events); else a `stream-gap` event tells it. `?replay=N`
    /// begins a first connection with the last N events.
    ///
    /// Where the stream is refused for now only (too many clients, or the server is shut down), the
    /// answer is a stream that says why in a comment and ends: any status but 200 would make a
    /// browser's `EventSource` give up for good.
    ///
    /// ```
    /// # use websse::{Server, http::HttpServer};
    /// # let server = Server::new();
    /// // curl -N 'http://127.0.0.1:8080/event?event=news&event=weather'
    /// let http = HttpServer::new().get("/event", server.event_stream_handler());
    /// ```
    pub fn event_stream_handler(&self) -> EventStreamHandler {
        EventStreamHandler { hub: Arc::clone(self.hub()), authorize: Authorize::default() }
    }

    /// The handler that publishes, to be mounted for POST at any path.
    ///
    /// `event`, `data`, `id` and `retry` (milliseconds) come in the query, in an
    /// `application/x-www-form-urlencoded` body, or in both, each once; without data it is empty. A
    /// body of any other type is the data itself, in UTF-8, JSON as well. Status 200 means that the message was accepted, as
    /// [`publish`](Self::publish) means it.
    ///
    /// ```
    /// # use websse::{Server, http::HttpServer};
    /// # let server = Server::new();
    /// // curl -X POST 'http://127.0.0.1:8080/send?event=news&data=hello'
    /// // curl -d event=news --data-urlencode data@article.txt http://127.0.0.1:8080/send
    /// let http = HttpServer::new().post("/send", server.send_message_handler());
    /// ```
    pub fn send_message_handler(&self) -> SendMessageHandler {
        SendMessageHandler { hub: Arc::clone(self.hub()), authorize: Authorize::default() }
    }
}

/// Streams events; made by [`Server::event_stream_handler`].
#[derive(Clone, Debug)]
pub struct EventStreamHandler {
    hub: Arc<Hub>,
    authorize: Authorize,
}

impl EventStreamHandler {
    /// Lets `decide` say who may listen to what, by [`Action::Subscribe`]. It runs on the
    /// connection's own thread, and may take its time.
    pub fn authorize(
        self,
        decide: impl Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { authorize: Authorize::new(decide), ..self }
    }
}

impl Handler for EventStreamHandler {
    fn handle(&self, request: &Request) -> Response {
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
        let seat = match self.hub.register(Kind::Stream, types) {
            Ok(seat) => seat,
            Err(error @ SubscribeError::EventNotRegistered(_)) => {
                return Response::text(400, error.to_string());
            }
            Err(error) => return refuse_for_now(&error.to_string()),
        };
        let hub = Arc::clone(&self.hub);
        event_stream().take_over(move |socket, head| {
            // Refused only where the server has ended meanwhile; the client comes back.
            let _ = hub.seat(seat, head, resume, Via::Wire(socket));
        })
    }

    fn may_block(&self) -> bool {
        self.authorize.asks()
    }
}

/// Where the client wants to begin. The header comes when a browser reconnects, and wins over the
/// parameter, which is for the first connection.
fn read_resume(request: &Request) -> Result<Resume, Response> {
    let mut resume = Resume::default();
    for (name, value) in request.query() {
        match &*name {
            "last_event_id" => resume.after(value.into_owned()),
            "replay" => {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let events = digits.then(|| value.parse().ok()).flatten();
                resume.replay = events.ok_or_else(|| {
                    let text = format!("replay is a number of events in digits, not {value:?}");
                    Response::text(400, text)
                })?;
            }
            _ => {}
        }
    }
    if let Some(id) = request.header("last-event-id") {
        resume.after(String::from_utf8_lossy(id).into_owned());
    }
    Ok(resume)
}

/// The head of every answer on the stream endpoint that a client shall come back from.
fn event_stream() -> Response {
    Response::new(200)
        .header("Content-Type", "text/event-stream")
        // Proxies and compression would hold events back.
        .header("Cache-Control", "no-cache, no-transform")
        .header("X-Accel-Buffering", "no")
}

/// A stream that says why it ends, and when to come back: at a random time, so that clients that
/// were refused together do not come back together.
fn refuse_for_now(reason: &str) -> Response {
    let random = RandomState::new().hash_one(0);
    let retry = 2000 + random % 8000;
    event_stream().with_body(format!(": {reason}\nretry: {retry}\n\n").into_bytes()).close()
}

/// Publishes messages; made by [`Server::send_message_handler`].
#[derive(Clone, Debug)]
pub struct SendMessageHandler {
    hub: Arc<Hub>,
    authorize: Authorize,
}

impl SendMessageHandler {
    /// Lets `decide` say who may publish what, by [`Action::Publish`]. It runs on the connection's
    /// own thread, and may take its time.
    pub fn authorize(
        self,
        decide: impl Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { authorize: Authorize::new(decide), ..self }
    }
}

impl Handler for SendMessageHandler {
    fn handle(&self, request: &Request) -> Response {
        let message = match read_message(request) {
            Ok(message) => message,
            Err(response) => return response,
        };
        if let Err(denied) = self.authorize.decide(request, Action::Publish(message.event_type())) {
            return denied.response();
        }
        match self.hub.try_publish(message) {
            Ok(()) => Response::new(200),
            Err(TryPublishError::Refused(error)) => refuse(&error),
            Err(TryPublishError::Full(message)) => {
                let hub = Arc::clone(&self.hub);
                Response::deferred(move || match hub.publish(&message) {
                    Ok(()) => Response::new(200),
                    Err(error) => refuse(&error),
                })
            }
        }
    }

    fn may_block(&self) -> bool {
        self.authorize.asks()
    }
}

fn refuse(error: &PublishError) -> Response {
    match error {
        PublishError::EventNotRegistered(_) | PublishError::Message(_) => {
            Response::text(422, error.to_string())
        }
        PublishError::TooLarge { .. } => Response::text(413, error.to_string()),
        PublishError::NotRunning | PublishError::ShutDown | PublishError::OnBroadcaster => {
            Response::text(503, error.to_string()).header("Retry-After", "1")
        }
    }
}

/// The parameters of a message, each given once at most.
#[derive(Default)]
struct Parameters<'r> {
    event: Option<Cow<'r, str>>,
    data: Option<Cow<'r, str>>,
    id: Option<Cow<'r, str>>,
    retry: Option<Cow<'r, str>>,
}

impl<'r> Parameters<'r> {
    fn set(&mut self, name: &str, value: Cow<'r, str>) -> Result<(), Response> {
        let parameter = match name {
            "event" => &mut self.event,
            "data" => &mut self.data,
            "id" => &mut self.id,
            "retry" => &mut self.retry,
            _ => {
                let text = format!(
                    "unknown parameter {name:?}; use event, data, id, retry, as in data=hello, or send \
                     the data itself as text/plain"
                );
                return Err(Response::text(400, text));
            }
        };
        if parameter.replace(value).is_some() {
            return Err(Response::text(400, format!("{name} is given more than once")));
        }
        Ok(())
    }
}

fn read_message(request: &Request) -> Result<Message, Response> {
    let mut parameters = Parameters::default();
    for (name, value) in request.query() {
        parameters.set(&name, value)?;
    }
    let not_utf8 = || Response::text(400, "the body is not UTF-8");
    if request.has_form() {
        for (name, value) in request.form().ok_or_else(not_utf8)? {
            parameters.set(&name, value)?;
        }
    } else if has_parts(request) {
        let text =
            "multipart forms are not read; send an urlencoded one, or the data as text/plain";
        return Err(Response::text(415, text));
    } else if !request.body().is_empty() {
        let data = std::str::from_utf8(request.body()).map_err(|_| not_utf8())?;
        parameters.set("data", Cow::Borrowed(data))?;
    }
    let Parameters { event, data, id, retry } = parameters;
    let mut message = Message::new(data.unwrap_or_default()).event(event.unwrap_or_default());
    // An empty id is none: clients would take it as the order to forget the last one.
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        let refused = |error: MessageError| Response::text(422, error.to_string());
        message = message.id(EventId::new(id).map_err(refused)?);
    }
    if let Some(retry) = retry {
        message = message.retry(read_retry(&retry)?);
    }
    Ok(message)
}

/// Whether the body is a form of the kind that carries files; as data it would be nobody's wish.
fn has_parts(request: &Request) -> bool {
    let kind = request.header("content-type").unwrap_or_default();
    kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
}

/// Digits only, as clients read it (HTML standard, 9.2.6); Rust's own parser would take `+5`.
fn read_retry(text: &str) -> Result<std::time::Duration, Response> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let millis = digits.then(|| text.parse().ok()).flatten();
    millis.map(std::time::Duration::from_millis).ok_or_else(|| {
        Response::text(422, format!("retry is a number of milliseconds in digits, not {text:?}"))
    })
}
