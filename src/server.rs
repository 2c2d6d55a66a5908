//! The face of the core: [`Server`].

use std::{
    fmt,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    audience::{Resume, Via},
    broadcaster::ShutdownReport,
    builder::Builder,
    error::{
        PublishAllError, PublishError, RegisterError, RunError, SubscribeError, TryPublishError,
    },
    feed::Tally,
    hub::Hub,
    message::Message,
    registry::Kind,
    stats::Stats,
    subscription::Subscription,
};

/// How long dropping a server may take to deliver what it has accepted.
const DROP_DEADLINE: Duration = Duration::from_secs(5);
/// Longer than this nobody waits.
const YEAR: Duration = Duration::from_secs(31_536_000);

/// The hub: event types, clients, and the broadcaster thread between publishers and clients.
///
/// Register the event types, [`run`](Self::run), mount the two handlers and publish, from any
/// thread; to publish from several, share it as `Arc<Server>`. The handlers hold what they need by
/// themselves: dropping the `Server` shuts it down, even while they are mounted, and gives what it
/// has accepted 5 s to be delivered.
///
/// ```
/// use websse::{Message, Server, http::HttpServer};
///
/// let server = Server::new();
/// server.register_events(["", "event1"])?;
/// server.run()?;
/// let http = HttpServer::new()
///     .get("/event", server.event_stream_handler())
///     .post("/send", server.send_message_handler())
///     .bind("127.0.0.1:0")?;
/// server.publish(Message::new("data").event("event1"))?;
/// # drop(http);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Server {
    hub: Arc<Hub>,
    /// The broadcaster's thread. Held while it is waited for, so that a second shutdown waits too.
    thread: Mutex<Option<JoinHandle<ShutdownReport>>>,
}

impl Server {
    /// A server with the default limits.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets limits before the server is made.
    pub fn builder() -> Builder {
        Builder::new()
    }

    fn with(options: Builder) -> Self {
        Self { hub: Arc::new(Hub::new(options)), thread: Mutex::new(None) }
    }

    /// Registers an event type, before or after [`run`](Self::run). `""` and `message` both mean
    /// the general type. Registering a name again changes nothing.
    ///
    /// # Errors
    /// [`RegisterError`] where the name cannot stand in a stream or has another meaning there.
    pub fn register_event(&self, name: &str) -> Result<(), RegisterError> {
        self.hub.types.register(&[name])
    }

