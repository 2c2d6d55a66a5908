//! Subscription sets: clients with equal subscriptions and one coding form a set, and a batch of
//! events is matched against sets, not against clients.

use std::{collections::HashMap, sync::Arc};

use crate::{
    broadcast::by_number::ByNumber,
    message::{
        channel::{Channel, ChannelId},
        event_types::{TypeId, Types},
        few::{Few, push_to_large},
        frame::{Coding, Frame},
        subscribed::{Listened, Subscribed},
    },
};

/// A client's index in the broadcaster's table.
pub(crate) type Key = u32;
pub(crate) type SetId = u32;

/// An event on its way to the clients.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// `None` is the common channel.
    pub(crate) channel: Option<Channel>,
    pub(crate) kind: TypeId,
    pub(crate) frame: Frame,
}

#[derive(Debug, Default)]
pub(crate) struct SubscriptionSets {
    /// The number of an empty set is free.
    table: Vec<SubscriptionSet>,
    free: Vec<SetId>,
    by_subscribed: HashMap<(Arc<Subscribed>, Coding), SetId>,
    lists: Lists,
    /// Sets that have become empty, to be dropped one by one: with many names each takes time, which
    /// live events do not have.
    emptied: Vec<SetId>,
}

/// Where the sets of an event are found. A set stands in one list for each of its names.
#[derive(Debug, Default)]
struct Lists {
    /// Of the common channel, by the type's number: the sets that name the type.
    by_type: Vec<Few<Naming>>,
    /// Of the common channel: the sets that listen to all types.
    all_types: Few<Naming>,
    /// The sets that name a channel, whatever their types are.
    by_channel: ByNumber<Few<Naming>>,
    /// The sets that listen to all channels, whatever their types are.
    all_channels: Few<Naming>,
}

/// Names a list.
#[derive(Clone, Copy, Debug)]
enum ListOf {
    Type(TypeId),
    AllTypes,
    Channel(ChannelId),
    AllChannels,
}

/// That a set stands in a list: which of the set's lists it is, counted from 0.
#[derive(Clone, Copy, Debug)]
struct Naming {
    set: SetId,
    nth: u32,
}

/// The sets that get events of a batch, and which. Kept for its memory, unless it is large.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    sets: Vec<SetId>,
    /// Where the events of each set end among all of them.
    ends: Vec<usize>,
    /// By their index in the batch.
    events: Vec<u32>,
}

/// More than this many events of sets are not kept room for.
const KEPT: usize = 65_536;

impl Matched {
    /// Each set with its events, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SetId, &[u32])> {
        let begins = [0].into_iter().chain(self.ends.iter().copied());
        let ranges = begins.zip(&self.ends).map(|(begin, &end)| &self.events[begin..end]);
        self.sets.iter().copied().zip(ranges)
    }

    pub(crate) fn clear(&mut self) {
        if self.events.capacity() > KEPT {
            *self = Self::default();
        }
        self.sets.clear();
        self.ends.clear();
        self.events.clear();
    }
}

#[derive(Debug, Default)]
struct SubscriptionSet {
    /// `None` if the set is empty.
    subscribed: Option<Arc<Subscribed>>,
    coding: Coding,
    /// Where it stands in its lists.
    places: Few<u32>,
    keys: Few<Key>,
    /// It is among the `emptied` ones, and perhaps not empty any more.
    is_emptied: bool,
    /// Used within [`match_batch`](SubscriptionSets::match_batch): how many events of the batch it
    /// gets, and then its place among the matched sets. 0 otherwise.
    matched: u32,
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

