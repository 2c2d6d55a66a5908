//! The dedicated thread: takes what is published, delivers it, and keeps the clients' streams.
//!
//! It is the only one that writes streams, and never blocks on one of them. Live events go first;
//! everything else shares about a millisecond of each round and goes on where it stopped.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;
use parking_lot::Mutex;

use crate::{
    broadcast::{
        arrival::{Arrival, Via},
        clock::Now,
        history::History,
        hook_queue::HookQueue,
        inbox::{Inbox, Taken, Wait},
        log::Step,
        options::Options,
        registry::Registry,
        shared::Shared,
        stats::Stats,
        subscribers::Subscribers,
    },
    message::{
        event_types::{EventTypes, TypeId},
        id::epoch,
    },
    panics::AtEnd,
    socket::Socket,
};

/// What catching up, arrivals and the sweep may take of a round together.
const CHORES: Duration = Duration::from_millis(1);
/// Every client is looked at once in about this time.
const SWEEP: Duration = Duration::from_secs(1);
/// A sweep is spread over so many ticks at most, and a tick looks at so many clients at least.
const TICKS: usize = 20;
const CLIENTS_A_TICK: usize = 64;
/// How often to see whether the clients have caught up enough to go on.
const OVERLOAD_CHECK: Duration = Duration::from_millis(1);
/// The longest nap while streams are being ended.
const CLOSING_NAP: Duration = Duration::from_millis(10);
/// How often the number of clients is published at most.
const PRESENCE: Duration = Duration::from_secs(1);

/// What a shutdown could not finish in time; all zero when everything was delivered.
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
    /// Clients cut off before they had everything that was sent.
    pub cut_streams: usize,
    /// Notices of clients coming and going that the [hooks](crate::Builder::on_connect) were not
    /// given any more.
    pub untold: usize,
}

/// The event that tells how many clients there are.
pub(crate) struct Presence {
    name: String,
    kind: TypeId,
    types: Arc<EventTypes>,
    /// Not again before this time.
    due: Instant,
}

pub(crate) struct Broadcaster {
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
    hook_queue: Arc<HookQueue>,
    subscribers: Subscribers<Socket>,
    stats: Arc<Mutex<Stats>>,
    presence: Option<Presence>,
    /// What the log's reader finds.
    pub(super) steps: Option<Receiver<Step>>,
    /// Connections on their way in.
    arrivals: VecDeque<Arrival<Socket>>,
    /// Subscriptions that came after events which are still in the queue: after so many of all.
    subscriptions: VecDeque<(u64, Arrival<Socket>)>,
    started: Instant,
    next_tick: Instant,
    /// How many clients the sweep has still to look at before the next tick.
    sweep_left: usize,
    /// The publishers are too fast; looked at again at this time.
    overloaded: Option<Instant>,
}

