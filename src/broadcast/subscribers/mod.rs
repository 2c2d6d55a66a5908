//! All the clients, as the broadcaster serves them: admit, deliver, catch up, sweep, end.
//!
//! A deterministic machine: what it does depends on the calls, on the sockets' answers, and on the
//! time that it is given. The broadcaster's thread decides when to call what.

mod closing;
mod commands;
mod delivery;
#[cfg(any(feature = "outside-log", test))]
mod from_log;
mod overload;
mod presence;
mod replay;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    broadcast::{
        arrival::{Arrival, Via},
        client::ClientId,
        clock::Now,
        history::{History, Place},
        hook_queue::{Connected, HookQueue},
        local_sink::LocalSink,
        mailbox::{MemoryInUse, Pending},
        registry::Registry,
        stats::{Disconnect, Stats},
        stream::{Progress, Stream},
        subscription_sets::{Event, Key, Matched, SetId, SubscriptionSets},
    },
    message::{
        event_types::EventTypes,
        few::push_to_large,
        frame::{Coding, Frame},
    },
    socket::Wire,
};

use self::overload::Furthest;
pub(crate) use self::{
    commands::Command,
    presence::{MOST_TYPES, json_counts},
};

/// How many bytes one client that catches up may write before others are served.
const CATCH_UP_SHARE: usize = 256 * 1024;
/// How long a client that is over its budget may take nothing. On a busy machine, even a healthy
/// client may not run for a second or two.
const GRACE: Duration = Duration::from_secs(3);
/// The sweep checks every client once in about this time.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
/// The sweep reads at most this much of a client's input at once.
const INPUT_BUFFER: usize = 4096;

