//! A log outside of memory, as the core sees it: a publish goes to the log, and the log's reader
//! feeds the broadcaster. What kind of log it is stays behind [`Log`].
//!
//! A build without such a log has the same names from `absent`, so that the compiler leaves out all
//! that is done with it.

#[cfg(not(any(feature = "outside-log", test)))]
mod absent;
#[cfg(any(feature = "outside-log", test))]
#[cfg_attr(not(feature = "outside-log"), allow(dead_code, reason = "the fake needs less"))]
pub(crate) mod input;

use std::{fmt::Debug, io, sync::Arc, time::Instant};

#[cfg(not(any(feature = "outside-log", test)))]
pub(crate) use self::absent::{EntryId, FromLog, KnownLog, LogInput, Step};
#[cfg(any(feature = "outside-log", test))]
pub(crate) use self::input::{Entry, FromLog, LogInput, Step};
#[cfg(any(feature = "outside-log", test))]
pub(crate) use crate::{
    broadcast::history::from_log::{KnownLog, Lack},
    message::entry_id::EntryId,
};
use crate::{
    broadcast::{arrival::Arrival, inbox::Refused, stats::LogStats},
    error::{PublishError, SubscribeError},
    message::Message,
    socket::Socket,
};

/// A log that is open. Its threads feed the broadcaster by the [`LogInput`] that it was given.
pub(crate) trait Log: Debug + Send + Sync {
    /// Appends messages in their order, and returns when the log has them; waits for room. Appends
    /// none behind one that was refused.
    fn append(&self, messages: &[Message]) -> Result<(), NotAppended>;

    /// As [`append`](Self::append) for one message, but does not wait for room.
    fn try_append(&self, message: &Message) -> Result<(), Refused>;

    /// Brings a client to the broadcaster, which it may have to wait for; sends it first what the
    /// history does not reach back to.
    fn admit(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError>;

    /// Whether the log would take a message now, and serve a client that comes back; if not, or if
    /// it does not tell by `until`, why, in a line for anybody.
    fn is_ready(&self, until: Instant) -> Result<(), String>;

    /// The figures of this moment.
    fn stats(&self) -> LogStats;

    /// Appends nothing more, reads until what this node has appended was read or until `deadline`,
    /// and ends the threads. A second call may shorten the deadline.
    fn stop(&self, deadline: Instant);
}

/// How to open a log; part of a server's options.
pub(crate) trait LogFactory: Debug + Send + Sync {
    #[cfg_attr(not(any(feature = "outside-log", test)), expect(dead_code, reason = "no log opens"))]
    /// Starts the log's own threads. Does not wait for anything outside of the process.
    fn open(&self, input: LogInput) -> io::Result<Arc<dyn Log>>;
}

/// Messages that were not all appended.
#[derive(Debug)]
pub(crate) struct NotAppended {
    /// The first that was not, as far as is known, and why. Those before it were.
    pub(crate) index: usize,
    /// How many, from there on, may have been appended. None behind these was.
    pub(crate) unknown: usize,
    pub(crate) error: PublishError,
}
