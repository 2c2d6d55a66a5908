//! Subscription sets: clients with equal subscriptions and one coding form a set, and a batch of
//! events is matched against sets, not against clients.

use std::{collections::HashMap, sync::Arc};

use crate::message::{
    event_types::{Subscribed, TypeId},
    frame::{Coding, Frame},
};

/// A client's index in the broadcaster's table.
pub(crate) type Key = u32;
pub(crate) type SetId = u32;

/// An event on its way to the clients.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: TypeId,
    pub(crate) frame: Frame,
}

#[derive(Debug, Default)]
pub(crate) struct SubscriptionSets {
    /// The number of an empty set is free.
    table: Vec<SubscriptionSet>,
    free: Vec<SetId>,
    by_subscribed: HashMap<(Arc<Subscribed>, Coding), SetId>,
    /// The sets that name a type, by the type's number.
    by_type: Vec<Vec<Naming>>,
    /// The sets that listen to all types; at most one for each coding.
    all: Vec<SetId>,
    /// Sets that have become empty, to be dropped one by one: with many names each takes time, which
    /// live events do not have.
    emptied: Vec<SetId>,
}

/// That a set names a type: which of its types, counted from 0.
#[derive(Clone, Copy, Debug)]
struct Naming {
    set: SetId,
    nth: u32,
}

/// Where a set stands in the lists of its types.
#[derive(Debug)]
enum Places {
    One(u32),
    Many(Box<[u32]>),
}

impl Default for Places {
    fn default() -> Self {
        Self::Many(Box::default())
    }
}

impl Places {
    fn get_mut(&mut self, nth: u32) -> Option<&mut u32> {
        match self {
            Self::One(place) => Some(place),
            Self::Many(places) => places.get_mut(nth as usize),
        }
    }
}

#[derive(Debug, Default)]
struct SubscriptionSet {
    /// `None` if the set is empty.
    subscribed: Option<Arc<Subscribed>>,
    coding: Coding,
    places: Places,
    keys: Vec<Key>,
    /// It is among the `emptied` ones, and perhaps not empty any more.
    is_emptied: bool,
    /// The events of the current batch that this set gets, by their index in the batch.
    matched: Vec<u32>,
}

impl SubscriptionSets {
    /// What the clients of a set subscribe to.
    pub(crate) fn subscribed(&self, id: SetId) -> Option<&Subscribed> {
        self.table[id as usize].subscribed.as_deref()
    }

    /// How the clients of a set get their events.
    pub(crate) fn coding(&self, id: SetId) -> Coding {
        self.table[id as usize].coding
    }

    /// Whether any client listens to a type.
    pub(crate) fn listens(&self, kind: TypeId) -> bool {
        let named = self.by_type.get(kind as usize).map_or(&[][..], Vec::as_slice);
        let mut sets = self.all.iter().chain(named.iter().map(|naming| &naming.set));
        sets.any(|&id| !self.table[id as usize].keys.is_empty())
    }

    /// What the clients subscribe to, each with the number of these clients.
    pub(crate) fn counts(&self) -> Vec<(Arc<Subscribed>, usize)> {
        let count = |set: &SubscriptionSet| Some((set.subscribed.clone()?, set.keys.len()));
        self.table.iter().filter_map(count).filter(|&(_, clients)| clients > 0).collect()
    }

    /// Adds a client. Returns its set, and its index there.
    pub(crate) fn join(
        &mut self,
        subscribed: Arc<Subscribed>,
        coding: Coding,
        key: Key,
    ) -> (SetId, u32) {
        let kind = (subscribed, coding);
        let id = match self.by_subscribed.get(&kind) {
            Some(&id) => id,
            None => self.create(kind),
        };
        let keys = &mut self.table[id as usize].keys;
        keys.push(key);
        (id, index(keys.len() - 1))
    }

    /// Removes the client at index `at`. Returns the client that is at this index now.
    pub(crate) fn leave(&mut self, id: SetId, at: u32) -> Option<Key> {
        let set = &mut self.table[id as usize];
        set.keys.swap_remove(at as usize);
        let moved = set.keys.get(at as usize).copied();
        if set.keys.is_empty() && !std::mem::replace(&mut set.is_emptied, true) {
            self.emptied.push(id);
        }
        moved
    }

