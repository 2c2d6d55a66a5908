//! The logs by what they are of: an event type in a channel. And what is known of the channels.

use super::{Sequence, type_log::TypeLog};
use crate::{
    broadcast::{by_number::ByNumber, log::EntryId},
    message::{
        channel::{Channel, ChannelId},
        event_types::{TypeId, Types},
        few::{Few, push_to_large},
        subscribed::Subscribed,
    },
};

/// A log's number. That of a log that was removed is used again.
pub(crate) type LogId = u32;

/// Stands for no log.
const NONE: LogId = LogId::MAX;

#[derive(Debug, Default)]
pub(super) struct Topics {
    logs: Vec<TypeLog>,
    /// The numbers of logs that were removed.
    free: Vec<LogId>,
    /// The logs of the common channel, by the type's number.
    common: Vec<LogId>,
    channels: ByNumber<ChannelLogs>,
}

/// What is known of a channel. It is forgotten when nobody listens, nothing is kept, and the
/// history no longer reaches back to when somebody did.
#[derive(Debug)]
pub(super) struct ChannelLogs {
    /// The channel exists, and has its number, at least as long as this.
    channel: Channel,
    /// The logs, sorted by type.
    logs: Few<(TypeId, LogId)>,
    /// Up to here it is not known what there was.
    pub(super) base: Base,
    /// The newest event when the last client left.
    pub(super) last: Sequence,
    /// How many events are kept.
    pub(super) kept: u32,
    pub(super) is_listened: bool,
    /// It is among the channels that may be forgotten.
    pub(super) is_idle: bool,
}

/// Events up to here may have been dropped, and nobody knows any more of which log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Base {
    pub(super) sequence: Sequence,
    pub(super) entry: EntryId,
}

impl Base {
    pub(super) fn max(self, other: Self) -> Self {
        Self { sequence: self.sequence.max(other.sequence), entry: self.entry.max(other.entry) }
    }
}

/// About the memory of a channel in bytes, beside its name and its logs: itself, its handles, and
/// its places in tables that are not full.
const CHANNEL: usize = size_of::<ChannelLogs>() * 5 / 4 + 112;

impl Topics {
    pub(super) fn get(&self, log: LogId) -> &TypeLog {
        &self.logs[log as usize]
    }

    pub(super) fn get_mut(&mut self, log: LogId) -> &mut TypeLog {
        &mut self.logs[log as usize]
    }

    pub(super) fn try_get(&self, log: LogId) -> Option<&TypeLog> {
        self.logs.get(log as usize)
    }

    /// All logs.
    #[cfg(any(feature = "outside-log", test))]
    pub(super) fn ids(&self) -> impl Iterator<Item = LogId> {
        let others = self.channels.values().flat_map(|channel| channel.logs.iter());
        self.of_common().chain(others.map(|&(_, id)| id))
    }

    /// The logs of the common channel.
    pub(super) fn of_common(&self) -> impl Iterator<Item = LogId> {
        self.common.iter().copied().filter(|&id| id != NONE)
    }

    pub(super) fn channel(&self, number: ChannelId) -> Option<&ChannelLogs> {
        self.channels.get(number)
    }

    pub(super) fn channel_mut(&mut self, number: ChannelId) -> Option<&mut ChannelLogs> {
        self.channels.get_mut(number)
    }

    /// The channels to which nobody listens.
    #[cfg(test)]
    pub(super) fn unlistened(&self) -> impl Iterator<Item = &ChannelLogs> {
        self.channels.values().filter(|known| !known.is_listened)
    }

    /// Gets to know a channel. Returns its memory, if it was not known before.
    pub(super) fn know(&mut self, channel: &Channel, base: Base) -> Option<usize> {
        let mut memory = None;
        self.channels.get_or_insert_with(channel.number(), || {
            let (channel, logs) = (channel.clone(), Few::default());
            let (last, kept, is_listened, is_idle) = (0, 0, false, false);
            let known = ChannelLogs { channel, logs, base, last, kept, is_listened, is_idle };
            memory = Some(known.memory());
            known
        });
        memory
    }

    /// Forgets a channel. Returns up to where events of its logs were dropped, and the memory of these
    /// logs.
    pub(super) fn forget(&mut self, number: ChannelId) -> (Base, usize) {
        let mut memory = 0;
        let Some(ChannelLogs { logs, mut base, .. }) = self.channels.remove(number) else {
            return (Base::default(), memory);
        };
        for &(_, id) in logs.iter() {
            memory += self.get(id).memory();
            let TypeLog { dropped, dropped_entry, .. } =
                std::mem::take(&mut self.logs[id as usize]);
            base = base.max(Base { sequence: dropped, entry: dropped_entry });
            self.free(id);
        }
        (base, memory)
    }

    /// No entry was dropped that anybody still knows of.
    #[cfg(any(feature = "outside-log", test))]
    pub(super) fn forget_entries(&mut self) {
        self.logs.iter_mut().for_each(|log| log.dropped_entry = EntryId::ZERO);
        self.channels.values_mut().for_each(|channel| channel.base.entry = EntryId::ZERO);
    }

    /// Up to where it is not known what there was, in any channel.
    #[cfg(any(feature = "outside-log", test))]
    pub(super) fn highest_base(&self) -> Base {
        let bases = self.channels.values().map(|channel| channel.base);
        bases.reduce(Base::max).unwrap_or_default()
    }

