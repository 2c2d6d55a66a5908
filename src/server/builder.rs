//! Limits and times of a server.

use std::{sync::Arc, time::Duration};

use crate::{
    broadcast::{
        client::Client,
        options::{Options, idle_channels},
        stats::Disconnect,
    },
    message::Message,
    server::hooks::{Hooks, Publisher},
};

/// Sets a server's limits before it is made. [`Server::builder`](crate::Server::builder) starts
/// with the defaults.
///
/// Each limit bounds the memory or the time that others can make the server use. The defaults suit
/// a server with some thousand clients; lower them on a small host. If a setting or a hook is given
/// several times, the last one counts.
///
/// ```
/// use std::time::Duration;
/// use websse::Server;
///
/// const KIB: usize = 1024;
/// let server = Server::builder()
///     // What may wait to be sent, and how large an event may be.
///     .publish_queue(64)
///     .publish_queue_bytes(256 * KIB)
///     .max_frame_bytes(16 * KIB)
///     // What is kept for clients that come back.
///     .history_events(100)
///     .history_bytes(64 * KIB)
///     .history_all_bytes(512 * KIB)
///     // How many may listen, how far they may be behind, and for how long.
///     .max_streams(50)
///     .mailbox_bytes(64 * KIB)
///     .mailboxes_bytes(1024 * KIB)
///     .stall_timeout(Duration::from_secs(5))
///     // What clients are told, and when.
///     .heartbeat(Duration::from_secs(30))
///     .retry(Duration::from_secs(10))
///     .reconnect_spread(Duration::from_secs(60))
///     .build();
/// # drop(server);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a server is built by `build`"]
pub struct Builder {
    pub(crate) options: Options,
    pub(crate) hooks: Hooks,
}

impl Builder {
    /// How many messages may wait for the broadcaster; default 1024. When the queue is full,
    /// [`publish`](crate::Server::publish) blocks. One message always fits.
    pub fn publish_queue(mut self, messages: usize) -> Self {
        self.options.queue.messages = messages;
        self
    }

    /// How many bytes of framed messages may wait for the broadcaster; default 16 MiB.
    pub fn publish_queue_bytes(mut self, bytes: usize) -> Self {
        self.options.queue.bytes = bytes;
        self
    }

