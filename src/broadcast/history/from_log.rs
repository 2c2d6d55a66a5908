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
mod tests {
    use super::*;
    use crate::{broadcast::history::HistoryLimits, message::id::EventId};

    fn entry(number: u64) -> EntryId {
        EntryId { millis: 1_700_000_000_000 + number / 3, number: number % 3 }
    }

    fn history(events: usize) -> History {
        let limits = HistoryLimits { events, bytes: 1 << 20, all_bytes: 1 << 20 };
        let mut history = History::new(limits, String::new());
        history.begin_at(EntryId::ZERO);
        history
    }

    fn record(history: &mut History, number: u64, kind: TypeId) {
        let lines = format!("data: {number}\n");
        history.record_entry(entry(number), kind, Encoded::raw(lines.as_bytes()));
    }

    fn replayed(history: &History, subscribed: &Subscribed, id: &str) -> Option<Vec<u64>> {
        let position = history.position_of(subscribed, id)?;
        let mut numbers = Vec::new();
        history.read(subscribed, position, |original| {
            let pending = original.pending(&crate::broadcast::mailbox::MemoryInUse::default());
            let text = std::str::from_utf8(pending.as_bytes()).expect("it is UTF-8");
            let number = text["data: ".len()..].lines().next().expect("a line");
            numbers.push(number.parse().expect("a number"));
            true
        });
        Some(numbers)
    }

    /// Compares with a list of all events: a replay after any id is what came after it, or the
    /// history says that something is missing.
    #[test]
    fn a_position_is_known_exactly_where_nothing_is_missing() {
        let kind_of = |number: u64| TypeId::from(!number.is_multiple_of(7));
        let mut history = history(10);
        for newest in 1..200 {
            record(&mut history, newest, kind_of(newest));
            for kinds in [&[0][..], &[1], &[0, 1]] {
                let subscribed = Subscribed::Types(kinds.into());
                for asked in newest.saturating_sub(90)..newest {
                    let missed = asked + 1..=newest;
                    let missed = missed.filter(|&number| kinds.contains(&kind_of(number)));
                    let is_kept = |number: &u64| {
                        let kind = kind_of(*number);
                        (*number..=newest).filter(|&other| kind_of(other) == kind).count() <= 10
                    };
                    let missed: Vec<u64> = missed.collect();
                    let expected = missed.iter().all(is_kept).then_some(missed);
                    let got = replayed(&history, &subscribed, &entry(asked).to_string());
                    assert_eq!(got, expected, "{kinds:?} after {asked} of {newest}");
                }
            }
        }
        let all = Subscribed::All;
        assert_eq!(
            history.lacks(&all, &entry(200).to_string(), true),
            Some(Lack::Ahead(entry(200)))
        );
        assert_eq!(history.lacks(&all, "somebody's", true), Some(Lack::Unknown(entry(199))));
    }

    #[test]
    fn what_is_kept_of_a_type_and_of_all_is_within_its_limits() {
        let of = |limits| History::new(limits, "e".to_owned());
        let limits = HistoryLimits { events: 1 << 20, bytes: 10_000, all_bytes: 50_000 };
        let mut history = of(limits.clone());
        let memory = |history: &History| {
            let logs: Vec<usize> = history.logs.iter().map(TypeLog::memory).collect();
            assert_eq!(history.bytes, logs.iter().sum::<usize>());
            logs
        };
        for number in 0..5000 {
            let id = EventId::new(format!("own-{}", number % 700)).expect("it is good");
            let lines = format!("data: {}\nid: {}\n", "x".repeat(number % 90), id.as_str());
            let kind = TypeId::try_from(number % 97 * (number % 11) % 30).expect("small");
            let id = Some(&id).filter(|_| number % 3 > 0);
            history.record(kind, id, lines.as_bytes());
            let logs = memory(&history);
            assert!(
                logs.iter().all(|&log| log <= limits.bytes) && history.bytes <= limits.all_bytes
            );
        }
        assert!(history.bytes > limits.all_bytes * 9 / 10, "{} bytes", history.bytes);
        let ids = |log: &TypeLog| log.kept.iter().filter(|kept| kept.has_id).count();
        assert_eq!(history.ids.len(), history.logs.iter().map(ids).sum::<usize>());
        let oldest = |log: &TypeLog| log.kept.front().map(|kept| kept.sequence);
        let first = history.logs.iter().filter_map(oldest).min();
        let at = history.log_of_the_oldest().expect("something is kept");
        assert_eq!(oldest(&history.logs[at]), first);
        // An event that takes all of its type's limit is kept, and a larger one is not.
        for (length, kept) in [(limits.bytes, 1), (limits.bytes + 1, 0)] {
            let mut history = of(limits.clone());
            history.record(0, Some(&EventId::new("own").expect("good")), &vec![b'x'; length - 1]);
            assert_eq!(history.logs[0].kept.len(), kept);
        }
        for at in 0..history.logs.len() {
            while !history.logs[at].kept.is_empty() {
                history.drop_oldest(at);
            }
        }
        assert_eq!((history.bytes, history.ids.len(), history.log_of_the_oldest()), (0, 0, None));
    }

