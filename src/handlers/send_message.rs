//! Publishing over HTTP.

use std::{borrow::Cow, sync::Arc};

use crate::{
    broadcast::shared::Shared,
    error::{PublishError, TryPublishError},
    handlers::access::{Action, Authorize, Denied},
    http::{Handler, Hint, Request, Response},
    message::{
        Message,
        fields::{FieldError, Fields},
        json_text::json_string,
        published::Published,
    },
    quoted::Quoted,
    server::{Dropped, Server},
};

impl Server {
    /// Returns the handler that publishes; mount it for POST at any path.
    ///
    /// A message has `event`, `data`, `id`, `retry` (milliseconds) and, if
    /// [clients name it](SendMessageHandler::client_channels), `channel`, each at most once. Without
    /// `data` the data is empty; a request, or one of several messages, without all of these is
    /// refused (400).
    ///
    /// | type of the body | the message |
    /// |---|---|
    /// | none, or `application/x-www-form-urlencoded` | is in the query, in the body, or in both |
    /// | `application/json` | is the body: an object. Data that is not a string is sent as JSON |
    /// | `application/x-ndjson` | one on each line, as above; at most 10,000 |
    /// | any other | has the body, in UTF-8, as its data; the query has the rest |
    ///
    /// JSON needs the feature `json`; without it the status is 415. So it is for a form with files, and
    /// for a body with a `Content-Encoding` other than `identity` (RFC 9110, section 15.5.16).
    ///
    /// Status 200 means that the message was accepted, as by [`publish`](Self::publish). The answer is
    /// the event's id, if the server gives [ids](Published::id), also in the field `Event-Id`. A client
    /// that names `application/json` in `Accept` gets `{"id":"...","listeners":3}`. Status 422 means
    /// that a value [cannot be published](crate::MessageError), or that the body is no such JSON.
    ///
    /// Of several messages all are accepted or, if one is not valid, none. The answer gives their
    /// number and their ids: `{"accepted":2,"ids":["...","..."]}`. Status 504, without `Retry-After`,
    /// says that some of them may be published and which, as
    /// [`PublishAllError`](crate::PublishAllError) does: the server was shut down meanwhile, or
    /// Redis failed.
    ///
    /// ```
    /// # use websse::{Server, http::HttpServer};
    /// # let server = Server::new();
    /// // curl -X POST 'http://127.0.0.1:8080/send?event=news&data=hello'
    /// // curl -d event=news --data-urlencode data@article.txt http://127.0.0.1:8080/send
    /// let http = HttpServer::new().post("/send", server.send_message_handler());
    /// ```
    pub fn send_message_handler(&self) -> SendMessageHandler {
        SendMessageHandler {
            shared: Arc::clone(self.shared()),
            dropped: self.dropped("send_message_handler"),
            authorize: Authorize::default(),
            client_channels: false,
        }
    }
}

/// Publishes messages; made by [`Server::send_message_handler`].
///
/// ```
/// use websse::{Message, Server, http::{Handler, Request}};
/// # use std::time::Duration;
///
/// let server = Server::new();
/// server.register_event("")?;
/// server.run()?;
/// let mut listener = server.subscribe([""])?;
/// let request = Request::new("POST", "/send?data=hello")?;
/// assert_eq!(server.send_message_handler().handle(&request).status(), 200);
/// assert_eq!(listener.next_event(Duration::from_secs(5))?.data(), "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a handler does nothing until it is mounted"]
pub struct SendMessageHandler {
    shared: Arc<Shared>,
    dropped: Dropped,
    authorize: Authorize,
    client_channels: bool,
}

impl SendMessageHandler {
    /// Lets `decide` allow or refuse a message, by [`Action::Publish`]. It runs on the connection's
    /// own thread and may block. If there are several, all must agree: they are called in their
    /// order, and the first refusal is the answer. They are asked about a request that can be read;
    /// any other is refused before, with the reason.
    ///
    /// ```
    /// # use websse::{Action, Denied, Server, http::Request};
    /// # let server = Server::new();
    /// let handler = server.send_message_handler().authorize(|_: &Request, action| match action {
    ///     Action::Publish { event, .. } if event != "staff" => Ok(()),
    ///     _ => Err(Denied::forbidden("for staff only")),
    /// });
    /// ```
    pub fn authorize(
        self,
        decide: impl Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { authorize: self.authorize.and(decide), ..self }
    }

