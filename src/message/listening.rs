//! How many clients listen to what, kept up to date so that nobody has to count them.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use parking_lot::RwLock;

use super::{
    channel::Channel,
    event_types::{TypeId, Types},
    subscribed::{Listened, Subscribed},
};

/// How many clients listen to each type. That of a channel counts its own listeners.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    /// To all types.
    all: Listeners,
    /// To a type by its name; by its number. Locked for writing only to make it longer.
    by_number: RwLock<Vec<Listeners>>,
}

#[derive(Debug, Default)]
struct Listeners {
    /// In any channel.
    any: AtomicU32,
    /// In the common channel, by itself or among all.
    common: AtomicU32,
    /// In all channels.
    everywhere: AtomicU32,
}

impl Listeners {
    /// The counts of what a client with these channels listens to.
    fn change(&self, channels: &Listened, change: impl Fn(&AtomicU32)) {
        change(&self.any);
        if *channels == Listened::All {
            change(&self.everywhere);
        }
        if *channels == Listened::All || channels.is_common() {
            change(&self.common);
        }
    }
}

impl Listening {
    /// A client listens to this. It is counted when this returns: types that are looked up after it
    /// are found to be listened to.
    pub(crate) fn add(&self, subscribed: &Subscribed) {
        if let Some(&last) = subscribed.types.named().last() {
            let known = last as usize + 1;
            if self.by_number.read().len() < known {
                let mut by_number = self.by_number.write();
                let known = known.max(by_number.len());
                by_number.resize_with(known, Listeners::default);
            }
        }
        self.change(subscribed, |count| {
            count.fetch_add(1, SeqCst);
        });
    }

    pub(crate) fn remove(&self, subscribed: &Subscribed) {
        self.change(subscribed, |count| {
            count.fetch_sub(1, SeqCst);
        });
    }

    fn change(&self, Subscribed { channels, types }: &Subscribed, change: impl Fn(&AtomicU32)) {
        if *types == Types::All {
            self.all.change(channels, &change);
        }
        let by_number = self.by_number.read();
        for &kind in types.named() {
            by_number[kind as usize].change(channels, &change);
        }
        for channel in channels.named() {
            change(channel.listeners());
        }
    }

    /// How many listen to a type by its name, in any channel.
    pub(crate) fn of(&self, kind: TypeId) -> usize {
        self.by_number.read().get(kind as usize).map_or(0, |it| it.any.load(SeqCst) as usize)
    }

    /// How many listen to all types, and to each type by its name, by its number.
    pub(crate) fn counts(&self) -> (usize, Vec<usize>) {
        let any = |listeners: &Listeners| listeners.any.load(SeqCst) as usize;
        (any(&self.all), self.by_number.read().iter().map(any).collect())
    }

    /// How many an event of this type reaches: in the common channel those that listen to the type; in
    /// another all that listen to the channel by its name, whichever types they name, and those that
    /// listen to the type in all channels.
    pub(crate) fn to(&self, channel: Option<&Channel>, kind: TypeId) -> usize {
        let by_number = self.by_number.read();
        let of_type = [Some(&self.all), by_number.get(kind as usize)].into_iter().flatten();
        let count = |count: &AtomicU32| count.load(SeqCst) as usize;
        match channel {
            None => of_type.map(|listeners| count(&listeners.common)).sum(),
            Some(channel) => {
                let everywhere: usize = of_type.map(|it| count(&it.everywhere)).sum();
                count(channel.listeners()) + everywhere
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{super::channel::ChannelTable, *};

    #[test]
    fn who_listens_is_counted_by_type_and_by_channel() {
        let (listening, channels) = (Listening::default(), Arc::<ChannelTable>::default());
        let channel = |name| channels.get(name, 2).expect("there is room");
        let (one, other) = (channel("one"), channel("other"));
        let named = |kinds: &[TypeId]| Types::Named(kinds.iter().copied().collect());
        let clients = [
            (Listened::new(true, Vec::new()), named(&[3])),
            (Listened::new(true, vec![one.clone()]), named(&[1, 3])),
            (Listened::new(false, vec![one.clone()]), Types::All),
            (Listened::All, named(&[1])),
            (Listened::All, Types::All),
        ];
        let clients = clients.map(|(channels, types)| Subscribed { channels, types });
        for client in &clients {
            listening.add(client);
        }
        assert_eq!(listening.counts(), (2, vec![0, 2, 0, 2]));
        assert_eq!([0, 1, 3, 9].map(|kind| listening.of(kind)), [0, 2, 2, 0]);
        let to = |channel, kinds: [TypeId; 3]| kinds.map(|kind| listening.to(channel, kind));
        assert_eq!(to(None, [1, 3, 9]), [3, 3, 1]);
        assert_eq!(to(Some(&one), [1, 3, 9]), [4, 3, 3]);
        assert_eq!(to(Some(&other), [1, 3, 9]), [2, 1, 1]);
        for client in &clients {
            listening.remove(client);
        }
        assert_eq!(listening.counts(), (0, vec![0; 4]));
        assert_eq!((to(None, [1, 3, 9]), to(Some(&one), [1, 3, 9])), ([0; 3], [0; 3]));
    }
}
