//! The metrics of a running server, and why clients are disconnected.

use std::{fmt, time::Duration};

/// Why a client is no longer served.
///
/// ```
/// # use websse::{Disconnect, Server};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let mut listener = server.subscribe([""])?;
/// server.shutdown(std::time::Duration::from_secs(5));
/// listener.by_ref().for_each(drop);
/// assert_eq!(listener.end_reason(), Some(Disconnect::Shutdown));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disconnect {
    /// The client closed its connection, or dropped its [`Subscription`](crate::Subscription).
    ClosedByPeer,
    /// More waited for it than its budget allows
    /// ([`Builder::mailbox_bytes`](crate::Builder::mailbox_bytes)), or the history dropped events
    /// before they were replayed to it.
    Behind,
    /// Its socket accepted nothing for the stall time-out
    /// ([`Builder::stall_timeout`](crate::Builder::stall_timeout)).
    Stalled,
    /// Its socket failed, or it sent a stream of bytes when it should only listen.
    Error,
    /// The program disconnected it
    /// ([`Server::disconnect`](crate::Server::disconnect)).
    ClosedByServer,
    /// The time until which it might listen was over ([`Channels::until`](crate::Channels::until)).
    Expired,
    /// The server was shut down.
    Shutdown,
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClosedByPeer => "it closed its connection",
            Self::Behind => "it was too far behind",
            Self::Stalled => "it took nothing any more",
            Self::Error => "its connection failed",
            Self::ClosedByServer => "it was disconnected",
            Self::Expired => "its time was over",
            Self::Shutdown => "the server was shut down",
        })
    }
}

/// How many clients were disconnected since the start, by reason.
///
/// ```
/// let ended = websse::Server::new().stats().disconnected;
/// assert_eq!(ended.behind + ended.stalled, 0, "nobody was too slow");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnected {
    /// [`Disconnect::ClosedByPeer`].
    pub closed_by_peer: u64,
    /// [`Disconnect::Behind`].
    pub behind: u64,
    /// [`Disconnect::Stalled`].
    pub stalled: u64,
    /// [`Disconnect::Error`].
    pub error: u64,
    /// [`Disconnect::ClosedByServer`].
    pub closed_by_server: u64,
    /// [`Disconnect::Expired`].
    pub expired: u64,
    /// [`Disconnect::Shutdown`].
    pub shutdown: u64,
}

impl Disconnected {
    pub(crate) fn count(&mut self, reason: Disconnect) {
        *match reason {
            Disconnect::ClosedByPeer => &mut self.closed_by_peer,
            Disconnect::Behind => &mut self.behind,
            Disconnect::Stalled => &mut self.stalled,
            Disconnect::Error => &mut self.error,
            Disconnect::ClosedByServer => &mut self.closed_by_server,
            Disconnect::Expired => &mut self.expired,
            Disconnect::Shutdown => &mut self.shutdown,
        } += 1;
    }
}

/// What [`Server::stats`](crate::Server::stats) returns.
///
/// ```
/// let stats = websse::Server::new().stats();
/// println!("{} listen, {} of them behind", stats.streams, stats.behind);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Clients that listen over a connection now, including those whose response head is about to
    /// be sent.
    pub streams: usize,
    /// [Subscriptions](crate::Subscription) now.
    pub subscriptions: usize,
    /// [Channels](crate::Message::channel) now, without the common one: those to which somebody
    /// listens, of which events are kept, or whose clients may come back.
    pub channels: usize,
    /// Streams for which something waits.
    pub behind: usize,
    /// Messages that were accepted and that the broadcaster has not taken yet.
    pub queued: usize,
    /// Events that the broadcaster has taken, since the start.
    pub published: u64,
    /// Messages sent [to one client](crate::Server::send_to), since the start.
    pub direct_messages: u64,
    /// Deliveries, since the start: each event and each message to one client, counted for each
    /// client whose socket or mailbox it was given to, or tried to.
    pub deliveries: u64,
    /// Bytes of these deliveries.
    pub delivered_bytes: u64,
    /// Clients that came back with the id of an event, since the start.
    pub resumed: u64,
    /// How many of these were told that they missed something (`stream-gap`).
    pub gaps: u64,
    /// Clients that came and went while more than 8192 calls of the
    /// [hooks](crate::Builder::on_connect) were waiting, since the start. No hook was called for
    /// them.
    pub missed_notifications: u64,
    /// Clients disconnected since the start, by reason.
    pub disconnected: Disconnected,
    /// Metrics of the connection to Redis, where several nodes share their events over it and the
    /// server runs.
    pub redis: Option<RedisStats>,
    /// Metrics of the [history on disk](crate::durable), where there is one and the server runs.
    #[cfg(feature = "durable")]
    pub durable: Option<DurableStats>,
}

/// Metrics of a history on disk: [`Stats::durable`](crate::Stats::durable).
#[cfg(feature = "durable")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DurableStats {
    /// Whether the disk took what it was given last.
    pub writable: bool,
    /// Messages accepted, since the start: they were written, or kept [`in_memory`](Self::in_memory).
    pub appended: u64,
    /// Messages that the disk did not take, since the start.
    pub refused: u64,
    /// How often messages were written, all that waited at once, since the start.
    pub commits: u64,
    /// How often the disk was told to keep what it has (`fdatasync`), since the start.
    pub flushes: u64,
    /// What the directory takes at most, in bytes.
    pub disk_bytes: u64,
    /// The segments in it.
    pub segments: usize,
    /// Messages that were accepted though the disk took none, and that it does not have yet; see
    /// [`WhenDiskFails`](crate::durable::WhenDiskFails).
    pub in_memory: usize,
}

/// Metrics of several nodes over Redis: [`Stats::redis`](crate::Stats::redis).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Whether Redis is connected, for publishing and for reading.
    pub connected: bool,
    /// For how long this node has not read everything; zero while it has.
    pub lag: Duration,
    /// Messages that this node has appended, since the start.
    pub appended: u64,
    /// Messages that Redis refused or that could not be sent to it, since the start.
    pub refused: u64,
    /// Messages that may or may not be in its stream
    /// ([`PublishError::OutcomeUnknown`](crate::PublishError::OutcomeUnknown)), since the start.
    pub outcome_unknown: u64,
    /// Entries read, since the start.
    pub read: u64,
    /// Entries skipped because they are not events, since the start.
    pub malformed: u64,
    /// Entries skipped because their event type is not registered here, since the start.
    pub unknown_types: u64,
    /// How often the reader had to connect again, since the start.
    pub reconnects: u64,
    /// How often this node found that events may be lost, since the start.
    pub breaks: u64,
    /// Clients whose replay is being read from Redis now.
    pub returning: usize,
    /// Clients told of a gap while their replay was read from Redis, since the start. Others are
    /// in [`Stats::gaps`](crate::Stats::gaps).
    pub gaps: u64,
}
