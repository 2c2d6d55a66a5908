//! The events that were published lately, kept for clients that come back.
//!
//! There is a bounded log for each event type in each channel, and one order for all of them: every
//! event has a sequence number, whether it is kept or not. So a position means the same in all
//! logs.
//!
//! Of a channel to which nobody listens, and of which nothing is kept any more, nothing is known in
//! the end but that there was something: all such channels together have one sequence number, up to
//! which events may be missing. So a doubt becomes a gap that clients are told of, and never a loss
//! that they are not.

#[cfg(any(feature = "outside-log", test))]
pub(super) mod from_log;
mod order;
mod read;
mod topics;
mod type_log;
mod unregistered;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

pub(crate) use self::read::Wanted;
pub(super) use self::type_log::Kept;
use self::{
    order::{Drops, Order},
    topics::{Base, ChannelLogs, LogId, Topics},
    type_log::{LOG, slots},
    unregistered::Unregistered,
};
use crate::{
    broadcast::{
        log::{EntryId, KnownLog},
        mailbox::{MemoryInUse, Pending, SharedFrame},
    },
    message::{
        channel::{Channel, ChannelId},
        event_types::TypeId,
        frame::{self, Coding, Frame},
        id::{EventId, generated_id},
    },
};

/// An event's number in the order of publishing, from 1. As a position it means: everything up to
/// this event.
pub(crate) type Sequence = u64;

/// At most this many channels are forgotten at once, unless there are too many.
const FORGOTTEN: usize = 64;

/// A publisher's own id, by its hash, and the event that has it.
type IdUse = (u64, Sequence, LogId);

/// Where an event is kept.
pub(crate) type Place = (LogId, Sequence);

/// A kept event that is handed out.
pub(crate) struct Found<'h> {
    frame: &'h SharedFrame,
    place: Place,
}

