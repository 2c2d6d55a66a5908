//! Subscriptions: events for the embedding program, or for another synchronous server.

use std::{
    fmt,
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError as ChannelError};

use crate::{
    broadcast::{
        arrival::{Form, Replay, Resume, Via},
        client::ClientId,
        local_sink::SharedCounts,
        mailbox::Pending,
        registry::Kind,
        shared::Shared,
        stats::Disconnect,
    },
    error::{StreamError, SubscribeError},
    message::{
        channels::Channels,
        frame::{Frame, Own},
    },
    server::subscription_reader::SubscriptionReader,
};

/// A subscriber in the same program: a blocking iterator of [`Frame`]s, in the order of publishing.
///
/// [`Server::subscribe`](crate::Server::subscribe) makes one. It yields the blocks that a browser
/// would be sent, each as a frame:
///
/// - the first block, which is not an event and gives the position where the subscription begins;
/// - a `stream-gap` event, if it resumes and has missed events that are not kept;
/// - the events, missed ones first;
/// - a comment after every [heartbeat](crate::Builder::heartbeat) of silence, so that a server that
///   passes the frames on notices when its client has left.
///
/// [`Frame::is_event`] tells events from the rest.
///
/// A subscription has the same limit as any client
/// ([`Builder::mailbox_bytes`](crate::Builder::mailbox_bytes)): if it stops reading, it is
/// disconnected when too much waits for it. The iterator ends when the subscription is disconnected
/// or the server is shut down; [`end_reason`](Self::end_reason) says which. Dropping the
/// subscription ends it.
///
/// Another server gets its bytes: [`stream_to`](Self::stream_to) writes them to a connection,
/// [`into_reader`](Self::into_reader) makes a [`Read`](io::Read) of them.
///
/// ```
/// use websse::{Message, Server};
///
/// let server = Server::new();
/// server.register_event("tick")?;
/// server.run()?;
/// let mut ticks = server.subscribe(["tick"])?.filter(|frame| frame.is_event());
/// server.publish(Message::new("1").event("tick"))?;
/// assert!(ticks.next().unwrap().as_bytes().starts_with(b"event: tick\ndata: 1\nid: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Subscription {
    id: ClientId,
    mailbox: Receiver<Pending>,
    counts: Arc<SharedCounts>,
    ended: bool,
}

impl Subscription {
    fn new(id: ClientId, mailbox: Receiver<Pending>, counts: Arc<SharedCounts>) -> Self {
        Self { id, mailbox, counts, ended: false }
    }