    /// Whether any client listens to a type in the common channel.
    pub(crate) fn listens(&self, kind: TypeId) -> bool {
        let (exact, others) = self.lists.of(None, kind);
        let mut sets = exact.iter().chain(others.iter().flat_map(|list| list.iter()));
        sets.any(|&Naming { set, .. }| self.table[set as usize].wants(kind))
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

    /// Drops one of the sets that have become empty; false if there is none. Gives `left` each of its
    /// channels that no other set names.
    pub(crate) fn drop_one(&mut self, left: impl FnMut(&Channel)) -> bool {
        let Some(id) = self.emptied.pop() else { return false };
        let set = &mut self.table[id as usize];
        set.is_emptied = false;
        if set.keys.is_empty()
            && let Some(subscribed) = set.subscribed.take()
        {
            let SubscriptionSet { coding, places, .. } = std::mem::take(set);
            for (list, &place) in lists_of(&subscribed).zip(places.iter()) {
                if let Some(Naming { set, nth }) = self.lists.take(list, place)
                    && let Some(known) = self.table[set as usize].places.get_mut(nth as usize)
                {
                    *known = place;
                }
            }
            let named = subscribed.channels.named().iter();
            let is_named = |number| self.lists.by_channel.get(number).is_some();
            named.filter(|channel| !is_named(channel.number())).for_each(left);
            self.by_subscribed.remove(&(subscribed, coding));
            self.free.push(id);
            if self.free.len() == self.table.len() {
                *self = Self::default();
            }
        }
        true
    }

    /// Whether there are any.
    pub(crate) fn has_emptied(&self) -> bool {
        !self.emptied.is_empty()
    }

    /// Finds the sets that get events of a batch. All their events have one list, as there may be as
    /// many as clients, times events.
    pub(crate) fn match_batch(&mut self, batch: &[Event], matched: &mut Matched) {
        let Self { table, lists, .. } = self;
        let Matched { sets, ends, events } = matched;
        lists.match_batch(batch, table, |set, id, _| {
            if set.matched == 0 {
                sets.push(id);
            }
            set.matched += 1;
        });
        let mut end = 0;
        for (nth, &id) in (0..).zip(&*sets) {
            // Where its events begin, until they are there.
            ends.push(end);
            end += std::mem::replace(&mut table[id as usize].matched, nth) as usize;
        }
        events.resize(end, 0);
        lists.match_batch(batch, table, |set, _, event| {
            let at = &mut ends[set.matched as usize];
            events[*at] = event;
            *at += 1;
        });
        for &id in &*sets {
            table[id as usize].matched = 0;
        }
    }

    /// Takes a set's clients. [`restore`](Self::restore) must give them back before a client joins or
    /// leaves.
    pub(crate) fn take(&mut self, id: SetId) -> Few<Key> {
        std::mem::take(&mut self.table[id as usize].keys)
    }

    pub(crate) fn restore(&mut self, id: SetId, keys: Few<Key>) {
        self.table[id as usize].keys = keys;
    }

    fn create(&mut self, kind: (Arc<Subscribed>, Coding)) -> SetId {
        let (subscribed, coding) = &kind;
        let id = self.free.pop().unwrap_or_else(|| {
            push_to_large(&mut self.table, SubscriptionSet::default());
            index(self.table.len() - 1)
        });
        let lists = (0..).zip(lists_of(subscribed));
        let places =
            lists.map(|(nth, list)| self.lists.add(list, Naming { set: id, nth })).collect();
        let set = &mut self.table[id as usize];
        (set.subscribed, set.coding) = (Some(Arc::clone(subscribed)), *coding);
        set.places = places;
        self.by_subscribed.insert(kind, id);
        id
    }
}

impl SubscriptionSet {
    /// Whether it has a client for events of this type.
    fn wants(&self, kind: TypeId) -> bool {
        let includes = |subscribed: &Arc<Subscribed>| subscribed.types.includes(kind);
        !self.keys.is_empty() && self.subscribed.as_ref().is_some_and(includes)
    }
}

/// The lists in which a set with this subscription stands.
fn lists_of(subscribed: &Subscribed) -> impl Iterator<Item = ListOf> {
    let Subscribed { channels, types } = subscribed;
    let is_common = channels.is_common();
    let named = types.named().iter().filter(move |_| is_common).map(|kind| ListOf::Type(*kind));
    let all_types = (is_common && *types == Types::All).then_some(ListOf::AllTypes);
    let all_channels = (*channels == Listened::All).then_some(ListOf::AllChannels);
    let channels = channels.named().iter().map(|channel| ListOf::Channel(channel.number()));
    named.chain(all_types).chain(channels).chain(all_channels)
}

impl Lists {
    /// The lists in which the sets for such an event stand. In some of them stand also sets that do
    /// not want the type.
    fn of(&self, channel: Option<&Channel>, kind: TypeId) -> (&[Naming], [&[Naming]; 2]) {
        match channel {
            None => {
                let named = self.by_type.get(kind as usize).map_or(&[][..], |list| &**list);
                (named, [&self.all_types, &self.all_channels])
            }
            Some(channel) => {
                let named = self.by_channel.get(channel.number()).map_or(&[][..], |list| &**list);
                (named, [&[], &self.all_channels])
            }
        }
    }