    /// The largest framed event in bytes; default 1 MiB. Every line of the data adds 7 bytes to its
    /// text.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.options.max_frame_bytes = bytes;
        self
    }

    /// How many bytes may wait for one client, besides the frame being written; default 1 MiB. A
    /// client that is further behind is disconnected ([`Disconnect::Behind`]) once it has taken
    /// nothing for 3 s. As long as it reads, more may wait for it, until half of
    /// [`mailboxes_bytes`](Self::mailboxes_bytes) is used. If most of the clients that read are
    /// more than half of this limit behind, publishers wait for them.
    ///
    /// [`Disconnect::Behind`]: crate::Disconnect::Behind
    pub fn mailbox_bytes(mut self, bytes: usize) -> Self {
        self.options.subscribers.mailbox_bytes = bytes;
        self
    }

    /// How much memory the frames that wait for all clients together may take; default 256 MiB. A
    /// frame that several clients wait for counts once. Above half of this limit, every client is
    /// held to its [own limit](Self::mailbox_bytes). Above all of it, the clients furthest behind are
    /// disconnected.
    pub fn mailboxes_bytes(mut self, bytes: usize) -> Self {
        self.options.subscribers.mailboxes_bytes = bytes;
        self
    }

    /// How long a client's socket may accept nothing while something waits for it; default 10 s.
    /// After that the client is disconnected ([`Disconnect::Stalled`](crate::Disconnect::Stalled)).
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.options.subscribers.stall_timeout = timeout;
        self
    }

    /// The silence after which a client is sent a comment; default 15 s, checked once a second.
    /// Proxies cut connections that are silent for about 60 s.
    pub fn heartbeat(mut self, silence: Duration) -> Self {
        self.options.subscribers.heartbeat = silence;
        self
    }

    /// How many clients may listen over connections at a time; default 10,000. One more is refused
    /// in a way that lets browsers try again later. Subscriptions do not count.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.options.max_streams = streams;
        self
    }

    /// How many [channels](crate::Message::channel) there may be, besides the common one; default
    /// 100,000. A message or a client that would make another is refused. A channel begins with its
    /// first message or client. It ends when nobody listens to it, none of its events is kept, and
    /// the history no longer reaches back to when its last client left. At most three quarters of
    /// the limit are kept for channels to which nobody listens; of more, those that were left first
    /// end, and the oldest events of channels go.
    ///
    /// Each takes about 250 bytes, and 200 more if events of it are kept, which count as
    /// [history](Self::history_all_bytes).
    pub fn max_channels(mut self, channels: usize) -> Self {
        self.options.max_channels = channels;
        self.options.history.channels = idle_channels(channels);
        self
    }

    /// How long clients wait before they reconnect, in whole milliseconds; default 3 s. Every
    /// stream begins with it (HTML standard, 9.2.6). More than
    /// [`Message::MAX_RETRY`](crate::Message::MAX_RETRY) counts as that.
    pub fn retry(mut self, delay: Duration) -> Self {
        let delay = delay.min(Message::MAX_RETRY);
        self.options.retry = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// How many of the last events of each type are kept for clients that reconnect; default 1024.
    /// 0 keeps none: then events get no ids, and a client that reconnects with an id gets a
    /// `stream-gap` event.
    pub fn history_events(mut self, events: usize) -> Self {
        self.options.history.events = events;
        self
    }

    /// How many bytes of the last events of each type are kept; default 1 MiB. 0 keeps none. A
    /// larger event is delivered, but not kept.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.options.history.bytes = bytes;
        self
    }

    /// How much memory the kept events of all types together may take, with all that it takes to
    /// find them; default 64 MiB. Above it, the oldest events are dropped first. 0 keeps none.
    pub fn history_all_bytes(mut self, bytes: usize) -> Self {
        self.options.history.all_bytes = bytes;
        self
    }

    /// The time over which clients reconnect after a shutdown; default zero: each reconnects after
    /// its [`retry`](Self::retry). Otherwise each stream ends with its own reconnection time within
    /// this range, so that thousands of clients do not return in the same second. The next stream
    /// sets the usual time again. More than [`Message::MAX_RETRY`](crate::Message::MAX_RETRY) counts
    /// as that.
    pub fn reconnect_spread(mut self, spread: Duration) -> Self {
        self.options.subscribers.reconnect_spread = spread.min(Message::MAX_RETRY);
        self
    }

    /// Publishes the number of clients as events of this type; default none.
    /// [`run`](crate::Server::run) registers the type. The data is a JSON object with the number of
    /// clients of each event type, as
    /// [`subscribers_by_type`](crate::Server::subscribers_by_type) counts them:
    /// `{"*":0,"clients":1,"news":7}`.
    ///
    /// One is published after clients have come or gone, at most once a second, and only while a
    /// client listens to the type. It is an event like others: it has an id, is kept, and `*`
    /// includes it.
    ///
    /// ```
    /// # use websse::Server;
    /// let server = Server::builder().presence("clients").build();
    /// server.register_event("")?;
    /// server.run()?;
    /// let mut presence = server.subscribe(["clients"])?.filter(|frame| frame.is_event());
    /// let first = presence.next().expect("the server runs");
    /// let counts = "event: clients\ndata: {\"*\":0,\"clients\":1,\"message\":0}\n";
    /// assert!(first.as_bytes().starts_with(counts.as_bytes()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn presence(mut self, event: impl Into<String>) -> Self {
        self.options.presence = Some(event.into());
        self
    }

    /// Calls `hook` for each client that begins to listen, over a connection or by a
    /// [`Subscription`](crate::Subscription). The client gets every event published from then on.
    ///
    /// Hooks run one after the other on their own thread. The thread exists only if a hook is set,
    /// or if the [log](crate#cargo-features) reports clients that come and go. A hook may block and
    /// publish: only later hooks wait for it. For each client the hooks are called once when it has
    /// come, then once when it is gone. Only while more than 8192 calls wait, clients that have
    /// left again are skipped
    /// ([`Stats::missed_notifications`](crate::Stats::missed_notifications)). A panic in a hook ends
    /// that call and nothing else.
    ///
    /// Do not keep an `Arc` of the server in a hook: it would keep the server alive for ever. Use
    /// the [`Publisher`] that the hook gets.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// let server = Server::builder()
    ///     .on_connect(|server, client| {
    ///         let hello = Message::new(format!("you are client {}", client.id));
    ///         // Refused where it has left again.
    ///         let _ = server.send_to(client.id, hello);
    ///     })
    ///     .build();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// # let mut subscription = server.subscribe([""])?.filter(|frame| frame.is_event());
    /// # assert_eq!(subscription.next().unwrap().as_bytes(), b"data: you are client 0\n\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_connect(
        mut self,
        hook: impl Fn(&Publisher, &Client) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.connect = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` for each client that is gone, with the reason; otherwise as
    /// [`on_connect`](Self::on_connect). At a [shutdown](crate::Server::shutdown) it is called for
    /// each remaining client, within the deadline; what it publishes then is refused.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// let server = Server::builder()
    ///     .on_disconnect(|server, client, reason| {
    ///         let left = Message::new(format!("{} has left: {reason:?}", client.id));
    ///         let _ = server.publish(left);
    ///     })
    ///     .build();
    /// # drop(server);
    /// ```
    pub fn on_disconnect(
        mut self,
        hook: impl Fn(&Publisher, &Client, Disconnect) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.disconnect = Some(Arc::new(hook));
        self
    }
}
