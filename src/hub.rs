//! What the server, its handlers and its broadcaster share.

use std::{
    fmt, io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use crate::{
    audience::{Arrival, Audience, Order, Resume, Via},
    broadcaster::{Broadcaster, Parts, Presence},
    client::{ClientId, SendToError, UnknownClient},
    error::{MessageError, PublishAllError, PublishError, SubscribeError, TryPublishError},
    frame::{self, Encoded},
    history::{History, epoch},
    inbox::{Inbox, Refused},
    journal::{self, Intake, Journal, Refusal, Steps, Unappended},
    message::Message,
    notices::Notices,
    options::Options,
    permits::Permit,
    queue::{MAX_BATCH_BYTES, Queued},
    registry::{Kind, Registry, Seat},
    socket::Socket,
    stats::Stats,
    types::EventTypes,
};

pub(crate) struct Hub {
    pub(crate) types: Arc<EventTypes>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) options: Options,
    /// The broadcaster's copy; held for a copy only.
    stats: Arc<Mutex<Stats>>,
    made: Instant,
    /// The log that several nodes share, once it is open.
    journal: OnceLock<Arc<dyn Journal>>,
}

/// How many parts of the log may wait for the broadcaster: 4 MiB or one event for each.
const STEPS: usize = 64;

impl fmt::Debug for Hub {
    /// Holds no lock while it writes: what it writes to may publish.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn new(options: Options) -> Self {
        // A batch must not use up the budget of a client before it can be waited for.
        let batch_bytes = MAX_BATCH_BYTES.min(options.audience.mailbox_bytes / 2);
        Self {
            types: Arc::default(),
            registry: Registry::new(options.max_streams),
            inbox: Arc::new(Inbox::new(options.queue.clone(), batch_bytes)),
            notices: Arc::default(),
            stats: Arc::default(),
            made: Instant::now(),
            journal: OnceLock::new(),
            options,
        }
    }

    /// What the dedicated thread runs. If `tells`, who comes and goes is put into the notices.
    pub(crate) fn broadcaster(&self, tells: bool, steps: Steps) -> Broadcaster {
        let registry = Arc::clone(&self.registry);
        let history = History::new(self.options.history.clone(), epoch());
        let limits = self.options.audience.clone();
        let mut audience = Audience::new(Arc::clone(&registry), limits, history);
        if tells {
            audience.tell(Arc::clone(&self.notices));
        }
        let presence = self.options.presence.as_ref();
        let presence =
            presence.and_then(|name| Presence::new(name.clone(), Arc::clone(&self.types)));
        Broadcaster::new(Parts {
            inbox: Arc::clone(&self.inbox),
            registry,
            notices: Arc::clone(&self.notices),
            audience,
            stats: Arc::clone(&self.stats),
            presence,
            steps,
        })
    }

    /// Opens the log, where the options say so; returns what its reader finds.
    pub(crate) fn open_journal(self: &Arc<Self>) -> io::Result<Steps> {
        let recipe = self.options.journal.as_ref().filter(|_| journal::POSSIBLE);
        let Some(recipe) = recipe else {
            return Ok(Steps::default());
        };
        let (steps, receiver) = bounded(STEPS);
        // The log is a part of the hub, and shall not keep it alive.
        let (inbox, types) = (Arc::clone(&self.inbox), Arc::clone(&self.types));
        let hub = Arc::downgrade(self);
        let Options { queue, history, .. } = &self.options;
        let journal = recipe.open(Intake {
            steps,
            wake: Box::new(move || inbox.wake()),
            encode: Box::new(move |message| match hub.upgrade() {
                Some(hub) => hub.event(message),
                None => Err(PublishError::ShutDown),
            }),
            types: Box::new(move || types.len()),
            batch_bytes: self.inbox.batch_bytes(),
            prime_events: history.events.saturating_mul(self.types.names().len().clamp(1, 16)),
            prime_bytes: history.all_bytes,
            queue_messages: queue.messages,
            queue_bytes: queue.bytes,
        })?;
        if let Err(second) = self.journal.set(journal) {
            // There was no thread for the broadcaster the last time.
            second.stop(Instant::now());
            return Err(io::Error::other(
                "the log was opened and given up before; make a new server",
            ));
        }
        Ok(Steps::new(receiver))
    }

    /// Ends the log: what this node has appended was read, or the deadline has come.
    pub(crate) fn stop_journal(&self, deadline: Instant) {
        if let Some(journal) = self.journal() {
            journal.stop(deadline);
        }
    }

    pub(crate) fn journal(&self) -> Option<&Arc<dyn Journal>> {
        self.journal.get().filter(|_| journal::POSSIBLE)
    }

    pub(crate) fn publish(&self, message: &Message) -> Result<(), PublishError> {
        let event = self.event(message)?;
        match self.journal() {
            None => self.enqueue(event),
            Some(journal) => {
                self.append(&**journal, message, true).map_err(|refused| match refused {
                    Refused::Never(error) => error,
                    Refused::Full => {
                        unreachable!("a publisher that waits is not told that it has to")
                    }
                })
            }
        }
    }

    /// Publishes by way of the log that several nodes share.
    fn append(&self, journal: &dyn Journal, message: &Message, wait: bool) -> Result<(), Refused> {
        self.inbox.accepts().map_err(Refused::Never)?;
        let result = journal.append(std::slice::from_ref(message), wait);
        result.map_err(|Unappended { error, .. }| match error {
            Refusal::Full => Refused::Full,
            Refusal::Never(error) => Refused::Never(error),
        })
    }

    /// Waits for room.
    fn enqueue(&self, event: Queued) -> Result<(), PublishError> {
        match self.inbox.publish(event, true) {
            Ok(()) => Ok(()),
            Err(Refused::Never(error)) => Err(error),
            Err(Refused::Full) => unreachable!("a publisher that waits is not told that it has to"),
        }
    }

    pub(crate) fn publish_all(&self, messages: &[Message]) -> Result<(), PublishAllError> {
        let refuse =
            |index, accepted, error| PublishAllError { index, accepted, unknown: 0, error };
        let event = |(at, message)| self.event(message).map_err(|error| refuse(at, 0, error));
        let events = messages.iter().enumerate().map(event).collect::<Result<Vec<Queued>, _>>()?;
        if let Some(journal) = self.journal() {
            self.inbox.accepts().map_err(|error| refuse(0, 0, error))?;
            return journal.append(messages, true).map_err(
                |Unappended { index, unknown, error }| {
                    let Refusal::Never(error) = error else {
                        unreachable!("a publisher that waits is not told that it has to")
                    };
                    PublishAllError { unknown, ..refuse(index, index, error) }
                },
            );
        }
        for (at, event) in events.into_iter().enumerate() {
            self.enqueue(event).map_err(|error| refuse(at, at, error))?;
        }
        Ok(())
    }

    pub(crate) fn try_publish(&self, message: Message) -> Result<(), TryPublishError> {
        let event = self.event(&message).map_err(TryPublishError::Refused)?;
        let result = match self.journal() {
            None => self.inbox.publish(event, false),
            Some(journal) => self.append(&**journal, &message, false),
        };
        result.map_err(|refused| match refused {
            Refused::Full => TryPublishError::Full(message),
            Refused::Never(error) => TryPublishError::Refused(error),
        })
    }

    /// Sends a message to one client, in the order of publishing.
    pub(crate) fn send_to(&self, client: ClientId, message: &Message) -> Result<(), SendToError> {
        let refused = SendToError::Refused;
        if message.event_id().is_some() {
            return Err(refused(MessageError::IdToOne.into()));
        }
        let lines = self.event(message).map_err(refused)?.encoded.lines;
        let frame = frame::seal(&lines, None, &mut Vec::new());
        self.inbox.accepts().map_err(refused)?;
        if !self.registry.has(client) {
            return Err(SendToError::UnknownClient(client));
        }
        self.inbox.order(Order::Send(client, frame)).map_err(refused)
    }

    /// Ends a client, in the order of publishing.
    pub(crate) fn disconnect(&self, client: ClientId) -> Result<(), UnknownClient> {
        if !self.registry.has(client) {
            return Err(UnknownClient(client));
        }
        // Refused only where all clients are about to end.
        self.inbox.order(Order::Disconnect(client)).map_err(|_| UnknownClient(client))
    }

    /// Registers a client; the seat is free again when dropped.
    pub(crate) fn register<'n>(
        &self,
        kind: Kind,
        names: impl IntoIterator<Item = &'n str>,
        permit: Option<Permit>,
    ) -> Result<Seat, SubscribeError> {
        let subscribed = self.types.subscribe(names)?;
        if matches!(self.inbox.accepts(), Err(PublishError::NotRunning)) {
            return Err(SubscribeError::NotRunning);
        }
        self.registry.register(kind, subscribed, permit)
    }

    /// Hands a registered client over to the broadcaster, which sends it `head` and the preamble.
    pub(crate) fn seat(
        &self,
        seat: Seat,
        head: &[u8],
        resume: Resume,
        via: Via<Socket>,
    ) -> Result<(), SubscribeError> {
        let preamble = [head, self.preamble().as_bytes()].concat();
        self.arrive(Arrival { seat, preamble, resume, via, back: None })
    }

    /// What every stream begins with.
    pub(crate) fn preamble(&self) -> String {
        frame::preamble(self.options.retry)
    }

    pub(crate) fn arrive(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
        self.inbox.arrive(arrival)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (streams, subscriptions) = self.registry.counts();
        let queued = self.inbox.queued();
        let untold = self.notices.passed_over();
        let log = self.journal().map(|journal| journal.stats());
        Stats { streams, subscriptions, queued, untold, log, ..*self.stats.lock() }
    }

    pub(crate) fn clients(&self) -> Vec<(String, usize)> {
        self.types.count(&self.registry.subscribed())
    }

    pub(crate) fn event_types(&self) -> Vec<String> {
        self.types.names()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.made.elapsed()
    }

    pub(crate) fn answers(&self, until: Instant) -> bool {
        self.inbox.answers(until)
    }

    fn event(&self, message: &Message) -> Result<Queued, PublishError> {
        message.check()?;
        let kind = self
            .types
            .find(message.event_type())
            .ok_or_else(|| PublishError::EventNotRegistered(message.event_type().to_owned()))?;
        let encoded = Encoded::new(message, self.options.max_frame_bytes)?;
        Ok(Queued { kind, encoded })
    }
}
