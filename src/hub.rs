//! What the server, its handlers and its broadcaster share.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    audience::{Arrival, Audience, Order, Resume, Via},
    broadcaster::{Broadcaster, Parts, Presence},
    client::{ClientId, SendToError, UnknownClient},
    error::{MessageError, PublishAllError, PublishError, SubscribeError, TryPublishError},
    frame::{self, Encoded},
    history::{History, epoch},
    inbox::{Inbox, MAX_BATCH_BYTES, Refused},
    message::Message,
    notices::Notices,
    options::Options,
    permits::Permit,
    queue::Queued,
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
}

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
            options,
        }
    }

    /// What the dedicated thread runs. If `tells`, who comes and goes is put into the notices.
    pub(crate) fn broadcaster(&self, tells: bool) -> Broadcaster {
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
        })
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
        let preamble = [head, frame::preamble(self.options.retry).as_bytes()].concat();
        let arrival = Arrival { seat, preamble, resume, via };
        self.inbox.arrive(arrival)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (streams, subscriptions) = self.registry.counts();
        let queued = self.inbox.queued();
        let untold = self.notices.passed_over();
        Stats { streams, subscriptions, queued, untold, ..*self.stats.lock() }
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