    /// Drops one of the sets that have become empty, if there are any.
    pub(crate) fn drop_one(&mut self) -> bool {
        let Some(id) = self.emptied.pop() else { return false };
        let set = &mut self.table[id as usize];
        set.is_emptied = false;
        if set.keys.is_empty()
            && let Some(subscribed) = set.subscribed.take()
        {
            let SubscriptionSet { coding, mut places, .. } = std::mem::take(set);
            match &*subscribed {
                Subscribed::All => self.all.retain(|&other| other != id),
                Subscribed::Types(types) => {
                    for (nth, &kind) in (0..).zip(types) {
                        if let Some(&mut place) = places.get_mut(nth) {
                            self.take_from_list(kind, place);
                        }
                    }
                }
            }
            self.by_subscribed.remove(&(subscribed, coding));
            self.free.push(id);
        }
        true
    }

    /// Whether there are any.
    pub(crate) fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// Removes what stands at a place of a type's list. The last of the list takes the place.
    fn take_from_list(&mut self, kind: TypeId, place: u32) {
        let list = &mut self.by_type[kind as usize];
        list.swap_remove(place as usize);
        if let Some(&Naming { set, nth }) = list.get(place as usize)
            && let Some(known) = self.table[set as usize].places.get_mut(nth)
        {
            *known = place;
        }
        if list.is_empty() {
            *list = Vec::new();
        }
    }

    /// Finds the sets that get events of a batch.
    pub(crate) fn match_batch(&mut self, batch: &[Event], touched: &mut Vec<SetId>) {
        for (at, event) in batch.iter().enumerate() {
            let named = self.by_type.get(event.kind as usize).map_or(&[][..], Vec::as_slice);
            for &id in named.iter().map(|naming| &naming.set).chain(&self.all) {
                let SubscriptionSet { matched, keys, .. } = &mut self.table[id as usize];
                if keys.is_empty() {
                    continue;
                }
                if matched.is_empty() {
                    touched.push(id);
                }
                matched.push(index(at));
            }
        }
    }

    /// Takes a set's clients and its part of the batch. [`restore`](Self::restore) must give them
    /// back before a client joins or leaves.
    pub(crate) fn take(&mut self, id: SetId) -> (Vec<Key>, Vec<u32>) {
        let set = &mut self.table[id as usize];
        (std::mem::take(&mut set.keys), std::mem::take(&mut set.matched))
    }

    pub(crate) fn restore(&mut self, id: SetId, keys: Vec<Key>, mut matched: Vec<u32>) {
        matched.clear();
        let set = &mut self.table[id as usize];
        set.keys = keys;
        set.matched = matched;
    }

    fn create(&mut self, kind: (Arc<Subscribed>, Coding)) -> SetId {
        let (subscribed, coding) = &kind;
        let id = self.free.pop().unwrap_or_else(|| {
            self.table.push(SubscriptionSet::default());
            index(self.table.len() - 1)
        });
        let mut places = Places::default();
        match &**subscribed {
            Subscribed::All => self.all.push(id),
            Subscribed::Types(types) => {
                let highest = types.last().map_or(0, |&highest| highest as usize + 1);
                if self.by_type.len() < highest {
                    self.by_type.resize_with(highest, Vec::new);
                }
                let list = (0..).zip(types).map(|(nth, &kind)| {
                    let list = &mut self.by_type[kind as usize];
                    list.push(Naming { set: id, nth });
                    index(list.len() - 1)
                });
                let list: Box<[u32]> = list.collect();
                places = if let [place] = *list { Places::One(place) } else { Places::Many(list) };
            }
        }
        let set = &mut self.table[id as usize];
        (set.subscribed, set.coding) = (Some(Arc::clone(subscribed)), *coding);
        set.places = places;
        self.by_subscribed.insert(kind, id);
        id
    }
}

