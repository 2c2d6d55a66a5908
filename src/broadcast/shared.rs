//! What the server, its handlers and its broadcaster share.

use std::{
    fmt, iter, slice,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use crate::{
    broadcast::{
        arrival::{Arrival, Form, Resume, Via},
        client::{ClientId, SendToError, UnknownClient},
        hook_queue::HookQueue,
        inbox::{
            Inbox, Refused,
            queue::{MAX_BATCH_BYTES, Queued},
        },
        log::{EntryId, Log, NotAppended},
        options::Options,
        per_address::AddressSlot,
        registry::{Kind, Registry, Seat},
        stats::Stats,
        subscribers::Command,
    },
    error::{PublishAllError, PublishError, SubscribeError, TryPublishError},
    message::{
        Message, MessageError, canonical,
        channel::ChannelTable,
        channels::Channels,
        event_types::{EventTypes, RegisterError, Unregister},
        frame,
        id::Epoch,
        published::Published,
        subscribed::Subscribed,
    },
    socket::Socket,
};

pub(crate) struct Shared {
    pub(crate) types: Arc<EventTypes>,
    pub(crate) channels: Arc<ChannelTable>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) hook_queue: Arc<HookQueue>,
    pub(crate) options: Options,
    /// Names this run in the ids that the server gives.
    pub(crate) epoch: Epoch,
    /// Whether hooks or the log learn of clients that come and go.
    pub(crate) has_hooks: AtomicBool,
    /// Held while a type is unregistered, so that the broadcaster learns of them in their order.
    unregistering: Mutex<()>,
    /// The broadcaster's copy of its metrics; held only to copy them.
    pub(super) stats: Arc<Mutex<Stats>>,
    made: Instant,
    /// Set once the log is open.
    pub(super) log: OnceLock<Arc<dyn Log>>,
    /// New clients need not wait for the log.
    pub(super) is_primed: Arc<AtomicBool>,
}

