//! The broadcaster's thread: takes what is published, delivers it, and serves the clients' streams.
//!
//! Only this thread writes streams, and it never blocks on one of them. Live events go first.
//! Everything else shares about a millisecond of each round, and goes on where it stopped.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    broadcast::{
        arrival::{Arrival, Via},
        clock::Now,
        history::History,
        hook_queue::HookQueue,
        inbox::{Inbox, Taken, Wait, queue::Queued},
        log::StepReceiver,
        options::Options,
        registry::Registry,
        shared::Shared,
        stats::Stats,
        subscribers::{SWEEP, Subscribers},
    },
    message::{
        Message,
        event_types::{EventTypes, TypeId},
        frame::Encoded,
    },
    panics::AtEnd,
    socket::Socket,
};

/// How long catching up, arrivals and the sweep may take of a round, together.
const CHORES: Duration = Duration::from_millis(1);
/// A sweep is spread over at most `TICKS` ticks. A tick checks at least `CLIENTS_A_TICK` clients.
const TICKS: usize = 20;
const CLIENTS_A_TICK: usize = 64;
/// How often to check whether the clients have caught up enough to go on.
const OVERLOAD_CHECK: Duration = Duration::from_millis(1);
/// The longest wait between two checks while streams are being ended.
const CLOSING_NAP: Duration = Duration::from_millis(10);
/// The number of clients is published at most once in this time.
const PRESENCE: Duration = Duration::from_secs(1);

/// What a shutdown could not finish in time. All fields are zero if everything was delivered.
///
/// ```
/// # use websse::Server;
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let report = server.shutdown(std::time::Duration::from_secs(5));
/// if report.undelivered > 0 || report.cut_streams > 0 {
///     eprintln!("gave up {} events, cut {} streams", report.undelivered, report.cut_streams);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Events that were accepted and that no client was sent.
    pub undelivered: usize,
    /// Clients that were cut off before they had everything that was sent.
    pub cut_streams: usize,
    /// Calls of the [hooks](crate::Builder::on_connect), for clients that came or went, which were
    /// not made any more.
    pub missed_notifications: usize,
}

/// The event that publishes the number of clients.
pub(crate) struct Presence {
    name: String,
    kind: TypeId,
    types: Arc<EventTypes>,
    /// It is not published before this time.
    due: Instant,
}

pub(crate) struct Broadcaster {
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
    hook_queue: Arc<HookQueue>,
    subscribers: Subscribers<Socket>,
    stats: Arc<Mutex<Stats>>,
    presence: Option<Presence>,
    /// The steps of the log's reader.
    pub(super) steps: Option<StepReceiver>,
    /// Connections that are to be admitted.
    arrivals: VecDeque<Arrival<Socket>>,
    /// Subscriptions that came after events which are still in the queue, each with the number of
    /// events accepted before it.
    subscriptions: VecDeque<(u64, Arrival<Socket>)>,
    started: Instant,
    next_tick: Instant,
    /// How many clients the sweep must still check before the next tick.
    sweep_left: usize,
    /// Set while publishers are too fast: when to check again.
    overloaded: Option<Instant>,
}

impl Broadcaster {
    /// If `has_hooks`, reports clients that come and go to the hook queue.
    pub(crate) fn new(shared: &Shared, has_hooks: bool) -> Self {
        let Options { history, subscribers, presence, .. } = &shared.options;
        let registry = Arc::clone(&shared.registry);
        let history = History::new(history.clone(), shared.epoch.as_str().to_owned());
        let (clients, types) = (Arc::clone(&registry), Arc::clone(&shared.types));
        let mut subscribers = Subscribers::new(clients, types, subscribers.clone(), history);
        if has_hooks {
            subscribers.tell(Arc::clone(&shared.hook_queue));
        }
        let started = Instant::now();
        let types = Arc::clone(&shared.types);
        let presence = presence.as_ref().and_then(|name| {
            Some(Presence { kind: types.find(name)?, name: name.clone(), types, due: started })
        });
        Self {
            inbox: Arc::clone(&shared.inbox),
            registry,
            hook_queue: Arc::clone(&shared.hook_queue),
            subscribers,
            stats: Arc::clone(&shared.stats),
            presence,
            steps: None,
            arrivals: VecDeque::new(),
            subscriptions: VecDeque::new(),
            started,
            next_tick: started,
            sweep_left: 0,
            overloaded: None,
        }
    }

