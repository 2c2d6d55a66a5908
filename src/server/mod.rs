//! [`Server`], the type through which a program uses the core.
//!
//! | file | owns |
//! |---|---|
//! | `(this file)` | `Server`: run, publish, shut down |
//! | `clients` | `Server`: subscriptions, messages to one client, disconnecting |
//! | `builder` | `Builder`: every limit and time, with its default |
//! | `subscription` | `Subscription`: a listener within the program |
//! | `subscription_reader` | its bytes, as the body of a response |
//! | `dropped` | a server that was dropped while its handlers are mounted |
//! | `hooks` | `Publisher`, and the thread that calls the hooks |
//!
//! Imports nothing of `handlers`.

mod builder;
mod clients;
mod dropped;
mod hooks;
mod subscription;
mod subscription_reader;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

pub use self::{
    builder::Builder,
    hooks::Publisher,
    subscription::{RecvTimeoutError, Subscription, SubscriptionBuilder},
    subscription_reader::SubscriptionReader,
};

pub(crate) use self::dropped::Dropped;
use self::hooks::Hooks;
use crate::{
    YEAR,
    broadcast::{
        broadcaster::{Broadcaster, ShutdownReport},
        shared::Shared,
        stats::Stats,
    },
    error::{PublishAllError, PublishError, RunError, TryPublishError},
    logs::{self, Level},
    message::{Message, event_types::RegisterError, published::Published},
};

/// How long dropping a server may take to deliver the accepted messages.
const DROP_DEADLINE: Duration = Duration::from_secs(5);