    /// Lets clients name a message's [channel](Message::channel), as `channel`, beside `event`. By
    /// default a message that names one is refused (400).
    pub fn client_channels(self) -> Self {
        Self { client_channels: true, ..self }
    }

    /// Whether an event of this type may be published to this channel.
    fn decide(&self, request: &Request, (event, channel): (&str, &str)) -> Result<(), Response> {
        if !channel.is_empty() && !self.client_channels {
            let text = "clients of this server cannot choose a channel";
            return Err(Response::text(400, text));
        }
        let action = Action::Publish { event, channel };
        self.authorize.decide(request, action).map_err(|denied| denied.response())
    }

    /// The refusal with which the log learns that the server was dropped; once.
    fn refuse_dropped(&self) -> Option<Response> {
        let warning = self.dropped.warning()?;
        Some(refuse(&PublishError::ShutDown).warning(Some(warning)))
    }
}

impl Handler for SendMessageHandler {
    fn handle(&self, request: &Request) -> Response {
        if let Some(coding) = foreign_coding(request) {
            let coding = Quoted(&coding);
            let text =
                format!("the coding {coding} is not read here; send the body without coding");
            return Response::text(415, text).header("Accept-Encoding", "identity");
        }
        if is_json_lines(request) {
            return self.publish_lines(request);
        }
        // Before the decision, which depends on the message.
        let message = match read_message(request) {
            Ok(message) => message,
            Err(response) => return response,
        };
        if let Err(response) = self.decide(request, message.as_ref().map_or(GENERAL, topic_of)) {
            return response;
        }
        let Some(message) = message else { return nothing_to_publish() };
        if let Some(response) = self.refuse_dropped() {
            return response;
        }
        let in_json = wants_json(request);
        let waits = move |shared: Arc<Shared>, message| {
            Response::deferred(move || answer(shared.publish(&message), in_json))
        };
        let answer = if self.shared.publishes_at_once() {
            match self.shared.try_publish(message) {
                Err(TryPublishError::Full(message)) => waits(Arc::clone(&self.shared), message),
                Err(TryPublishError::Refused(error)) => refuse(&error),
                Ok(published) => accept(&published, in_json),
            }
        } else {
            waits(Arc::clone(&self.shared), message)
        };
        if request.header("origin").is_none() {
            return answer;
        }
        // Browsers hide other fields from the pages of other origins (Fetch standard, CORS protocol).
        answer.known_header("Access-Control-Expose-Headers", "Event-Id")
    }

    fn may_block(&self, _: Hint) -> bool {
        self.authorize.asks()
    }
}

/// The most messages in one request: a line of 3 bytes may become some hundred bytes of memory.
#[cfg(feature = "json")]
const MOST_LINES: usize = 10_000;

