//! Events for the embedding program itself, or for another synchronous server to pass on.

use std::{
    fmt,
    io::{self, Read, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError as ChannelError};

use crate::{
    broadcast::{
        arrival::{Resume, Via},
        client::ClientId,
        local_sink::SharedCounts,
        mailbox::Pending,
        registry::Kind,
        shared::Shared,
        stats::Disconnect,
    },
    error::{StreamError, SubscribeError},
    message::frame::Frame,
};

/// A listener in the same program: a blocking iterator of [`Frame`]s, in the order of publishing.
///
/// [`Server::subscribe`](crate::Server::subscribe) makes one. It yields what a browser would be
/// sent, each block as a frame of its own: the first block, which is no event and tells where the
/// listener begins; a `stream-gap` event, where it comes back and has missed something that is not
/// kept; then the events, those it has missed first; and a comment every
/// [heartbeat](crate::Builder::heartbeat) of silence, so that a foreign server that passes the
/// frames on notices when its client has left. [`Frame::is_event`] tells events from the rest.
///
/// A subscription has the same budget as any client
/// ([`Builder::mailbox_bytes`](crate::Builder::mailbox_bytes)): one that stops reading is
/// disconnected when too much waits for it. The iterator ends when it is disconnected or the server is shut down, and
/// [`end_reason`](Self::end_reason) says which. Dropping it ends it.
///
/// As [`Read`] it is the same bytes without their frames, as the body of a response. What `read` has
/// not handed out of a frame, the iterator passes over; [`stream_to`](Self::stream_to) does not.
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
    /// What `read` has begun to hand out, and how much of it.
    begun: Option<(Frame, usize)>,
    ended: bool,
}

impl Subscription {
    fn new(id: ClientId, mailbox: Receiver<Pending>, counts: Arc<SharedCounts>) -> Self {
        Self { id, mailbox, counts, begun: None, ended: false }
    }

    /// Its number among the server's clients.
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Waits for the next frame, but not longer than `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] when nothing came in that time;
    /// [`RecvTimeoutError::Ended`] when nothing will come any more.
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
            Ok(pending) if !self.is_cut_off() => Ok(self.hand_out(&pending)),
            Err(ChannelError::Timeout) => Err(RecvTimeoutError::Timeout),
            Ok(_) | Err(ChannelError::Disconnected) => {
                self.ended = true;
                Err(RecvTimeoutError::Ended(self.reason()))
            }
        }
    }

    /// Waits for the next event, but not longer than `timeout`. Frames that are no event are passed
    /// over; a `stream-gap` is one.
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
    /// assert_eq!(event.event_type(), "news");
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

    /// Why the subscription ended; `None` as long as it has not.
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
    /// ended. With this any synchronous server that lets you write a response yourself can stream.
    ///
    /// # Errors
    /// [`StreamError::StreamingNotSupported`] where the sink cannot flush;
    /// [`StreamError::Io`] where writing fails, which most often means that the client has left.
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
        if let Some((frame, read)) = self.begun.take() {
            sink.write_all(&frame.as_bytes()[read..]).map_err(StreamError::Io)?;
        }
        for frame in Iterator::by_ref(self) {
            sink.write_all(frame.as_bytes()).map_err(StreamError::Io)?;
            sink.flush().map_err(|error| match error.kind() {
                io::ErrorKind::Unsupported => StreamError::StreamingNotSupported(error),
                _ => StreamError::Io(error),
            })?;
        }
        Ok(self.reason())
    }

    /// Whether the mailbox was emptied because too much waited: a frame found there now may come
    /// from behind others that are gone. The reason is set before the first of them goes.
    fn is_cut_off(&self) -> bool {
        self.counts.reason() == Some(Disconnect::Behind)
    }

    fn hand_out(&self, pending: &Pending) -> Frame {
        self.counts.took(pending.len());
        pending.frame().clone()
    }

    /// Without a reason of its own the client went down with the broadcaster.
    fn reason(&self) -> Disconnect {
        self.counts.reason().unwrap_or(Disconnect::Shutdown)
    }
}

impl Iterator for Subscription {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        match self.mailbox.recv() {
            Ok(pending) if !self.is_cut_off() => Some(self.hand_out(&pending)),
            _ => {
                self.ended = true;
                None
            }
        }
    }
}

impl Read for Subscription {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let Some((frame, read)) = self.begun.take().or_else(|| Some((self.next()?, 0))) else {
            return Ok(0);
        };
        let rest = &frame.as_bytes()[read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        if length < rest.len() {
            self.begun = Some((frame, read + length));
        }
        Ok(length)
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

/// A subscription about to begin; made by
/// [`Server::subscription`](crate::Server::subscription).
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
pub struct SubscriptionBuilder<'s> {
    shared: &'s Shared,
    types: Vec<String>,
    resume: Resume,
}

impl<'s> SubscriptionBuilder<'s> {
    pub(crate) fn new(shared: &'s Shared, types: Vec<String>) -> Self {
        Self { shared, types, resume: Resume::default() }
    }

    /// Begins after the event with this id, the last that the listener has. Where something that
    /// came after it is not kept any more, or the id is not known, the first event is a
    /// `stream-gap`. Default: none, and only new events come; so with an empty id.
    pub fn last_event_id(mut self, id: impl Into<String>) -> Self {
        self.resume.after(id.into());
        self
    }

    /// Begins with the last `events` events; default 0. Without effect beside an id.
    pub fn replay(mut self, events: usize) -> Self {
        self.resume.replay = events;
        self
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// As [`Server::subscribe`](crate::Server::subscribe).
    pub fn open(self) -> Result<Subscription, SubscribeError> {
        let Self { shared, types, resume } = self;
        let seat = shared.register(Kind::Subscription, types.iter().map(String::as_str), None)?;
        let counts = Arc::<SharedCounts>::default();
        let subscription = Subscription::new(seat.id, seat.mailbox.clone(), Arc::clone(&counts));
        shared.admit(seat, b"", resume, Via::Local(counts))?;
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
    /// The subscription has ended. Everything was taken, unless the reason is
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
