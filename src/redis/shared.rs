//! What the reader, the writer, publishers and clients that come back share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{
    backoff::Backoff, config::RedisConfig, entry::ContentHash, primary::Primary, queue::Queue,
    slots::Slots,
};
use crate::{
    broadcast::{log::LogInput, stats::RedisStats},
    message::entry_id::EntryId,
};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: RedisConfig,
    pub(super) input: LogInput,
    pub(super) primary: Arc<Primary>,
    pub(super) queue: Queue,
    pub(super) counts: Counts,
    pub(super) slots: Slots,
    /// Never held across a call to Redis.
    state: Mutex<State>,
    /// Threads wait here for a change of the state.
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The reader has read the end of the stream, to begin with.
    pub(super) is_primed: bool,
    /// The broadcaster was given everything up to here.
    pub(super) reached: EntryId,
    pub(super) is_reading: bool,
    pub(super) is_writing: bool,
    /// The replication id of the server that may be published to and read from. As far as the
    /// reader knows this server has everything, or all nodes were told of the gap. `None`: the
    /// reader must check the server again.
    pub(super) vouched: Option<String>,
    /// The newest entry that a client was sent from the log.
    pub(super) served: EntryId,
    /// Why the stream could not be read, the last time.
    pub(super) trouble: String,
    /// Since when there is, or may be, more to read.
    pub(super) behind_since: Option<Instant>,
    /// The newest entry that this node appended, unless it was found to be lost.
    appended: EntryId,
    /// The command that appended it, if it is known.
    append_command: Vec<u8>,
    /// Counts when others said something new of the primary.
    pub(super) changes: usize,
    /// Set while the log stops: nothing more is appended, and until this time what was appended is
    /// still read.
    stopping: Option<Instant>,
    ending: Ending,
}

/// How many threads run, and whether they must end.
#[derive(Debug, Default)]
struct Ending {
    has_come: bool,
    threads: usize,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) appended: AtomicUsize,
    pub(super) refused: AtomicUsize,
    pub(super) outcome_unknown: AtomicUsize,
    pub(super) read: AtomicUsize,
    pub(super) malformed: AtomicUsize,
    pub(super) unknown_types: AtomicUsize,
    pub(super) reconnects: AtomicUsize,
    pub(super) breaks: AtomicUsize,
    pub(super) gaps: AtomicUsize,
}

impl Counts {
    pub(super) fn refused(&self, messages: usize) {
        self.refused.fetch_add(messages, Relaxed);
    }
}

/// At most this many clients that come back have a thread at the same time.
const SLOTS: usize = 256;
impl Shared {
    pub(super) fn new(config: RedisConfig, input: LogInput) -> Self {
        let primary = Arc::new(Primary::new(&config));
        let queue = Queue::new(input.queue_messages, input.queue_bytes);
        let state = State { behind_since: Some(Instant::now()), ..State::default() };
        Self {
            config,
            input,
            primary,
            queue,
            counts: Counts::default(),
            slots: Slots::new(SLOTS),
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state.lock());
        self.changed.notify_all();
        result
    }

    /// Notes an entry that this node has appended, and by which command, if that is known. No
    /// thread waits for that.
    pub(super) fn appended(&self, entry: EntryId, command: Option<&[u8]>) {
        let mut state = self.state.lock();
        if entry > state.appended {
            state.appended = entry;
            state.append_command.clear();
            state.append_command.extend_from_slice(command.unwrap_or_default());
        }
    }

    /// Notes that this entry is lost and will not be read. An entry appended later still counts.
    pub(super) fn forget_appended(&self, lost: EntryId) {
        self.change(|state| {
            if state.appended == lost {
                state.appended = EntryId::ZERO;
            }
        });
    }

    pub(super) fn vouched(&self) -> Option<String> {
        self.state.lock().vouched.clone()
    }

