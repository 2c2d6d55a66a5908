//! The events that were published lately, kept for clients that come back.
//!
//! There is a bounded log for each event type, and one order for all of them: every event has a
//! sequence number, whether it is kept or not. So a position means the same in all logs.

#[cfg(any(feature = "outside-log", test))]
pub(super) mod from_log;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use crate::{
    broadcast::{
        log::{EntryId, KnownLog},
        mailbox::SharedFrame,
    },
    message::{
        event_types::{Subscribed, TypeId},
        frame::{self, Frame, generated_id},
        id::EventId,
    },
};

/// An event's number in the order of publishing, from 1. As a position it means: everything up to
/// this event.
pub(crate) type Sequence = u64;

/// What an event costs in addition to its frame, in bytes.
const OVERHEAD: usize = 64;

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
    /// Indexed by event type.
    logs: Vec<Log>,
    bytes: usize,
    /// How many events were dropped so far.
    drops: u64,
    /// The events that have an id of their publisher's own, oldest first. Two types may use the
    /// same id.
    ids: HashMap<EventId, VecDeque<(Sequence, TypeId)>>,
    /// Used within one call, and kept to reuse its memory.
    buffer: Vec<u8>,
    /// Set if events come from a log that several nodes share.
    pub(super) log: Option<KnownLog>,
}

#[derive(Debug, Default)]
struct Log {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// The newest event of this type that was not kept or was dropped; 0 if there is none.
    dropped: Sequence,
    /// The entry of that event, if events come from a log.
    dropped_entry: EntryId,
    /// The number of the last drop here, among the drops of all types, from 1.
    last_drop: u64,
}

#[derive(Debug)]
pub(crate) struct Kept {
    sequence: Sequence,
    frame: SharedFrame,
    /// The id that its publisher chose.
    id: Option<EventId>,
    /// Its entry, if it came from a log.
    entry: EntryId,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.frame.len() + OVERHEAD + self.id.as_ref().map_or(0, |id| OVERHEAD + id.as_str().len())
    }
}

impl History {
    pub(crate) fn new(limits: HistoryLimits, epoch: String) -> Self {
        let (logs, ids, buffer) = (Vec::new(), HashMap::new(), Vec::new());
        Self { limits, epoch, newest: 0, logs, bytes: 0, drops: 0, ids, buffer, log: None }
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

    /// Completes an event that consists of these lines: gives it a sequence number, gives it an id
    /// if its publisher did not, and keeps it.
    pub(crate) fn record(&mut self, kind: TypeId, id: Option<EventId>, lines: &[u8]) -> Frame {
        self.newest += 1;
        // An event of this node alone has no position in a log that several nodes share.
        let is_on = self.keeps_own();
        let place = (is_on && id.is_none()).then_some((&*self.epoch, self.newest));
        let frame = frame::seal(lines, place, &mut self.buffer);
        if is_on {
            self.keep(kind, &frame, id, EntryId::default());
        }
        frame
    }

    /// The index of a type's log.
    fn log_at(&mut self, kind: TypeId) -> usize {
        let at = kind as usize;
        if self.logs.len() <= at {
            self.logs.resize_with(at + 1, Log::default);
        }
        at
    }

    /// Keeps the newest event, and drops the oldest ones beyond the limits.
    fn keep(&mut self, kind: TypeId, frame: &Frame, id: Option<EventId>, entry: EntryId) {
        let sequence = self.newest;
        let kept = Kept { sequence, frame: SharedFrame::new(frame.clone()), id, entry };
        let at = self.log_at(kind);
        if !self.is_on() || kept.bytes() > self.limits.bytes.min(self.limits.all_bytes) {
            self.note_drop(at, sequence, entry);
            return;
        }
        if let Some(id) = &kept.id {
            self.ids.entry(id.clone()).or_default().push_back((sequence, kind));
        }
        self.bytes += kept.bytes();
        self.logs[at].bytes += kept.bytes();
        self.logs[at].kept.push_back(kept);
        while self.logs[at].kept.len() > self.limits.events
            || self.logs[at].bytes > self.limits.bytes
        {
            self.drop_oldest(at);
        }
        while self.bytes > self.limits.all_bytes {
            let oldest = |log: &Log| log.kept.front().map(|kept| kept.sequence);
            let oldest =
                (0..).zip(&self.logs).filter_map(|(at, log)| Some((oldest(log)?, at))).min();
            let Some((_, at)) = oldest else { break };
            self.drop_oldest(at);
        }
    }

    fn drop_oldest(&mut self, at: usize) {
        let log = &mut self.logs[at];
        let Some(gone) = log.kept.pop_front() else {
            return;
        };
        log.bytes -= gone.bytes();
        self.bytes -= gone.bytes();
        self.note_drop(at, gone.sequence, gone.entry);
        if let Some(id) = gone.id
            && let Some(uses) = self.ids.get_mut(&id)
        {
            // Not always the first one: another type may keep an older event with this id.
            if let Ok(at) = uses.binary_search_by_key(&gone.sequence, |&(sequence, _)| sequence) {
                uses.remove(at);
            }
            if uses.is_empty() {
                self.ids.remove(&id);
            }
        }
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
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|&position| position <= self.newest)
            }
            _ => {
                let mut uses = self.ids.get(id)?.iter();
                uses.find(|&&(_, kind)| subscribed.includes(kind)).map(|&(sequence, _)| sequence)
            }
        }
    }

    /// The position of a client that wants the last `count` events.
    pub(crate) fn position_before_last(&self, subscribed: &Subscribed, count: usize) -> Sequence {
        if count == 0 {
            return self.newest;
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
        self.logs_of(subscribed).any(|log| log.dropped > position && log.last_drop > drops)
    }

    /// The id of the oldest event of these types that is kept.
    pub(crate) fn oldest_id(&self, subscribed: &Subscribed) -> Option<String> {
        let first = self.logs_of(subscribed).filter_map(|log| log.kept.front());
        let oldest = first.min_by_key(|kept| kept.sequence)?;
        match &oldest.id {
            Some(id) => Some(id.as_str().to_owned()),
            None => self.entry_of_kept(oldest).or_else(|| self.id_of(oldest.sequence)),
        }
    }

    /// Gives `take` the events of these types after `position`, in their order, until it returns
    /// false. Returns the position behind them; it is the newest if no event follows.
    pub(crate) fn read(
        &self,
        subscribed: &Subscribed,
        position: Sequence,
        mut take: impl FnMut(&SharedFrame) -> bool,
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
            if !take(&log.kept[at].frame) {
                break;
            }
        }
        // Everything before the next event was given out.
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

impl Log {
    /// The index of the first event after `position`.
    fn begin(&self, position: Sequence) -> usize {
        self.kept.partition_point(|kept| kept.sequence <= position)
    }
}
