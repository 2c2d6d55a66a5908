//! The face of the core: [`Server`].

mod clients;

use std::{
    fmt, io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    broadcaster::ShutdownReport,
    builder::Builder,
    error::{PublishAllError, PublishError, RegisterError, RunError, TryPublishError},
    hooks::Hooks,
    hub::Hub,
    logs::{self, Level},
    message::Message,
    stats::Stats,
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
    hooks: Hooks,
    /// The thread that calls the hooks, if there is one.
    hook_thread: Mutex<Option<JoinHandle<()>>>,
}

impl Server {
    /// A server with the default limits.
    ///
    /// ```
    /// let server = websse::Server::new();
    /// assert!(server.event_types().is_empty(), "none is registered");
    /// ```
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets limits before the server is made.
    ///
    /// ```
    /// let server = websse::Server::builder().max_streams(50).build();
    /// # drop(server);
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn with(Builder { options, hooks }: Builder) -> Self {
        let hub = Arc::new(Hub::new(options));
        Self { hub, thread: Mutex::new(None), hooks, hook_thread: Mutex::new(None) }
    }

    /// Registers an event type, before or after [`run`](Self::run). `""` and `message` both mean
    /// the general type. Registering a name again changes nothing.
    ///
    /// # Errors
    /// [`RegisterError`] where the name cannot stand in a stream or has another meaning there.
    ///
    /// ```
    /// # use websse::{RegisterError, Server};
    /// let server = Server::new();
    /// server.register_event("news")?;
    /// assert_eq!(server.register_event("*"), Err(RegisterError::Reserved("*".into())));
    /// # Ok::<(), RegisterError>(())
    /// ```
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
    ///
    /// ```
    /// # let server = websse::Server::new();
    /// server.register_event("message")?;
    /// assert!(server.event_exists("") && !server.event_exists("news"));
    /// # Ok::<(), websse::RegisterError>(())
    /// ```
    pub fn event_exists(&self, name: &str) -> bool {
        self.hub.types.find(name).is_some()
    }

    /// Starts the broadcaster thread, and that of the hooks where there are any.
    ///
    /// # Errors
    /// [`RunError`] where it runs already, was shut down, or no thread is to be had.
    ///
    /// ```
    /// # use websse::{RunError, Server};
    /// let server = Server::new();
    /// server.run()?;
    /// assert!(matches!(server.run(), Err(RunError::AlreadyRunning)));
    /// # Ok::<(), RunError>(())
    /// ```
    pub fn run(&self) -> Result<(), RunError> {
        let hub = &self.hub;
        if let Some(presence) = &hub.options.presence {
            hub.types.register(&[presence]).map_err(RunError::Presence)?;
        }
        let mut thread = self.thread.lock();
        let spawned = hub.inbox.start(|| {
            let tells = self.start_hooks()?;
            let broadcaster = hub.broadcaster(tells, hub.open_journal()?);
            let named = thread::Builder::new().name("websse-broadcaster".to_owned());
            named.spawn(|| broadcaster.run()).inspect_err(|_| hub.stop_journal(Instant::now()))
        });
        match spawned {
            Some(Ok(handle)) => {
                *thread = Some(handle);
                drop(thread);
                logs::write(Level::Debug, format_args!("the broadcaster runs"));
                Ok(())
            }
            Some(Err(error)) => Err(RunError::Thread(error)),
            None if matches!(hub.inbox.accepts(), Err(PublishError::ShutDown)) => {
                Err(RunError::ShutDown)
            }
            None => Err(RunError::AlreadyRunning),
        }
    }

    /// Starts the thread that calls the hooks; false where nobody needs it.
    fn start_hooks(&self) -> io::Result<bool> {
        let mut thread = self.hook_thread.lock();
        if !self.hooks.are_wanted() {
            return Ok(false);
        }
        // It may be there since a time when there was no thread for the broadcaster.
        if thread.is_none() {
            let (hooks, hub) = (self.hooks.clone(), Arc::clone(&self.hub));
            let spawned = thread::Builder::new().name("websse-hooks".to_owned());
            *thread = Some(spawned.spawn(move || hooks.run(hub))?);
        }
        Ok(true)
    }

