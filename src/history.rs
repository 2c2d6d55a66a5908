//! What was published lately, kept for clients that come back.
//!
//! A bounded log for each event type, in one order of publishing: every event has a sequence
//! number, kept or not, so that a position means the same in all logs.

mod entries;
mod log;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, binary_heap::PeekMut},
    hash::{BuildHasher, RandomState},
    time::{SystemTime, UNIX_EPOCH},
};

pub(crate) use self::entries::Lack;
use self::{
    entries::Places,
    log::{Kept, LOG, Log, slots},
};
use crate::{
    frame::{self, Frame, generated_id},
    journal::EntryId,
    mail::{Load, Mail, Original},
    message::{EPOCH_LENGTH, EventId, base_36},
    types::{Subscribed, TypeId},
};

/// An event's place in the order of publishing, from 1. As a position it means: everything up to
/// this event.
pub(crate) type Sequence = u64;

/// A publisher's own id, by its hash, and the event that has it.
type IdUse = (u64, Sequence, TypeId);
/// An event, and the place of its log.
type Oldest = Reverse<(Sequence, usize)>;

/// Where an event is kept.
pub(crate) type Place = (TypeId, Sequence);

/// A kept event that is handed out.
pub(crate) struct Found<'h> {
    frame: &'h Original,
    place: Place,
}

impl Found<'_> {
    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    pub(crate) fn mail(&self, load: &Load) -> Mail {
        self.frame.mail(self.place, load)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct HistoryLimits {
    /// Events of one type.
    pub(crate) events: usize,
    /// Bytes of one type.
    pub(crate) bytes: usize,
    /// Bytes of all types.
    pub(crate) all_bytes: usize,
}

/// A name for this run: the time at its start and random digits, since hosts without a clock start
/// at the same time every day.
pub(crate) fn epoch() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let random = RandomState::new().hash_one(millis);
    let mut digits = base_36(millis, EPOCH_LENGTH - RANDOM_DIGITS);
    digits.push_str(&base_36(random, RANDOM_DIGITS));
    digits
}

/// How many of the digits that name a run are random: more than 20 bits.
const RANDOM_DIGITS: usize = 4;

#[derive(Debug)]
pub(crate) struct History {
    limits: HistoryLimits,
    /// Names this run in the ids that the server makes.
    epoch: String,
    /// The sequence number given last.
    newest: Sequence,
    /// By the type's number.
    logs: Vec<Log>,
    /// The memory of all logs.
    bytes: usize,
    /// Of each log from which something is kept, an event that is not later than its oldest.
    oldest: BinaryHeap<Oldest>,
    /// How many events were dropped so far.
    drops: u64,
    /// Which events have their publishers' own ids, of each id the earliest use first. Two types may
    /// number their events alike.
    ids: BTreeSet<IdUse>,
    hasher: RandomState,
    /// Used within one call and kept for its memory.
    buffer: Vec<u8>,
    /// Set once the events come out of a log that several nodes share.
    places: Option<Places>,
}

impl History {
    pub(crate) fn new(limits: HistoryLimits, epoch: String) -> Self {
        Self {
            limits,
            epoch,
            newest: 0,
            logs: Vec::new(),
            bytes: 0,
            oldest: BinaryHeap::new(),
            drops: 0,
            ids: BTreeSet::new(),
            hasher: RandomState::new(),
            buffer: Vec::new(),
            places: None,
        }
    }

    /// Whether anything is kept at all; without it events get no ids from the server.
    pub(crate) fn is_on(&self) -> bool {
        let HistoryLimits { events, bytes, all_bytes } = self.limits;
        events > 0 && bytes > 0 && all_bytes > 0
    }

    /// Whether an event is kept that is published here; others come out of a log.
    pub(crate) fn keeps_own(&self) -> bool {
        self.is_on() && self.entries().is_none()
    }

    /// Completes an event that consists of these lines: gives it its place in the order, and its id
    /// where its publisher gave it none; keeps it.
    pub(crate) fn record(&mut self, kind: TypeId, id: Option<&EventId>, lines: &[u8]) -> Frame {
        self.newest += 1;
        // What is of this node alone has no place in a log that several share.
        let is_on = self.keeps_own();
        let place = (is_on && id.is_none()).then_some((&*self.epoch, self.newest));
        let frame = frame::seal(lines, place, &mut self.buffer);
        if is_on {
            self.keep(kind, &frame, id, EntryId::ZERO);
        }
        frame
    }

    /// The place of a type's log.
    fn log_at(&mut self, kind: TypeId) -> usize {
        let at = kind as usize;
        if self.logs.len() <= at {
            let kinds = TypeId::try_from(self.logs.len()).unwrap_or(TypeId::MAX)..=kind;
            self.logs.extend(kinds.map(|kind| Log { kind, ..Log::default() }));
        }
        at
    }

    /// Keeps the newest event, and lets go of what is too much.
    fn keep(&mut self, kind: TypeId, frame: &Frame, id: Option<&EventId>, entry: EntryId) {
        let sequence = self.newest;
        let original = Original::new(frame.clone());
        let kept = Kept { sequence, frame: original, has_id: id.is_some(), entry };
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
        if !std::mem::replace(&mut log.is_listed, true) {
            self.oldest.push(Reverse((sequence, at)));
        }
        while self.logs[at].kept.len() > events
            || self.logs[at].kept.len() > 1 && self.logs[at].memory() > bytes
        {
            self.drop_oldest(at);
        }
        while self.bytes > all_bytes
            && let Some(at) = self.log_of_the_oldest()
        {
            self.drop_oldest(at);
        }
    }