    /// Gives `found` each set that gets an event of a batch, by the event's index.
    fn match_batch(
        &self,
        batch: &[Event],
        table: &mut [SubscriptionSet],
        mut found: impl FnMut(&mut SubscriptionSet, SetId, u32),
    ) {
        for (at, event) in batch.iter().enumerate() {
            let (exact, others) = self.of(event.channel.as_ref(), event.kind);
            let others = others.iter().flat_map(|list| list.iter());
            for &Naming { set: id, .. } in exact.iter().chain(others) {
                let set = &mut table[id as usize];
                if set.wants(event.kind) {
                    found(set, id, index(at));
                }
            }
        }
    }

    /// Adds a set to a list. Returns its place there.
    fn add(&mut self, of: ListOf, naming: Naming) -> u32 {
        let list = match of {
            ListOf::Type(kind) => {
                let at = kind as usize;
                if self.by_type.len() <= at {
                    self.by_type.resize_with(at + 1, Few::default);
                }
                &mut self.by_type[at]
            }
            ListOf::AllTypes => &mut self.all_types,
            ListOf::Channel(number) => self.by_channel.get_or_insert_with(number, Few::default),
            ListOf::AllChannels => &mut self.all_channels,
        };
        list.push(naming);
        index(list.len() - 1)
    }

