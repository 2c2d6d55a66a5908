//! Limits and times of a server.

use std::{sync::Arc, time::Duration};

use crate::{
    client::Client,
    hooks::{Hooks, Publisher},
    options::Options,
    stats::Disconnect,
};

/// Sets a server's limits before it is made; [`Server::builder`](crate::Server::builder) starts from the defaults.
///
/// Every limit exists so that nobody can make the server use memory or time without bound. On a
/// small host lower them; the defaults suit a server of some thousand clients. Of a setting given
/// several times the last one counts, a hook included.
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

    /// The largest framed event in bytes; default 1 MiB. Every line of the data costs 7 bytes
    /// beside its text.
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.options.max_frame_bytes = bytes;
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
        self.options.audience.mailbox_bytes = bytes;
        self
    }

    /// How much memory what waits for all clients together may take, an event counted once that several
    /// wait for; default 256 MiB. Over half of it every client is held to its
    /// [own budget](Self::mailbox_bytes); over all of it, those furthest behind are disconnected.
    pub fn mailboxes_bytes(mut self, bytes: usize) -> Self {
        self.options.audience.mailboxes_bytes = bytes;
        self
    }

    /// How long a client's socket may accept nothing while something waits for it; default 10 s.
    /// Then it is disconnected ([`Disconnect::Stalled`](crate::Disconnect::Stalled)).
    pub fn stall_timeout(mut self, timeout: Duration) -> Self {
        self.options.audience.stall_timeout = timeout;
        self
    }

    /// After which silence a client is sent a comment; default 15 s, checked once a second.
    /// Proxies cut connections that are silent for 60 s or so.
    pub fn heartbeat(mut self, silence: Duration) -> Self {
        self.options.audience.heartbeat = silence;
        self
    }

    /// How many clients may listen over connections at a time; default 10,000. A further one is
    /// told to come back later, in a way that lets browsers do so. Subscriptions do not count.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.options.max_streams = streams;
        self
    }

    /// How long clients wait before they reconnect, in whole milliseconds; default 3 s. Every
    /// stream begins with it (HTML standard, 9.2.6).
    pub fn retry(mut self, delay: Duration) -> Self {
        self.options.retry = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// How many of the last events of each type are kept for clients that come back; default 1024.
    /// 0 keeps none: events then get no ids, and a client that comes back is told that it may have
    /// missed some.
    pub fn history_events(mut self, events: usize) -> Self {
        self.options.history.events = events;
        self
    }

    /// How many bytes of the last events of each type are kept; default 1 MiB. 0 keeps none. An
    /// event larger than this is delivered and not kept.
    pub fn history_bytes(mut self, bytes: usize) -> Self {
        self.options.history.bytes = bytes;
        self
    }

    /// How much memory the events of all types together that are kept may take, with all that it takes
    /// to find them; default 64 MiB. Over it, the oldest go first. 0 keeps none.
    pub fn history_all_bytes(mut self, bytes: usize) -> Self {
        self.options.history.all_bytes = bytes;
        self
    }

    /// Over which time clients shall come back after a shutdown; default zero, when each comes back
    /// after its [`retry`](Self::retry). With it the last thing that a stream says is a reconnection
    /// time of its own within this range, so that thousands of clients do not return in the same
    /// second. The next stream sets the usual time again.
    pub fn reconnect_spread(mut self, spread: Duration) -> Self {
        self.options.audience.reconnect_spread = spread;
        self
    }

    /// Publishes how many clients there are as events of this type, which [`run`](crate::Server::run)
    /// registers; default none. The data is a JSON object with the number of clients of each event
    /// type, as [`clients`](crate::Server::clients) counts them: `{"*":0,"clients":1,"news":7}`.
    ///
    /// One is published after clients have come or gone, at most once a second, and only while
    /// somebody listens to it. It is an event like others: it has an id, is kept, and `*` includes it.
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
    /// [`Subscription`](crate::Subscription): it gets every event that is published from then on.
    ///
    /// Hooks run one after the other on a thread of their own, which there is only where a hook is
    /// set, or the [log](crate#cargo-features) wants to know who comes and goes. They may take their time, block and publish: nobody waits for them, but later hooks do.
    /// Of each client they are told once that it came and then once that it is gone; only while more
    /// than 8192 notices wait, clients that have gone again are passed over
    /// ([`Stats::untold`](crate::Stats::untold)). A panic in a hook ends that call and nothing else.
    ///
    /// Do not keep an `Arc` of the server in a hook, which would keep it alive for ever; the hook is
    /// given a [`Publisher`].
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

    /// Calls `hook` for each client that is gone, with the reason, as
    /// [`on_connect`](Self::on_connect) calls its own. At a [shutdown](crate::Server::shutdown) it is
    /// called for each client that is left, within the deadline; what it publishes is refused then.
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