    /// The id of this client.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Waits for the next frame, for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] if nothing came in that time; [`RecvTimeoutError::Ended`] if
    /// nothing will come any more.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use websse::{RecvTimeoutError, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let mut subscription = server.subscribe([""])?;
    /// assert!(subscription.recv_timeout(Duration::from_secs(5)).is_ok(), "the first block");
    /// let nothing = subscription.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(nothing, Err(RecvTimeoutError::Timeout));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Frame, RecvTimeoutError> {
        match self.mailbox.recv_timeout(timeout) {
            Err(ChannelError::Timeout) => Err(RecvTimeoutError::Timeout),
            received => {
                self.ended |= received.is_err();
                let frame = received.ok().and_then(|pending| self.hand_out(&pending));
                frame.ok_or_else(|| RecvTimeoutError::Ended(self.reason()))
            }
        }
    }

    /// Waits for the next event, for at most `timeout`. Frames that are not events are skipped; a
    /// `stream-gap` is an event.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("news")?;
    /// # server.run()?;
    /// let mut news = server.subscribe(["news"])?;
    /// server.publish(Message::new("two\nlines").event("news"))?;
    /// let event = news.next_event(Duration::from_secs(5))?;
    /// assert_eq!(event.event(), "news");
    /// assert_eq!(event.data(), "two\nlines");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_event(&mut self, timeout: Duration) -> Result<Frame, RecvTimeoutError> {
        let start = Instant::now();
        loop {
            let frame = self.recv_timeout(timeout.saturating_sub(start.elapsed()))?;
            if frame.is_event() {
                return Ok(frame);
            }
        }
    }

    /// Why the subscription ended; `None` if it has not.
    ///
    /// ```
    /// # use websse::{Disconnect, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let mut listener = server.subscribe([""])?;
    /// assert_eq!(listener.end_reason(), None);
    /// drop(server);
    /// while let Some(frame) = listener.next() {
    ///     println!("{}", frame.data());
    /// }
    /// assert_eq!(listener.end_reason(), Some(Disconnect::Shutdown));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn end_reason(&self) -> Option<Disconnect> {
        self.ended.then(|| self.reason())
    }

    /// Writes every frame to `sink` and flushes it, until the subscription ends; returns why it
    /// ended. With this, any synchronous server can stream if its handlers write the response
    /// themselves.
    ///
    /// # Errors
    /// [`StreamError::StreamingNotSupported`] if the sink cannot flush; [`StreamError::Io`] if
    /// writing fails, usually because the client has left.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use websse::{Disconnect, Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let mut subscription = server.subscribe([""])?;
    /// server.publish(Message::new("bye"))?;
    /// server.shutdown(Duration::from_secs(1));
    /// let mut sink = Vec::new();
    /// assert_eq!(subscription.stream_to(&mut sink)?, Disconnect::Shutdown);
    /// assert!(String::from_utf8(sink)?.contains("data: bye\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stream_to(&mut self, mut sink: impl Write) -> Result<Disconnect, StreamError> {
        for frame in self.by_ref() {
            sink.write_all(frame.as_bytes()).map_err(StreamError::Io)?;
            sink.flush().map_err(|error| match error.kind() {
                io::ErrorKind::Unsupported => StreamError::StreamingNotSupported(error),
                _ => StreamError::Io(error),
            })?;
        }
        Ok(self.reason())
    }

    /// Makes a [`Read`](io::Read) of the frames that follow, for a server that reads the body of a
    /// response from one.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// use std::io::{BufRead, BufReader};
    ///
    /// let mut lines = BufReader::new(server.subscribe([""])?.into_reader()).lines();
    /// let first = lines.next().expect("a stream begins at once")?;
    /// assert!(first.starts_with(':'), "a comment: {first}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_reader(self) -> SubscriptionReader {
        SubscriptionReader::new(self)
    }

    /// Whether the mailbox was emptied because too much waited. Then frames before the next one may
    /// be missing. The reason is set before the first of them is removed.
    fn is_cut_off(&self) -> bool {
        self.counts.reason() == Some(Disconnect::Behind)
    }

    /// Takes the frame out, unless the subscription has ended.
    fn hand_out(&mut self, pending: &Pending) -> Option<Frame> {
        let frame = pending.frame().filter(|_| !self.is_cut_off());
        self.ended = frame.is_none();
        self.counts.took(frame?.as_bytes().len());
        frame.cloned()
    }

    /// Without a reason of its own, the client ended with the broadcaster.
    fn reason(&self) -> Disconnect {
        self.counts.reason().unwrap_or(Disconnect::Shutdown)
    }
}

impl Iterator for Subscription {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let pending = self.mailbox.recv();
        self.ended |= pending.is_err();
        self.hand_out(&pending.ok()?)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.counts.leave();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("end_reason", &self.end_reason())
            .finish_non_exhaustive()
    }
}

/// Prepares a subscription; made by [`Server::subscription`](crate::Server::subscription).
///
/// ```
/// # use websse::{Message, Server};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// server.publish(Message::new("one"))?;
/// server.publish(Message::new("two"))?;
/// let mut last = server.subscription([""]).replay(1).open()?;
/// let two = last.next_event(std::time::Duration::from_secs(5))?;
/// assert_eq!(two.data(), "two");
/// let id = two.id().expect("a server with a history gives ids");
/// server.publish(Message::new("three"))?;
/// let mut again = server.subscription([""]).last_event_id(id).open()?;
/// assert_eq!(again.next_event(std::time::Duration::from_secs(5))?.data(), "three");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a subscription begins with `open`"]
pub struct SubscriptionBuilder<'s> {
    shared: &'s Shared,
    types: Vec<String>,
    channels: Channels,
    form: Form,
    resume: Resume,
}