    /// Removes what stands at a place of a list. Returns what takes its place: the last of the list.
    fn take(&mut self, of: ListOf, place: u32) -> Option<Naming> {
        let list = match of {
            ListOf::Type(kind) => self.by_type.get_mut(kind as usize)?,
            ListOf::AllTypes => &mut self.all_types,
            ListOf::Channel(number) => self.by_channel.get_mut(number)?,
            ListOf::AllChannels => &mut self.all_channels,
        };
        list.swap_remove(place as usize);
        let moved = list.get(place as usize).copied();
        if let ListOf::Channel(number) = of
            && list.is_empty()
        {
            self.by_channel.remove(number);
        }
        moved
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
    use crate::message::channel::ChannelTable;

    fn types(kinds: &[TypeId]) -> Arc<Subscribed> {
        Arc::new(Subscribed::of_types(kinds))
    }

    #[test]
    fn the_number_of_a_group_that_is_left_is_used_again() {
        let mut sets = SubscriptionSets::default();
        let last = sets.join(types(&[1000]), Coding::Plain, 0);
        for kind in 0..100 {
            let (stays, place) = sets.join(types(&[kind]), Coding::Plain, 1);
            let (set, other) = sets.join(types(&[kind, kind + 1]), Coding::Plain, 2);
            assert_ne!(stays, set);
            assert_eq!([sets.leave(set, other), sets.leave(stays, place)], [None, None]);
            while sets.drop_one(|_| {}) {}
        }
        assert_eq!(sets.table.len(), 3);
        assert_eq!(sets.by_subscribed.len(), 1);
        assert!(sets.lists.by_type[..1000].iter().all(|list| list.is_empty()));
        sets.leave(last.0, last.1);
        assert!(sets.drop_one(|_| {}));
        assert_eq!((sets.table.capacity(), sets.lists.by_type.capacity()), (0, 0), "none is left");
    }

    #[test]
    fn a_type_has_listeners_while_it_is_named_or_somebody_listens_to_all() {
        let mut sets = SubscriptionSets::default();
        let listens = |sets: &SubscriptionSets| [0, 1, 2, 1000].map(|kind| sets.listens(kind));
        assert_eq!(listens(&sets), [false; 4]);
        let named = sets.join(types(&[1, 2]), Coding::Plain, 0);
        assert_eq!(listens(&sets), [false, true, true, false]);
        let all = sets.join(Arc::new(Subscribed::all_types()), Coding::Plain, 1);
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
        assert!(sets.has_emptied() && !sets.listens(1));
        assert_eq!(sets.join(types(&[1, 2]), Coding::Plain, 1), (set, 0));
        assert_eq!([sets.drop_one(|_| {}), sets.drop_one(|_| {})], [true, false]);
        assert!(sets.listens(2));
    }

    proptest! {
        /// Sets come and go in any order, and each event reaches those that listen.
        #[test]
        fn events_reach_the_sets_that_name_their_type_and_channel(
            steps in collection::vec((0..8_u32, 0..8_u32, 0..6_usize, 0..3_u8), 1..200)
        ) {
            let table = Arc::<ChannelTable>::default();
            // Kept here, so that each keeps its number.
            let channels = ["a", "b", "c"].map(|name| table.get(name, 3).expect("room"));
            let mut sets = SubscriptionSets::default();
            let mut joined: Vec<(Arc<Subscribed>, SetId)> = Vec::new();
            for (one, other, which, step) in steps {
                match step {
                    0 => {
                        let mut kinds = vec![one, other];
                        kinds.sort_unstable();
                        kinds.dedup();
                        let types =
                            if one == other { Types::All } else { Types::Named(kinds.into()) };
                        let named = channels[..which % 4].to_vec();
                        let channels = match which {
                            5 => Listened::All,
                            _ => Listened::new(which < 3, named),
                        };
                        let subscribed = Arc::new(Subscribed { channels, types });
                        // One client in a set is enough here.
                        if joined.iter().all(|(known, _)| *known != subscribed) {
                            let (set, place) =
                                sets.join(Arc::clone(&subscribed), Coding::Plain, one);
                            assert_eq!(place, 0);
                            joined.push((subscribed, set));
                        }
                    }
                    1 if !joined.is_empty() => {
                        let (_, set) = joined.swap_remove(one as usize % joined.len());
                        sets.leave(set, 0);
                    }
                    _ => drop((0..other).any(|_| !sets.drop_one(|_| {}))),
                }
                for at in 0..32 {
                    let (kind, channel) = (at % 8, channels.get(at as usize / 8).cloned());
                    let number = channel.as_ref().map(Channel::number);
                    let event = Event { channel, kind, frame: Frame::from_block(b"data: x\n\n") };
                    let mut matched = Matched::default();
                    sets.match_batch(&[event.clone(), event], &mut matched);
                    assert!(matched.iter().all(|(_, events)| *events == [0, 1]));
                    let mut touched: Vec<SetId> = matched.iter().map(|(set, _)| set).collect();
                    touched.sort_unstable();
                    let includes = |subscribed: &Subscribed| subscribed.includes(number, kind);
                    let listening = joined.iter().filter(|(subscribed, _)| includes(subscribed));
                    let mut expected: Vec<SetId> = listening.map(|&(_, set)| set).collect();
                    expected.sort_unstable();
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
        assert_eq!(sets.subscribed(0), Some(&*types(&[5])));
        assert_eq!(sets.leave(0, 0), Some(12));
        assert_eq!(sets.leave(0, 1), None, "it was the last one there");
        assert_eq!(*sets.take(0), [12]);
        assert_eq!(sets.subscribed(0), Some(&*types(&[5])));
    }

    #[test]
    fn room_for_many_events_of_many_sets_is_given_back() {
        let mut sets = SubscriptionSets::default();
        for key in 0..300 {
            sets.join(types(&[0, key + 1]), Coding::Plain, key);
        }
        let event = Event { channel: None, kind: 0, frame: Frame::from_block(b"data: x\n\n") };
        let mut matched = Matched::default();
        for (events, is_kept) in [(3, true), (300, false)] {
            sets.match_batch(&vec![event.clone(); events], &mut matched);
            let all = (0..).take(events).collect::<Vec<u32>>();
            assert_eq!(matched.iter().filter(|(_, events)| **events == *all).count(), 300);
            matched.clear();
            assert_eq!((matched.iter().count(), matched.events.capacity() > 0), (0, is_kept));
        }
    }
}
