//! The kept events of all logs in their order, and what was dropped. So nothing here costs more the
//! more types there are.

use std::collections::VecDeque;

use super::Sequence;
use crate::message::event_types::TypeId;

/// Stands for the type of an event that is not kept any more.
const GONE: TypeId = TypeId::MAX;
/// So many may be gone, and their places kept, before it is worth looking through all.
const FEW: usize = 64;

/// Which events are kept, over all logs.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By their numbers. The first one is kept.
    events: VecDeque<(Sequence, TypeId)>,
    /// How many of them are not kept any more.
    gone: usize,
}

impl Order {
    /// The memory of one event.
    pub(super) const EVENT: usize = size_of::<(Sequence, TypeId)>() * 3 / 2;

    /// Adds the newest event.
    pub(super) fn push(&mut self, sequence: Sequence, kind: TypeId) {
        self.events.push_back((sequence, kind));
    }

    /// The oldest event.
    pub(super) fn first(&self) -> Option<(Sequence, TypeId)> {
        self.events.front().copied()
    }

    /// Forgets an event.
    pub(super) fn remove(&mut self, sequence: Sequence) {
        let at = match self.events.front() {
            // Mostly it is the oldest.
            Some(&(first, _)) if first == sequence => Ok(0),
            _ => self.events.binary_search_by_key(&sequence, |&(sequence, _)| sequence),
        };
        let Ok(at) = at else { return };
        self.events[at].1 = GONE;
        self.gone += 1;
        while let Some(&(_, GONE)) = self.events.front() {
            self.events.pop_front();
            self.gone -= 1;
        }
        if self.gone > self.events.len() / 2 + FEW {
            self.events.retain(|&(_, kind)| kind != GONE);
            self.gone = 0;
        }
        if self.events.is_empty() {
            self.events = VecDeque::new();
        } else if self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }

    /// The events after a position.
    pub(super) fn after(&self, position: Sequence) -> impl Iterator<Item = (Sequence, TypeId)> {
        let begin = self.events.partition_point(|&(sequence, _)| sequence <= position);
        self.events.range(begin..).copied().filter(|&(_, kind)| kind != GONE)
    }

    /// The event behind which exactly `count` follow, if there are more than that.
    pub(super) fn before_last(&self, count: usize) -> Option<Sequence> {
        let kept = self.events.len() - self.gone;
        let mut last = self.events.iter().rev().filter(|&&(_, kind)| kind != GONE);
        (count < kept).then(|| last.nth(count)).flatten().map(|&(sequence, _)| sequence)
    }
}

/// Which events were dropped.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// How many.
    pub(super) count: u64,
    /// The newest one of all, then the newest of those that were dropped after it, and so on, each
    /// with its number among all drops. Of each log there is one at most.
    newest: Vec<(u64, Sequence)>,
}

impl Drops {
    /// Counts another, and gives its number.
    pub(super) fn note(&mut self, sequence: Sequence) -> u64 {
        self.count += 1;
        while self.newest.pop_if(|&mut (_, other)| other <= sequence).is_some() {}
        self.newest.push((self.count, sequence));
        self.count
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
        let kept: Vec<_> = order.after(0).map(|(sequence, _)| sequence).collect();
        let expected: Vec<_> = [1].into_iter().chain(9_900..10_000).collect();
        assert_eq!(kept, expected);
        assert_eq!(order.after(9_998).collect::<Vec<_>>(), [(9_999, 0)]);
        assert_eq!(
            [0, 1, 99, 100, 101].map(|count| order.before_last(count)),
            [Some(9_999), Some(9_998), Some(9_900), Some(1), None]
        );
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
            assert_eq!(drops.note(sequence), all.len() as u64);
            for first in 0..=all.len() {
                let newest = all[first..].iter().max().copied().unwrap_or(0);
                assert_eq!(drops.newest_after(first as u64), newest, "{all:?} after {first}");
            }
        }
    }
}