    #[test]
    fn a_new_beginning_forgets_and_a_break_is_remembered() {
        let mut history = history(10);
        (1..=5).for_each(|number| record(&mut history, number, 0));
        let (all, id) = (Subscribed::All, entry(3).to_string());
        assert_eq!(replayed(&history, &all, &id), Some(vec![4, 5]));
        history.break_at(entry(4));
        assert!(history.is_broken_after(&all, &id));
        assert!(!history.is_broken_after(&all, &entry(4).to_string()));
        history.begin_at(entry(2));
        assert_eq!(
            history.lacks(&all, &entry(2).to_string(), true),
            None,
            "a log that was set back"
        );
        history.begin_at(entry(6));
        assert_eq!(history.lacks(&all, &id, true), Some(Lack::Older(entry(3))));
        assert_eq!(history.id_of(history.newest()), Some(entry(6).to_string()));
    }

    #[test]
    fn the_oldest_id_is_that_of_the_oldest_entry_or_its_publishers() {
        let mut history = history(3);
        assert_eq!(history.oldest_id(&Subscribed::All), None);
        (1..=9).for_each(|number| record(&mut history, 2 * number, 0));
        record(&mut history, 20, 1);
        history.reach(entry(30));
        for (kinds, oldest) in [(&[0][..], 14), (&[1], 20), (&[0, 1], 14)] {
            let oldest = entry(oldest).to_string();
            assert_eq!(history.oldest_id(&Subscribed::Types(kinds.into())), Some(oldest));
        }
        let id = Some(EventId::new("own").expect("the id is good"));
        history.record_entry(entry(31), 2, Encoded { id, ..Encoded::raw(b"data: x\nid: own\n") });
        assert_eq!(history.oldest_id(&Subscribed::Types([2].into())), Some("own".to_owned()));
    }

    #[test]
    fn a_place_that_is_not_kept_is_asked_for_once() {
        let mut history = history(3);
        (1..=9).for_each(|number| record(&mut history, 2 * number, 0));
        history.reach(entry(30));
        let all = Subscribed::All;
        let lack = |id: EntryId, checked| history.lacks(&all, &id.to_string(), checked);
        for known in [entry(14), entry(14).before(), entry(18), entry(30)] {
            assert_eq!(lack(known, false), lack(known, true), "{known}");
        }
        for unseen in [entry(10), entry(17), entry(20)] {
            assert_eq!(lack(unseen, false), Some(Lack::Unseen(unseen)));
        }
        assert_eq!(lack(entry(10), true), Some(Lack::Older(entry(10))));
        assert_eq!(lack(entry(20), true), None);
        assert_eq!(lack(entry(31), false), Some(Lack::Ahead(entry(31))));
    }

    #[test]
    fn what_was_passed_over_may_be_of_types_that_came_later_only() {
        let (early, late) = (Subscribed::Types([0].into()), Subscribed::Types([1].into()));
        let mut history = history(10);
        let lack = |history: &History, of: &Subscribed, after| {
            history.lacks(of, &entry(after).to_string(), true).map(|lack| {
                assert_eq!(lack, Lack::Older(entry(after)));
            })
        };
        // One type is registered, and there was no event of it: none of these entries is one
        // either.
        history.pass_unknown(entry(7), 1);
        for of in [&early, &Subscribed::All] {
            assert_eq!(lack(&history, of, 2), None, "{of:?}");
        }
        assert!(lack(&history, &late, 6).is_some() && lack(&history, &late, 7).is_none());
        // Two types are registered.
        history.pass_unknown(entry(9), 2);
        assert!(lack(&history, &late, 6).is_some() && lack(&history, &late, 7).is_none());
        assert!(lack(&history, &Subscribed::All, 6).is_some(), "7 may be of the second");
        record(&mut history, 10, 1);
        history.pass_unknown(entry(11), 2);
        assert!(lack(&history, &late, 6).is_some());
        for of in [&late, &Subscribed::All] {
            assert_eq!(replayed(&history, of, &entry(7).to_string()), Some(vec![10]), "{of:?}");
        }
        assert_eq!(lack(&history, &early, 2), None);
    }
}