    /// Above the number of each type of which there is a log in the common channel.
    #[cfg(any(feature = "outside-log", test))]
    pub(super) fn common_types(&self) -> TypeId {
        TypeId::try_from(self.common.len()).unwrap_or(TypeId::MAX)
    }

    /// Whether a number is that of a log, and not free.
    pub(super) fn is_in_use(&self, id: LogId) -> bool {
        let TypeLog { kind, channel, .. } = self.get(id);
        let known = match channel {
            None => self.common.get(*kind as usize).copied(),
            Some(channel) => self.channels.get(*channel).and_then(|channel| channel.find(*kind)),
        };
        known == Some(id)
    }

    /// Removes a log of which nothing is kept.
    pub(super) fn remove(&mut self, id: LogId) {
        let TypeLog { kind, channel, .. } = std::mem::take(&mut self.logs[id as usize]);
        if let Some(channel) = channel.and_then(|number| self.channels.get_mut(number)) {
            if let Some(at) = channel.place_of(kind) {
                channel.logs.remove(at);
            }
        } else if let Some(log) = self.common.get_mut(kind as usize) {
            *log = NONE;
        }
        self.free(id);
    }

    fn free(&mut self, id: LogId) {
        self.free.push(id);
        if self.free.len() == self.logs.len() {
            (self.logs, self.free, self.common) = (Vec::new(), Vec::new(), Vec::new());
        }
    }

    /// The log of a type in a channel.
    pub(super) fn find(&self, channel: Option<&Channel>, kind: TypeId) -> Option<LogId> {
        let Some(channel) = channel else {
            return self.common.get(kind as usize).copied().filter(|&id| id != NONE);
        };
        self.channels.get(channel.number())?.find(kind)
    }

    /// Makes the log of a type in a channel; there is none, but the channel is known.
    pub(super) fn make(&mut self, channel: Option<&Channel>, kind: TypeId) -> LogId {
        let number = channel.map(Channel::number);
        let log = TypeLog { kind, channel: number, ..TypeLog::default() };
        let id = if let Some(id) = self.free.pop() {
            self.logs[id as usize] = log;
            id
        } else {
            push_to_large(&mut self.logs, log);
            LogId::try_from(self.logs.len() - 1).unwrap_or(NONE)
        };
        if let Some(number) = number {
            if let Some(ChannelLogs { logs, .. }) = self.channels.get_mut(number) {
                logs.insert(logs.partition_point(|&(known, _)| known < kind), (kind, id));
            }
        } else {
            let at = kind as usize;
            if self.common.len() <= at {
                self.common.resize(at + 1, NONE);
            }
            self.common[at] = id;
        }
        id
    }

    /// Whether a subscription may name more logs than this.
    pub(super) fn names_more_than(&self, most: usize, subscribed: &Subscribed) -> bool {
        let Subscribed { channels, types } = subscribed;
        let known = channels.named().iter().filter_map(|it| self.channels.get(it.number()));
        let of_channel = |known: &ChannelLogs| match types {
            Types::All => known.logs.len(),
            Types::Named(kinds) => kinds.len().min(known.logs.len()),
        };
        let common = if channels.is_common() { types.named().len() } else { 0 };
        known.map(of_channel).sum::<usize>() + common > most
    }

    /// The logs that a subscription names: those of its types in its channels. It has none if it is
    /// of all channels, and none in the common channel if it is of all types.
    pub(super) fn named<'t>(
        &'t self,
        subscribed: &'t Subscribed,
    ) -> impl Iterator<Item = LogId> + 't {
        let Subscribed { channels, types } = subscribed;
        let kinds = if channels.is_common() { types.named() } else { &[] };
        let common = kinds.iter().filter_map(|&kind| self.find(None, kind));
        let known = channels.named().iter().filter_map(|it| self.channels.get(it.number()));
        common.chain(known.flat_map(move |channel| channel.of(types)))
    }
}

impl ChannelLogs {
    /// What it takes of the memory while nobody listens, beside its logs.
    pub(super) fn memory(&self) -> usize {
        CHANNEL + self.channel.name().len()
    }

    /// Whether it may be forgotten.
    pub(super) fn may_go(&self) -> bool {
        self.kept == 0 && !self.is_listened
    }

    fn find(&self, kind: TypeId) -> Option<LogId> {
        Some(self.logs[self.place_of(kind)?].1)
    }

    fn place_of(&self, kind: TypeId) -> Option<usize> {
        self.logs.binary_search_by_key(&kind, |&(kind, _)| kind).ok()
    }

    /// The logs of these types.
    fn of<'t>(&'t self, types: &'t Types) -> impl Iterator<Item = LogId> + 't {
        let named = types.named().iter().filter_map(|&kind| self.find(kind));
        let all: &[_] = if *types == Types::All { &self.logs } else { &[] };
        named.chain(all.iter().map(|&(_, id)| id))
    }

    /// Whether there is a log of each of these types, so that what was dropped is known of each.
    pub(super) fn has_all(&self, types: &Types) -> bool {
        *types != Types::All && types.named().iter().all(|&kind| self.find(kind).is_some())
    }
}
