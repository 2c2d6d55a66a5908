//! The kept events of all logs in their order, and what was dropped. So nothing here costs more the
//! more types there are.

use std::collections::VecDeque;

use super::{Sequence, topics::LogId};

/// Stands for the log of an event that is not kept any more.
const GONE: LogId = LogId::MAX;
/// Up to this many may be gone, and their places kept, before it is worth looking through all.
const FEW: usize = 64;

/// Which events are kept, over all logs.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By their numbers. The first one is kept.
    events: VecDeque<(Sequence, LogId)>,
    /// How many of them are not kept any more.
    gone: usize,
}

impl Order {
    /// The memory of one event.
    pub(super) const EVENT: usize = size_of::<(Sequence, LogId)>() * 3 / 2;

    /// Adds the newest event.
    pub(super) fn push(&mut self, sequence: Sequence, log: LogId) {
        self.events.push_back((sequence, log));
    }

    /// The oldest event.
    pub(super) fn first(&self) -> Option<(Sequence, LogId)> {
        self.events.front().copied()
    }

    /// Forgets an event.
    pub(super) fn remove(&mut self, sequence: Sequence) {
        let Some(at) = self.find(sequence) else { return };
        self.events[at].1 = GONE;
        self.gone += 1;
        while let Some(&(_, GONE)) = self.events.front() {
            self.events.pop_front();
            self.gone -= 1;
        }
        if self.gone > self.events.len() / 2 + FEW {
            self.events.retain(|&(_, log)| log != GONE);
            self.gone = 0;
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        } else if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    fn find(&self, sequence: Sequence) -> Option<usize> {
        let is_at = |at: usize| self.events.get(at).is_some_and(|&(found, _)| found == sequence);
        let newest = self.events.back()?.0;
        // Mostly it is the oldest, or no number is left out between it and the newest.
        let before_newest = usize::try_from(newest.checked_sub(sequence)?).ok();
        let guess = before_newest.and_then(|events| (self.events.len() - 1).checked_sub(events));
        let guessed = [Some(0), guess].into_iter().flatten().find(|&at| is_at(at));
        let search = || self.events.binary_search_by_key(&sequence, |&(sequence, _)| sequence).ok();
        guessed.or_else(search)
    }

    /// Where the events after a position begin.
    pub(super) fn begin(&self, position: Sequence) -> usize {
        self.events.partition_point(|&(sequence, _)| sequence <= position)
    }

    /// The first event at this place or behind it, and its place.
    pub(super) fn next(&self, at: usize) -> Option<(usize, Sequence, LogId)> {
        let mut events = (at..).zip(self.events.range(at.min(self.events.len())..));
        let (at, &(sequence, log)) = events.find(|(_, (_, log))| *log != GONE)?;
        Some((at, sequence, log))
    }

    /// The first event for which `is_late` is true, as it is for all that follow.
    #[cfg(any(feature = "outside-log", test))]
    pub(super) fn first_where(
        &self,
        is_late: impl Fn(Sequence, LogId) -> bool,
    ) -> Option<(Sequence, LogId)> {
        let (mut low, mut high, mut first) = (0, self.events.len(), None);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.next(middle) {
                Some((at, sequence, log)) if at < high && !is_late(sequence, log) => low = at + 1,
                late => {
                    high = middle;
                    first = late.map(|(_, sequence, log)| (sequence, log)).or(first);
                }
            }
        }
        first
    }

    /// The events from the newest to the oldest.
    pub(super) fn backwards(&self) -> impl Iterator<Item = (Sequence, LogId)> {
        self.events.iter().rev().copied().filter(|&(_, log)| log != GONE)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.events.len() - self.gone
    }
}

/// Which events were dropped.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// The newest one of all, then the newest of those that were dropped after it, and so on, each
    /// with its number among all drops. Of each log there is one at most.
    newest: Vec<(u64, Sequence)>,
}

impl Drops {
    /// Notes another, which has this number among all drops.
    pub(super) fn note(&mut self, number: u64, sequence: Sequence) {
        while self.newest.pop_if(|&mut (_, other)| other <= sequence).is_some() {}
        self.newest.push((number, sequence));
    }

    /// The newest event of those that were dropped after the first `drops`; 0 if there is none.
    pub(super) fn newest_after(&self, drops: u64) -> Sequence {
        let at = self.newest.partition_point(|&(number, _)| number <= drops);
        self.newest.get(at).map_or(0, |&(_, sequence)| sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_takes_no_room_for_long_and_is_passed_over() {
        let mut order = Order::default();
        // One stays from the beginning, as do the last hundred of the others.
        order.push(1, 9);
        for sequence in 2..10_000 {
            order.push(sequence, 0);
            if sequence > 101 {
                order.remove(sequence - 100);
            }
        }
        assert_eq!(order.first(), Some((1, 9)));
        assert!(order.events.len() < 500, "{}", order.events.len());
        let expected: Vec<_> = [1].into_iter().chain(9_900..10_000).collect();
        let mut kept = Vec::new();
        let mut next = order.next(order.begin(0));
        while let Some((at, sequence, _)) = next {
            kept.push(sequence);
            next = order.next(at + 1);
        }
        assert_eq!(kept, expected);
        let last = order.next(order.begin(9_998)).expect("one more");
        assert_eq!((last.1, last.2, order.next(last.0 + 1)), (9_999, 0, None));
        assert_eq!((order.len(), order.backwards().nth(99)), (101, Some((9_900, 0))));
        for sequence in expected {
            order.remove(sequence);
        }
        assert_eq!((order.first(), order.events.len(), order.gone), (None, 0, 0));
        assert_eq!(order.events.capacity(), 0);
    }

    #[test]
    fn the_newest_of_the_later_drops_is_known() {
        let mut drops = Drops::default();
        let mut all = Vec::new();
        assert_eq!(drops.newest_after(0), 0);
        for sequence in [5, 3, 9, 4, 7, 7, 2, 1, 8, 6] {
            all.push(sequence);
            drops.note(all.len() as u64, sequence);
            for first in 0..=all.len() {
                let newest = all[first..].iter().max().copied().unwrap_or(0);
                assert_eq!(drops.newest_after(first as u64), newest, "{all:?} after {first}");
            }
        }
    }
}
