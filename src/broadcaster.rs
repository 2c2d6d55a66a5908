//! The dedicated thread: takes what is published, delivers it, and keeps the clients' streams.
//!
//! It is the only one that writes streams, and never blocks on one of them. Live events go first;
//! everything else shares about a millisecond of each round and goes on where it stopped.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{
    audience::{Arrival, Audience, Via},
    inbox::{Inbox, Work},
    journal::Steps,
    meter::Moment,
    notices::Notices,
    registry::Registry,
    socket::Socket,
    stats::Stats,
    types::{EventTypes, TypeId},
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

/// What a broadcaster works with.
pub(crate) struct Parts {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) audience: Audience<Socket>,
    /// Read by [`Server::stats`](crate::Server::stats); held for a copy only.
    pub(crate) stats: Arc<Mutex<Stats>>,
    pub(crate) presence: Option<Presence>,
    /// What the reader of a log finds that several nodes share.
    pub(crate) steps: Steps,
}

/// The event that tells how many clients there are.
pub(crate) struct Presence {
    name: String,
    kind: TypeId,
    types: Arc<EventTypes>,
    /// Not again before this time.
    due: Instant,
}

impl Presence {
    /// `None` where there is no such event type.
    pub(crate) fn new(name: String, types: Arc<EventTypes>) -> Option<Self> {
        Some(Self { kind: types.find(&name)?, name, types, due: Instant::now() })
    }
}

pub(crate) struct Broadcaster {
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
    notices: Arc<Notices>,
    audience: Audience<Socket>,
    stats: Arc<Mutex<Stats>>,
    presence: Option<Presence>,
    steps: Steps,
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
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { inbox, registry, notices, audience, stats, presence, steps } = parts;
        let started = Instant::now();
        Self {
            inbox,
            registry,
            notices,
            audience,
            stats,
            presence,
            steps,
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
        // Whatever happens here, nobody shall wait for a broadcaster that is gone.
        let end = End {
            inbox: Arc::clone(&self.inbox),
            registry: Arc::clone(&self.registry),
            notices: Arc::clone(&self.notices),
        };
        let mut work = Work::default();
        let deadline = loop {
            self.round(&mut work);
            if let Some(deadline) = work.stop
                && (work.drained && self.arrivals.is_empty() && self.steps.len() == 0
                    || Instant::now() >= deadline)
            {
                break deadline;
            }
        };
        self.close(deadline);
        let cut_streams = self.audience.cut_all();
        self.show_stats();
        ShutdownReport { undelivered: end.stop(), cut_streams, untold: 0 }
    }

    fn round(&mut self, work: &mut Work) {
        let accept = self.accepts_events();
        let until = if accept && self.steps.len() > 0 {
            Some(self.started)
        } else {
            self.next_wake(work.stop)
        };
        self.inbox.take(until, accept, work.stop.is_some(), work);
        for (before, arrival) in work.arrivals.drain(..) {
            match arrival.via {
                Via::Wire(_) => self.arrivals.push_back(arrival),
                Via::Tally(_) => self.subscriptions.push_back((before, arrival)),
            }
        }
        if accept {
            self.follow_log();
        }
        self.take_turns(work);
        if !work.batch.is_empty() {
            self.audience.deliver(&mut work.batch, usize::MAX, self.moment());
        }
        self.announce();
        self.tick();
        self.do_chores();
        self.show_stats();
    }

    /// Takes what the log's reader has found by now: all that it had found before the clients came
    /// that are about to be admitted.
    fn follow_log(&mut self) {
        for _ in 0..self.steps.len() {
            let Some(step) = self.steps.next() else { break };
            self.audience.follow(step, self.moment());
        }
        self.audience.flush(self.moment());
    }

    /// Admits subscriptions and does what is for one client just where they came in the order of
    /// events: their owners know what they have published before, and need not wait for anything to
    /// arrive.
    fn take_turns(&mut self, work: &mut Work) {
        loop {
            let arrival = self.subscriptions.front().map(|(before, _)| *before);
            let order = work.orders.front().map(|(before, _)| *before);
            let Some(before) = [arrival, order].into_iter().flatten().min() else { return };
            if before > work.taken {
                return;
            }
            let after = usize::try_from(work.taken - before).unwrap_or(usize::MAX);
            let earlier = work.batch.len().saturating_sub(after);
            if earlier > 0 {
                self.audience.deliver(&mut work.batch, earlier, self.moment());
            }
            let moment = self.moment();
            if arrival == Some(before)
                && let Some((_, arrival)) = self.subscriptions.pop_front()
            {
                self.audience.admit(arrival, moment);
            } else if let Some((_, order)) = work.orders.pop_front() {
                self.audience.obey(order, moment);
            }
        }
    }

