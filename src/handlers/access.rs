//! Access control: the embedding program decides what a request may do.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use crate::{
    http::{Request, Response},
    message::MessageError,
};

/// What a request wants to do.
///
/// ```
/// use websse::{Action, Denied, http::Request};
///
/// /// For a handler's `authorize`: everybody may read, and publish in the evening only.
/// fn decide(_: &Request, action: Action<'_>) -> Result<(), Denied> {
///     # let is_evening = || true;
///     match action {
///         Action::Publish { event: "lullaby", .. } if !is_evening() => {
///             Err(Denied::forbidden("too early"))
///         }
///         _ => Ok(()),
///     }
/// }
/// # let request = Request::new("GET", "/").unwrap();
/// # assert_eq!(decide(&request, Action::Stats), Ok(()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action<'a> {
    /// To listen.
    Subscribe {
        /// To these event types; `message` is the general one, `*` all of them.
        events: &'a [&'a str],
        /// In these channels; `""` is the common one, `*` all of them.
        channels: &'a [&'a str],
    },
    /// To publish.
    Publish {
        /// An event of this type; `message` is the general one.
        event: &'a str,
        /// To this channel; `""` is the common one.
        channel: &'a str,
    },
    /// To read the server's stats.
    Stats,
}

/// Why a request is not allowed; it decides the status of the answer.
///
/// ```
/// use websse::{Action, Denied, Server, http::{HttpServer, Request}};
///
/// fn decide(request: &Request, action: Action<'_>) -> Result<(), Denied> {
///     match (action, request.header("authorization")) {
///         (Action::Subscribe { events, .. }, _) if !events.contains(&"staff") => Ok(()),
///         (_, Some(b"Bearer let-me-in")) => Ok(()),
///         (_, Some(_)) => Err(Denied::forbidden("this token is not for that")),
///         (_, None) => Err(Denied::unauthorized("a token is needed")),
///     }
/// }
///
/// let server = Server::new();
/// let http = HttpServer::new()
///     .get("/event", server.event_stream_handler().authorize(decide))
///     .post("/send", server.send_message_handler().authorize(decide));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    kind: Kind,
    reason: Cow<'static, str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Unauthorized,
    Forbidden,
    TryLater(Duration),
}

impl Denied {
    /// The request has no credentials, or none that are valid: status 401, with
    /// `WWW-Authenticate: Bearer`. The reason is the answer's text.
    pub fn unauthorized(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Unauthorized, reason: reason.into() }
    }

    /// The sender is not allowed to do this: status 403.
    pub fn forbidden(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { kind: Kind::Forbidden, reason: reason.into() }
    }

    /// The request is refused for now: status 429, with the time to wait as `Retry-After`. A stream
    /// is refused in a way that lets browsers reconnect by themselves; each line of the reason is a
    /// comment in it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use websse::Denied;
    ///
    /// let denied = Denied::try_later("one message a second, please", Duration::from_secs(1));
    /// # drop(denied);
    /// ```
    pub fn try_later(reason: impl Into<Cow<'static, str>>, after: Duration) -> Self {
        Self { kind: Kind::TryLater(after), reason: reason.into() }
    }

    /// The reason, if the request is refused for now only.
    pub(crate) fn for_now(&self) -> Option<&str> {
        matches!(self.kind, Kind::TryLater(_)).then_some(&self.reason)
    }

    pub(crate) fn response(&self) -> Response {
        let text = |status| Response::text(status, self.reason.clone());
        match self.kind {
            Kind::Unauthorized => text(401).header("WWW-Authenticate", "Bearer"),
            Kind::Forbidden => text(403),
            Kind::TryLater(after) => {
                // Whole seconds (RFC 9110, section 10.2.3), rounded up.
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                text(429).header("Retry-After", seconds.to_string())
            }
        }
    }
}

/// The answer to a request that is denied, for handlers of the program's own.
///
/// ```
/// use websse::{Denied, http::{Request, Response}};
///
/// fn user_of(request: &Request) -> Result<String, Denied> {
///     let user = request.cookie("user").ok_or(Denied::unauthorized("log in first"))?;
///     Ok(user.to_owned())
/// }
/// let page = |request: &Request| match user_of(request) {
///     Ok(user) => Response::text(200, user),
///     Err(denied) => denied.into(),
/// };
/// assert_eq!(page(&Request::new("GET", "/page")?).status(), 401);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl From<Denied> for Response {
    fn from(denied: Denied) -> Self {
        denied.response()
    }
}

/// Forbids what names a channel that there cannot be: status 403.
impl From<MessageError> for Denied {
    fn from(error: MessageError) -> Self {
        Self::forbidden(error.to_string())
    }
}

/// The embedding program's decisions, which must all agree. Without any, everything is allowed.
#[derive(Clone, Default)]
pub(crate) struct Authorize(Vec<Arc<Decide>>);

type Decide = dyn Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync;

impl Authorize {
    /// Adds a decision. If it replaced the earlier ones, a rule would be lost in silence.
    pub(crate) fn and(
        mut self,
        decide: impl Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync + 'static,
    ) -> Self {
        self.0.push(Arc::new(decide));
        self
    }

    /// Whether code of the embedding program must be called.
    pub(crate) fn asks(&self) -> bool {
        !self.0.is_empty()
    }

    /// Asks in the given order, until the first refusal.
    pub(crate) fn decide(&self, request: &Request, action: Action<'_>) -> Result<(), Denied> {
        self.0.iter().try_for_each(|decide| decide(request, action))
    }
}

impl fmt::Debug for Authorize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.asks() { "asks" } else { "allows all" })
    }
}
