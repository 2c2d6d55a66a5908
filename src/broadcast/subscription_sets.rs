//! Who listens to what: clients with equal subscriptions form a group, and a batch of events is
//! matched against groups, not against clients.

use std::{collections::HashMap, sync::Arc};

use crate::message::{
    event_types::{Subscribed, TypeId},
    frame::Frame,
};

/// A client's place in the broadcaster's table.
pub(crate) type Key = u32;
pub(crate) type GroupId = u32;

/// An event on its way to the clients.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) kind: TypeId,
    pub(crate) frame: Frame,
}

#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// An empty group's number is free.
    table: Vec<Group>,
    free: Vec<GroupId>,
    by_subscribed: HashMap<Arc<Subscribed>, GroupId>,
    /// Groups that name a type, by the type's number.
    by_type: Vec<Vec<GroupId>>,
    /// Groups that listen to all types: one at most.
    all: Vec<GroupId>,
}

#[derive(Debug, Default)]
struct Group {
    /// Without it the group has no members.
    subscribed: Option<Arc<Subscribed>>,
    members: Vec<Key>,
    /// The events of the current batch that this group gets, by their place in the batch.
    matched: Vec<u32>,
}

impl Groups {
    /// What the clients of a group subscribe to.
    pub(crate) fn subscribed(&self, id: GroupId) -> Option<&Subscribed> {
        self.table[id as usize].subscribed.as_deref()
    }

    /// Whether anybody listens to a type.
    pub(crate) fn listens(&self, kind: TypeId) -> bool {
        let named = self.by_type.get(kind as usize);
        !self.all.is_empty() || named.is_some_and(|groups| !groups.is_empty())
    }

    /// What the clients subscribe to, each with the number of clients that do.
    pub(crate) fn counts(&self) -> Vec<(Arc<Subscribed>, usize)> {
        let count = |group: &Group| Some((group.subscribed.clone()?, group.members.len()));
        self.table.iter().filter_map(count).collect()
    }

    /// Adds a client; returns its group and its place there.
    pub(crate) fn join(&mut self, subscribed: Arc<Subscribed>, key: Key) -> (GroupId, u32) {
        let id = match self.by_subscribed.get(&subscribed) {
            Some(&id) => id,
            None => self.create(subscribed),
        };
        let members = &mut self.table[id as usize].members;
        members.push(key);
        (id, index(members.len() - 1))
    }

    /// Removes the client at `place`; returns the client that has this place now.
    pub(crate) fn leave(&mut self, id: GroupId, place: u32) -> Option<Key> {
        let group = &mut self.table[id as usize];
        group.members.swap_remove(place as usize);
        let moved = group.members.get(place as usize).copied();
        if group.members.is_empty()
            && let Some(subscribed) = group.subscribed.take()
        {
            self.by_subscribed.remove(&subscribed);
            self.change_lists(&subscribed, |list| list.retain(|&other| other != id));
            self.table[id as usize] = Group::default();
            self.free.push(id);
        }
        moved
    }

    /// Finds the groups that get something of a batch.
    pub(crate) fn match_batch(&mut self, batch: &[Event], touched: &mut Vec<GroupId>) {
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

    /// Takes a group's members and its part of the batch, to be given back by
    /// [`restore`](Self::restore) before anyone joins or leaves.
    pub(crate) fn take(&mut self, id: GroupId) -> (Vec<Key>, Vec<u32>) {
        let group = &mut self.table[id as usize];
        (std::mem::take(&mut group.members), std::mem::take(&mut group.matched))
    }

    pub(crate) fn restore(&mut self, id: GroupId, members: Vec<Key>, mut matched: Vec<u32>) {
        matched.clear();
        let group = &mut self.table[id as usize];
        group.members = members;
        group.matched = matched;
    }

    fn create(&mut self, subscribed: Arc<Subscribed>) -> GroupId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.table.push(Group::default());
            index(self.table.len() - 1)
        });
        if let Subscribed::Types(types) = &*subscribed
            && let Some(&highest) = types.last()
            && self.by_type.len() <= highest as usize
        {
            self.by_type.resize_with(highest as usize + 1, Vec::new);
        }
        self.change_lists(&subscribed, |list| list.push(id));
        self.table[id as usize].subscribed = Some(Arc::clone(&subscribed));
        self.by_subscribed.insert(subscribed, id);
        id
    }

    /// Changes each list in which a group with this subscription stands.
    fn change_lists(&mut self, subscribed: &Subscribed, mut change: impl FnMut(&mut Vec<GroupId>)) {
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

/// Tables of clients, groups and events stay far below 2³² entries.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
