//! The events that were published lately, kept for clients that come back.
//!
//! There is a bounded log for each event type, and one order for all of them: every event has a
//! sequence number, whether it is kept or not. So a position means the same in all logs.

#[cfg(any(feature = "outside-log", test))]
pub(super) mod from_log;
mod order;
mod type_log;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    hash::{BuildHasher, RandomState},
};

pub(super) use self::type_log::Kept;
use self::{
    order::{Drops, Order},
    type_log::{LOG, TypeLog, slots},
};
use crate::{
    broadcast::{
        log::{EntryId, KnownLog},
        mailbox::{MemoryInUse, Pending, SharedFrame},
    },
    message::{
        event_types::{Subscribed, TypeId},
        frame::{self, Frame, generated_id},
        id::EventId,
    },
    quoted::is_digits,
};

/// An event's number in the order of publishing, from 1. As a position it means: everything up to
/// this event.
pub(crate) type Sequence = u64;

/// A publisher's own id, by its hash, and the event that has it.
type IdUse = (u64, Sequence, TypeId);

/// Where an event is kept.
pub(crate) type Place = (TypeId, Sequence);

/// A kept event that is handed out.
pub(crate) struct Found<'h> {
    frame: &'h SharedFrame,
    place: Place,
}

impl Found<'_> {
    pub(crate) fn pending(&self, memory: &MemoryInUse) -> Pending {
        self.frame.pending(self.place, memory)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct HistoryLimits {
    /// At most this many events of one type.
    pub(crate) events: usize,
    /// At most this many bytes of one type.
    pub(crate) bytes: usize,
    /// At most this many bytes of all types.
    pub(crate) all_bytes: usize,
}

#[derive(Debug)]
pub(crate) struct History {
    limits: HistoryLimits,
    /// Names this run of the server in the ids that it generates.
    epoch: String,
    /// The sequence number of the newest event.
    newest: Sequence,
    /// By the type's number.
    logs: Vec<TypeLog>,
    /// The memory of all logs.
    bytes: usize,
    /// What is kept, over all logs.
    order: Order,
    drops: Drops,
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
            logs: Vec::new(),
            bytes: 0,
            order: Order::default(),
            drops: Drops::default(),
            ids: BTreeSet::new(),
            hasher: RandomState::new(),
            buffer: Vec::new(),
            log: None,
        }
    }

    /// Whether events are kept at all. If not, the server gives them no ids.
    pub(crate) fn is_on(&self) -> bool {
        let HistoryLimits { events, bytes, all_bytes } = self.limits;
        events > 0 && bytes > 0 && all_bytes > 0
    }

    /// Whether an event that is published here is kept. With a log, only events from the log are.
    pub(crate) fn keeps_own(&self) -> bool {
        self.is_on() && self.known_log().is_none()
    }

    /// Completes an event that consists of these lines: gives it its place in the order, and its id
    /// where its publisher gave it none; keeps it.
    pub(crate) fn record(&mut self, kind: TypeId, id: Option<&EventId>, lines: &[u8]) -> Frame {
        self.newest += 1;
        // An event of this node alone has no position in a log that several nodes share.
        let is_on = self.keeps_own();
        let place = (is_on && id.is_none()).then_some((&*self.epoch, self.newest));
        let frame = frame::seal(lines, place, &mut self.buffer);
        if is_on {
            self.keep(kind, &frame, id, EntryId::ZERO);
        }
        frame
    }

    /// The index of a type's log.
    fn log_at(&mut self, kind: TypeId) -> usize {
        let at = kind as usize;
        if self.logs.len() <= at {
            let kinds = TypeId::try_from(self.logs.len()).unwrap_or(TypeId::MAX)..=kind;
            self.logs.extend(kinds.map(|kind| TypeLog { kind, ..TypeLog::default() }));
        }
        at
    }

    /// Keeps the newest event, and lets go of what is too much.
    fn keep(&mut self, kind: TypeId, frame: &Frame, id: Option<&EventId>, entry: EntryId) {
        let sequence = self.newest;
        let shared = SharedFrame::new(frame.clone());
        let kept = Kept { sequence, frame: shared, has_id: id.is_some(), entry };
        let at = self.log_at(kind);
        let HistoryLimits { events, bytes, all_bytes } = self.limits;
        let alone = kept.memory() + LOG + slots(1);
        // One that takes all of its type's limit by itself is kept: what comes to it is little.
        if !self.is_on() || frame.len() > bytes || alone > all_bytes {
            self.note_drop(at, sequence, entry);
            return;
        }
        if let Some(id) = id {
            self.ids.insert((self.hasher.hash_one(id.as_str()), sequence, kind));
        }
        let log = &mut self.logs[at];
        let before = log.memory();
        log.push(kept);
        self.bytes += log.memory() - before;
        self.order.push(sequence, kind);
        while self.logs[at].kept.len() > events
            || self.logs[at].kept.len() > 1 && self.logs[at].memory() > bytes
        {
            self.drop_oldest(at);
        }
        while self.bytes > all_bytes
            && let Some((_, kind)) = self.order.first()
        {
            self.drop_oldest(kind as usize);
        }
    }

    fn drop_oldest(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let before = log.memory();
        let Some(gone) = log.pop() else {
            return;
        };
        self.bytes -= before - log.memory();
        self.order.remove(gone.sequence);
        if let Some(id) = gone.own_id() {
            self.ids.remove(&(self.hasher.hash_one(id), gone.sequence, log.kind));
        }
        self.note_drop(at, gone.sequence, gone.entry);
    }

    /// Lets go of what a frame needed while it waited in mailboxes, unless it does again.
    pub(crate) fn release(&mut self, (kind, sequence): Place) {
        if let Some(kept) = self.kept(kind, sequence) {
            kept.frame.release();
        }
    }

    /// Kept events that have more memory than while nobody waits for them.
    #[cfg(test)]
    pub(crate) fn waiting_frames(&self) -> usize {
        let kept = self.logs.iter().flat_map(|log| &log.kept);
        kept.filter(|kept| kept.frame.is_waiting()).count()
    }

    fn kept(&self, kind: TypeId, sequence: Sequence) -> Option<&Kept> {
        let log = self.logs.get(kind as usize)?;
        let at = log.kept.binary_search_by_key(&sequence, |kept| kept.sequence).ok()?;
        log.kept.get(at)
    }

    /// The events that have this as their publishers' own id, the earliest first.
    fn uses(&self, id: &str) -> impl Iterator<Item = (TypeId, &Kept)> {
        let hash = self.hasher.hash_one(id);
        let uses = self.ids.range((hash, 0, 0)..=(hash, Sequence::MAX, TypeId::MAX));
        uses.filter_map(move |&(_, sequence, kind)| {
            let kept = self.kept(kind, sequence)?;
            (kept.own_id() == Some(id)).then_some((kind, kept))
        })
    }

    fn note_drop(&mut self, at: usize, sequence: Sequence, entry: EntryId) {
        let log = &mut self.logs[at];
        log.dropped = log.dropped.max(sequence);
        log.dropped_entry = log.dropped_entry.max(entry);
        log.last_drop = self.drops.note(sequence);
    }

    /// How many events were dropped so far.
    pub(crate) fn drops(&self) -> u64 {
        self.drops.count
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

    /// The position of a client of these types, by the id of its last event. `None` if the position
    /// is unknown: the id is of another run, no event of these types ever had it, or that event is
    /// not kept any more.
    pub(crate) fn position_of(&self, subscribed: &Subscribed, id: &str) -> Option<Sequence> {
        if self.known_log().is_some() {
            return self.entry_position(subscribed, id);
        }
        let own = id.strip_prefix(&*self.epoch).and_then(|rest| rest.strip_prefix('-'));
        match own {
            Some(digits) if is_digits(digits) => {
                digits.parse().ok().filter(|&position| position <= self.newest)
            }
            _ => {
                let mut uses = self.uses(id).filter(|&(kind, _)| subscribed.includes(kind));
                uses.next().map(|(_, kept)| kept.sequence)
            }
        }
    }

    /// The position of a client that wants the last `count` events.
    pub(crate) fn position_before_last(&self, subscribed: &Subscribed, count: usize) -> Sequence {
        if count == 0 {
            return self.newest;
        }
        if *subscribed == Subscribed::All {
            let oldest = self.order.first().map_or(self.newest + 1, |(oldest, _)| oldest);
            let dropped = self.drops.newest_after(0).min(oldest - 1);
            return self.order.before_last(count).unwrap_or(dropped);
        }
        let after = |position| -> usize {
            self.logs_of(subscribed).map(|log| log.kept.len() - log.begin(position)).sum()
        };
        // Not before a dropped event: it is not one of the last, and no client will miss it.
        let oldest = self.logs_of(subscribed).filter_map(|log| log.kept.front());
        let oldest = oldest.map(|kept| kept.sequence).min().unwrap_or(self.newest + 1);
        let dropped = self.logs_of(subscribed).map(|log| log.dropped).max().unwrap_or(0);
        // The later the position, the fewer events follow. Find the earliest one that few enough
        // follow.
        let (mut low, mut high) = (dropped.min(oldest - 1), self.newest);
        while low < high {
            let middle = low + (high - low) / 2;
            if after(middle) > count {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Whether an event of these types after `position` is not kept, and was dropped later than the
    /// first `drops` events.
    pub(crate) fn has_gap(&self, subscribed: &Subscribed, position: Sequence, drops: u64) -> bool {
        match subscribed {
            Subscribed::All => self.drops.newest_after(drops) > position,
            Subscribed::Types(_) => {
                self.logs_of(subscribed).any(|log| log.dropped > position && log.last_drop > drops)
            }
        }
    }

    /// The id of the oldest event of these types that is kept.
    pub(crate) fn oldest_id(&self, subscribed: &Subscribed) -> Option<String> {
        let oldest = match subscribed {
            Subscribed::All => {
                let (sequence, kind) = self.order.first()?;
                self.kept(kind, sequence)?
            }
            Subscribed::Types(_) => {
                let first = self.logs_of(subscribed).filter_map(|log| log.kept.front());
                first.min_by_key(|kept| kept.sequence)?
            }
        };
        match oldest.own_id() {
            Some(id) => Some(id.to_owned()),
            None => self.entry_of_kept(oldest).or_else(|| self.id_of(oldest.sequence)),
        }
    }

    /// Gives `take` the events of these types after `position`, in their order, until it returns
    /// false. Returns the position behind them; it is the newest if no event follows.
    pub(crate) fn read(
        &self,
        subscribed: &Subscribed,
        position: Sequence,
        mut take: impl FnMut(Found<'_>) -> bool,
    ) -> Sequence {
        if *subscribed == Subscribed::All {
            return self.read_all(position, take);
        }
        let begin = |log: &'_ TypeLog| log.begin(position);
        let logs: Vec<(&TypeLog, usize)> =
            self.logs_of(subscribed).map(|log| (log, begin(log))).collect();
        let next = |log: &TypeLog, at: usize| log.kept.get(at).map(|kept| kept.sequence);
        let heads = (0..).zip(&logs).filter_map(|(number, &(log, at))| {
            next(log, at).map(|sequence| Reverse((sequence, number, at)))
        });
        let mut heads: BinaryHeap<Reverse<(Sequence, usize, usize)>> = heads.collect();
        while let Some(Reverse((_, number, at))) = heads.pop() {
            let log = logs[number].0;
            if let Some(sequence) = next(log, at + 1) {
                heads.push(Reverse((sequence, number, at + 1)));
            }
            let Kept { sequence, frame, .. } = &log.kept[at];
            if !take(Found { frame, place: (log.kind, *sequence) }) {
                break;
            }
        }
        // Everything before the next event was given out.
        heads.peek().map_or(self.newest, |Reverse((sequence, ..))| sequence - 1)
    }

    /// The same for all types.
    fn read_all(&self, position: Sequence, mut take: impl FnMut(Found<'_>) -> bool) -> Sequence {
        let mut events = self.order.after(position);
        for (sequence, kind) in events.by_ref() {
            let Some(Kept { frame, .. }) = self.kept(kind, sequence) else { continue };
            if !take(Found { frame, place: (kind, sequence) }) {
                break;
            }
        }
        events.next().map_or(self.newest, |(sequence, _)| sequence - 1)
    }

    fn logs_of<'h>(&'h self, subscribed: &'h Subscribed) -> impl Iterator<Item = &'h TypeLog> {
        let (all, named) = match subscribed {
            Subscribed::All => (&self.logs[..], &[][..]),
            Subscribed::Types(types) => (&[][..], &types[..]),
        };
        all.iter().chain(named.iter().filter_map(|&kind| self.logs.get(kind as usize)))
    }
}

#[cfg(test)]
mod tests;
