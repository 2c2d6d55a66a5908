//! What waits for the broadcaster: published events, commands, arriving clients, a shutdown.
//!
//! One lock guards all of it, so that their order is one order. A client that arrives before an
//! event is published gets that event. What is accepted before the shutdown is delivered.

pub(crate) mod queue;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    thread::{self, JoinHandle, ThreadId},
    time::Instant,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{
    broadcast::{
        arrival::Arrival,
        inbox::queue::{Batch, Queue, Queued},
        log::Question,
        subscribers::Command,
    },
    error::{PublishError, SubscribeError},
    message::event_types::Generation,
    socket::Socket,
};

/// How often the broadcaster yields when it has emptied the queue, a few microseconds in all. In
/// that time events that follow closely gather. To sleep in between, or to take them one by one,
/// costs their publishers more than the events themselves (1.6 and 2.5 million events a second
/// without clients, on 2 cores).
const YIELDS: usize = 8;

/// How much may wait in the publish queue.
#[derive(Clone, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    limits: QueueLimits,
    /// The broadcaster takes at most this many bytes at once.
    pub(super) batch_bytes: usize,
    /// Of the event types, as they are now.
    generation: Generation,
    /// Never held across a socket call or code of the embedding program.
    state: Mutex<State>,
    /// The broadcaster waits here for something to do.
    work: Condvar,
    /// Publishers wait here for room in the queue, and health checks for the broadcaster's answer.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    queue: Queue,
    /// Events accepted since the start.
    accepted: u64,
    /// Clients that arrive, each with the number of events accepted before it.
    arrivals: Vec<(u64, Arrival<Socket>)>,
    /// Commands, each with the number of events accepted before it.
    commands: VecDeque<(u64, Command)>,
    command_bytes: usize,
    /// How many threads wait for `room`.
    blocked: usize,
    /// A thread asks whether the broadcaster answers.
    asked: bool,
    /// Something waits for the broadcaster elsewhere.
    rung: bool,
    /// What a log asks of the history.
    questions: Vec<Question>,
    /// How often the broadcaster has come for more.
    rounds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Running(ThreadId),
    /// Nothing more is accepted. What was accepted may be delivered until then.
    Stopping(ThreadId, Instant),
    Stopped,
}

/// Why an event was not accepted from a publisher that does not wait.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no room now.
    Full,
    /// A type was unregistered since the number of the event's type was found: find it again.
    Stale,
    Never(PublishError),
}

/// How long the broadcaster waits if there is nothing to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    Until(Instant),
    Forever,
}

/// What the broadcaster takes at once.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) batch: Batch,
    /// Clients that arrived, each with the number of events accepted before it.
    pub(crate) arrivals: Vec<(u64, Arrival<Socket>)>,
    /// Commands, each with the number of events accepted before it.
    pub(crate) commands: VecDeque<(u64, Command)>,
    /// What a log asks of the history.
    pub(crate) questions: Vec<Question>,
    /// Events taken since the start, this batch included.
    pub(crate) events: u64,
    /// Set once a shutdown has begun: until when accepted events may be delivered.
    pub(crate) stop: Option<Instant>,
    /// Whether the queue is empty now.
    pub(crate) drained: bool,
    /// Whether this batch was all that the queue held, or the log's reader had found.
    pub(crate) emptied: bool,
}

impl Taken {
    /// For a broadcaster that ends, and knows that a shutdown has begun.
    pub(crate) fn stopping(deadline: Instant) -> Self {
        Self { stop: Some(deadline), ..Self::default() }
    }
}

impl Inbox {
    pub(crate) fn new(limits: QueueLimits, batch_bytes: usize, generation: Generation) -> Self {
        let state = State {
            phase: Phase::New,
            queue: Queue::default(),
            accepted: 0,
            arrivals: Vec::new(),
            commands: VecDeque::new(),
            command_bytes: 0,
            blocked: 0,
            asked: false,
            rung: false,
            questions: Vec::new(),
            rounds: 0,
        };
        let (work, room) = (Condvar::new(), Condvar::new());
        Self { limits, batch_bytes, generation, state: Mutex::new(state), work, room }
    }

    /// Starts the broadcaster; `None` if it was started before.
    pub(crate) fn start<T>(
        &self,
        spawn: impl FnOnce() -> io::Result<JoinHandle<T>>,
    ) -> Option<io::Result<JoinHandle<T>>> {
        let mut state = self.state.lock();
        if state.phase != Phase::New {
            return None;
        }
        // The new thread first takes the lock, and so finds the phase set.
        let spawned = spawn();
        if let Ok(handle) = &spawned {
            state.phase = Phase::Running(handle.thread().id());
        }
        Some(spawned)
    }