    /// Waits until `until` for a server that the reader vouches for.
    pub(super) fn wait_vouched(&self, until: Instant) -> Option<String> {
        self.wait(until, |state| state.vouched.clone())
    }

    /// Notes that a client was sent everything up to here from the log.
    pub(super) fn served(&self, entry: EntryId) {
        let mut state = self.state.lock();
        state.served = state.served.max(entry);
    }

    /// No server is trusted any more: the reader must check the server again.
    pub(super) fn unvouch(&self) {
        self.change(|state| state.vouched = None);
    }

    pub(super) fn newest_appended(&self) -> EntryId {
        self.state.lock().appended
    }

    /// The newest entry that this node appended, and its content, if that is known.
    pub(super) fn append_content(&self) -> (EntryId, Option<ContentHash>) {
        let state = self.state.lock();
        (state.appended, ContentHash::of_packed(&state.append_command))
    }

    /// Waits until `until` for `find` to return something. `None` if it does not by then, or if the
    /// log stops.
    pub(super) fn wait<T>(&self, until: Instant, find: impl Fn(&State) -> Option<T>) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            let found = find(&state);
            if found.is_some() || state.stopping.is_some() {
                return found;
            }
            if self.changed.wait_until(&mut state, until).timed_out() {
                return find(&state);
            }
        }
    }

    /// Waits before the next try to connect, or until something new is known of the primary. False
    /// if the threads must end.
    pub(super) fn backoff(&self, backoff: &mut Backoff) -> bool {
        let until = Instant::now() + backoff.next(self.primary.is_told());
        let mut state = self.state.lock();
        let changes = state.changes;
        while !state.ending.has_come {
            if state.changes != changes {
                return true;
            }
            if self.changed.wait_until(&mut state, until).timed_out() {
                return !state.ending.has_come;
            }
        }
        false
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopping.is_some()
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state.lock().ending.has_come
    }

    pub(super) fn stop(&self, deadline: Instant) {
        self.change(|state| {
            let earlier = state.stopping.map_or(deadline, |earlier| earlier.min(deadline));
            state.stopping = Some(earlier);
        });
    }

    /// Waits until all that this node has appended is read, until reading fails, or until the
    /// deadline.
    pub(super) fn wait_drained(&self) {
        let mut state = self.state.lock();
        let is_drained = |state: &State| {
            state.ending.has_come
                || !state.is_reading
                || self.queue.is_empty() && state.reached >= state.appended
        };
        while !is_drained(&state) {
            let until = state.stopping.unwrap_or_else(Instant::now);
            if Instant::now() >= until {
                return;
            }
            self.changed.wait_until(&mut state, until);
        }
    }

    /// A thread is about to run.
    pub(super) fn starts(&self) {
        self.state.lock().ending.threads += 1;
    }

    /// A thread ends.
    pub(super) fn ends(&self) {
        self.change(|state| state.ending.threads -= 1);
    }

    /// Ends the threads, and waits for them until `until`. A thread that waits for Redis notices
    /// later.
    pub(super) fn end(&self, until: Instant) {
        self.change(|state| state.ending.has_come = true);
        self.primary.end();
        self.queue.close();
        let mut state = self.state.lock();
        while state.ending.threads > 0 && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    pub(super) fn stats(&self) -> RedisStats {
        let count = |count: &AtomicUsize| count.load(Relaxed) as u64;
        let counts = &self.counts;
        let state = self.state.lock();
        RedisStats {
            connected: state.is_reading && state.is_writing,
            lag: state.behind_since.map_or(Duration::ZERO, |since| since.elapsed()),
            returning: self.slots.taken(),
            appended: count(&counts.appended),
            refused: count(&counts.refused),
            outcome_unknown: count(&counts.outcome_unknown),
            read: count(&counts.read),
            malformed: count(&counts.malformed),
            unknown_types: count(&counts.unknown_types),
            reconnects: count(&counts.reconnects),
            breaks: count(&counts.breaks),
            gaps: count(&counts.gaps),
        }
    }
}