    /// Publishes how many clients there are, if it is time to.
    fn announce(&mut self) {
        let Some(due) = self.announces_at() else { return };
        let moment = self.moment();
        if moment.now >= due
            && let Some(Presence { name, kind, types, due }) = &mut self.presence
        {
            *due = moment.now + PRESENCE;
            self.audience.announce(*kind, name, types, moment);
        }
    }

    /// When to publish how many clients there are. Not while the publishers have to wait.
    fn announces_at(&self) -> Option<Instant> {
        let presence = self.presence.as_ref().filter(|_| self.overloaded.is_none())?;
        self.audience.has_news(presence.kind).then_some(presence.due)
    }

    /// Whether events are taken from the queue now, or left there until the clients have caught
    /// up; the queue then fills, and publishers wait.
    fn accepts_events(&mut self) -> bool {
        let moment = self.moment();
        if self.overloaded.is_none_or(|again| moment.now >= again) {
            let overloaded = self.audience.is_overloaded(moment);
            self.overloaded = overloaded.then(|| moment.now + OVERLOAD_CHECK);
        }
        self.overloaded.is_none()
    }

    /// Until when there is nothing to do unless something comes in.
    fn next_wake(&self, stop: Option<Instant>) -> Option<Instant> {
        let audience = &self.audience;
        let has_rest = audience.has_graves() || audience.has_released();
        if self.sweep_left > 0 || !self.arrivals.is_empty() || has_rest {
            return Some(self.started);
        }
        let tick = (!self.audience.is_empty()).then_some(self.next_tick);
        let (retry, presence) = (self.audience.next_retry(), self.announces_at());
        [tick, retry, self.overloaded, presence, stop].into_iter().flatten().min()
    }

    /// Gives the sweep its share of the clients for the time until the next tick.
    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        let places = self.audience.places();
        let ticks = (places / CLIENTS_A_TICK).clamp(1, TICKS);
        self.sweep_left = (self.sweep_left + places.div_ceil(ticks)).min(places);
        self.next_tick = now + SWEEP / u32::try_from(ticks).unwrap_or(1);
    }

    fn do_chores(&mut self) {
        let end = Instant::now() + CHORES;
        loop {
            let moment = self.moment();
            if moment.now >= end {
                return;
            }
            let (retried, buried) = (self.audience.retry_one(moment), self.audience.bury_one());
            let mut idle = !self.audience.release_some() && !retried && !buried;
            if let Some(arrival) = self.arrivals.pop_front() {
                self.audience.admit(arrival, moment);
                idle = false;
            }
            if self.sweep_left > 0 {
                self.sweep_left -= 1;
                self.audience.sweep_one(moment);
                idle = false;
            }
            if idle {
                return;
            }
        }
    }

    /// Lets the streams catch up, ends them, and waits for the clients to close; until `deadline`.
    fn close(&mut self, mut deadline: Instant) {
        let mut work = Work::default();
        // Whoever has gone shows when its stream is ended.
        self.sweep_left = 0;
        let mut nap = Duration::from_millis(1);
        loop {
            let moment = self.moment();
            self.audience.end_all(moment);
            self.show_stats();
            if self.audience.is_empty() || moment.now >= deadline {
                return;
            }
            let until = self
                .audience
                .next_retry()
                .map_or(moment.now + nap, |retry| retry.min(moment.now + nap));
            nap = (nap * 2).min(CLOSING_NAP);
            self.inbox.take(Some(until.min(deadline)), false, true, &mut work);
            self.arrivals.extend(work.arrivals.drain(..).map(|(_, arrival)| arrival));
            // A later order may leave less time.
            deadline = work.stop.unwrap_or(deadline);
            self.do_chores();
        }
    }

    fn show_stats(&self) {
        *self.stats.lock() = *self.audience.stats();
    }

    fn moment(&self) -> Moment {
        let now = Instant::now();
        let second = now.duration_since(self.started).as_secs();
        // Good for 136 years.
        Moment { now, second: u32::try_from(second).unwrap_or(u32::MAX) }
    }
}

/// Closes the inbox and the notices, and empties the registry, when the broadcaster ends, by a panic too.
struct End {
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
    notices: Arc<Notices>,
}

impl End {
    /// Returns how many events are left in the queue.
    fn stop(&self) -> usize {
        self.registry.clear();
        self.notices.close();
        self.inbox.stopped()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.stop();
    }
}