impl Found<'_> {
    pub(crate) fn coded(&self, coding: Coding) -> &[u8] {
        self.frame.coded(coding)
    }

    pub(crate) fn pending(&self, memory: &MemoryInUse) -> Pending {
        self.frame.pending(self.place, memory)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct HistoryLimits {
    /// At most this many events of one type in one channel.
    pub(crate) events: usize,
    /// At most this many bytes of one type in one channel.
    pub(crate) bytes: usize,
    /// At most this many bytes in all.
    pub(crate) all_bytes: usize,
    /// At most this many channels to which nobody listens.
    pub(crate) channels: usize,
}

impl HistoryLimits {
    /// Whether events are kept at all.
    pub(crate) fn allow_any(&self) -> bool {
        self.events > 0 && self.bytes > 0 && self.all_bytes > 0
    }
}

/// The common channel, or all others.
#[derive(Debug, Default)]
struct Part {
    /// What is kept, over all logs.
    order: Order,
    drops: Drops,
}

#[derive(Debug)]
pub(crate) struct History {
    limits: HistoryLimits,
    /// Names this run of the server in the ids that it generates.
    epoch: String,
    /// The sequence number of the newest event.
    newest: Sequence,
    topics: Topics,
    /// The memory of all logs, and of the channels to which nobody listens.
    bytes: usize,
    common: Part,
    channels: Part,
    /// Of all channels but the common one, by type.
    drops_by_type: HashMap<TypeId, Drops>,
    /// One more than the events that were dropped so far. So a replay never begins at 0, which stands
    /// for all drops.
    drops: u64,
    /// Channels that may be forgotten; those that were left first come first.
    idle: VecDeque<ChannelId>,
    /// How many channels are known to which nobody listens.
    unlistened: usize,
    /// Of channels that are not known any more.
    forgotten: Base,
    unregistered: Unregistered,
    /// Which events have their publishers' own ids, of each id the earliest use first. Two types may
    /// number their events alike.
    ids: BTreeSet<IdUse>,
    hasher: RandomState,
    /// Used within one call and kept for its memory.
    buffer: Vec<u8>,
    /// Set if events come from a log that several nodes share.
    pub(super) log: Option<KnownLog>,
}

impl History {
    pub(crate) fn new(limits: HistoryLimits, epoch: String) -> Self {
        Self {
            limits,
            epoch,
            newest: 0,
            topics: Topics::default(),
            bytes: 0,
            common: Part::default(),
            channels: Part::default(),
            drops_by_type: HashMap::new(),
            drops: 1,
            idle: VecDeque::new(),
            unlistened: 0,
            forgotten: Base::default(),
            unregistered: Unregistered::default(),
            ids: BTreeSet::new(),
            hasher: RandomState::new(),
            buffer: Vec::new(),
            log: None,
        }
    }

    /// Whether events are kept at all. If not, the server gives them no ids.
    pub(crate) fn is_on(&self) -> bool {
        self.limits.allow_any()
    }

    /// Whether an event that is published here is kept. With a log, only events from the log are.
    pub(crate) fn keeps_own(&self) -> bool {
        self.is_on() && self.known_log().is_none()
    }

    /// Completes an event that consists of these lines: gives it its place in the order, and its id
    /// where its publisher gave it none; keeps it.
    pub(crate) fn record(
        &mut self,
        channel: Option<&Channel>,
        kind: TypeId,
        id: Option<&EventId>,
        lines: &[u8],
    ) -> Frame {
        self.newest += 1;
        // An event of this node alone has no position in a log that several nodes share.
        let is_on = self.keeps_own();
        let place = (is_on && id.is_none()).then_some((&*self.epoch, self.newest));
        let frame = frame::seal(lines, place, &mut self.buffer);
        if is_on {
            let at = self.log_of(channel, kind);
            self.keep(at, &frame, id, EntryId::ZERO);
        }
        frame
    }

    /// A client listens to a channel.
    pub(crate) fn enter(&mut self, channel: &Channel) {
        if !self.is_on() {
            return;
        }
        self.know(channel);
        if let Some(known) = self.topics.channel_mut(channel.number())
            && !std::mem::replace(&mut known.is_listened, true)
        {
            // Its memory is its clients'.
            self.bytes -= known.memory();
            self.unlistened -= 1;
        }
    }

    /// Nobody listens to a channel any more. It is remembered as long as its clients may come back.
    pub(crate) fn leave(&mut self, channel: &Channel) {
        let number = channel.number();
        if let Some(known) = self.topics.channel_mut(number)
            && std::mem::replace(&mut known.is_listened, false)
        {
            known.last = self.newest;
            self.bytes += known.memory();
            self.unlistened += 1;
            self.note_idle(number);
            self.fit();
        }
    }

    /// The log of a type in a channel.
    fn log_of(&mut self, channel: Option<&Channel>, kind: TypeId) -> LogId {
        if let Some(known) = self.topics.find(channel, kind) {
            return known;
        }
        if let Some(channel) = channel {
            self.know(channel);
        }
        let at = self.topics.make(channel, kind);
        self.bytes += self.topics.get(at).memory();
        let base = channel.and_then(|channel| self.topics.channel(channel.number()));
        if let Some(Base { sequence, entry }) = base.map(|channel| channel.base) {
            let log = self.topics.get_mut(at);
            (log.dropped, log.dropped_entry) = (sequence, entry);
            // Whichever it was, it was before all replays of today's clients.
            log.last_drop = u64::from(sequence > 0);
        }
        at
    }

    fn know(&mut self, channel: &Channel) {
        if let Some(memory) = self.topics.know(channel, self.forgotten) {
            self.bytes += memory;
            self.unlistened += 1;
        }
    }

    /// Notes that a channel may be forgotten, if it may.
    fn note_idle(&mut self, number: ChannelId) {
        if let Some(known) = self.topics.channel_mut(number)
            && known.may_go()
            && !std::mem::replace(&mut known.is_idle, true)
        {
            self.idle.push_back(number);
        }
    }

    /// Forgets the first of the idle channels that has been idle for longer than the history reaches
    /// back; or any, if there `must` be one less. False if there is none.
    fn forget_one(&mut self, must: bool) -> bool {
        if self.idle.is_empty() {
            return false;
        }
        let oldest = self.oldest_kept().map_or(self.newest + 1, |(oldest, _)| oldest);
        while let Some(&number) = self.idle.front() {
            let Some(known) = self.topics.channel_mut(number) else {
                debug_assert!(false, "a channel is forgotten here only");
                self.idle.pop_front();
                continue;
            };
            let may_go = known.may_go();
            if may_go && !must && known.last >= oldest {
                return false;
            }
            known.is_idle = false;
            self.idle.pop_front();
            if may_go {
                self.bytes -= known.memory();
                let (base, memory) = self.topics.forget(number);
                self.forgotten = self.forgotten.max(base);
                self.bytes -= memory;
                self.unlistened -= 1;
                return true;
            }
        }
        self.idle = VecDeque::new();
        false
    }

    /// The oldest event that is kept, and its log.
    fn oldest_kept(&self) -> Option<(Sequence, LogId)> {
        [self.common.order.first(), self.channels.order.first()].into_iter().flatten().min()
    }

    /// The part of the history to which a log belongs.
    fn part(&mut self, at: LogId) -> &mut Part {
        let is_common = self.topics.get(at).channel.is_none();
        if is_common { &mut self.common } else { &mut self.channels }
    }

    /// Keeps the newest event, and lets go of what is too much.
    fn keep(&mut self, at: LogId, frame: &Frame, id: Option<&EventId>, entry: EntryId) {
        let sequence = self.newest;
        let shared = SharedFrame::new(frame.clone());
        let kept = Kept { sequence, frame: shared, has_id: id.is_some(), entry };
        let HistoryLimits { events, bytes, all_bytes, .. } = self.limits;
        let channel = self.topics.get(at).channel;
        let known = channel.and_then(|number| self.topics.channel(number));
        let beside = LOG + slots(1) + known.map_or(0, ChannelLogs::memory);
        let alone = kept.memory() + beside;
        // One that takes all of its type's limit by itself is kept: what comes to it is little.
        if !self.is_on() || frame.len() > bytes || alone > all_bytes {
            self.note_drop(at, sequence, entry);
            return self.fit();
        }
        if let Some(id) = id {
            self.ids.insert((self.hasher.hash_one(id.as_str()), sequence, at));
        }
        let log = self.topics.get_mut(at);
        let before = log.memory();
        log.push(kept);
        self.bytes += log.memory() - before;
        self.part(at).order.push(sequence, at);
        if let Some(known) = channel.and_then(|number| self.topics.channel_mut(number)) {
            known.kept += 1;
        }
        loop {
            let log = self.topics.get(at);
            let is_full = log.kept.len() > events || log.kept.len() > 1 && log.memory() > bytes;
            if !is_full {
                break;
            }
            self.drop_oldest(at);
        }
        self.fit();
    }

    /// Lets go of what is over the limits of all logs: the oldest events, and channels that have been
    /// idle for long.
    fn fit(&mut self) {
        // More of them wait for the next event.
        let _some = (0..FORGOTTEN).all(|_| self.forget_one(false));
        for _ in 0..FORGOTTEN {
            if self.unlistened <= self.limits.channels {
                break;
            }
            if !self.forget_one(true) {
                let Some((_, log)) = self.channels.order.first() else { break };
                self.drop_oldest(log);
            }
        }
        while self.bytes > self.limits.all_bytes {
            let idle = self.idle.front().and_then(|&number| self.topics.channel(number));
            let idle = idle.map(|known| known.last);
            match self.oldest_kept() {
                Some((oldest, log)) if idle.is_none_or(|idle| oldest <= idle) => {
                    self.drop_oldest(log);
                }
                _ if self.forget_one(true) => {}
                Some((_, log)) => self.drop_oldest(log),
                None => break,
            }
        }
    }

    fn drop_oldest(&mut self, at: LogId) {
        let log = self.topics.get_mut(at);
        let before = log.memory();
        let Some(gone) = log.pop() else {
            return;
        };
        self.bytes -= before - log.memory();
        let channel = log.channel;
        self.part(at).order.remove(gone.sequence);
        if let Some(known) = channel.and_then(|number| self.topics.channel_mut(number)) {
            known.kept -= 1;
        }
        if let Some(id) = gone.own_id() {
            self.ids.remove(&(self.hasher.hash_one(id), gone.sequence, at));
        }
        self.note_drop(at, gone.sequence, gone.entry);
    }

    /// Lets go of what a frame needed while it waited in mailboxes, unless it does again.
    pub(crate) fn release(&mut self, (log, sequence): Place) {
        if let Some(kept) = self.kept(log, sequence) {
            kept.frame.release();
        }
    }

    /// Kept events that have more memory than while nobody waits for them.
    #[cfg(test)]
    pub(crate) fn waiting_frames(&self) -> usize {
        let kept = self.topics.ids().flat_map(|id| &self.topics.get(id).kept);
        kept.filter(|kept| kept.frame.is_waiting()).count()
    }

    #[cfg(test)]
    pub(crate) fn has(&self, sequence: Sequence) -> bool {
        let begin = |order: &Order| order.next(order.begin(sequence - 1));
        let mut next = [&self.common, &self.channels].into_iter().filter_map(|it| begin(&it.order));
        next.any(|(_, next, _)| next == sequence)
    }

    /// An event that is kept; the log may be another one by now.
    fn kept(&self, log: LogId, sequence: Sequence) -> Option<&Kept> {
        let kept = &self.topics.try_get(log)?.kept;
        kept.get(kept.binary_search_by_key(&sequence, |kept| kept.sequence).ok()?)
    }

    fn note_drop(&mut self, at: LogId, sequence: Sequence, entry: EntryId) {
        self.drops += 1;
        let (number, log) = (self.drops, self.topics.get_mut(at));
        log.dropped = log.dropped.max(sequence);
        log.dropped_entry = log.dropped_entry.max(entry);
        log.last_drop = number;
        let (channel, kind) = (log.channel, log.kind);
        self.part(at).drops.note(number, sequence);
        if let Some(channel) = channel {
            self.drops_by_type.entry(kind).or_default().note(number, sequence);
            if let Some(known) = self.topics.channel_mut(channel) {
                known.last = known.last.max(sequence);
            }
            self.note_idle(channel);
        }
    }

    /// The number of the last drop so far; at least 1.
    pub(crate) fn drops(&self) -> u64 {
        self.drops
    }

    /// The position of a client that has everything.
    pub(crate) fn newest(&self) -> Sequence {
        self.newest
    }

    /// The id that stands for a position.
    pub(crate) fn id_of(&self, position: Sequence) -> Option<String> {
        match self.entry_at(position) {
            Some(entry) => Some(entry),
            None => self.is_on().then(|| generated_id(&self.epoch, position)),
        }
    }
}

#[cfg(test)]
mod tests;