    /// Runs until the shutdown, and delivers what was accepted before it.
    pub(crate) fn run(mut self) -> ShutdownReport {
        let (inbox, registry) = (Arc::clone(&self.inbox), Arc::clone(&self.registry));
        let hook_queue = Arc::clone(&self.hook_queue);
        // However this thread ends, no other thread must wait for it any more.
        let _end = AtEnd(|| {
            registry.clear();
            hook_queue.close();
            inbox.stopped();
        });
        let mut taken = Taken::default();
        let deadline = loop {
            self.round(&mut taken);
            if let Some(deadline) = taken.stop
                && (taken.drained && self.arrivals.is_empty() && !self.has_steps()
                    || Instant::now() >= deadline)
            {
                break deadline;
            }
        };
        self.close(deadline);
        let cut_streams = self.subscribers.cut_all();
        self.show_stats();
        registry.clear();
        ShutdownReport { undelivered: inbox.stopped(), cut_streams, missed_notifications: 0 }
    }

    fn round(&mut self, taken: &mut Taken) {
        let accepts_events = self.accepts_events();
        let wait =
            if accepts_events && self.has_steps() { Wait::No } else { self.next_wake(taken.stop) };
        self.inbox.take(wait, accepts_events, taken);
        for (before, arrival) in taken.arrivals.drain(..) {
            match arrival.via {
                Via::Wire(_) => self.arrivals.push_back(arrival),
                Via::Local(_) => self.subscriptions.push_back((before, arrival)),
            }
        }
        if accepts_events {
            taken.emptied |= self.follow_log();
        }
        self.subscribers.answer(&mut taken.questions);
        self.execute_in_order(taken);
        if !taken.batch.is_empty() {
            self.subscribers.deliver(&mut taken.batch, usize::MAX, self.now());
        }
        self.announce();
        self.tick();
        self.do_chores();
        self.show_stats();
    }

    /// Whether steps of the log's reader wait.
    fn has_steps(&self) -> bool {
        self.steps.as_ref().is_some_and(|steps| !steps.is_empty())
    }

    /// Takes the steps that wait now. Everything that the log's reader gave before a client came is
    /// thus taken before that client is admitted. Subscriptions are admitted before the first step
    /// that delivers something: events that their owners have published since may be among these.
    /// Whether something was delivered and nothing waits any more.
    fn follow_log(&mut self) -> bool {
        let Some(steps) = self.steps.take() else { return false };
        let mut has_delivered = false;
        for step in steps.take() {
            if step.delivers() {
                has_delivered = true;
                for (_, arrival) in std::mem::take(&mut self.subscriptions) {
                    self.subscribers.admit(arrival, self.now());
                }
            }
            self.subscribers.follow(step, self.now());
        }
        self.subscribers.flush(self.now());
        let is_empty = steps.is_empty();
        self.steps = Some(steps);
        has_delivered && is_empty
    }

    /// Admits subscriptions and executes commands exactly where they came in the order of events:
    /// their owners know what they published before, and need not wait for anything to arrive.
    fn execute_in_order(&mut self, taken: &mut Taken) {
        loop {
            let arrival = self.subscriptions.front().map(|(before, _)| *before);
            let command = taken.commands.front().map(|(before, _)| *before);
            let Some(before) = [arrival, command].into_iter().flatten().min() else { return };
            if before > taken.events {
                return;
            }
            let after = usize::try_from(taken.events - before).unwrap_or(usize::MAX);
            let earlier = taken.batch.len().saturating_sub(after);
            if earlier > 0 {
                self.subscribers.deliver(&mut taken.batch, earlier, self.now());
            }
            let now = self.now();
            if arrival == Some(before)
                && let Some((_, arrival)) = self.subscriptions.pop_front()
            {
                self.subscribers.admit(arrival, now);
            } else if let Some((_, command)) = taken.commands.pop_front() {
                self.subscribers.execute(command, now);
            }
        }
    }

