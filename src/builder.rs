//! Limits and times of a server.

use std::time::Duration;

use crate::{audience::AudienceLimits, history::HistoryLimits, inbox::QueueLimits};

const MIB: usize = 1024 * 1024;

/// Sets a server's limits before it is made; [`Server::builder`](crate::Server::builder) starts from the defaults.
///
/// Every limit exists so that nobody can make the server use memory or time without bound. On a
/// small host lower them; the defaults suit a server of some thousand clients.
///
/// ```
/// use std::time::Duration;
/// use websse::Server;
///
/// let server = Server::builder()
///     .max_streams(50)
///     .mailbox_bytes(64 * 1024)
///     .heartbeat(Duration::from_secs(30))
///     .build();
/// # drop(server);
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) queue: QueueLimits,
    pub(crate) audience: AudienceLimits,
    pub(crate) history: HistoryLimits,
    pub(crate) max_frame_bytes: usize,
    pub(crate) max_streams: usize,
    /// Milliseconds.
    pub(crate) retry: u64,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            queue: QueueLimits { messages: 1024, bytes: 16 * MIB },
            audience: AudienceLimits {
                mailbox_bytes: MIB,
                mailboxes_bytes: 256 * MIB,
                stall_timeout: Duration::from_secs(10),
                heartbeat: Duration::from_secs(15),
                reconnect_spread: Duration::ZERO,
            },
            history: HistoryLimits { events: 1024, bytes: MIB, all_bytes: 64 * MIB },
            max_frame_bytes: MIB,
            max_streams: 10_000,
            retry: 3000,
        }
    }

    /// How many messages may wait for the broadcaster; default 1024. When the queue is full,
    /// [`publish`](crate::Server::publish) blocks. One message always fits.
    pub fn publish_queue(mut self, messages: usize) -> Self {
        self.queue.messages = messages;
        self
    }

    /// How many bytes of framed messages may wait for the broadcaster; default 16 MiB.
    pub fn publish_queue_bytes(mut self, bytes: usize) -> Self {
        self.queue.bytes = bytes;
        self
    }

    /// The largest framed event in bytes; default 1 MiB. Every line of the data costs 7 bytes
    /// beside its text.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// How many bytes may wait for one client beyond the frame being written; default 1 MiB. A
    /// client that is further behind is disconnected ([`Disconnect::Behind`]) once it has taken
    /// nothing for 3 s; as long as it reads it may have more, until half of
    /// [`mailboxes_bytes`](Self::mailboxes_bytes) is used. When most clients that read are more than
    /// half of this behind, publishers wait for them.
    ///
    /// [`Disconnect::Behind`]: crate::Disconnect::Behind
    pub fn mailbox_bytes(mut self, bytes: usize) -> Self {
        self.audience.mailbox_bytes = bytes;
        self
    }

    /// How many bytes may wait for all clients together, those counted once that several wait for;
    /// default 256 MiB. Over half of it every client is held to its
    /// [own budget](Self::mailbox_bytes); over all of it, those furthest behind are disconnected.
    pub fn mailboxes_bytes(mut self, bytes: usize) -> Self {
        self.audience.mailboxes_bytes = bytes;
        self
    }

    /// How long a client's socket may accept nothing while something waits for it; default 10 s.
    /// Then it is disconnected ([`Disconnect::Stalled`](crate::Disconnect::Stalled)).
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.audience.stall_timeout = timeout;
        self
    }

    /// After which silence a client is sent a comment; default 15 s, checked once a second.
    /// Proxies cut connections that are silent for 60 s or so.
    pub fn heartbeat(mut self, silence: Duration) -> Self {
        self.audience.heartbeat = silence;
        self
    }

    /// How many clients may listen over connections at a time; default 10,000. A further one is
    /// told to come back later, in a way that lets browsers do so. Subscriptions do not count.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// How long clients wait before they reconnect, in whole milliseconds; default 3 s. Every
    /// stream begins with it (HTML standard, 9.2.6).
    pub fn retry(mut self, delay: Duration) -> Self {
        self.retry = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// How many of the last events of each type are kept for clients that come back; default 1024.
    /// 0 keeps none: events then get no ids, and a client that comes back is told that it may have
    /// missed some.
    pub fn history_events(mut self, events: usize) -> Self {
        self.history.events = events;
        self
    }

    /// How many bytes of the last events of each type are kept; default 1 MiB. 0 keeps none. An
    /// event larger than this is delivered and not kept.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.history.bytes = bytes;
        self
    }

    /// How many bytes of events of all types together are kept; default 64 MiB. Over it, the oldest
    /// go first. 0 keeps none.
    pub fn history_all_bytes(mut self, bytes: usize) -> Self {
        self.history.all_bytes = bytes;
        self
    }

    /// Over which time clients shall come back after a shutdown; default zero, when each comes back
    /// after its [`retry`](Self::retry). With it the last thing that a stream says is a reconnection
    /// time of its own within this range, so that thousands of clients do not return in the same
    /// second. The next stream sets the usual time again.
    pub fn reconnect_spread(mut self, spread: Duration) -> Self {
        self.audience.reconnect_spread = spread;
        self
    }
}