impl SendMessageHandler {
    #[cfg(feature = "json")]
    fn publish_lines(&self, request: &Request) -> Response {
        if let Err(response) = refuse_query(request) {
            return response;
        }
        let lines = (1..).zip(request.body().split(|&byte| byte == b'\n'));
        let lines = lines.filter(|(_, line)| !line.trim_ascii().is_empty());
        if lines.clone().nth(MOST_LINES).is_some() {
            let text = format!("more than {MOST_LINES} messages; send them in several requests");
            return Response::text(413, text);
        }
        let read = |(at, line)| {
            let refuse = |status, text: &str| Response::text(status, format!("line {at}: {text}"));
            let message = Message::some_from_json(line);
            let message = message.map_err(|error| refuse(422, &error.to_string()))?;
            message.ok_or_else(|| refuse(400, NOTHING))
        };
        let messages: Vec<Message> = match lines.map(read).collect() {
            Ok(messages) => messages,
            Err(response) => return response,
        };
        let mut topics: Vec<(&str, &str)> = messages.iter().map(topic_of).collect();
        topics.sort_unstable();
        topics.dedup();
        let nothing = topics.is_empty().then_some(GENERAL);
        for topic in topics.into_iter().chain(nothing) {
            if let Err(response) = self.decide(request, topic) {
                return response;
            }
        }
        if messages.is_empty() {
            return nothing_to_publish();
        }
        if let Some(response) = self.refuse_dropped() {
            return response;
        }
        let shared = Arc::clone(&self.shared);
        Response::deferred(move || match shared.publish_all(&messages) {
            Ok(published) => {
                let ids: Vec<String> =
                    published.iter().map(|it| json_id(it.id().as_deref())).collect();
                let (accepted, ids) = (ids.len(), ids.join(","));
                let body = format!("{{\"accepted\":{accepted},\"ids\":[{ids}]}}\n");
                json(body)
            }
            // Without a hint to try again: that would publish some twice.
            Err(error) if error.is_partial() => Response::text(504, error.to_string()),
            Err(error) => refuse_as(&error.error, error.to_string()),
        })
    }

    #[cfg(not(feature = "json"))]
    #[expect(clippy::unused_self, reason = "with the feature it is used")]
    fn publish_lines(&self, _: &Request) -> Response {
        Response::text(415, WITHOUT_JSON)
    }
}

/// The topic of a message that names none. What has no message is decided on by it too.
const GENERAL: (&str, &str) = ("message", "");

const NOTHING: &str = "there is nothing to publish; give a message, as in ?data=hello";

fn nothing_to_publish() -> Response {
    Response::text(400, NOTHING)
}

/// The type and the channel of a message.
fn topic_of(message: &Message) -> (&str, &str) {
    (message.event_type(), message.channel_name().unwrap_or_default())
}

fn answer(published: Result<Published, PublishError>, in_json: bool) -> Response {
    published.map_or_else(|error| refuse(&error), |published| accept(&published, in_json))
}

/// Tells the id of an event that was accepted.
fn accept(published: &Published, in_json: bool) -> Response {
    let id = published.id();
    let response = match &id {
        _ if in_json => {
            let (id, listeners) = (json_id(id.as_deref()), published.listeners());
            json(format!("{{\"id\":{id},\"listeners\":{listeners}}}\n"))
        }
        Some(id) => Response::text(200, [id, "\n"].concat()),
        None => Response::new(200),
    };
    match id {
        Some(id) => response.known_header("Event-Id", id),
        None => response,
    }
}

fn json(body: String) -> Response {
    Response::new(200).known_header("Content-Type", "application/json").with_body(body.into_bytes())
}

fn json_id(id: Option<&str>) -> String {
    id.map_or("null".to_owned(), json_string)
}

/// Whether the client names JSON among what it accepts (RFC 9110, section 12.5.1).
fn wants_json(request: &Request) -> bool {
    let mut ranges = request.headers("accept").flat_map(|value| value.split(|&byte| byte == b','));
    ranges.any(|range| {
        let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let is_json =
            parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json"));
        is_json && !parts.any(is_weight_of_zero)
    })
}

/// Whether a parameter says that this is not accepted: `q=0`, or with zeros behind the point.
fn is_weight_of_zero(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', b'0', rest @ ..] => rest.iter().all(|digit| b".0".contains(digit)),
        _ => false,
    }
}

fn refuse(error: &PublishError) -> Response {
    refuse_as(error, error.to_string())
}

fn refuse_as(error: &PublishError, text: String) -> Response {
    match error {
        PublishError::EventNotRegistered(_) | PublishError::Message(_) => Response::text(422, text),
        PublishError::TooLarge { .. } => Response::text(413, text),
        PublishError::TooManyChannels { .. }
        | PublishError::NotRunning
        | PublishError::ShutDown
        | PublishError::OnBroadcaster
        | PublishError::RedisUnavailable(_) => {
            Response::text(503, text).known_header("Retry-After", "1")
        }
        #[cfg(feature = "durable")]
        PublishError::DiskUnavailable(_) => {
            Response::text(503, text).known_header("Retry-After", "1")
        }
        // No `Retry-After`: trying again may publish it twice.
        PublishError::OutcomeUnknown => Response::text(504, text),
    }
}

