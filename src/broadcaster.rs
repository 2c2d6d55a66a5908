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
    meter::Moment,
    registry::Registry,
    socket::Socket,
    stats::Stats,
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

/// What a shutdown could not finish in time; all zero when everything was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Events that were accepted and that no client was sent.
    pub undelivered: usize,
    /// Clients cut off before they had everything that was sent.
    pub cut_streams: usize,
}

pub(crate) struct Broadcaster {
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
    audience: Audience<Socket>,
    /// Read by [`Server::stats`](crate::Server::stats); held for a copy only.
    stats: Arc<Mutex<Stats>>,
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
    pub(crate) fn new(
        inbox: Arc<Inbox>,
        registry: Arc<Registry>,
        audience: Audience<Socket>,
        stats: Arc<Mutex<Stats>>,
    ) -> Self {
        let started = Instant::now();
        Self {
            inbox,
            registry,
            audience,
            stats,
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
        let end = End { inbox: Arc::clone(&self.inbox), registry: Arc::clone(&self.registry) };
        let mut work = Work::default();
        let deadline = loop {
            self.round(&mut work);
            if let Some(deadline) = work.stop
                && (work.drained && self.arrivals.is_empty() || Instant::now() >= deadline)
            {
                break deadline;
            }
        };
        self.close(deadline);
        let cut_streams = self.audience.cut_all();
        self.show_stats();
        ShutdownReport { undelivered: end.stop(), cut_streams }
    }

    fn round(&mut self, work: &mut Work) {
        let accept = self.accepts_events();
        let until = self.next_wake(work.stop);
        self.inbox.take(until, accept, work.stop.is_some(), work);
        for (before, arrival) in work.arrivals.drain(..) {
            match arrival.via {
                Via::Wire(_) => self.arrivals.push_back(arrival),
                Via::Tally(_) => self.subscriptions.push_back((before, arrival)),
            }
        }
        self.admit_subscriptions(work);
        if !work.batch.is_empty() {
            self.audience.deliver(&mut work.batch, usize::MAX, self.moment());
        }
        self.tick();
        self.do_chores();
        self.show_stats();
    }

    /// Admits subscriptions just where they came in the order of events: their owners know what
    /// they have published before, and need not wait for anything to arrive.
    fn admit_subscriptions(&mut self, work: &mut Work) {
        while let Some((before, arrival)) = self.subscriptions.pop_front() {
            if before > work.taken {
                return self.subscriptions.push_front((before, arrival));
            }
            let after = usize::try_from(work.taken - before).unwrap_or(usize::MAX);
            let earlier = work.batch.len().saturating_sub(after);
            if earlier > 0 {
                self.audience.deliver(&mut work.batch, earlier, self.moment());
            }
            self.audience.admit(arrival, self.moment());
        }
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
        if self.sweep_left > 0 || !self.arrivals.is_empty() || self.audience.has_graves() {
            return Some(self.started);
        }
        let tick = (!self.audience.is_empty()).then_some(self.next_tick);
        [tick, self.audience.next_retry(), self.overloaded, stop].into_iter().flatten().min()
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
            let mut idle = !retried && !buried;
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

/// Closes the inbox and empties the registry when the broadcaster ends, by a panic too.
struct End {
    inbox: Arc<Inbox>,
    registry: Arc<Registry>,
}

impl End {
    /// Returns how many events are left in the queue.
    fn stop(&self) -> usize {
        self.registry.clear();
        self.inbox.stopped()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.stop();
    }
}
