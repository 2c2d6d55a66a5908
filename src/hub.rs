//! What the server, its handlers and its broadcaster share.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    audience::{Arrival, Audience, Resume, Via},
    broadcaster::Broadcaster,
    builder::Builder,
    error::{PublishAllError, PublishError, SubscribeError, TryPublishError},
    frame::{self, Encoded},
    history::{History, epoch},
    inbox::{Inbox, MAX_BATCH_BYTES, Refused},
    message::Message,
    permits::Permit,
    queue::Queued,
    registry::{Kind, Registry, Seat},
    socket::Socket,
    stats::Stats,
    types::EventTypes,
};

pub(crate) struct Hub {
    pub(crate) types: EventTypes,
    pub(crate) registry: Arc<Registry>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) options: Builder,
    /// The broadcaster's copy; held for a copy only.
    stats: Arc<Mutex<Stats>>,
    made: Instant,
}

impl fmt::Debug for Hub {
    /// Holds no lock while it writes: what it writes to may publish.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Hub {
    pub(crate) fn new(options: Builder) -> Self {
        // A batch must not use up the budget of a client before it can be waited for.
        let batch_bytes = MAX_BATCH_BYTES.min(options.audience.mailbox_bytes / 2);
        Self {
            types: EventTypes::default(),
            registry: Registry::new(options.max_streams),
            inbox: Arc::new(Inbox::new(options.queue.clone(), batch_bytes)),
            stats: Arc::default(),
            made: Instant::now(),
            options,
        }
    }

    /// What the dedicated thread runs.
    pub(crate) fn broadcaster(&self) -> Broadcaster {
        let registry = Arc::clone(&self.registry);
        let history = History::new(self.options.history.clone(), epoch());
        let limits = self.options.audience.clone();
        let audience = Audience::new(Arc::clone(&registry), limits, history);
        Broadcaster::new(Arc::clone(&self.inbox), registry, audience, Arc::clone(&self.stats))
    }

    pub(crate) fn publish(&self, message: &Message) -> Result<(), PublishError> {
        self.enqueue(self.event(message)?)
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
        let refuse = |index, accepted, error| PublishAllError { index, accepted, error };
        let event = |(at, message)| self.event(message).map_err(|error| refuse(at, 0, error));
        let events = messages.iter().enumerate().map(event).collect::<Result<Vec<Queued>, _>>()?;
        for (at, event) in events.into_iter().enumerate() {
            self.enqueue(event).map_err(|error| refuse(at, at, error))?;
        }
        Ok(())
    }

    pub(crate) fn try_publish(&self, message: Message) -> Result<(), TryPublishError> {
        let event = self.event(&message).map_err(TryPublishError::Refused)?;
        self.inbox.publish(event, false).map_err(|refused| match refused {
            Refused::Full => TryPublishError::Full(message),
            Refused::Never(error) => TryPublishError::Refused(error),
        })
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
        let preamble = [head, frame::preamble(self.options.retry).as_bytes()].concat();
        let arrival = Arrival { seat, preamble, resume, via };
        self.inbox.arrive(arrival).map_err(|_| SubscribeError::ShutDown)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (streams, subscriptions) = self.registry.counts();
        let queued = self.inbox.queued();
        Stats { streams, subscriptions, queued, ..*self.stats.lock() }
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