    /// Publishes a message: `Ok` means that every client that listens to its type will be sent it,
    /// in the order of publishing, or is disconnected. Blocks while the publish queue is full.
    ///
    /// # Errors
    /// [`PublishError`] says why the message was not accepted; nobody is sent it then.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// server.publish(Message::new("hello"))?;
    /// assert!(server.publish(Message::new("hello").event("unknown")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a message is published once")]
    pub fn publish(&self, message: Message) -> Result<(), PublishError> {
        self.hub.publish(&message)
    }

    /// Publishes messages in their order, all of them or, where one is not valid, none. Others may
    /// publish in between. Blocks while the publish queue is full.
    ///
    /// A shutdown meanwhile, or a log of several nodes that fails, may cut what is valid: nothing is
    /// published behind the first message that was refused.
    ///
    /// # Errors
    /// [`PublishAllError`] says which message was refused, why, and how many were published.
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
    ///
    /// ```
    /// # use websse::{Message, Server, TryPublishError};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let reading = Message::new("21.5 °C");
    /// if let Err(TryPublishError::Full(_)) = server.try_publish(reading) {
    ///     // Another reading comes in a second; this one is not worth the wait.
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_publish(&self, message: Message) -> Result<(), TryPublishError> {
        self.hub.try_publish(message)
    }

    /// Figures of this moment and counts since the start.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let listener = server.subscribe([""])?;
    /// assert_eq!(server.stats().subscriptions, 1);
    /// # drop(listener);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.hub.stats()
    }

    /// How many clients listen to each event type now, in the order of the names. A client of
    /// several types counts for each of them; `*` is those that listen to all.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let listener = server.subscribe([""])?;
    /// assert_eq!(server.clients(), [("*".into(), 0), ("message".into(), 1)]);
    /// # drop(listener);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clients(&self) -> Vec<(String, usize)> {
        self.hub.clients()
    }

    /// The registered event types in the order of their names; `message` is the general one.
    ///
    /// ```
    /// # let server = websse::Server::new();
    /// server.register_events(["news", "", "ads"])?;
    /// assert_eq!(server.event_types(), ["ads", "message", "news"]);
    /// # Ok::<(), websse::RegisterError>(())
    /// ```
    pub fn event_types(&self) -> Vec<String> {
        self.hub.event_types()
    }

    /// Whether the broadcaster answers and there is room to publish, at once or after `patience` at
    /// most.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// assert!(server.answers_within(std::time::Duration::from_secs(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        self.hub.stop_journal(if own_thread { now } else { deadline });
        self.hub.inbox.stop(deadline);
        self.hub.notices.stop(deadline);
        if own_thread {
            return ShutdownReport::default();
        }
        let ended = {
            let mut thread = self.thread.lock();
            thread.take().map(|handle| handle.join().unwrap_or_default())
        };
        // It may have been opened meanwhile.
        self.hub.stop_journal(deadline);
        let untold = self.end_hooks();
        let Some(ended) = ended else { return ShutdownReport::default() };
        let report = ShutdownReport { untold, ..ended };
        logs::write(Level::Debug, format_args!("the broadcaster has ended: {report:?}"));
        report
    }

    /// Waits until the hooks have been told everything, or their time is over; returns how many
    /// notices are left. A hook does not wait for itself.
    fn end_hooks(&self) -> usize {
        // Where the broadcaster never ran, nobody else has.
        self.hub.notices.close();
        let thread = self.hook_thread.lock().as_ref().map(|thread| thread.thread().id());
        if thread.is_none() || thread == Some(thread::current().id()) {
            return 0;
        }
        let (ended, left) = self.hub.notices.wait_ended();
        // A hook that is still busy cannot be interrupted.
        let thread = if ended { self.hook_thread.lock().take() } else { None };
        if let Some(thread) = thread {
            // It has nothing left to do.
            let _ = thread.join();
        }
        left
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