#[cfg(test)]
thread_local! {
    /// How many clients were looked at to find those that are too far behind.
    static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Limits and times that concern clients.
#[derive(Clone, Debug)]
pub(crate) struct SubscriberLimits {
    pub(crate) mailbox_bytes: usize,
    pub(crate) mailboxes_bytes: usize,
    pub(crate) stall_timeout: Duration,
    pub(crate) heartbeat: Duration,
    /// Over how long a time clients come back after a shutdown. Zero leaves it to them.
    pub(crate) reconnect_spread: Duration,
}

#[derive(Debug)]
struct Subscriber<W> {
    id: ClientId,
    set: SetId,
    /// Its index in the subscription set.
    place: u32,
    /// When it ends. Boxed, since most have no such time.
    until: Option<Box<Instant>>,
    sink: Sink<W>,
}

#[derive(Debug)]
enum Sink<W> {
    Stream(Stream<W>),
    Local(Box<LocalSink>),
}

impl<W: Wire> Sink<W> {
    /// Bytes that wait, as the budget counts them.
    fn waiting(&self) -> usize {
        match self {
            Self::Stream(stream) => stream.waiting(),
            Self::Local(local) => local.waiting(),
        }
    }

    /// All bytes that wait.
    fn held(&self) -> usize {
        match self {
            Self::Stream(stream) => stream.held(),
            Self::Local(local) => local.held(),
        }
    }

    /// When a client that is behind last took something.
    fn progress(&self) -> Option<Instant> {
        match self {
            Self::Stream(stream) => stream.progress(),
            Self::Local(local) => Some(local.progress()),
        }
    }

    /// Whether the client reads, as far as can be told.
    fn reads(&mut self, now: Now) -> bool {
        match self {
            Self::Stream(stream) => stream.reads(now),
            Self::Local(local) => local.reads(now),
        }
    }

    /// Whether the client is among the `heavy` ones.
    fn is_heavy(&mut self) -> &mut bool {
        match self {
            Self::Stream(stream) => &mut stream.is_heavy,
            Self::Local(local) => &mut local.is_heavy,
        }
    }

    /// Whether more waits than the budget allows, for a client that took nothing for some time. One
    /// that did take something may have more, unless memory is short.
    fn is_too_far_behind(&self, budget: usize, is_short: bool, now: Now) -> bool {
        let is_idle = |progress| now.instant.saturating_duration_since(progress) >= GRACE;
        self.waiting() > budget && (is_short || self.progress().is_some_and(is_idle))
    }
}

#[derive(Debug)]
pub(crate) struct Subscribers<W> {
    registry: Arc<Registry>,
    types: Arc<EventTypes>,
    /// How many of the types that were unregistered this knows of.
    generation: usize,
    limits: SubscriberLimits,
    memory: MemoryInUse,
    history: History,
    table: Vec<Option<Subscriber<W>>>,
    vacant: Vec<Key>,
    sets: SubscriptionSets,
    behind: Behind,
    /// Clients that have left, to be dropped one by one: closing a socket and freeing its mailbox
    /// takes time, which live events do not have.
    closing: Vec<Sink<W>>,
    /// Kept events for which nobody waits any more.
    released: Vec<Place>,
    /// Where the sweep goes on.
    cursor: usize,
    /// Counts since the start; the numbers of clients are the registry's.
    stats: Stats,
    /// Where to report clients that come and go, if the program has hooks.
    hook_queue: Option<Arc<HookQueue>>,
    /// Clients have come or gone since their number was last published.
    has_changed: bool,
    scratch: Scratch,
    /// Spreads what must not happen to all clients at the same time.
    random: RandomState,
}

/// The clients that are behind.
#[derive(Debug, Default)]
struct Behind {
    /// When to retry the streams among them. An entry is void if its stream has another retry time
    /// by now.
    retries: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Those that were seen to be more than half a budget behind. One that has left since is void.
    heavy: Vec<(Key, ClientId)>,
    furthest: Furthest,
}

/// Used within one call, and kept to reuse the memory.
#[derive(Debug)]
struct Scratch {
    events: Vec<Event>,
    matched: Matched,
    joined: Vec<u8>,
    pending: Vec<(ClientId, Pending)>,
    gone: Vec<(Key, Disconnect)>,
    input: Box<[u8]>,
}

impl<W: Wire> Subscribers<W> {
    pub(crate) fn new(
        registry: Arc<Registry>,
        types: Arc<EventTypes>,
        limits: SubscriberLimits,
        history: History,
    ) -> Self {
        Self {
            registry,
            generation: types.generation().get(),
            types,
            limits,
            history,
            memory: MemoryInUse::default(),
            table: Vec::new(),
            vacant: Vec::new(),
            sets: SubscriptionSets::default(),
            behind: Behind::default(),
            closing: Vec::new(),
            released: Vec::new(),
            cursor: 0,
            stats: Stats::default(),
            hook_queue: None,
            has_changed: false,
            scratch: Scratch {
                events: Vec::new(),
                matched: Matched::default(),
                joined: Vec::new(),
                pending: Vec::new(),
                gone: Vec::new(),
                input: vec![0; INPUT_BUFFER].into(),
            },
            random: RandomState::new(),
        }
    }

    /// Reports clients that come and go, from now on.
    pub(crate) fn tell(&mut self, hook_queue: Arc<HookQueue>) {
        self.hook_queue = Some(hook_queue);
    }

    /// Counts since the start, and how many clients are behind.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.table.len() == self.vacant.len()
    }

    /// The size of the table of clients, vacant entries included.
    pub(crate) fn slots(&self) -> usize {
        self.table.len()
    }

    /// Admits a client: from here on it gets every event that it subscribes to.
    pub(crate) fn admit(&mut self, arrival: Arrival<W>, now: Now) {
        if self.is_overtaken(&arrival) {
            return Self::refuse_overtaken(arrival);
        }
        let Arrival { mut seat, head, mut preamble, form, resume, via } = arrival;
        let (peer, attached) = (seat.peer, std::mem::take(&mut seat.attached));
        let until = seat.until.map(Box::new);
        // It knows of a type that was unregistered before this does.
        let is_early = seat.generation > self.generation;
        let (id, subscribed, mailbox) = seat.take();
        // What is known of its channels must be known from here on.
        subscribed.channels.named().iter().for_each(|channel| self.history.enter(channel));
        if !is_early {
            self.history.see(&subscribed.types);
        }
        let (from, gap) = self.begin(&subscribed, &resume, is_early, form.own, &mut preamble);
        let key = self.vacant.pop().unwrap_or_else(|| {
            push_to_large(&mut self.table, None);
            Key::try_from(self.table.len() - 1).unwrap_or(Key::MAX)
        });
        let (set, place) = self.sets.join(Arc::clone(&subscribed), form.coding, key);
        let sink = match via {
            Via::Wire(wire) => Sink::Stream(Stream::new(wire, mailbox, form, now)),
            Via::Local(counts) => Sink::Local(Box::new(LocalSink::new(counts, mailbox, now))),
        };
        self.table[key as usize] = Some(Subscriber { id, set, place, until, sink });
        self.registry.seated(id, key);
        self.has_changed = true;
        if let Some(hook_queue) = &self.hook_queue {
            let (subscribed, last_event_id) = (Arc::clone(&subscribed), resume.last_event_id);
            hook_queue.connected(Connected { id, peer, subscribed, last_event_id, attached });
        }
        let from = (self.history.is_on() && from.position < self.history.newest()).then_some(from);
        if let Some(stream) = self.stream(key) {
            let first = first_bytes(stream.form.coding, head, &preamble, gap.as_ref());
            match from {
                Some(from) => self.replay(key, from, &first, now),
                None if first.is_empty() => {}
                None => self.send(key, &first, |memory| Pending::raw(&first, memory), now),
            }
        } else {
            let preamble = (!preamble.is_empty()).then(|| Frame::from_block(preamble.as_bytes()));
            for block in [preamble, gap].into_iter().flatten() {
                self.say(key, &block, now);
            }
            if let Some(from) = from {
                self.replay_to_subscription(key, &subscribed, from, now);
            }
        }
    }

    /// Drops one client that has left, or one subscription that nobody has any more; false if there
    /// is none.
    pub(crate) fn drop_one(&mut self) -> bool {
        let history = &mut self.history;
        self.closing.pop().is_some()
            || self.sets.drop_one(|channel| history.leave(channel))
            || self.clear_some()
    }

    /// Drops some of what is kept of types that were unregistered; false if there is none.
    fn clear_some(&mut self) -> bool {
        // Where several nodes share a log, a number tells what may have been passed over.
        let is_alone = self.history.log.is_none();
        self.history.clear_some(|kind| {
            if is_alone {
                let has_untold = self.hook_queue.as_ref().is_some_and(|queue| !queue.is_empty());
                let is_listened = has_untold || self.registry.listening().of(kind) > 0;
                self.types.free(kind, self.generation, is_listened);
            }
        })
    }

    /// Whether clients that have left are still to be dropped.
    pub(crate) fn has_closing(&self) -> bool {
        !self.closing.is_empty() || self.sets.has_emptied() || self.history.has_unregistered()
    }

    /// When the next stream that is behind is due.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.behind.retries.peek().map(|Reverse((at, _))| *at)
    }

    /// Retries the stream that has been due the longest; false if none is due.
    pub(crate) fn retry_one(&mut self, now: Now) -> bool {
        let Some(&Reverse((at, key))) = self.behind.retries.peek() else {
            return false;
        };
        if at > now.instant {
            return false;
        }
        self.behind.retries.pop();
        self.catch_up(key, at, now);
        true
    }

    /// Writes to a stream that is behind, unless its retry time is not `at` any more.
    fn catch_up(&mut self, key: Key, at: Instant, now: Now) {
        let stall_timeout = self.limits.stall_timeout;
        self.refill(key, at);
        if let Some(stream) = self.stream(key)
            && stream.retry_at() == Some(at)
        {
            match stream.catch_up(CATCH_UP_SHARE, stall_timeout, now) {
                Ok(Progress::CaughtUp) => self.stats.behind -= 1,
                Ok(Progress::Retry(at)) => self.behind.retries.push(Reverse((at, key))),
                Err(reason) => {
                    self.stats.behind -= 1;
                    self.remove(key, reason);
                }
            }
        }
    }

    /// Sends one client a block for it alone: at once, or after what waits.
    fn say(&mut self, key: Key, frame: &Frame, now: Now) {
        let Some(subscriber) = self.table.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let pending = || Pending::new(frame.clone(), &self.memory);
        match &mut subscriber.sink {
            Sink::Stream(stream) if !stream.is_caught_up() => {
                stream.fit_mailbox(|room| self.registry.replace_mailbox(subscriber.id, room));
                let waiting = stream.added(frame.coded(stream.form.coding).len());
                self.registry.send([(subscriber.id, pending())]);
                self.note_waiting(key, waiting);
            }
            Sink::Stream(stream) => {
                let bytes = frame.coded(stream.form.coding);
                self.send(key, bytes, |memory| Pending::new(frame.clone(), memory), now);
            }
            Sink::Local(local) => {
                let waiting = local.added(frame.len(), now);
                self.registry.send([(subscriber.id, pending())]);
                self.note_waiting(key, waiting);
            }
        }
    }

    /// Sends to a stream that is caught up. What its socket does not take waits in the frame that
    /// `share` returns.
    fn send(
        &mut self,
        key: Key,
        bytes: &[u8],
        share: impl FnOnce(&MemoryInUse) -> Pending,
        now: Now,
    ) {
        let memory = self.memory.clone();
        let Some(stream) = self.stream(key) else { return };
        match stream.send(bytes, || share(&memory), now) {
            Ok(Progress::CaughtUp) => {}
            Ok(Progress::Retry(at)) => {
                self.stats.behind += 1;
                self.behind.retries.push(Reverse((at, key)));
            }
            Err(reason) => self.remove(key, reason),
        }
    }

    fn stream(&mut self, key: Key) -> Option<&mut Stream<W>> {
        match &mut self.table.get_mut(key as usize)?.as_mut()?.sink {
            Sink::Stream(stream) => Some(stream),
            Sink::Local(_) => None,
        }
    }

    fn remove_gone(&mut self) {
        while let Some((key, reason)) = self.scratch.gone.pop() {
            self.remove(key, reason);
        }
    }

    fn remove(&mut self, key: Key, reason: Disconnect) {
        // The table is emptied when the last client leaves.
        let Some(subscriber) = self.table.get_mut(key as usize).and_then(Option::take) else {
            return;
        };
        self.vacant.push(key);
        if let Some(moved) = self.sets.leave(subscriber.set, subscriber.place)
            && let Some(moved) = &mut self.table[moved as usize]
        {
            moved.place = subscriber.place;
        }
        match &subscriber.sink {
            Sink::Stream(stream) => self.stats.behind -= usize::from(!stream.is_caught_up()),
            Sink::Local(local) => local.end(reason),
        }
        self.stats.disconnected.count(reason);
        self.registry.remove(subscriber.id);
        self.has_changed = true;
        if let Some(hook_queue) = &self.hook_queue {
            hook_queue.disconnected(subscriber.id, reason);
        }
        self.closing.push(subscriber.sink);
        if self.is_empty() {
            self.table = Vec::new();
            self.vacant = Vec::new();
            self.behind = Behind::default();
        }
    }
}

/// What a stream begins with; empty if that was sent.
fn first_bytes(coding: Coding, head: Vec<u8>, preamble: &str, gap: Option<&Frame>) -> Vec<u8> {
    let blocks = [preamble.as_bytes(), gap.map_or(&[], Frame::as_bytes)].concat();
    let mut bytes = head;
    if !blocks.is_empty() {
        bytes.extend_from_slice(&coding.encode(&blocks));
    }
    bytes
}