/// Tables of clients, sets and events stay far below 2³² entries.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    fn types(kinds: &[TypeId]) -> Arc<Subscribed> {
        Arc::new(Subscribed::Types(kinds.into()))
    }

    #[test]
    fn the_number_of_a_group_that_is_left_is_used_again() {
        let mut sets = SubscriptionSets::default();
        for kind in 0..100 {
            let (stays, place) = sets.join(types(&[kind]), Coding::Plain, 1);
            let (set, other) = sets.join(types(&[kind, kind + 1]), Coding::Plain, 2);
            assert_ne!(stays, set);
            assert_eq!([sets.leave(set, other), sets.leave(stays, place)], [None, None]);
            while sets.drop_one() {}
        }
        assert_eq!(sets.table.len(), 2);
        assert!(sets.by_subscribed.is_empty());
        assert!(sets.by_type.iter().all(Vec::is_empty));
    }

    #[test]
    fn a_type_has_listeners_while_it_is_named_or_somebody_listens_to_all() {
        let mut sets = SubscriptionSets::default();
        let listens = |sets: &SubscriptionSets| [0, 1, 2, 1000].map(|kind| sets.listens(kind));
        assert_eq!(listens(&sets), [false; 4]);
        let named = sets.join(types(&[1, 2]), Coding::Plain, 0);
        assert_eq!(listens(&sets), [false, true, true, false]);
        let all = sets.join(Arc::new(Subscribed::All), Coding::Plain, 1);
        assert_eq!(listens(&sets), [true; 4]);
        sets.leave(named.0, named.1);
        assert_eq!(listens(&sets), [true; 4], "only one is left, to all");
        sets.leave(all.0, all.1);
        assert_eq!(listens(&sets), [false; 4]);
    }

    #[test]
    fn a_set_that_is_joined_again_before_it_is_dropped_stays() {
        let mut sets = SubscriptionSets::default();
        let (set, place) = sets.join(types(&[1, 2]), Coding::Plain, 0);
        sets.leave(set, place);
        assert!(sets.has_emptied() && sets.counts().is_empty() && !sets.listens(1));
        assert_eq!(sets.join(types(&[1, 2]), Coding::Plain, 1), (set, 0));
        assert!(sets.drop_one() && !sets.drop_one());
        assert_eq!((sets.counts(), sets.listens(2)), (vec![(types(&[1, 2]), 1)], true));
    }

    proptest! {
        /// Sets come and go in any order, and each event reaches those that listen.
        #[test]
        fn events_reach_the_sets_that_name_their_type(
            steps in collection::vec((0..8_u32, 0..8_u32, 0..3_u8), 1..200)
        ) {
            let mut sets = SubscriptionSets::default();
            let mut joined: Vec<(Arc<Subscribed>, SetId)> = Vec::new();
            for (one, other, step) in steps {
                match step {
                    0 => {
                        let mut kinds = vec![one, other];
                        kinds.sort_unstable();
                        kinds.dedup();
                        // One client in a set is enough here.
                        if joined.iter().all(|(subscribed, _)| *subscribed != types(&kinds)) {
                            let (set, place) = sets.join(types(&kinds), Coding::Plain, one);
                            assert_eq!(place, 0);
                            joined.push((types(&kinds), set));
                        }
                    }
                    1 if !joined.is_empty() => {
                        let (_, set) = joined.swap_remove(one as usize % joined.len());
                        sets.leave(set, 0);
                    }
                    _ => drop((0..other).any(|_| !sets.drop_one())),
                }
                for kind in 0..8 {
                    let event = Event { kind, frame: Frame::from_block(b"data: x\n\n") };
                    let mut touched = Vec::new();
                    sets.match_batch(&[event], &mut touched);
                    for &set in &touched {
                        let (keys, matched) = sets.take(set);
                        sets.restore(set, keys, matched);
                    }
                    let listening = joined.iter().filter(|(subscribed, _)| subscribed.includes(kind));
                    let mut expected: Vec<SetId> = listening.map(|&(_, set)| set).collect();
                    expected.sort_unstable();
                    touched.sort_unstable();
                    prop_assert_eq!(touched, expected);
                }
            }
        }
    }

    #[test]
    fn the_client_that_takes_the_place_of_one_that_leaves_is_told() {
        let mut sets = SubscriptionSets::default();
        let joined = [10, 11, 12].map(|key| sets.join(types(&[5]), Coding::Plain, key));
        assert_eq!(joined, [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(sets.counts(), [(types(&[5]), 3)]);
        assert_eq!(sets.subscribed(0), Some(&*types(&[5])));
        assert_eq!(sets.leave(0, 0), Some(12));
        assert_eq!(sets.leave(0, 1), None, "it was the last one there");
        assert_eq!(sets.take(0).0, [12]);
        assert_eq!(sets.subscribed(0), Some(&*types(&[5])));
    }
}
