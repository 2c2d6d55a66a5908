//! How an open log feeds the broadcaster, and what it learns from it about clients that come back.

use std::{
    fmt::{self, Debug},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{SendTimeoutError, Sender, bounded};

use crate::{
    broadcast::{
        arrival::{Arrival, Form},
        broadcaster::Broadcaster,
        inbox::{Inbox, queue::Queued},
        log::{
            Lack,
            steps::{StepReceiver, StepSender, steps},
        },
        options::Options,
        shared::Shared,
    },
    error::{PublishError, SubscribeError},
    message::{
        Message,
        channel::ChannelTable,
        entry_id::EntryId,
        event_types::{EventTypes, TypeId},
        subscribed::Subscribed,
    },
    socket::Socket,
};

/// The log's way to the broadcaster. The core gives it to the log that it opens.
pub(crate) struct LogInput {
    steps: StepSender,
    inbox: Arc<Inbox>,
    types: Arc<EventTypes>,
    channels: Arc<ChannelTable>,
    is_primed: Arc<AtomicBool>,
    max_frame_bytes: usize,
    /// The events of a step take at most this many bytes.
    pub(crate) batch_bytes: usize,
    /// The node begins with at most this many events, and this many bytes of them.
    pub(crate) prime_events: usize,
    pub(crate) prime_bytes: usize,
    /// At most this many messages may wait to be appended, and this many bytes of them.
    pub(crate) queue_messages: usize,
    pub(crate) queue_bytes: usize,
    /// How long a socket may accept nothing.
    pub(crate) stall_timeout: Duration,
}

impl Shared {
    /// If the options name a log, opens it and lets the broadcaster follow it.
    pub(crate) fn open_log(&self, broadcaster: &mut Broadcaster) -> io::Result<()> {
        let Some(factory) = &self.options.log else { return Ok(()) };
        let (inbox, types) = (Arc::clone(&self.inbox), Arc::clone(&self.types));
        let (channels, is_primed) = (Arc::clone(&self.channels), Arc::clone(&self.is_primed));
        let (input, steps) = LogInput::new(&self.options, inbox, types, channels, is_primed);
        let log = factory.open(input)?;
        if let Err(second) = self.log.set(log) {
            // The first start opened the log, and then got no thread for the broadcaster.
            second.stop(Instant::now());
            return Err(io::Error::other(
                "the log was opened and given up before; make a new server",
            ));
        }
        broadcaster.steps = Some(steps);
        Ok(())
    }
}

impl LogInput {
    /// Also returns the channel from which the broadcaster takes the log's steps.
    fn new(
        options: &Options,
        inbox: Arc<Inbox>,
        types: Arc<EventTypes>,
        channels: Arc<ChannelTable>,
        is_primed: Arc<AtomicBool>,
    ) -> (Self, StepReceiver) {
        let Options { queue, history, subscribers, max_frame_bytes, .. } = options;
        let (steps, found) = steps();
        let input = Self {
            steps,
            batch_bytes: inbox.batch_bytes,
            prime_events: history.events.saturating_mul(types.names().len().clamp(1, 16)),
            prime_bytes: history.all_bytes,
            queue_messages: queue.messages,
            queue_bytes: queue.bytes,
            max_frame_bytes: *max_frame_bytes,
            stall_timeout: subscribers.stall_timeout,
            inbox,
            types,
            channels,
            is_primed,
        };
        (input, found)
    }

    /// Encodes a message as an event of this node. Its channel may be one too many here: the log has
    /// accepted it.
    pub(crate) fn encode(&self, message: &Message) -> Result<Queued, PublishError> {
        Queued::new(&self.types, &self.channels, usize::MAX, message, self.max_frame_bytes)
    }

    /// How many event types are registered.
    #[cfg(feature = "outside-log")]
    pub(crate) fn types(&self) -> TypeId {
        self.types.len()
    }

    /// Gives the broadcaster a step, in the order of the log. Waits for room, at most `timeout`.
    pub(crate) fn give(&self, step: Step, timeout: Duration) -> Result<(), SendTimeoutError<Step>> {
        if self.steps.is_full() {
            self.wake();
        }
        self.steps.send(step, timeout)
    }

    /// Wakes the broadcaster, so that it takes the steps that it was given.
    pub(crate) fn wake(&self) {
        self.inbox.ring();
    }

    /// The broadcaster was given what the node begins with: from now on new clients need not wait.
    pub(crate) fn set_primed(&self) {
        self.is_primed.store(true, Relaxed);
    }

    /// Asks the broadcaster whether its history reaches back to a client's last event. It answers
    /// after the steps that it was given before, unless it delivers nothing now. `None`: the
    /// broadcaster has ended.
    pub(crate) fn ask(
        &self,
        subscribed: &Arc<Subscribed>,
        last_event_id: &str,
        is_checked: bool,
    ) -> Option<Result<(), Lack>> {
        let (answer, receiver) = bounded(1);
        let (subscribed, last_event_id) = (Arc::clone(subscribed), last_event_id.to_owned());
        self.inbox.ask(Question::Lacks { subscribed, last_event_id, is_checked, answer });
        receiver.recv().ok()
    }

    /// Asks the broadcaster which of these entries it keeps. It answers as in [`ask`](Self::ask).
    #[cfg(feature = "durable")]
    pub(crate) fn ask_kept(&self, entries: Vec<EntryId>) -> crossbeam_channel::Receiver<Kept> {
        let (answer, receiver) = bounded(1);
        self.inbox.ask(Question::Kept { entries, answer });
        receiver
    }

    /// Hands a client over to the broadcaster.
    pub(crate) fn hand_over(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
        self.inbox.arrive(arrival)
    }
}

impl Debug for LogInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogInput").finish_non_exhaustive()
    }
}