    /// Registers several event types, or none of them where one is refused.
    ///
    /// # Errors
    /// As [`register_event`](Self::register_event).
    ///
    /// ```
    /// # use websse::Server;
    /// let server = Server::new();
    /// assert!(server.register_events(["news", "two\nlines"]).is_err());
    /// assert!(!server.event_exists("news"));
    /// ```
    pub fn register_events<I>(&self, names: I) -> Result<(), RegisterError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let names: Vec<I::Item> = names.into_iter().collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        self.hub.types.register(&names)
    }

    /// Whether an event type is registered.
    pub fn event_exists(&self, name: &str) -> bool {
        self.hub.types.find(name).is_some()
    }

    /// Starts the broadcaster thread.
    ///
    /// # Errors
    /// [`RunError`] where it runs already, was shut down, or no thread is to be had.
    pub fn run(&self) -> Result<(), RunError> {
        let hub = &self.hub;
        let mut thread = self.thread.lock();
        let spawned = hub.inbox.start(|| {
            let broadcaster = hub.broadcaster();
            thread::Builder::new().name("websse-broadcaster".to_owned()).spawn(|| broadcaster.run())
        });
        match spawned {
            Some(Ok(handle)) => {
                *thread = Some(handle);
                Ok(())
            }
            Some(Err(error)) => Err(RunError::Thread(error)),
            None if matches!(hub.inbox.accepts(), Err(PublishError::ShutDown)) => {
                Err(RunError::ShutDown)
            }
            None => Err(RunError::AlreadyRunning),
        }
    }

    /// Publishes a message: `Ok` means that every client that listens to its type will be sent it,
    /// in the order of publishing, or is disconnected. Blocks while the publish queue is full.
    ///
    /// # Errors
    /// [`PublishError`] says why the message was not accepted; nobody is sent it then.
    #[expect(clippy::needless_pass_by_value, reason = "a message is published once")]
    pub fn publish(&self, message: Message) -> Result<(), PublishError> {
        self.hub.publish(&message)
    }

    /// Publishes messages in their order, all of them or, where one is not valid, none. Others may
    /// publish in between. Blocks while the publish queue is full.
    ///
    /// # Errors
    /// [`PublishAllError`] says which message was refused, and why.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// server.publish_all(&[Message::new("one"), Message::new("two")])?;
    /// let unknown = [Message::new("three"), Message::new("four").event("unknown")];
    /// assert_eq!(server.publish_all(&unknown).unwrap_err().index, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_all(&self, messages: &[Message]) -> Result<(), PublishAllError> {
        self.hub.publish_all(messages)
    }

    /// Publishes a message if that is possible without waiting.
    ///
    /// # Errors
    /// [`TryPublishError::Full`] gives the message back when the publish queue is full;
    /// [`TryPublishError::Refused`] where it could not be accepted later either.
    pub fn try_publish(&self, message: Message) -> Result<(), TryPublishError> {
        self.hub.try_publish(message)
    }

    /// Listens within the program: to these event types, or to all with `*`; without any, to the
    /// general type. Every event published from now on is received.
    ///
    /// # Errors
    /// [`SubscribeError`] where a type is not registered or the server does not run.
    pub fn subscribe<I>(&self, types: I) -> Result<Subscription, SubscribeError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.subscription(types).open()
    }

    /// Listens within the program from an earlier event on: `last_event_id` or `replay` say which.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("news")?;
    /// # server.run()?;
    /// server.publish(Message::new("one").event("news"))?;
    /// server.publish(Message::new("two").event("news"))?;
    /// let mut news = server.subscription(["news"]).replay(1).open()?;
    /// let event = news.find(|frame| frame.is_event()).expect("published above");
    /// assert!(event.as_bytes().starts_with(b"event: news\ndata: two\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscription<I>(&self, types: I) -> SubscriptionBuilder<'_>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let types = types.into_iter().map(|name| name.as_ref().to_owned()).collect();
        SubscriptionBuilder { hub: &self.hub, types, resume: Resume::default() }
    }

    /// Figures of this moment and counts since the start.
    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }

    /// How many clients listen to each event type now, in the order of the names. A client of
    /// several types counts for each of them; `*` is those that listen to all.
    pub fn clients(&self) -> Vec<(String, usize)> {
        self.hub.clients()
    }

    /// The registered event types in the order of their names; `message` is the general one.
    pub fn event_types(&self) -> Vec<String> {
        self.hub.event_types()
    }

    /// Whether the broadcaster answers and there is room to publish, at once or after `patience` at
    /// most.
    pub fn answers_within(&self, patience: Duration) -> bool {
        self.hub.answers(Instant::now() + patience.min(YEAR))
    }

    /// Ends the server: refuses what comes from now on, delivers what was accepted, ends every
    /// stream and subscription and the broadcaster thread. What is not delivered after `deadline`
    /// is given up and reported; the call returns soon after it at the latest.
    ///
    /// Calling it again does no harm; a shorter deadline then counts. Only one of the calls has the
    /// report, the others have an empty one. The server cannot be run again.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use websse::{Message, PublishError, Server};
    /// let server = Server::new();
    /// server.register_event("")?;
    /// server.run()?;
    /// let report = server.shutdown(Duration::from_secs(1));
    /// assert_eq!(report.undelivered, 0);
    /// assert_eq!(server.publish(Message::new("late")), Err(PublishError::ShutDown));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let now = Instant::now();
        // A deadline beyond what a clock can hold is none; a year is as good.
        let deadline = now.checked_add(deadline).unwrap_or(now + YEAR);
        self.hub.registry.close();
        let own_thread = self.hub.inbox.is_own_thread();
        self.hub.inbox.stop(deadline);
        if own_thread {
            return ShutdownReport::default();
        }
        let mut thread = self.thread.lock();
        thread.take().and_then(|handle| handle.join().ok()).unwrap_or_default()
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Builder {
    /// Makes the server. It does nothing until [`run`](Server::run).
    pub fn build(self) -> Server {
        Server::with(self)
    }
}

impl Default for Server {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown(DROP_DEADLINE);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// A subscription about to begin; made by [`Server::subscription`].
#[derive(Debug)]
pub struct SubscriptionBuilder<'s> {
    hub: &'s Hub,
    types: Vec<String>,
    resume: Resume,
}

impl SubscriptionBuilder<'_> {
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
    /// As [`Server::subscribe`].
    pub fn open(self) -> Result<Subscription, SubscribeError> {
        let Self { hub, types, resume } = self;
        let seat = hub.register(Kind::Subscription, types.iter().map(String::as_str), None)?;
        let tally = Arc::<Tally>::default();
        let subscription = Subscription::new(seat.mailbox.clone(), Arc::clone(&tally));
        hub.seat(seat, b"", resume, Via::Tally(tally))?;
        Ok(subscription)
    }
}
