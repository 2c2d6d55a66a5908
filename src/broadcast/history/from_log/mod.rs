//! The history of a node that follows a log. Events have the ids of their entries, and an event
//! that is not kept here may still be in the log.

use super::{History, Kept, Sequence, TypeLog};
use crate::message::{
    entry_id::EntryId,
    event_types::{Subscribed, TypeId},
    frame::{self, Encoded, Frame},
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
        for at in 0..self.logs.len() {
            while !self.logs[at].kept.is_empty() {
                self.drop_oldest(at);
            }
            // `floor` stands for the dropped entries, and may be lower than they are.
            self.logs[at].dropped_entry = EntryId::ZERO;
        }
        let known = self.log.get_or_insert_default();
        *known = KnownLog { floor, newest: floor, ..KnownLog::default() };
    }

    /// Gives an entry a sequence number, and keeps it.
    pub(crate) fn record_entry(&mut self, entry: EntryId, kind: TypeId, encoded: Encoded) -> Frame {
        self.newest += 1;
        let Encoded { lines, id } = encoded;
        let millis = entry.millis_text();
        let place = id.is_none().then_some((&*millis, entry.number));
        let frame = frame::seal(&lines, place, &mut self.buffer);
        let at = self.log_at(kind);
        let passed_over = self.known_up_to(entry).passed_over(kind);
        if !self.logs[at].is_used() {
            self.logs[at].dropped_entry = passed_over;
        }
        self.keep(kind, &frame, id.as_ref(), entry);
        frame
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
        let is_older = entry < known.floor || entry < self.newest_dropped(subscribed, known);
        is_older.then_some(Lack::Older(entry))
    }

    /// Whether a client can have this position, as far as is known here. A client is at an entry,
    /// or right before one.
    fn can_be_at(&self, known: &KnownLog, entry: EntryId) -> bool {
        let is_kept = |log: &TypeLog| {
            let next = log.kept.partition_point(|kept| kept.entry < entry);
            log.kept.get(next).is_some_and(|kept| kept.entry.is_at_or_after(entry))
        };
        [known.floor, known.newest].contains(&entry) || self.logs.iter().any(is_kept)
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
        let next = self.logs_of(subscribed).filter_map(|log| {
            let at = log.kept.partition_point(|kept| kept.entry <= entry);
            log.kept.get(at).map(|kept| kept.sequence)
        });
        Some(next.min().map_or(self.newest, |next| next - 1))
    }

    /// The id that stands for a position: right before the next entry that is kept.
    pub(super) fn entry_at(&self, position: Sequence) -> Option<String> {
        let known = self.known_log()?;
        let next = self.logs.iter().filter_map(|log| log.kept.get(log.begin(position)));
        let entry = next.map(|kept| kept.entry.before()).min().unwrap_or(known.newest);
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
        EntryId::parse(id).or_else(|| {
            let mut uses = self.uses(id).filter(|&(kind, _)| subscribed.includes(kind));
            uses.next().map(|(_, kept)| kept.entry)
        })
    }

    /// The newest entry of these types that was read and is not kept, as far as is known.
    fn newest_dropped(&self, subscribed: &Subscribed, known: &KnownLog) -> EntryId {
        let dropped = |kind: TypeId| match self.logs.get(kind as usize) {
            Some(log) if log.is_used() => log.dropped_entry,
            _ => known.passed_over(kind),
        };
        let newest = match subscribed {
            Subscribed::All => {
                let used = TypeId::try_from(self.logs.len()).unwrap_or(TypeId::MAX);
                (0..used.max(known.types())).map(dropped).max()
            }
            Subscribed::Types(types) => types.iter().copied().map(dropped).max(),
        };
        newest.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