/// The server: event types, clients, and the broadcaster thread between publishers and clients.
///
/// Register the event types, call [`run`](Self::run), mount the two handlers, and publish from any
/// thread. To publish from several threads, share it as `Arc<Server>`. The handlers do not keep it
/// alive: dropping the `Server` shuts it down, even while they are mounted. Accepted messages then
/// have 5 s to be delivered. With the feature `log`, each handler that is still asked for a stream,
/// for its health or to publish warns of it once.
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
    shared: Arc<Shared>,
    /// The broadcaster's thread. Locked while it is joined, so that a second shutdown waits too.
    thread: Mutex<Option<JoinHandle<ShutdownReport>>>,
    hooks: Hooks,
    /// The thread that calls the hooks, if there is one.
    hook_thread: Mutex<Option<JoinHandle<()>>>,
    /// Set when it was dropped without a shutdown before; its handlers warn of it.
    was_dropped: Arc<AtomicBool>,
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

    /// Returns a builder, which sets limits before the server is made.
    ///
    /// ```
    /// let server = websse::Server::builder().max_streams(50).build();
    /// # drop(server);
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn with(Builder { options, hooks }: Builder) -> Self {
        let shared = Arc::new(Shared::new(options));
        let (thread, hook_thread) = (Mutex::new(None), Mutex::new(None));
        Self { shared, thread, hooks, hook_thread, was_dropped: Arc::default() }
    }

    /// Registers an event type, before or after [`run`](Self::run). `""` and `message` both mean
    /// the general type. Registering a name again changes nothing.
    ///
    /// # Errors
    /// [`RegisterError`] if the name cannot be sent in a stream, or is reserved.
    ///
    /// ```
    /// # use websse::{RegisterError, Server};
    /// let server = Server::new();
    /// server.register_event("news")?;
    /// assert_eq!(server.register_event("*"), Err(RegisterError::Reserved("*".into())));
    /// # Ok::<(), RegisterError>(())
    /// ```
    pub fn register_event(&self, name: &str) -> Result<(), RegisterError> {
        self.shared.register_types(&[name])
    }

    /// Registers several event types; if one of them is refused, none.
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
        self.shared.register_types(&names)
    }

    /// Unregisters an event type: it can be neither published nor listened to any more, and what is
    /// kept of it goes. Clients that listen to nothing else are disconnected within about a second
    /// ([`Disconnect::ClosedByServer`](crate::Disconnect::ClosedByServer)). What was published
    /// before is still delivered to clients that are not behind. False: there is no such type, or it
    /// is the one of [`presence`](Builder::presence), which stays.
    ///
    /// If the name is registered again it is a new type. A client that comes back with an id from
    /// before learns of a gap.
    ///
    /// ```
    /// # use websse::{Message, PublishError, Server};
    /// let server = Server::new();
    /// server.register_events(["news", "election"])?;
    /// server.run()?;
    /// assert!(server.unregister_event("election"));
    /// let refused = server.publish(Message::new("too late").event("election"));
    /// assert_eq!(refused, Err(PublishError::EventNotRegistered("election".into())));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unregister_event(&self, name: &str) -> bool {
        self.shared.unregister(name)
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
        self.shared.types.find(name).is_some()
    }

    /// Starts the broadcaster thread, and the hooks' thread if there are hooks.
    ///
    /// # Errors
    /// [`RunError`] if it runs already, was shut down, or no thread can be started.
    ///
    /// ```
    /// # use websse::{RunError, Server};
    /// let server = Server::new();
    /// server.run()?;
    /// assert!(matches!(server.run(), Err(RunError::AlreadyRunning)));
    /// # Ok::<(), RunError>(())
    /// ```
    pub fn run(&self) -> Result<(), RunError> {
        let shared = &self.shared;
        if let Some(presence) = &shared.options.presence {
            shared.register_types(&[presence]).map_err(RunError::Presence)?;
        }
        let mut thread = self.thread.lock();
        let spawned = shared.inbox.start(|| {
            let tells = self.start_hooks()?;
            shared.has_hooks.store(tells, Relaxed);
            let mut broadcaster = Broadcaster::new(shared, tells);
            shared.open_log(&mut broadcaster)?;
            let named = thread::Builder::new().name("websse-broadcaster".to_owned());
            named.spawn(|| broadcaster.run()).inspect_err(|_| shared.stop_log(Instant::now()))
        });
        match spawned {
            Some(Ok(handle)) => {
                *thread = Some(handle);
                drop(thread);
                logs::write(Level::Debug, format_args!("the broadcaster runs"));
                Ok(())
            }
            Some(Err(error)) => Err(RunError::Thread(error)),
            None if matches!(shared.inbox.accepts(), Err(PublishError::ShutDown)) => {
                Err(RunError::ShutDown)
            }
            None => Err(RunError::AlreadyRunning),
        }
    }

    /// Starts the hooks' thread; false if none is needed.
    fn start_hooks(&self) -> io::Result<bool> {
        let mut thread = self.hook_thread.lock();
        if !self.hooks.are_wanted() {
            return Ok(false);
        }
        // It may exist already, if an earlier call got no thread for the broadcaster.
        if thread.is_none() {
            let (hooks, shared) = (self.hooks.clone(), Arc::clone(&self.shared));
            let spawned = thread::Builder::new().name("websse-hooks".to_owned());
            *thread = Some(spawned.spawn(move || hooks.run(shared))?);
        }
        Ok(true)
    }

    /// Publishes a message. `Ok` means that every client that listens to its type will be sent it,
    /// in the order of publishing, or is disconnected. [`Published`] tells the event's id, and how
    /// many listened. Blocks while the publish queue is full.
    ///
    /// # Errors
    /// [`PublishError`] says why the message was not accepted; then no client is sent it.
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
    pub fn publish(&self, message: impl Into<Message>) -> Result<Published, PublishError> {
        self.shared.publish(&message.into())
    }

    /// Publishes messages in their order: all of them, or none if one is not valid. Messages of
    /// other publishers may come in between. Returns for each what [`publish`](Self::publish) does.
    /// Blocks while the publish queue is full.
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
    pub fn publish_all(&self, messages: &[Message]) -> Result<Vec<Published>, PublishAllError> {
        self.shared.publish_all(messages)
    }

    /// Publishes a message if that is possible without waiting.
    ///
    /// # Errors
    /// [`TryPublishError::Full`] returns the message if the publish queue is full;
    /// [`TryPublishError::Refused`] if the message would not be accepted later either.
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
    pub fn try_publish(&self, message: impl Into<Message>) -> Result<Published, TryPublishError> {
        self.shared.try_publish(message.into())
    }

    /// The current state, and counts since the start.
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
        self.shared.stats()
    }

    /// The number of clients that listen to each event type now, in the order of the names. A
    /// client of several types counts for each of them; `*` counts the clients that listen to all
    /// types.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let listener = server.subscribe([""])?;
    /// assert_eq!(server.subscribers_by_type(), [("*".into(), 0), ("message".into(), 1)]);
    /// # drop(listener);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribers_by_type(&self) -> Vec<(String, usize)> {
        self.shared.subscribers_by_type(usize::MAX)
    }

    /// How many clients listen to a [channel](Message::channel) by its name. Those that listen to
    /// the common channel, or to all, are not counted here.
    ///
    /// ```
    /// # use websse::{Channels, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let mine = Channels::new(["", "user/17"])?;
    /// let listener = server.subscription([""]).channels(mine).open()?;
    /// assert_eq!((server.listeners("user/17"), server.listeners("user/4")), (1, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn listeners(&self, channel: &str) -> usize {
        self.shared.listeners(channel)
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
        self.shared.event_types()
    }

    /// Whether the broadcaster answers and the publish queue has room, now or within `timeout`. This
    /// is for load balancers; a server that is only busy may answer no.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// assert!(server.is_healthy(std::time::Duration::from_secs(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_healthy(&self, timeout: Duration) -> bool {
        self.shared.answers(Instant::now() + timeout.min(YEAR))
    }

    /// Whether the broadcaster answers, now or within `timeout`, however full the publish queue is.
    /// This is for a watchdog, which restarts a program that hangs.
    ///
    /// ```
    /// # use websse::Server;
    /// # let server = Server::new();
    /// assert!(!server.is_alive(std::time::Duration::ZERO), "it does not run");
    /// server.run()?;
    /// assert!(server.is_alive(std::time::Duration::from_secs(5)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn is_alive(&self, timeout: Duration) -> bool {
        self.shared.is_alive(Instant::now() + timeout.min(YEAR))
    }

    /// Ends the server. It refuses everything new, delivers what was accepted, and ends every
    /// stream, every subscription and the broadcaster thread. After `deadline` it gives up what is
    /// not delivered and reports it; the call returns soon after that at the latest.
    ///
    /// Calling it again does no harm; a shorter deadline then counts. Only one of the calls returns
    /// the report, the others an empty one. The server cannot be run again.
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
        // A deadline beyond the clock's range counts as a year.
        let deadline = now.checked_add(deadline).unwrap_or(now + YEAR);
        self.shared.registry.close();
        let own_thread = self.shared.inbox.is_own_thread();
        self.shared.stop_log(if own_thread { now } else { deadline });
        self.shared.inbox.stop(deadline);
        self.shared.hook_queue.stop(deadline);
        if own_thread {
            return ShutdownReport::default();
        }
        let ended = {
            let mut thread = self.thread.lock();
            thread.take().map(|handle| handle.join().unwrap_or_default())
        };
        // The log may have been opened meanwhile.
        self.shared.stop_log(deadline);
        let missed_notifications = self.end_hooks();
        let Some(ended) = ended else { return ShutdownReport::default() };
        let report = ShutdownReport { missed_notifications, ..ended };
        logs::write(Level::Debug, format_args!("the broadcaster has ended: {report:?}"));
        report
    }

    /// Waits until the hook queue is empty, or its time is over; returns how many events are left
    /// in it. A hook does not wait for itself.
    fn end_hooks(&self) -> usize {
        // If the broadcaster never ran, nothing else has closed it.
        self.shared.hook_queue.close();
        let thread = self.hook_thread.lock().as_ref().map(|thread| thread.thread().id());
        if thread.is_none() || thread == Some(thread::current().id()) {
            return 0;
        }
        let (ended, left) = self.shared.hook_queue.wait_ended();
        // A hook that is still running cannot be interrupted.
        let thread = if ended { self.hook_thread.lock().take() } else { None };
        if let Some(thread) = thread {
            // The thread has nothing left to do.
            let _ = thread.join();
        }
        left
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// For a new handler, which is made by this method.
    pub(crate) fn dropped(&self, handler: &'static str) -> Dropped {
        Dropped::new(Arc::clone(&self.was_dropped), handler)
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
        let was_shut_down = matches!(self.shared.inbox.accepts(), Err(PublishError::ShutDown));
        self.shutdown(DROP_DEADLINE);
        // Not before: at the end of a program requests may come as long as this takes.
        self.was_dropped.store(!was_shut_down, Relaxed);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