    /// Adds an event to the queue; waits for room. Returns its number among all that were accepted,
    /// which is its place in the order.
    pub(crate) fn publish(&self, event: Queued) -> Result<u64, Refused> {
        let state = self.wait_for_room(event.encoded.len()).map_err(Refused::Never)?;
        self.push(state, event)
    }

    /// Adds an event to the queue if there is room. Returns its number.
    pub(crate) fn try_publish(&self, event: Queued) -> Result<u64, Refused> {
        let state = self.state.lock();
        state.accepts().map_err(Refused::Never)?;
        if !self.has_room(&state, event.encoded.len()) {
            return Err(Refused::Full);
        }
        self.push(state, event)
    }

    /// What unregisters a type first counts the generation, and then takes the same lock for its
    /// command. So no event of the type is queued behind that command.
    fn push(&self, mut state: MutexGuard<'_, State>, mut event: Queued) -> Result<u64, Refused> {
        if event.generation != self.generation.get() {
            return Err(Refused::Stale);
        }
        let number = state.push(&mut event);
        drop(state);
        self.work.notify_one();
        Ok(number)
    }

    /// Adds an event of the broadcaster's own, whether there is room or not; none after a shutdown has
    /// begun.
    pub(crate) fn publish_own(&self, mut event: Queued) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Running(_)) {
            state.push(&mut event);
        }
    }

    /// Adds a command behind the events so far; waits for room as they do.
    pub(crate) fn command(&self, command: Command) -> Result<(), PublishError> {
        let mut state = self.wait_for_room(command.bytes())?;
        state.command_bytes += command.bytes();
        let before = state.accepted;
        state.commands.push_back((before, command));
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Adds a command behind the events so far, whether there is room or not. False if the broadcaster
    /// does not run.
    pub(crate) fn command_now(&self, command: Command) -> bool {
        let mut state = self.state.lock();
        let runs = !matches!(state.phase, Phase::New | Phase::Stopped);
        if runs {
            state.command_bytes += command.bytes();
            let before = state.accepted;
            state.commands.push_back((before, command));
            drop(state);
            self.work.notify_one();
        }
        runs
    }

    fn wait_for_room(&self, bytes: usize) -> Result<MutexGuard<'_, State>, PublishError> {
        let mut state = self.state.lock();
        loop {
            state.accepts()?;
            if self.has_room(&state, bytes) {
                return Ok(state);
            }
            state.blocked += 1;
            self.room.wait(&mut state);
            state.blocked -= 1;
        }
    }

    /// Hands a client over to the broadcaster. Drops it if the broadcaster will not serve it.
    pub(crate) fn arrive(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::New | Phase::Stopped) {
            // The lock is released before the seat is dropped.
            drop(state);
            return Err(SubscribeError::ShutDown);
        }
        let before = state.accepted;
        state.arrivals.push((before, arrival));
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// Whether events and clients are accepted now; if not, why.
    pub(crate) fn accepts(&self) -> Result<(), PublishError> {
        match self.state.lock().accepts() {
            Err(PublishError::OnBroadcaster) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether, by `until`, the broadcaster comes for more, whether there is room to publish or not.
    pub(crate) fn is_alive(&self, until: Instant) -> bool {
        self.comes_for_more(until, |_| true)
    }

    /// Whether, by `until`, the broadcaster comes for more and there is room to publish.
    pub(crate) fn answers(&self, until: Instant) -> bool {
        self.comes_for_more(until, |state| self.has_room(state, 1))
    }

    fn comes_for_more(&self, until: Instant, is_enough: impl Fn(&State) -> bool) -> bool {
        let mut state = self.state.lock();
        let before = state.rounds;
        state.asked = true;
        self.work.notify_one();
        loop {
            if state.accepts().is_err() {
                return false;
            }
            if state.rounds > before && is_enough(&state) {
                return true;
            }
            state.blocked += 1;
            let in_time = !self.room.wait_until(&mut state, until).timed_out();
            state.blocked -= 1;
            if !in_time {
                return false;
            }
        }
    }

    /// Wakes the broadcaster for something that waits elsewhere.
    #[cfg(any(feature = "outside-log", test))]
    pub(crate) fn ring(&self) {
        self.state.lock().rung = true;
        self.work.notify_one();
    }

    /// Asks the broadcaster. If it has ended, the question is dropped.
    #[cfg(any(feature = "outside-log", test))]
    pub(crate) fn ask(&self, question: Question) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::New | Phase::Stopped) {
            state.questions.push(question);
            drop(state);
            self.work.notify_one();
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.state.lock().waiting()
    }

    /// Refuses everything from now on. What was accepted may be delivered until `deadline`.
    pub(crate) fn stop(&self, deadline: Instant) {
        let mut state = self.state.lock();
        state.phase = match state.phase {
            Phase::New | Phase::Stopped => Phase::Stopped,
            Phase::Running(id) => Phase::Stopping(id, deadline),
            Phase::Stopping(id, earlier) => Phase::Stopping(id, earlier.min(deadline)),
        };
        drop(state);
        self.work.notify_one();
        self.room.notify_all();
    }

    /// Whether this is the broadcaster's own thread.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.state.lock().phase.thread() == Some(thread::current().id())
    }

    /// Takes what waits, but events and commands only if `accepts_events`. If nothing waits, waits
    /// as `wait` says; if a shutdown has begun of which `taken` does not know yet, returns at once.
    pub(crate) fn take(&self, wait: Wait, accepts_events: bool, taken: &mut Taken) {
        if std::mem::take(&mut taken.emptied) {
            (0..YIELDS).for_each(|_| thread::yield_now());
        }
        let mut state = self.state.lock();
        while !state.has_work(accepts_events)
            && (taken.stop.is_some() || !matches!(state.phase, Phase::Stopping(..)))
            && self.wait(&mut state, wait)
        {}
        state.rounds += 1;
        let asked = std::mem::take(&mut state.asked);
        taken.arrivals.append(&mut state.arrivals);
        state.rung = false;
        taken.questions.append(&mut state.questions);
        if accepts_events {
            state.queue.take(self.batch_bytes, &mut taken.batch);
        }
        taken.events = state.accepted - state.queue.len() as u64;
        while accepts_events
            && let Some((_, command)) =
                state.commands.front().filter(|command| command.0 <= taken.events)
        {
            state.command_bytes -= command.bytes();
            taken.commands.extend(state.commands.pop_front());
        }
        taken.drained = state.waiting() == 0;
        if let Phase::Stopping(_, deadline) = state.phase {
            taken.stop = Some(deadline);
        }
        taken.emptied = taken.drained && !taken.batch.is_empty();
        let blocked =
            state.blocked > 0 && (asked || !taken.batch.is_empty() || !taken.commands.is_empty());
        drop(state);
        if blocked {
            self.room.notify_all();
        }
    }

    /// The broadcaster ends. Returns how many events and commands it leaves undelivered.
    pub(crate) fn stopped(&self) -> usize {
        let mut state = self.state.lock();
        state.phase = Phase::Stopped;
        let left = std::mem::take(&mut state.queue);
        let commands = std::mem::take(&mut state.commands);
        state.command_bytes = 0;
        let arrivals = std::mem::take(&mut state.arrivals);
        state.questions.clear();
        drop(state);
        self.room.notify_all();
        drop(arrivals);
        left.len() + commands.len()
    }

    /// Waits to be notified. False when the time is over.
    fn wait(&self, state: &mut MutexGuard<'_, State>, wait: Wait) -> bool {
        match wait {
            Wait::No => false,
            Wait::Until(until) => !self.work.wait_until(state, until).timed_out(),
            Wait::Forever => {
                self.work.wait(state);
                true
            }
        }
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        // One event always fits, however small the limits.
        state.waiting() == 0
            || (state.waiting() < self.limits.messages
                && state.queue.bytes() + state.command_bytes + bytes <= self.limits.bytes)
    }
}

impl State {
    /// Adds an event, and returns its number.
    fn push(&mut self, event: &mut Queued) -> u64 {
        self.accepted += 1;
        self.queue.push(event);
        self.accepted
    }

    /// Whether the broadcaster has something to take.
    fn has_work(&self, accepts_events: bool) -> bool {
        self.asked
            || self.rung
            || !self.questions.is_empty()
            || !self.arrivals.is_empty()
            || (accepts_events && self.waiting() > 0)
    }

    /// Events and commands that wait.
    fn waiting(&self) -> usize {
        self.queue.len() + self.commands.len()
    }

    fn accepts(&self) -> Result<(), PublishError> {
        match self.phase {
            Phase::New => Err(PublishError::NotRunning),
            Phase::Running(id) if id == thread::current().id() => Err(PublishError::OnBroadcaster),
            Phase::Running(_) => Ok(()),
            Phase::Stopping(..) | Phase::Stopped => Err(PublishError::ShutDown),
        }
    }
}

impl Phase {
    fn thread(self) -> Option<ThreadId> {
        match self {
            Self::Running(id) | Self::Stopping(id, _) => Some(id),
            Self::New | Self::Stopped => None,
        }
    }
}