impl fmt::Debug for Shared {
    /// Holds no lock while it writes, since the writer may publish.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        // One batch must not exceed a client's budget before publishers can be made to wait.
        let batch_bytes = MAX_BATCH_BYTES.min(options.subscribers.mailbox_bytes / 2);
        let types = Arc::<EventTypes>::default();
        let generation = types.generation().clone();
        Self {
            types,
            channels: Arc::default(),
            registry: Registry::new(options.max_streams),
            inbox: Arc::new(Inbox::new(options.queue.clone(), batch_bytes, generation)),
            hook_queue: Arc::default(),
            stats: Arc::default(),
            made: Instant::now(),
            log: OnceLock::new(),
            is_primed: Arc::default(),
            options,
            epoch: Epoch::new(),
            has_hooks: AtomicBool::new(false),
            unregistering: Mutex::default(),
        }
    }

    /// Stops the log: returns when all that this node appended is read, or at the deadline.
    pub(crate) fn stop_log(&self, deadline: Instant) {
        if let Some(log) = self.log.get() {
            log.stop(deadline);
        }
    }

    pub(crate) fn publish(&self, message: &Message) -> Result<Published, PublishError> {
        let event = self.event(message)?;
        if let Some(log) = self.log.get() {
            self.inbox.accepts()?;
            let entries = log.append(slice::from_ref(message)).map_err(|refused| refused.error)?;
            return Ok(in_log(message, entries.first(), self.listeners_to(&event)));
        }
        self.enqueue(event, message)
    }

    /// Adds an event to the queue; waits for room. If a type is unregistered meanwhile, looks
    /// whether it is this one.
    fn enqueue(&self, mut event: Queued, message: &Message) -> Result<Published, PublishError> {
        loop {
            let (channel, kind) = (event.channel.clone(), event.kind);
            match self.inbox.publish(event) {
                // Counted now: it may have waited for room.
                Ok(number) => {
                    let listeners = self.registry.listening().to(channel.as_ref(), kind);
                    return Ok(self.published(message, number, listeners));
                }
                Err(Refused::Never(error)) => return Err(error),
                Err(Refused::Stale | Refused::Full) => event = self.event(message)?,
            }
        }
    }

    pub(crate) fn publish_all(
        &self,
        messages: &[Message],
    ) -> Result<Vec<Published>, PublishAllError> {
        let refuse =
            |index, accepted, error| PublishAllError { index, accepted, unknown: 0, error };
        let event = |(at, message)| self.event(message).map_err(|error| refuse(at, 0, error));
        let events = messages.iter().enumerate().map(event).collect::<Result<Vec<Queued>, _>>()?;
        let events = events.into_iter().zip(messages);
        // Also where there are none, and nothing else would tell.
        self.inbox.accepts().map_err(|error| refuse(0, 0, error))?;
        if let Some(log) = self.log.get() {
            let entries =
                log.append(messages).map_err(|NotAppended { index, unknown, error }| {
                    PublishAllError { unknown, ..refuse(index, index, error) }
                })?;
            let entries = entries.iter().map(Some).chain(iter::repeat(None));
            let published = events
                .zip(entries)
                .map(|((event, message), entry)| in_log(message, entry, self.listeners_to(&event)));
            return Ok(published.collect());
        }
        let publish = |(at, (event, message))| {
            self.enqueue(event, message).map_err(|error| refuse(at, at, error))
        };
        events.enumerate().map(publish).collect()
    }

    pub(crate) fn try_publish(&self, message: Message) -> Result<Published, TryPublishError> {
        loop {
            let event = self.event(&message).map_err(TryPublishError::Refused)?;
            match self.try_enqueue(event, &message) {
                Ok(published) => return Ok(published),
                Err(Refused::Stale) => {}
                Err(Refused::Full) => return Err(TryPublishError::Full(message)),
                Err(Refused::Never(error)) => return Err(TryPublishError::Refused(error)),
            }
        }
    }

    fn try_enqueue(&self, event: Queued, message: &Message) -> Result<Published, Refused> {
        let listeners = self.listeners_to(&event);
        if let Some(log) = self.log.get() {
            self.inbox.accepts().map_err(Refused::Never)?;
            return Ok(in_log(message, Some(&log.try_append(message)?), listeners));
        }
        Ok(self.published(message, self.inbox.try_publish(event)?, listeners))
    }

    /// How many clients listen to an event now.
    fn listeners_to(&self, event: &Queued) -> usize {
        self.registry.listening().to(event.channel.as_ref(), event.kind)
    }

    /// What the publisher of the event of this number learns.
    fn published(&self, message: &Message, number: u64, listeners: usize) -> Published {
        let epoch = self.options.history.allow_any().then_some(self.epoch);
        let own = message.event_id().cloned();
        own.map_or(Published::numbered(epoch, number, listeners), |id| {
            Published::with_own_id(id, listeners)
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
        self.inbox.command(Command::Send(client, frame)).map_err(refused)
    }

    /// Disconnects a client, in the order of publishing.
    pub(crate) fn disconnect(&self, client: ClientId) -> Result<(), UnknownClient> {
        if !self.registry.has(client) {
            return Err(UnknownClient(client));
        }
        // Refused only when all clients are about to end.
        self.inbox.command(Command::Disconnect(client)).map_err(|_| UnknownClient(client))
    }

    pub(crate) fn register_types(&self, names: &[&str]) -> Result<(), RegisterError> {
        // A hook may still be told of a client of the type that had the number before.
        let has_untold = !self.hook_queue.is_empty();
        self.types.register(names, |kind| self.registry.listening().of(kind) > 0, has_untold)
    }

    pub(crate) fn unregister(&self, name: &str) -> bool {
        let presence = self.options.presence.as_deref().map(canonical);
        if presence == Some(canonical(name)) {
            return false;
        }
        let _one_by_one = self.unregistering.lock();
        let Some(unregister) = self.types.unregister(name) else { return false };
        let Unregister { kind, generation, .. } = unregister;
        // Before a server runs, and when it has ended, there is nothing to let go of.
        if !self.inbox.command_now(Command::Unregister(unregister)) {
            let is_listened = self.registry.listening().of(kind) > 0;
            self.types.free(kind, generation, is_listened);
        }
        true
    }

    /// Registers a client. Dropping the seat removes it again.
    pub(crate) fn register<'n>(
        &self,
        kind: Kind,
        names: impl IntoIterator<Item = &'n str>,
        channels: &Channels,
        address_slot: Option<AddressSlot>,
    ) -> Result<Seat, SubscribeError> {
        let names: Vec<&str> = names.into_iter().collect();
        let mut address_slot = address_slot;
        loop {
            let generation = self.types.generation().get();
            let types = self.types.subscribe(names.iter().copied())?;
            if matches!(self.inbox.accepts(), Err(PublishError::NotRunning)) {
                return Err(SubscribeError::NotRunning);
            }
            let listened = channels.listened(&self.channels, self.options.max_channels)?;
            let subscribed = Subscribed { channels: listened, types };
            let mut seat = self.registry.register(kind, subscribed, address_slot.take())?;
            // From here on nobody else gets its numbers. Before, somebody may have got one.
            if generation == self.types.generation().get() {
                if self.has_hooks.load(Relaxed) {
                    seat.attached = channels.attached().clone();
                }
                seat.generation = generation;
                seat.until = channels.ends().and_then(instant);
                return Ok(seat);
            }
            address_slot = seat.give_up();
        }
    }

    /// Whether a client can be [admitted](Self::admit) without waiting.
    pub(crate) fn admits_at_once(&self, resume: &Resume) -> bool {
        let is_new = resume.last_event_id.is_none();
        self.log
            .get()
            .is_none_or(|log| (is_new || log.is_all_in_history()) && self.is_primed.load(Relaxed))
    }

    /// Hands a registered client over to the broadcaster, or to the log, which hands it over.
    pub(crate) fn admit(
        &self,
        seat: Seat,
        head: &[u8],
        form: Form,
        resume: Resume,
        via: Via<Socket>,
    ) -> Result<(), SubscribeError> {
        let preamble = form.own.preamble(self.options.retry);
        let arrival = Arrival { seat, head: head.to_vec(), preamble, form, resume, via };
        if let Some(log) = self.log.get()
            && !self.admits_at_once(&arrival.resume)
        {
            return log.admit(arrival);
        }
        self.inbox.arrive(arrival)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (streams, subscriptions) = self.registry.counts();
        let queued = self.inbox.queued();
        let missed_notifications = self.hook_queue.missed();
        let channels = self.channels.len();
        let mut stats = Stats {
            streams,
            subscriptions,
            channels,
            queued,
            missed_notifications,
            ..*self.stats.lock()
        };
        if let Some(log) = self.log.get() {
            log.add_to(&mut stats);
        }
        stats
    }

    /// Whether a publish into a queue with room waits for nothing outside of the process.
    pub(crate) fn publishes_at_once(&self) -> bool {
        self.log.get().is_none()
    }

    pub(crate) fn log(&self) -> Option<&dyn Log> {
        self.log.get().map(|log| &**log)
    }

    pub(crate) fn subscribers_by_type(&self, most_types: usize) -> Vec<(String, usize)> {
        self.types.count(self.registry.listening(), most_types)
    }

    pub(crate) fn listeners(&self, channel: &str) -> usize {
        self.channels.listeners(channel)
    }

    pub(crate) fn event_types(&self) -> Vec<String> {
        self.types.names()
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.made.elapsed()
    }

    pub(crate) fn is_alive(&self, until: Instant) -> bool {
        self.inbox.is_alive(until)
    }

    pub(crate) fn answers(&self, until: Instant) -> bool {
        self.inbox.answers(until)
    }

    fn event(&self, message: &Message) -> Result<Queued, PublishError> {
        let Options { max_channels, max_frame_bytes, .. } = self.options;
        Queued::new(&self.types, &self.channels, max_channels, message, max_frame_bytes)
    }
}

/// What the publisher of a message in a log learns.
fn in_log(message: &Message, entry: Option<&EntryId>, listeners: usize) -> Published {
    match (message.event_id(), entry) {
        (Some(id), _) => Published::with_own_id(id.clone(), listeners),
        (None, Some(entry)) => Published::entry(entry.to_string(), listeners),
        (None, None) => Published::numbered(None, 0, listeners),
    }
}

/// The same moment by the clock that never goes back; `None` if it is too far away to come.
fn instant(moment: SystemTime) -> Option<Instant> {
    let left = moment.duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now().checked_add(left)
}
