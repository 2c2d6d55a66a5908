//! Event types that were unregistered: what is kept of them goes, in small pieces.

use std::collections::{HashMap, HashSet};

use super::{History, LogId, Sequence};
use crate::message::{
    event_types::{TypeId, Types},
    subscribed::Subscribed,
};

/// At most this many logs are looked at, or events dropped, in one piece.
const CLEARED: usize = 64;

/// Which types were unregistered.
#[derive(Debug, Default)]
pub(super) struct Unregistered {
    /// What is kept of these, up to an event, goes next.
    waiting: HashMap<TypeId, Sequence>,
    /// What is kept of these goes now, in one walk through all logs.
    leaving: HashMap<TypeId, Sequence>,
    /// The log at which the walk goes on.
    at: LogId,
    /// Types from this number on were registered after the first was unregistered. Each may have
    /// had the name of one that was.
    late_from: Option<TypeId>,
    /// So may types whose number was used before.
    used: HashSet<TypeId>,
    /// The newest event when the last one was unregistered.
    base: Sequence,
    /// The number of the last drop of an event of theirs.
    last_drop: u64,
    /// The newest event of theirs in another channel than the common one.
    of_channels: Sequence,
    /// For types that may have had another's name: up to where that one may have lost events.
    bases: HashMap<TypeId, Sequence>,
}

impl Unregistered {
    /// Up to where events of these types, or of a type of the same name, may have been lost by
    /// a drop behind this one.
    pub(super) fn base_of(&self, subscribed: &Subscribed, drops: u64) -> Sequence {
        let Subscribed { channels, types } = subscribed;
        if self.late_from.is_none() || drops > 0 && self.last_drop <= drops {
            return 0;
        }
        match types {
            Types::All if drops > 0 => self.base,
            // What the common channel has lost is known without this.
            Types::All if channels.named().is_empty() => 0,
            Types::All => self.of_channels,
            Types::Named(kinds) => {
                let base = |kind| self.bases.get(kind).copied().unwrap_or(self.base);
                let late = kinds.iter().filter(|&&kind| self.is_late(kind));
                // A replay may have begun before its type was unregistered.
                if drops > 0 && late.clone().next().is_some() {
                    return self.base;
                }
                late.map(base).max().unwrap_or(0)
            }
        }
    }

    /// Whether a type may have had the name of another.
    fn is_late(&self, kind: TypeId) -> bool {
        self.late_from.is_some_and(|from| kind >= from) || self.used.contains(&kind)
    }
}

impl History {
    /// A type was unregistered when this many numbers of types had been used. No event of it follows.
    pub(crate) fn unregister(&mut self, kind: TypeId, types: TypeId) {
        let unregistered = &mut self.unregistered;
        unregistered.waiting.insert(kind, self.newest);
        unregistered.late_from.get_or_insert(types);
        unregistered.used.insert(kind);
        unregistered.bases.remove(&kind);
        unregistered.base = self.newest;
    }

    /// A client names these types: what types of their names have lost, they have lost before.
    pub(crate) fn see(&mut self, types: &Types) {
        let base = self.unregistered.base;
        for &kind in types.named() {
            if self.unregistered.is_late(kind) {
                self.unregistered.bases.entry(kind).or_insert(base);
            }
        }
    }

    /// Whether something may still be kept of types that were unregistered.
    pub(crate) fn has_unregistered(&self) -> bool {
        let Unregistered { waiting, leaving, .. } = &self.unregistered;
        !waiting.is_empty() || !leaving.is_empty()
    }

    /// Drops some of what is kept of types that were unregistered. Gives `done` those of which
    /// nothing is kept any more. False if there are none.
    pub(crate) fn clear_some(&mut self, done: impl FnMut(TypeId)) -> bool {
        if !self.has_unregistered() {
            return false;
        }
        let Unregistered { waiting, leaving, at, .. } = &mut self.unregistered;
        if leaving.is_empty() {
            *leaving = std::mem::take(waiting);
            *at = 0;
        }
        for _ in 0..CLEARED {
            let at = self.unregistered.at;
            let Some(log) = self.topics.try_get(at) else {
                let left = std::mem::take(&mut self.unregistered.leaving);
                // A type that came back, and was unregistered again, has another walk before it.
                let waiting = &self.unregistered.waiting;
                left.into_keys().filter(|kind| !waiting.contains_key(kind)).for_each(done);
                break;
            };
            // A type of the same name may have the number again, and later events here.
            let until = self.unregistered.leaving.get(&log.kind).copied();
            let oldest = log.kept.front().map(|kept| kept.sequence);
            if oldest.is_some_and(|oldest| until.is_some_and(|until| oldest <= until)) {
                self.drop_oldest(at);
                self.unregistered.last_drop = self.drops;
                continue;
            }
            if until.is_some() && oldest.is_none() && self.topics.is_in_use(at) {
                let Unregistered { last_drop, of_channels, base, bases, .. } =
                    &mut self.unregistered;
                *last_drop = (*last_drop).max(log.last_drop);
                *base = (*base).max(log.dropped);
                bases.entry(log.kind).and_modify(|base| *base = (*base).max(log.dropped));
                if log.channel.is_some() {
                    *of_channels = (*of_channels).max(log.dropped);
                    self.bytes -= log.memory();
                }
                self.topics.remove(at);
            }
            self.unregistered.at += 1;
        }
        true
    }
}
