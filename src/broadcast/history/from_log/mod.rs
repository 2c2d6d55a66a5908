//! The history of a node that follows a log. Events have the ids of their entries, and an event
//! that is not kept here may still be in the log.

use super::{History, Kept, LogId, Sequence};
#[cfg(feature = "durable")]
use crate::broadcast::log::Kept as Answer;
use crate::{
    broadcast::{inbox::queue::Queued, log::Entry},
    message::{
        entry_id::EntryId,
        event_types::{TypeId, Types},
        frame::{self, Encoded, Frame},
        subscribed::{Listened, Subscribed},
    },
};

/// What the history knows of the log.
#[derive(Debug, Default)]
pub(crate) struct KnownLog {
    /// Nothing up to this entry is kept.
    floor: EntryId,
    /// Everything up to this entry was read.
    newest: EntryId,
    /// Events before this entry may be lost for ever.
    broken: EntryId,
    /// The newest entries whose types were not registered here, each with the number of types that
    /// were. A type with a lower number than that has none of these entries.
    unknown: Vec<(TypeId, EntryId)>,
}

impl KnownLog {
    /// The newest entry that was skipped and may be of this type.
    fn passed_over(&self, kind: TypeId) -> EntryId {
        let later = self.unknown.partition_point(|&(types, _)| types <= kind);
        later.checked_sub(1).map_or(EntryId::ZERO, |at| self.unknown[at].1)
    }

    /// How many types were registered when an entry was last skipped.
    fn types(&self) -> TypeId {
        self.unknown.last().map_or(0, |&(types, _)| types)
    }
}

/// Why the history cannot serve a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// The client has an event that this node has not read yet.
    Ahead(EntryId),
    /// The client misses an event after this entry that is not kept.
    Older(EntryId),
    /// The id is not an entry's, and no event that is kept has it. Everything up to this entry was
    /// read.
    Unknown(EntryId),
    /// It is not known here whether the log ever had this entry.
    Unseen(EntryId),
}

impl History {
    /// Forgets everything. What comes from now on is after `floor`.
    pub(crate) fn begin_at(&mut self, floor: EntryId) {
        for at in self.topics.ids().collect::<Vec<_>>() {
            while !self.topics.get(at).kept.is_empty() {
                self.drop_oldest(at);
            }
        }
        // `floor` stands for the dropped entries, and may be lower than they are.
        self.topics.forget_entries();
        self.forgotten.entry = EntryId::ZERO;
        let known = self.log.get_or_insert_default();
        *known = KnownLog { floor, newest: floor, ..KnownLog::default() };
    }

    /// Notes that channels that are not known had entries up to this one.
    pub(crate) fn forget_up_to(&mut self, entry: EntryId) {
        self.forgotten.entry = entry;
    }

    /// Gives an entry a sequence number, and keeps it.
    pub(crate) fn record_entry(&mut self, entry: Entry) -> Frame {
        let Entry { id: entry, before, event } = entry;
        let Queued { channel, kind, encoded: Encoded { lines, id }, .. } = event;
        self.newest += 1;
        let millis = entry.millis_text();
        let place = id.is_none().then_some((&*millis, entry.number));
        let frame = frame::seal(&lines, place, &mut self.buffer);
        let passed_over = self.known_up_to(entry).passed_over(kind);
        let is_new = self.topics.find(channel.as_ref(), kind).is_none();
        let at = self.log_of(channel.as_ref(), kind);
        let log = self.topics.get_mut(at);
        let newest = log.kept.back().map_or(log.dropped_entry, |kept| kept.entry);
        if is_new {
            log.dropped_entry = log.dropped_entry.max(passed_over);
        }
        // The log has lost what came between: what came before that is of no use.
        if before.number > newest.number {
            while !self.topics.get(at).kept.is_empty() {
                self.drop_oldest(at);
            }
            let log = self.topics.get_mut(at);
            log.dropped_entry = log.dropped_entry.max(before);
        }
        self.keep(at, &frame, id.as_ref(), entry);
        frame
    }

    /// Which of these entries are kept.
    #[cfg(feature = "durable")]
    pub(crate) fn kept_of(&self, mut entries: Vec<EntryId>) -> Answer {
        // What was not read yet will be kept.
        let newest = self.known_log().map_or(EntryId::ZERO, |known| known.newest);
        entries.retain(|&entry| {
            entry > newest
                || self
                    .first_from(|kept| kept.entry >= entry)
                    .is_some_and(|kept| kept.entry == entry)
        });
        entries.sort_unstable();
        Answer { entries, bytes: self.bytes }
    }

    /// Notes that everything up to this entry was read.
    pub(crate) fn reach(&mut self, entry: EntryId) {
        self.known_up_to(entry);
    }

    /// Notes that an entry was skipped: its type is not one of the `types` that are registered. It
    /// may be registered later.
    pub(crate) fn pass_unknown(&mut self, entry: EntryId, types: TypeId) {
        let unknown = &mut self.known_up_to(entry).unknown;
        match unknown.last_mut() {
            Some((of, newest)) if *of == types => *newest = entry,
            _ => unknown.push((types, entry)),
        }
    }

    /// Notes that events before this entry may be lost for ever.
    pub(crate) fn break_at(&mut self, entry: EntryId) {
        self.known_up_to(entry).broken = entry;
    }

