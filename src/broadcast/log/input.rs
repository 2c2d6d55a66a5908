//! How a log that is open feeds the broadcaster, and what it tells of clients that come back.

use std::{
    fmt::{self, Debug},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};

use crate::{
    broadcast::{
        arrival::Arrival,
        broadcaster::Broadcaster,
        inbox::{Inbox, queue::Queued},
        log::Lack,
        options::Options,
        shared::Shared,
    },
    error::{PublishError, SubscribeError},
    message::{
        Message,
        entry_id::EntryId,
        event_types::{EventTypes, Subscribed, TypeId},
    },
    socket::Socket,
};

/// What the core gives a log that is being opened: its way to the broadcaster.
pub(crate) struct LogInput {
    steps: Sender<Step>,
    inbox: Arc<Inbox>,
    types: Arc<EventTypes>,
    is_primed: Arc<AtomicBool>,
    max_frame_bytes: usize,
    /// The events of a step take at most this many bytes.
    pub(crate) batch_bytes: usize,
    /// How many events to begin with at most, and their bytes.
    pub(crate) prime_events: usize,
    pub(crate) prime_bytes: usize,
    /// How many messages may wait to be appended, and their bytes.
    pub(crate) queue_messages: usize,
    pub(crate) queue_bytes: usize,
    /// How long a socket may take nothing.
    pub(crate) stall_timeout: Duration,
}

/// How many steps may wait for the broadcaster: each has one event, or events of 64 KiB together.
const STEPS: usize = 64;

impl Shared {
    /// Opens the log, where the options say so, and lets the broadcaster follow it.
    pub(crate) fn open_log(&self, broadcaster: &mut Broadcaster) -> io::Result<()> {
        let Some(factory) = &self.options.log else { return Ok(()) };
        let (inbox, types) = (Arc::clone(&self.inbox), Arc::clone(&self.types));
        let is_primed = Arc::clone(&self.is_primed);
        let (input, steps) = LogInput::new(&self.options, inbox, types, is_primed);
        let log = factory.open(input)?;
        if let Err(second) = self.log.set(log) {
            // There was no thread for the broadcaster the last time.
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
    /// Also returns where the broadcaster finds the log's steps.
    fn new(
        options: &Options,
        inbox: Arc<Inbox>,
        types: Arc<EventTypes>,
        is_primed: Arc<AtomicBool>,
    ) -> (Self, Receiver<Step>) {
        let Options { queue, history, subscribers, max_frame_bytes, .. } = options;
        let (steps, found) = bounded(STEPS);
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
            is_primed,
        };
        (input, found)
    }

    /// Makes a message an event of this node.
    pub(crate) fn encode(&self, message: &Message) -> Result<Queued, PublishError> {
        Queued::new(&self.types, message, self.max_frame_bytes)
    }

    /// How many event types are registered.
    #[cfg(feature = "outside-log")]
    pub(crate) fn types(&self) -> TypeId {
        self.types.len()
    }

    /// Gives the broadcaster a step, in the order of the log. Waits for room, at most for `timeout`.
    pub(crate) fn give(&self, step: Step, timeout: Duration) -> Result<(), SendTimeoutError<Step>> {
        if self.steps.is_full() {
            self.wake();
        }
        self.steps.send_timeout(step, timeout)
    }

    /// Wakes the broadcaster, to take the steps that it was given.
    pub(crate) fn wake(&self) {
        self.inbox.ring();
    }

    /// The broadcaster was given what it begins with: from now on new clients need not wait.
    pub(crate) fn set_primed(&self) {
        self.is_primed.store(true, Relaxed);
    }

    /// Asks the broadcaster whether its history reaches back to a client's last event, once it has
    /// taken the steps before. `None`: the broadcaster has ended.
    pub(crate) fn ask(
        &self,
        subscribed: &Arc<Subscribed>,
        last_event_id: &str,
        is_checked: bool,
    ) -> Option<Result<(), Lack>> {
        let (sender, receiver) = bounded(1);
        let (subscribed, last_event_id) = (Arc::clone(subscribed), last_event_id.to_owned());
        self.steps
            .send(Step::Ask { subscribed, last_event_id, is_checked, answer: sender })
            .ok()?;
        self.wake();
        receiver.recv().ok()
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

/// An event as it came out of the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) event: Queued,
}

/// What the log's reader tells the broadcaster, in the order of the log.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing up to here is kept any more. Unless this is the beginning, events may be lost: the
    /// clients are told.
    Begin { floor: EntryId, is_first: bool },
    /// To be kept, and not delivered: all clients are to come.
    Prime(Vec<Entry>),
    /// To be kept and delivered.
    Events(Vec<Entry>),
    /// Entries were passed over as none of the types that are registered here is theirs; this is the
    /// last of them.
    Unknown { entry: EntryId, types: TypeId },
    /// Before this place events may be lost for ever. Clients are told unless they were.
    Gap { at: EntryId, told: bool },
    /// Everything up to here was read.
    Reach(EntryId),
    /// No client comes between these.
    All(Vec<Step>),
    /// Whether the history reaches back to a client's last event; `is_checked` if the log was asked
    /// whether a client can have this id.
    Ask {
        subscribed: Arc<Subscribed>,
        last_event_id: String,
        is_checked: bool,
        answer: Sender<Result<(), Lack>>,
    },
}

/// What the log has done for a client that comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FromLog {
    /// It has sent the client the first block, and what the history does not reach back to.
    pub(crate) has_begun: bool,
    pub(crate) origin: Origin,
    /// The history reached back to the client's last event a moment ago. If it does not any more,
    /// the client is disconnected, and comes back.
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