fn refuse_field(name: &str, error: &FieldError<'_>) -> Response {
    match error {
        FieldError::Unknown => {
            let name = Quoted(name);
            let text = format!(
                "unknown parameter {name}; use event, data, id, retry, channel, as in data=hello, or \
                 send the data itself as text/plain"
            );
            Response::text(400, text)
        }
        FieldError::Repeated => Response::text(400, format!("{name} is given more than once")),
        FieldError::Id(error) => Response::text(422, error.to_string()),
        FieldError::Retry(text) => {
            let text = Quoted(text);
            Response::text(422, format!("retry is a number of milliseconds in digits, not {text}"))
        }
    }
}

/// `None`: there is nothing of a message.
fn read_message(request: &Request) -> Result<Option<Message>, Response> {
    let has_form = request.has_form();
    if !has_form && request.has_type("application/json") && !is_empty(request) {
        return read_json(request);
    }
    let mut fields = Fields::default();
    let mut set =
        |name: &str, value| fields.set(name, value).map_err(|error| refuse_field(name, &error));
    for (name, value) in request.query() {
        set(&name, value)?;
    }
    let not_utf8 = || Response::text(400, "the body is not UTF-8");
    if has_form {
        for (name, value) in request.form().ok_or_else(not_utf8)? {
            set(&name, value)?;
        }
    } else if has_parts(request) {
        let text =
            "multipart forms are not read; send an urlencoded one, or the data as text/plain";
        return Err(Response::text(415, text));
    } else if !request.body().is_empty() {
        let data = std::str::from_utf8(request.body()).map_err(|_| not_utf8())?;
        set("data", Cow::Borrowed(data))?;
    }
    if fields.is_empty() {
        return Ok(None);
    }
    fields.into_message().map(Some).map_err(|error| refuse_field("", &error))
}

#[cfg(feature = "json")]
fn read_json(request: &Request) -> Result<Option<Message>, Response> {
    refuse_query(request)?;
    let message = Message::some_from_json(request.body());
    message.map_err(|error| Response::text(422, error.to_string()))
}

#[cfg(not(feature = "json"))]
fn read_json(_: &Request) -> Result<Option<Message>, Response> {
    Err(Response::text(415, WITHOUT_JSON))
}

#[cfg(not(feature = "json"))]
const WITHOUT_JSON: &str = "JSON is not read here: websse was built without its feature json; send the \
    data as text/plain";

/// A message in JSON has all its fields in the body.
#[cfg(feature = "json")]
fn refuse_query(request: &Request) -> Result<(), Response> {
    request.query().next().map_or(Ok(()), |(name, _)| {
        let text = format!(
            "{} in the query: JSON has all fields of a message; or send the data as text/plain",
            Quoted(&name)
        );
        Err(Response::text(400, text))
    })
}

/// Whether there is nothing at all.
fn is_empty(request: &Request) -> bool {
    request.body().is_empty() && request.query().next().is_none()
}

/// The first coding of the body, other than none.
fn foreign_coding(request: &Request) -> Option<Cow<'_, str>> {
    let codings = request.headers("content-encoding");
    let codings =
        codings.flat_map(|value| value.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let is_none = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    codings.filter(|coding| !is_none(coding)).map(String::from_utf8_lossy).next()
}

/// Whether the body has one message on each line.
fn is_json_lines(request: &Request) -> bool {
    ["application/x-ndjson", "application/jsonl"].iter().any(|kind| request.has_type(kind))
}

/// Whether the body is a form that can carry files; as data nobody would want it.
fn has_parts(request: &Request) -> bool {
    let kind = request.header("content-type").unwrap_or_default();
    kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
}
