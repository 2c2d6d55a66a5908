//! The steps that the model takes, at random.

use proptest::prelude::*;

use crate::{
    broadcast::stream::scripted::Answer::{self, Fail, Take},
    message::event_types::TypeId,
};

pub(super) const TYPES: TypeId = 4;
/// Where events are published, and to what clients listen: the common channel, and others.
pub(super) const CHANNELS: [&str; 4] = ["", "a", "b", "c"];
#[derive(Clone, Debug)]
pub(super) enum Step {
    Publish(Vec<Topic>),
    /// A client of these types (none: all) in these channels, whose socket answers like this.
    Come {
        channels: Channels,
        types: Vec<TypeId>,
        answers: Vec<Answer>,
        from: From,
    },
    /// A client closes its connection.
    Go(usize),
    /// A client is sent a message to it alone.
    SendTo(usize),
    /// A client is disconnected.
    Disconnect(usize),
    Pass(u64),
    Retry(usize),
    Sweep,
    /// A type is unregistered. Another one with its number, and perhaps its name, comes at once.
    Unregister(TypeId),
}

/// A channel, by its place in the list, and a type.
pub(super) type Topic = (usize, TypeId);

/// The channels of a client.
#[derive(Clone, Debug)]
pub(super) enum Channels {
    All,
    Named(Vec<usize>),
}

/// Where a client begins.
#[derive(Clone, Debug)]
pub(super) enum From {
    Now,
    Last(usize),
    Each,
    /// With the last id that an earlier client has seen.
    Client(usize),
    Unknown,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let types = || prop::collection::btree_set(0..TYPES, 0..3).prop_map(Vec::from_iter);
    let answer = prop_oneof![
        2 => (1..60_usize).prop_map(Take),
        1 => Just(Fail(std::io::ErrorKind::WouldBlock)),
    ];
    let from = prop_oneof![
        2 => Just(From::Now),
        1 => (0..120_usize).prop_map(From::Last),
        1 => Just(From::Each),
        3 => any::<usize>().prop_map(From::Client),
        1 => Just(From::Unknown),
    ];
    // The common channel more often than others.
    let channel = || prop_oneof![2 => Just(0), 1 => 1..CHANNELS.len()];
    let named = prop::collection::btree_set(channel(), 0..3).prop_map(Vec::from_iter);
    let channels = prop_oneof![
        3 => Just(Channels::Named(vec![0])),
        5 => named.prop_map(Channels::Named),
        1 => Just(Channels::All),
    ];
    let come = (channels, types(), prop::collection::vec(answer, 0..12), from)
        .prop_map(|(channels, types, answers, from)| Step::Come { channels, types, answers, from });
    let step = prop_oneof![
        4 => prop::collection::vec((channel(), 0..TYPES), 1..40).prop_map(Step::Publish),
        3 => come,
        1 => any::<usize>().prop_map(Step::Go),
        2 => any::<usize>().prop_map(Step::SendTo),
        1 => any::<usize>().prop_map(Step::Disconnect),
        2 => (0..100_u64).prop_map(Step::Pass),
        3 => (1..5_usize).prop_map(Step::Retry),
        1 => Just(Step::Sweep),
        1 => (0..TYPES).prop_map(Step::Unregister),
    ];
    prop::collection::vec(step, 1..60)
}