    /// Publishes the number of clients, if it is due.
    fn announce(&mut self) {
        let Some(due) = self.announces_at() else { return };
        let now = self.now();
        if now.instant >= due
            && let Some(Presence { name, kind, types, due }) = &mut self.presence
        {
            *due = now.instant + PRESENCE;
            let message = Message::new(self.subscribers.count_clients(types)).event(&**name);
            // The number of names bounds its size, and no other limit is needed.
            if let Ok(encoded) = Encoded::new(&message, usize::MAX) {
                self.inbox.publish_own(Queued {
                    channel: None,
                    kind: *kind,
                    generation: 0,
                    encoded,
                });
            }
        }
    }

    /// When to publish the number of clients. Never while publishers must wait.
    fn announces_at(&self) -> Option<Instant> {
        let presence = self.presence.as_ref().filter(|_| self.overloaded.is_none())?;
        self.subscribers.has_news(presence.kind).then_some(presence.due)
    }

    /// Whether to take events from the queue now. If clients must catch up first, events stay
    /// there: the queue fills, and publishers wait.
    fn accepts_events(&mut self) -> bool {
        let now = self.now();
        if self.overloaded.is_none_or(|again| now.instant >= again) {
            let overloaded = self.subscribers.is_overloaded(now);
            self.overloaded = overloaded.then(|| now.instant + OVERLOAD_CHECK);
        }
        self.overloaded.is_none()
    }

    /// How long there is nothing to do unless something comes in.
    fn next_wake(&self, stop: Option<Instant>) -> Wait {
        let subscribers = &self.subscribers;
        let has_rest = subscribers.has_closing() || subscribers.has_released();
        if self.sweep_left > 0 || !self.arrivals.is_empty() || has_rest {
            return Wait::No;
        }
        let tick = (!self.subscribers.is_empty()).then_some(self.next_tick);
        let (retry, presence) = (self.subscribers.next_retry(), self.announces_at());
        let earliest = [tick, retry, self.overloaded, presence, stop].into_iter().flatten().min();
        earliest.map_or(Wait::Forever, Wait::Until)
    }

    /// Gives the sweep its share of the clients, until the next tick.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        let slots = self.subscribers.slots();
        let ticks = (slots / CLIENTS_A_TICK).clamp(1, TICKS);
        self.sweep_left = (self.sweep_left + slots.div_ceil(ticks)).min(slots);
        self.next_tick = now + SWEEP / u32::try_from(ticks).unwrap_or(1);
    }

    fn do_chores(&mut self) {
        let end = Instant::now() + CHORES;
        loop {
            let now = self.now();
            if now.instant >= end {
                return;
            }
            let (retried, dropped) = (self.subscribers.retry_one(now), self.subscribers.drop_one());
            let mut idle = !self.subscribers.release_some() && !retried && !dropped;
            if let Some(arrival) = self.arrivals.pop_front() {
                self.subscribers.admit(arrival, now);
                idle = false;
            }
            if self.sweep_left > 0 {
                self.sweep_left -= 1;
                self.subscribers.sweep_one(now);
                idle = false;
            }
            if idle {
                return;
            }
        }
    }

    /// Lets the streams catch up, ends them, and waits for the clients to close, until `deadline`.
    fn close(&mut self, mut deadline: Instant) {
        let mut taken = Taken::stopping(deadline);
        // A client that has gone shows when its stream is ended.
        self.sweep_left = 0;
        let mut nap = Duration::from_millis(1);
        loop {
            let now = self.now();
            self.subscribers.end_all(now);
            self.show_stats();
            if self.subscribers.is_empty() || now.instant >= deadline {
                return;
            }
            let until = self
                .subscribers
                .next_retry()
                .map_or(now.instant + nap, |retry| retry.min(now.instant + nap));
            nap = (nap * 2).min(CLOSING_NAP);
            self.inbox.take(Wait::Until(until.min(deadline)), false, &mut taken);
            self.arrivals.extend(taken.arrivals.drain(..).map(|(_, arrival)| arrival));
            self.subscribers.answer(&mut taken.questions);
            // A later call may leave less time.
            deadline = taken.stop.unwrap_or(deadline);
            self.do_chores();
        }
    }

    fn show_stats(&self) {
        *self.stats.lock() = *self.subscribers.stats();
    }

    fn now(&self) -> Now {
        let now = Instant::now();
        let second = now.duration_since(self.started).as_secs();
        // Good for 136 years.
        Now { instant: now, second: u32::try_from(second).unwrap_or(u32::MAX) }
    }
}
