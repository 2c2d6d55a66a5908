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
    by_type: Vec<Vec<SetId>>,
    /// The sets that listen to all types; at most one for each coding.
    all: Vec<SetId>,
}

#[derive(Debug, Default)]
struct SubscriptionSet {
    /// `None` if the set is empty.
    subscribed: Option<Arc<Subscribed>>,
    coding: Coding,
    keys: Vec<Key>,
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
        let named = self.by_type.get(kind as usize);
        !self.all.is_empty() || named.is_some_and(|sets| !sets.is_empty())
    }

    /// What the clients subscribe to, each with the number of these clients.
    pub(crate) fn counts(&self) -> Vec<(Arc<Subscribed>, usize)> {
        let count = |set: &SubscriptionSet| Some((set.subscribed.clone()?, set.keys.len()));
        self.table.iter().filter_map(count).collect()
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
        if set.keys.is_empty()
            && let Some(subscribed) = set.subscribed.take()
        {
            let coding = set.coding;
            self.change_lists(&subscribed, |list| list.retain(|&other| other != id));
            self.by_subscribed.remove(&(subscribed, coding));
            self.table[id as usize] = SubscriptionSet::default();
            self.free.push(id);
        }
        moved
    }

    /// Finds the sets that get events of a batch.
    pub(crate) fn match_batch(&mut self, batch: &[Event], touched: &mut Vec<SetId>) {
        for (at, event) in batch.iter().enumerate() {
            let named = self.by_type.get(event.kind as usize).map_or(&[][..], Vec::as_slice);
            for &id in named.iter().chain(&self.all) {
                let matched = &mut self.table[id as usize].matched;
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
        if let Subscribed::Types(types) = &**subscribed
            && let Some(&highest) = types.last()
            && self.by_type.len() <= highest as usize
        {
            self.by_type.resize_with(highest as usize + 1, Vec::new);
        }
        self.change_lists(subscribed, |list| list.push(id));
        let set = &mut self.table[id as usize];
        (set.subscribed, set.coding) = (Some(Arc::clone(subscribed)), *coding);
        self.by_subscribed.insert(kind, id);
        id
    }

    /// Changes each list that has the set with this subscription.
    fn change_lists(&mut self, subscribed: &Subscribed, mut change: impl FnMut(&mut Vec<SetId>)) {
        match subscribed {
            Subscribed::All => change(&mut self.all),
            Subscribed::Types(types) => {
                for &kind in types {
                    change(&mut self.by_type[kind as usize]);
                }
            }
        }
    }
}

/// Tables of clients, sets and events stay far below 2³² entries.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
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
