//! A log outside of memory, as the core sees it: a publish goes to the log, and the log's reader
//! feeds the broadcaster. The core knows only the trait [`Log`], not the kind of log.
//!
//! A build without such a log has the same names from `absent`, so that the compiler leaves out
//! everything that concerns a log.

#[cfg(not(any(feature = "outside-log", test)))]
#[allow(clippy::needless_pass_by_value, clippy::unused_self, reason = "it stands for a log")]
mod absent;
#[cfg(any(feature = "outside-log", test))]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "other logs need less"))]
pub(crate) mod input;
#[cfg(any(feature = "outside-log", test))]
pub(crate) mod steps;

use std::{fmt::Debug, io, sync::Arc, time::Instant};

#[cfg(not(any(feature = "outside-log", test)))]
pub(crate) use self::absent::{EntryId, FromLog, KnownLog, LogInput, Question, StepReceiver};
#[cfg(feature = "durable")]
pub(crate) use self::input::Kept;
#[cfg(any(feature = "outside-log", test))]
pub(crate) use self::input::{Entry, FromLog, LogInput, Question, Step};
#[cfg(any(feature = "outside-log", test))]
pub(crate) use self::steps::StepReceiver;
#[cfg(any(feature = "outside-log", test))]
pub(crate) use crate::{
    broadcast::history::from_log::{KnownLog, Lack},
    message::entry_id::EntryId,
};
use crate::{
    broadcast::{arrival::Arrival, inbox::Refused, stats::Stats},
    error::{PublishError, SubscribeError},
    message::Message,
    socket::Socket,
};

/// An open log. Its threads feed the broadcaster through the [`LogInput`] that it was given.
pub(crate) trait Log: Debug + Send + Sync {
    /// Appends messages in their order; waits for room. Returns when the log has acknowledged them.
    /// Appends none behind one that was refused. Returns the entries that they became.
    fn append(&self, messages: &[Message]) -> Result<Vec<EntryId>, NotAppended>;

    /// Like [`append`](Self::append) for one message, but does not wait for room.
    fn try_append(&self, message: &Message) -> Result<EntryId, Refused>;

    /// Hands a client over to the broadcaster; waits until it can. Sends the client first what the
    /// history does not reach back to.
    fn admit(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError>;

    /// Whether the history has all that the log has, once clients are admitted: then one that comes
    /// back need not wait.
    fn is_all_in_history(&self) -> bool;

    /// Whether the log would accept a message now, and serve a client that comes back. If not, or
    /// if it does not answer by `until`, the error says why, in a line that anybody may read; so does
    /// the answer.
    fn is_ready(&self, until: Instant) -> Result<String, String>;

    /// Adds the log's metrics now.
    fn add_to(&self, stats: &mut Stats);

    /// Appends nothing more, reads until all that this node has appended is read, or until
    /// `deadline`, and ends the threads. A second call may shorten the deadline.
    fn stop(&self, deadline: Instant);
}

/// How to open a log. It is one of a server's options.
pub(crate) trait LogFactory: Debug + Send + Sync {
    #[cfg_attr(not(any(feature = "outside-log", test)), expect(dead_code, reason = "no log opens"))]
    /// Starts the log's threads. Does not wait for anything outside of the process.
    fn open(&self, input: LogInput) -> io::Result<Arc<dyn Log>>;
}

/// Not all messages of a call were appended.
#[derive(Debug)]
pub(crate) struct NotAppended {
    /// The first message that was not appended, as far as is known. Those before it were.
    pub(crate) index: usize,
    /// How many messages from there on may have been appended. None behind these was.
    pub(crate) unknown: usize,
    pub(crate) error: PublishError,
}
