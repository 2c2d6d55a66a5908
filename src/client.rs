//! Who listens, as an embedding program sees it.

use std::{fmt, net::SocketAddr};

/// A client's number, never used twice in one server. A client that comes back is another one.
///
/// [Hooks](crate::Builder::on_connect) are told it, and [`Subscription::id`](crate::Subscription::id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(crate) u64);

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client that listens, or did: what [hooks](crate::Builder::on_connect) are told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// To send it a message, or to disconnect it.
    pub id: ClientId,
    /// Where its connection comes from: of a client behind a proxy, the proxy. None for a
    /// Unix-domain socket or a [`Subscription`](crate::Subscription).
    pub peer: Option<SocketAddr>,
    /// The event types that it listens to, in the order of their names; `message` is the general
    /// one, `*` stands for all.
    pub events: Vec<String>,
    /// The id of the last event that it had when it came, from an earlier connection.
    pub last_event_id: Option<String>,
}
