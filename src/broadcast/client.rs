//! A client, as the embedding program sees it.

use std::{any::Any, error::Error, fmt, net::SocketAddr};

use crate::{error::PublishError, message::channels::Attached};

/// A client's number, never used twice in one server. A client that comes back gets another one.
///
/// [Hooks](crate::Builder::on_connect) are given it, and
/// [`Subscription::id`](crate::Subscription::id) returns it.
///
/// ```
/// # use websse::Server;
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let (one, other) = (server.subscribe([""])?, server.subscribe([""])?);
/// assert_ne!(one.id(), other.id());
/// let number: u64 = one.id().into();
/// assert_eq!(one.id().to_string(), number.to_string());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

/// Its number: of all clients of a server, those that came later have higher ones.
impl From<ClientId> for u64 {
    fn from(ClientId(number): ClientId) -> Self {
        number
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client that listens, or did. [Hooks](crate::Builder::on_connect) are given it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// For sending the client a message, or for disconnecting it.
    pub id: ClientId,
    /// The address that its connection comes from; behind a proxy, the proxy's. `None` for a
    /// Unix-domain socket or a [`Subscription`](crate::Subscription).
    pub peer: Option<SocketAddr>,
    /// The event types that it listens to, sorted by name. `message` is the general type, `*`
    /// stands for all types.
    pub events: Vec<String>,
    /// The id of the last event that it received, over an earlier connection.
    pub last_event_id: Option<String>,
    /// The channels that it listens to, sorted by name. `""` is the common channel, `*` stands for
    /// all channels.
    pub channels: Vec<String>,
    pub(crate) attached: Attached,
}

impl Client {
    /// The value that the program [attached](crate::Channels::attach) to this client's channels, if
    /// it is of this type.
    ///
    /// ```
    /// use websse::{Channels, Server};
    ///
    /// struct User(u32);
    /// let server = Server::builder().on_connect(|_, client| {
    ///     if let Some(User(number)) = client.attached() {
    ///         println!("user {number} is there, in {:?}", client.channels);
    ///     }
    /// });
    /// # let _ = server;
    /// ```
    pub fn attached<T: Any>(&self) -> Option<&T> {
        self.attached.0.as_ref()?.downcast_ref()
    }
}

/// [`Server::send_to`](crate::Server::send_to) did not accept a message. The client does not get
/// it.
///
/// ```
/// # use websse::{Message, SendToError, Server};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let client = server.subscribe([""])?;
/// let refused = server.send_to(client.id(), Message::new("").event("two\nlines"));
/// assert!(matches!(refused, Err(SendToError::Refused(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendToError {
    /// There is no such client; most often it has left.
    UnknownClient(ClientId),
    /// The message would not be published either, or it has an id
    /// ([`MessageError::IdToOne`](crate::MessageError::IdToOne)).
    Refused(PublishError),
}

impl fmt::Display for SendToError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownClient(client) => UnknownClient(*client).fmt(f),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl Error for SendToError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::UnknownClient(_) => None,
            Self::Refused(error) => error.source(),
        }
    }
}

/// [`Server::disconnect`](crate::Server::disconnect) finds no such client; most often it has left.
///
/// ```
/// # use websse::{Server, UnknownClient};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let client = server.subscribe([""])?.id();
/// server.shutdown(std::time::Duration::from_secs(5));
/// let refused: UnknownClient = server.disconnect(client).unwrap_err();
/// assert_eq!(refused.client(), client);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownClient(pub(crate) ClientId);

impl UnknownClient {
    /// The client that is not there.
    pub fn client(self) -> ClientId {
        self.0
    }
}

impl fmt::Display for UnknownClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no client {}; it may have left", self.0)
    }
}

impl Error for UnknownClient {}