    /// Why the history cannot serve a client of these types whose last event had this id; `None` if
    /// it can. `is_checked`: the log was asked whether a client can have this id.
    pub(crate) fn lacks(
        &self,
        subscribed: &Subscribed,
        id: &str,
        is_checked: bool,
    ) -> Option<Lack> {
        let known = self.known_log()?;
        let Some(entry) = self.entry_of(subscribed, id) else {
            return Some(Lack::Unknown(known.newest));
        };
        if entry > known.newest {
            return Some(Lack::Ahead(entry));
        }
        if !is_checked && !self.can_be_at(known, entry) {
            return Some(Lack::Unseen(entry));
        }
        let is_older = entry < known.floor || entry < self.newest_entry_dropped(subscribed, known);
        is_older.then_some(Lack::Older(entry))
    }

    /// Whether a client can have this position, as far as is known here. A client is at an entry,
    /// or right before one.
    fn can_be_at(&self, known: &KnownLog, entry: EntryId) -> bool {
        let next = || self.first_from(|kept| kept.entry >= entry);
        [known.floor, known.newest].contains(&entry)
            || next().is_some_and(|kept| kept.entry.is_at_or_after(entry))
    }

    /// The first event that is kept for which `is_late` is true, as it is for all that follow. Events
    /// have the order of their entries.
    fn first_from(&self, is_late: impl Fn(&Kept) -> bool) -> Option<&Kept> {
        let is_late = |sequence, log| self.kept(log, sequence).is_some_and(&is_late);
        let parts = [&self.common, &self.channels].into_iter();
        let first = parts.filter_map(|part| part.order.first_where(is_late)).min();
        first.and_then(|(sequence, log)| self.kept(log, sequence))
    }

    /// Whether events may be lost that a client with this last id did not get.
    pub(crate) fn is_broken_after(&self, subscribed: &Subscribed, id: &str) -> bool {
        let broken = self.known_log().map_or(EntryId::ZERO, |known| known.broken);
        self.entry_of(subscribed, id).is_some_and(|entry| entry < broken)
    }

    /// The position of a client, if everything that it misses is kept.
    pub(super) fn entry_position(&self, subscribed: &Subscribed, id: &str) -> Option<Sequence> {
        if self.lacks(subscribed, id, true).is_some() {
            return None;
        }
        let entry = self.entry_of(subscribed, id)?;
        let next = self.first_from(|kept| kept.entry > entry);
        Some(next.map_or(self.newest, |next| next.sequence - 1))
    }

    /// The id that stands for a position: right before the next entry that is kept.
    pub(super) fn entry_at(&self, position: Sequence) -> Option<String> {
        let known = self.known_log()?;
        let next = self.first_from(|kept| kept.sequence > position);
        let entry = next.map_or(known.newest, |kept| kept.entry.before());
        Some(entry.to_string())
    }

    /// The id of an event's entry.
    pub(super) fn entry_of_kept(&self, kept: &Kept) -> Option<String> {
        self.known_log().map(|_| kept.entry.to_string())
    }

    /// What is known of the log; `None` if events do not come from a log.
    pub(super) fn known_log(&self) -> Option<&KnownLog> {
        self.log.as_ref()
    }

    fn known_up_to(&mut self, entry: EntryId) -> &mut KnownLog {
        let known = self.log.get_or_insert_default();
        known.newest = known.newest.max(entry);
        known
    }

    /// The entry that an id stands for: the entry with this id, or the one whose publisher chose
    /// it.
    fn entry_of(&self, subscribed: &Subscribed, id: &str) -> Option<EntryId> {
        EntryId::parse(id).or_else(|| self.first_use(subscribed, id).map(|kept| kept.entry))
    }

    /// The newest entry of what a client subscribes to that was read and is not kept, as far as is
    /// known.
    fn newest_entry_dropped(&self, subscribed: &Subscribed, known: &KnownLog) -> EntryId {
        let Subscribed { channels, types } = subscribed;
        let of_log = |id| self.topics.get(id).dropped_entry;
        let kinds = || 0..self.topics.common_types().max(known.types());
        // A log that is not there has no dropped entry, but one that was passed over may be its.
        let of_common = |kind| match self.topics.find(None, kind) {
            Some(log) => of_log(log),
            None => known.passed_over(kind),
        };
        let named =
            types.named().iter().filter(|_| channels.is_common() || *channels == Listened::All);
        let named = named.copied().map(of_common).max();
        let is_all = *types == Types::All && (channels.is_common() || *channels == Listened::All);
        let all = is_all.then(|| kinds().map(of_common).max()).flatten();
        // Which of its types a channel has is not known.
        let passed_over = match types {
            Types::Named(types) => types.iter().map(|&kind| known.passed_over(kind)).max(),
            Types::All => kinds().next_back().map(|kind| known.passed_over(kind)),
        };
        let of_channels = if *channels == Listened::All {
            let is_of_types = |&id: &LogId| types.includes(self.topics.get(id).kind);
            let dropped = self.topics.ids().filter(is_of_types).map(of_log).max();
            [dropped, passed_over, Some(self.topics.highest_base().max(self.forgotten).entry)]
        } else {
            let dropped = self.topics.named(subscribed).map(of_log).max();
            let passed_over = passed_over.filter(|_| {
                let mut listened = channels.named().iter();
                !listened.all(|it| {
                    self.topics.channel(it.number()).is_some_and(|known| known.has_all(types))
                })
            });
            [dropped, passed_over, Some(self.unknown_up_to(subscribed).entry)]
        };
        of_channels.into_iter().chain([named, all]).flatten().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