impl Broadcaster {
    /// If `has_hooks`, puts clients that come and go into the hook queue.
    pub(crate) fn new(shared: &Shared, has_hooks: bool) -> Self {
        let Options { history, subscribers, presence, .. } = &shared.options;
        let registry = Arc::clone(&shared.registry);
        let history = History::new(history.clone(), epoch());
        let mut subscribers = Subscribers::new(Arc::clone(&registry), subscribers.clone(), history);
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

    /// Runs until the order to stop, and delivers what was accepted before it.
    pub(crate) fn run(mut self) -> ShutdownReport {
        let (inbox, registry) = (Arc::clone(&self.inbox), Arc::clone(&self.registry));
        let hook_queue = Arc::clone(&self.hook_queue);
        // Whatever happens here, nothing must wait for a broadcaster that is gone.
        let _end = AtEnd(|| {
            registry.clear();
            hook_queue.close();
            inbox.stopped();
        });
        let mut work = Taken::default();
        let deadline = loop {
            self.round(&mut work);
            if let Some(deadline) = work.stop
                && (work.drained && self.arrivals.is_empty() && !self.has_steps()
                    || Instant::now() >= deadline)
            {
                break deadline;
            }
        };
        self.close(deadline);
        let cut_streams = self.subscribers.cut_all();
        self.show_stats();
        registry.clear();
        ShutdownReport { undelivered: inbox.stopped(), cut_streams, untold: 0 }
    }

    fn round(&mut self, work: &mut Taken) {
        let accepts_events = self.accepts_events();
        let wait =
            if accepts_events && self.has_steps() { Wait::No } else { self.next_wake(work.stop) };
        self.inbox.take(wait, accepts_events, work);
        for (before, arrival) in work.arrivals.drain(..) {
            match arrival.via {
                Via::Wire(_) => self.arrivals.push_back(arrival),
                Via::Local(_) => self.subscriptions.push_back((before, arrival)),
            }
        }
        if accepts_events {
            self.follow_log();
        }
        self.take_turns(work);
        if !work.batch.is_empty() {
            self.subscribers.deliver(&mut work.batch, usize::MAX, self.now());
        }
        self.announce();
        self.tick();
        self.do_chores();
        self.show_stats();
    }

    /// Whether the log's reader has found something that was not taken yet.
    fn has_steps(&self) -> bool {
        self.steps.as_ref().is_some_and(|steps| !steps.is_empty())
    }

    /// Takes what the log's reader has found by now: all that it had found before the clients came
    /// that are about to be admitted. Subscriptions are admitted first: what their owners have
    /// published since may be among it.
    fn follow_log(&mut self) {
        let Some(steps) = self.steps.take() else { return };
        for (_, arrival) in std::mem::take(&mut self.subscriptions) {
            self.subscribers.admit(arrival, self.now());
        }
        for step in steps.try_iter().take(steps.len()) {
            self.subscribers.follow(step, self.now());
        }
        self.subscribers.flush(self.now());
        self.steps = Some(steps);
    }

    /// Admits subscriptions and does what is for one client just where they came in the order of
    /// events: their owners know what they have published before, and need not wait for anything to
    /// arrive.
    fn take_turns(&mut self, work: &mut Taken) {
        loop {
            let arrival = self.subscriptions.front().map(|(before, _)| *before);
            let command = work.commands.front().map(|(before, _)| *before);
            let Some(before) = [arrival, command].into_iter().flatten().min() else { return };
            if before > work.events {
                return;
            }
            let after = usize::try_from(work.events - before).unwrap_or(usize::MAX);
            let earlier = work.batch.len().saturating_sub(after);
            if earlier > 0 {
                self.subscribers.deliver(&mut work.batch, earlier, self.now());
            }
            let now = self.now();
            if arrival == Some(before)
                && let Some((_, arrival)) = self.subscriptions.pop_front()
            {
                self.subscribers.admit(arrival, now);
            } else if let Some((_, command)) = work.commands.pop_front() {
                self.subscribers.execute(command, now);
            }
        }
    }

    /// Publishes how many clients there are, if it is time to.
    fn announce(&mut self) {
        let Some(due) = self.announces_at() else { return };
        let now = self.now();
        if now.instant >= due
            && let Some(Presence { name, kind, types, due }) = &mut self.presence
        {
            *due = now.instant + PRESENCE;
            self.subscribers.announce(*kind, name, types, now);
        }
    }

    /// When to publish how many clients there are. Not while the publishers have to wait.
    fn announces_at(&self) -> Option<Instant> {
        let presence = self.presence.as_ref().filter(|_| self.overloaded.is_none())?;
        self.subscribers.has_news(presence.kind).then_some(presence.due)
    }

    /// Whether events are taken from the queue now, or left there until the clients have caught
    /// up; the queue then fills, and publishers wait.
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

    /// Gives the sweep its share of the clients for the time until the next tick.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        let places = self.subscribers.slots();
        let ticks = (places / CLIENTS_A_TICK).clamp(1, TICKS);
        self.sweep_left = (self.sweep_left + places.div_ceil(ticks)).min(places);
        self.next_tick = now + SWEEP / u32::try_from(ticks).unwrap_or(1);
    }

    fn do_chores(&mut self) {
        let end = Instant::now() + CHORES;
        loop {
            let now = self.now();
            if now.instant >= end {
                return;
            }
            let (retried, buried) = (self.subscribers.retry_one(now), self.subscribers.drop_one());
            let mut idle = !self.subscribers.release_some() && !retried && !buried;
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

    /// Lets the streams catch up, ends them, and waits for the clients to close; until `deadline`.
    fn close(&mut self, mut deadline: Instant) {
        let mut work = Taken::stopping(deadline);
        // Whoever has gone shows when its stream is ended.
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
            self.inbox.take(Wait::Until(until.min(deadline)), false, &mut work);
            self.arrivals.extend(work.arrivals.drain(..).map(|(_, arrival)| arrival));
            // A later order may leave less time.
            deadline = work.stop.unwrap_or(deadline);
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