impl<'s> SubscriptionBuilder<'s> {
    pub(crate) fn new(shared: &'s Shared, types: Vec<String>) -> Self {
        let (channels, form, resume) = (Channels::default(), Form::default(), Resume::default());
        Self { shared, types, channels, form, resume }
    }

    /// Begins after the event with this id, the last one that the subscriber has. If the id is
    /// unknown, or events after it are not kept any more, the first event is a `stream-gap`.
    /// Default: no id, and only new events come; an empty id does the same.
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.resume.after(id.into());
        self
    }

    /// Begins with the last `events` events; default 0. It has no effect together with an id.
    pub fn replay(mut self, events: usize) -> Self {
        self.resume.replay = Replay::Last(events);
        self
    }

    /// Begins with the last event of each of the types in each of the channels, and goes on with what
    /// comes then: for what has a state, such as a dashboard. Has no effect after
    /// [`last_event_id`](Self::last_event_id), and takes the place of [`replay`](Self::replay).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_events(["heat", "light"])?;
    /// # server.run()?;
    /// for (kind, value) in [("heat", "19"), ("light", "on"), ("heat", "20")] {
    ///     server.publish(Message::new(value).event(kind))?;
    /// }
    /// let mut room = server.subscription(["*"]).replay_each().open()?;
    /// let state = [(); 2].map(|()| room.next_event(Duration::from_secs(5)).unwrap().data());
    /// assert_eq!(state, ["on", "20"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replay_each(mut self) -> Self {
        self.resume.replay = Replay::Each;
        self
    }

    /// The channels to listen to; by default the common one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use websse::{Channels, Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("progress")?;
    /// # server.run()?;
    /// let mine = Channels::new(["user/17"])?;
    /// let mut listener = server.subscription(["progress"]).channels(mine).open()?;
    /// server.publish(Message::new("9 %").event("progress").channel("user/4"))?;
    /// server.publish(Message::new("42 %").event("progress").channel("user/17"))?;
    /// assert_eq!(listener.next_event(Duration::from_secs(5))?.data(), "42 %");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn channels(mut self, channels: Channels) -> Self {
        self.channels = channels;
        self
    }

    /// Whether the first block is an event `stream-open`, as browsers need it: some note an id only in
    /// a block with data. Default: false, as for all other clients, of which some would take it for an
    /// event that was published.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let mut for_a_browser = server.subscription([""]).stream_open(true).open()?;
    /// let first = for_a_browser.next().expect("the first block");
    /// assert_eq!(first.event(), "stream-open");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stream_open(mut self, stream_open: bool) -> Self {
        self.form.own = if stream_open { Own::Event } else { Own::Lines };
        self
    }

    /// Begins to receive events.
    ///
    /// # Errors
    /// As [`Server::subscribe`](crate::Server::subscribe).
    pub fn open(self) -> Result<Subscription, SubscribeError> {
        let Self { shared, types, channels, form, resume } = self;
        let names = types.iter().map(String::as_str);
        let seat = shared.register(Kind::Subscription, names, &channels, None)?;
        let counts = Arc::<SharedCounts>::default();
        let subscription = Subscription::new(seat.id, seat.mailbox.clone(), Arc::clone(&counts));
        shared.admit(seat, b"", form, resume, Via::Local(counts))?;
        Ok(subscription)
    }
}

/// Why [`Subscription::recv_timeout`] has no frame.
///
/// ```
/// # use websse::{RecvTimeoutError, Server};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let mut listener = server.subscribe([""])?;
/// # let deadline = std::time::Duration::ZERO;
/// match listener.next_event(deadline) {
///     Ok(event) => println!("{}", event.data()),
///     Err(RecvTimeoutError::Timeout) => println!("nothing yet"),
///     Err(error) => return Err(error.into()), // it has ended
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// Nothing came in time. Call again.
    Timeout,
    /// The subscription has ended. All frames were returned, unless the reason is
    /// [`Disconnect::Behind`].
    Ended(Disconnect),
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no event came in time"),
            Self::Ended(reason) => write!(f, "the subscription has ended: {reason}"),
        }
    }
}

impl std::error::Error for RecvTimeoutError {}
