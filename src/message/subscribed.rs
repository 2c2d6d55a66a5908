//! What a client subscribes to: types, in channels.

use super::{
    channel::{ALL, Channel, ChannelId},
    event_types::{TypeId, Types},
    few::Few,
};

/// What a client subscribes to. Equal ones are interned by the registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subscribed {
    pub(crate) channels: Listened,
    pub(crate) types: Types,
}

/// The channels that a client listens to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Listened {
    /// All that there are and will be.
    All,
    Named {
        /// The common channel is among them.
        common: bool,
        /// Sorted by their numbers, without duplicates.
        channels: Few<Channel>,
    },
}

impl Subscribed {
    /// To all types in the common channel.
    #[cfg(test)]
    pub(crate) fn all_types() -> Self {
        Self { channels: Listened::new(true, Vec::new()), types: Types::All }
    }

    /// To these types in the common channel.
    #[cfg(test)]
    pub(crate) fn of_types(kinds: &[TypeId]) -> Self {
        Self { types: Types::Named(kinds.iter().copied().collect()), ..Self::all_types() }
    }

    /// Whether events of this channel, or of the common one, and of this type are among it.
    pub(crate) fn includes(&self, channel: Option<ChannelId>, kind: TypeId) -> bool {
        self.channels.includes(channel) && self.types.includes(kind)
    }
}

impl Listened {
    pub(crate) fn new(common: bool, mut channels: Vec<Channel>) -> Self {
        channels.sort_unstable_by_key(Channel::number);
        channels.dedup();
        Self::Named { common, channels: channels.into() }
    }

    fn includes(&self, channel: Option<ChannelId>) -> bool {
        match (self, channel) {
            (Self::All, _) => true,
            (Self::Named { common, .. }, None) => *common,
            (Self::Named { channels, .. }, Some(number)) => {
                channels.binary_search_by_key(&number, Channel::number).is_ok()
            }
        }
    }

    /// The channels that it names, without the common one.
    pub(crate) fn named(&self) -> &[Channel] {
        match self {
            Self::All => &[],
            Self::Named { channels, .. } => channels,
        }
    }

    /// The names, sorted: `""` is the common channel, `*` stands for all.
    pub(crate) fn names(&self) -> Vec<String> {
        if *self == Self::All {
            return vec![ALL.to_owned()];
        }
        let common = self.is_common().then(String::new);
        let others = self.named().iter().map(|channel| channel.name().to_owned());
        let mut names: Vec<String> = common.into_iter().chain(others).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn is_common(&self) -> bool {
        matches!(self, Self::Named { common: true, .. })
    }
}