/// An event that came from the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    /// The event of its type and channel that came before it, if the log knows that; the history
    /// need not have it.
    pub(crate) before: EntryId,
    pub(crate) event: Queued,
}

/// What the log's reader tells the broadcaster, in the order of the log.
#[derive(Debug)]
pub(crate) enum Step {
    /// Forget everything up to `floor`; in channels that are not known, also what came up to
    /// `forgotten`. Unless `is_first`, events may be lost, and clients are told.
    Begin { floor: EntryId, forgotten: EntryId, is_first: bool },
    /// Events to keep, and not to deliver.
    Prime(Vec<Entry>),
    /// Events to keep and to deliver.
    Events(Vec<Entry>),
    /// Entries were skipped, since their types are not registered here. `entry` is the last of
    /// them, `types` is how many types are registered.
    Unknown { entry: EntryId, types: TypeId },
    /// Events before this entry may be lost for ever. Clients are told, unless `told`.
    Gap { at: EntryId, told: bool },
    /// Everything up to here was read.
    Reach(EntryId),
    /// Steps between which no client is admitted.
    All(Vec<Step>),
}

impl Step {
    /// The bytes of its events.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Prime(entries) | Self::Events(entries) => {
                entries.iter().map(|entry| entry.event.encoded.len()).sum()
            }
            Self::All(steps) => steps.iter().map(Self::bytes).sum(),
            Self::Begin { .. } | Self::Unknown { .. } | Self::Gap { .. } | Self::Reach(_) => 0,
        }
    }

    /// Whether clients get something by this step.
    pub(crate) fn delivers(&self) -> bool {
        match self {
            Self::Events(_) | Self::All(_) => true,
            Self::Begin { is_first: known, .. } | Self::Gap { told: known, .. } => !known,
            Self::Prime(_) | Self::Unknown { .. } | Self::Reach(_) => false,
        }
    }
}

/// What a log asks of the history. The answer is dropped if the broadcaster has ended.
#[derive(Debug)]
pub(crate) enum Question {
    /// Whether it reaches back to a client's last event.
    Lacks {
        subscribed: Arc<Subscribed>,
        last_event_id: String,
        /// The log was asked before whether a client can have this id.
        is_checked: bool,
        answer: Sender<Result<(), Lack>>,
    },
    /// Which of these entries it keeps.
    #[cfg(feature = "durable")]
    Kept { entries: Vec<EntryId>, answer: Sender<Kept> },
}

/// What the history keeps.
#[cfg(feature = "durable")]
#[derive(Debug)]
pub(crate) struct Kept {
    /// Those of the entries in question, in their order.
    pub(crate) entries: Vec<EntryId>,
    /// The memory of all events, in bytes.
    pub(crate) bytes: usize,
}

impl<W> Arrival<W> {
    /// The bytes of a stream that gives this reason and ends, for a client whose stream has not begun.
    pub(crate) fn refusal(&self, reason: &str) -> Vec<u8> {
        let Form { coding, own, .. } = self.form;
        [&self.head[..], &coding.encode(own.refusal(reason).as_bytes())].concat()
    }
}

/// What the log has done for a client that comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FromLog {
    /// The client was sent the first block, and the events that the history does not reach back to.
    pub(crate) has_begun: bool,
    pub(crate) origin: Origin,
    /// The history reached back to the client's last event when the log handed the client over. If
    /// it does not any more, the client is disconnected and comes back.
    pub(crate) is_covered: bool,
}

impl FromLog {
    pub(crate) fn has_begun(self) -> bool {
        self.has_begun
    }

    pub(crate) fn is_elsewhere(self) -> bool {
        self.origin == Origin::Elsewhere
    }

    /// Whether the log was asked whether a client can have its last id.
    pub(crate) fn is_checked(self) -> bool {
        self.origin != Origin::Unknown
    }
}

/// Where a client's last event came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The log was not asked yet.
    #[default]
    Unknown,
    /// It is in the log, or was.
    Log,
    /// The log has never had it: it was lost with another server.
    Elsewhere,
}