    /// The place of the log with the oldest event of all.
    fn log_of_the_oldest(&mut self) -> Option<usize> {
        while let Some(mut first) = self.oldest.peek_mut() {
            let Reverse((sequence, at)) = *first;
            match self.logs[at].kept.front() {
                Some(kept) if kept.sequence == sequence => return Some(at),
                // It was dropped as the type had too many. Others may be older than the next.
                Some(kept) => *first = Reverse((kept.sequence, at)),
                None => {
                    self.logs[at].is_listed = false;
                    PeekMut::pop(first);
                }
            }
        }
        None
    }

    fn drop_oldest(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let before = log.memory();
        let Some(gone) = log.pop() else {
            return;
        };
        self.bytes -= before - log.memory();
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
    pub(crate) fn parcels(&self) -> usize {
        let kept = self.logs.iter().flat_map(|log| &log.kept);
        kept.filter(|kept| kept.frame.has_parcel()).count()
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
        self.drops += 1;
        let log = &mut self.logs[at];
        log.dropped = log.dropped.max(sequence);
        log.dropped_entry = log.dropped_entry.max(entry);
        log.last_drop = self.drops;
    }

    /// How many events were dropped so far.
    pub(crate) fn drops(&self) -> u64 {
        self.drops
    }

    /// The position of somebody who has everything.
    pub(crate) fn newest(&self) -> Sequence {
        self.newest
    }

    /// The id that stands for a position.
    pub(crate) fn id_of(&self, position: Sequence) -> Option<String> {
        match self.entry_at(position) {
            Some(entry) => Some(entry.to_string()),
            None => self.is_on().then(|| generated_id(&self.epoch, position)),
        }
    }

    /// The position of a client of these types whose last event had this id; `None` where it is not
    /// known: the id is of another run, was never given to an event of them, or is not kept any more.
    pub(crate) fn position_of(&self, subscribed: &Subscribed, id: &str) -> Option<Sequence> {
        if self.entries().is_some() {
            return self.entry_position(subscribed, id);
        }
        let own = id.strip_prefix(&*self.epoch).and_then(|rest| rest.strip_prefix('-'));
        match own {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|&position| position <= self.newest)
            }
            _ => {
                let mut uses = self.uses(id).filter(|&(kind, _)| subscribed.includes(kind));
                uses.next().map(|(_, kept)| kept.sequence)
            }
        }
    }

    /// The position from which on the last `count` events are still to come.
    pub(crate) fn position_before_last(&self, subscribed: &Subscribed, count: usize) -> Sequence {
        if count == 0 {
            return self.newest;
        }
        let after = |position| -> usize {
            self.logs_of(subscribed).map(|log| log.kept.len() - log.begin(position)).sum()
        };
        // Not before what was dropped: it is not among the last ones, and nobody will miss it.
        let oldest = self.logs_of(subscribed).filter_map(|log| log.kept.front());
        let oldest = oldest.map(|kept| kept.sequence).min().unwrap_or(self.newest + 1);
        let dropped = self.logs_of(subscribed).map(|log| log.dropped).max().unwrap_or(0);
        // The more is passed over, the fewer are left: find the earliest position with few enough.
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

    /// Whether something of these types that came after `position` is not kept, and was dropped
    /// after the first `drops` events were.
    pub(crate) fn has_gap(&self, subscribed: &Subscribed, position: Sequence, drops: u64) -> bool {
        self.logs_of(subscribed).any(|log| log.dropped > position && log.last_drop > drops)
    }

    /// The id of the oldest event of these types that is kept.
    pub(crate) fn oldest_id(&self, subscribed: &Subscribed) -> Option<String> {
        let first = self.logs_of(subscribed).filter_map(|log| log.kept.front());
        let oldest = first.min_by_key(|kept| kept.sequence)?;
        match oldest.own_id() {
            Some(id) => Some(id.to_owned()),
            None if self.entries().is_some() => Some(oldest.entry.to_string()),
            None => self.id_of(oldest.sequence),
        }
    }

    /// Hands out the events of these types that came after `position`, in their order, until `take`
    /// says that it is enough; returns the position behind them, which is the newest when there are
    /// no more.
    pub(crate) fn read(
        &self,
        subscribed: &Subscribed,
        position: Sequence,
        mut take: impl FnMut(Found<'_>) -> bool,
    ) -> Sequence {
        let begin = |log: &'_ Log| log.begin(position);
        let logs: Vec<(&Log, usize)> =
            self.logs_of(subscribed).map(|log| (log, begin(log))).collect();
        let next = |log: &Log, at: usize| log.kept.get(at).map(|kept| kept.sequence);
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
        // Everything before the next one is handed out.
        heads.peek().map_or(self.newest, |Reverse((sequence, ..))| sequence - 1)
    }

    fn logs_of<'h>(&'h self, subscribed: &'h Subscribed) -> impl Iterator<Item = &'h Log> {
        let (all, named) = match subscribed {
            Subscribed::All => (&self.logs[..], &[][..]),
            Subscribed::Types(types) => (&[][..], &types[..]),
        };
        all.iter().chain(named.iter().filter_map(|&kind| self.logs.get(kind as usize)))
    }
}
