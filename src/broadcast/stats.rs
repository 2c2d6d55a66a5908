//! Figures about a running server, and why clients leave it.

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
    /// ([`Builder::mailbox_bytes`](crate::Builder::mailbox_bytes)), or the history had gone past it
    /// before it was replayed.
    Behind,
    /// Its socket accepted nothing for the stall time-out
    /// ([`Builder::stall_timeout`](crate::Builder::stall_timeout)).
    Stalled,
    /// Its socket failed, or it sent a stream of bytes where it should listen.
    Error,
    /// The program disconnected it
    /// ([`Server::disconnect`](crate::Server::disconnect)).
    ClosedByServer,
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
            Disconnect::Shutdown => &mut self.shutdown,
        } += 1;
    }
}

/// What [`Server::stats`](crate::Server::stats) tells.
///
/// ```
/// let stats = websse::Server::new().stats();
/// println!("{} listen, {} of them behind", stats.streams, stats.behind);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Clients that listen over a connection now, those included whose response head is about to
    /// be sent.
    pub streams: usize,
    /// [Subscriptions](crate::Subscription) now.
    pub subscriptions: usize,
    /// Streams for which something waits.
    pub behind: usize,
    /// Messages accepted and not yet taken by the broadcaster.
    pub queued: usize,
    /// Events that the broadcaster took, since the start.
    pub published: u64,
    /// Messages sent [to one client](crate::Server::send_to), since the start.
    pub direct: u64,
    /// Events and such messages handed to a client's socket or mailbox, or tried to, counted for each
    /// client, since the start.
    pub deliveries: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// Clients that came back with the id of an event, since the start.
    pub resumed: u64,
    /// How many of these were told that they have missed something (`stream-gap`).
    pub gaps: u64,
    /// Clients that came and went, since the start, while more than 8192 notices waited for the
    /// [hooks](crate::Builder::on_connect), which were not told of them.
    pub untold: u64,
    /// Clients disconnected since the start, by reason.
    pub disconnected: Disconnected,
    /// Figures of the log that several nodes share, where there is one and the server runs.
    pub log: Option<LogStats>,
}

/// What [`Stats::log`](crate::Stats::log) tells of the log that several nodes share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Whether the log is connected, for publishing and for reading.
    pub connected: bool,
    /// How long ago this node had last read everything; zero while it does.
    pub lag: Duration,
    /// Messages that this node has appended, since the start.
    pub appended: u64,
    /// Messages that the log refused or that it could not be given, since the start.
    pub refused: u64,
    /// Messages of which nobody knows whether the log has them
    /// ([`PublishError::OutcomeUnknown`](crate::PublishError::OutcomeUnknown)), since the start.
    pub outcome_unknown: u64,
    /// Entries read, since the start.
    pub read: u64,
    /// Entries passed over as they are no events, since the start.
    pub malformed: u64,
    /// Entries passed over as their event type is not registered here, since the start.
    pub unknown_types: u64,
    /// How often the reader had to connect again, since the start.
    pub reconnects: u64,
    /// How often this node found that events may be lost, since the start.
    pub breaks: u64,
    /// Clients whose replay is being read from the log now.
    pub returning: usize,
    /// Clients told of a gap while their replay was read from the log, since the start; others are in
    /// [`Stats::gaps`](crate::Stats::gaps).
    pub gaps: u64,
}
