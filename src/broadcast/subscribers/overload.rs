//! When publishers wait for clients far behind, and which client goes when memory runs out.

use std::{
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::{Subscriber, Subscribers};
use crate::{
    broadcast::{client::ClientId, clock::Now, stats::Disconnect, subscription_sets::Key},
    socket::Wire,
};

/// Publishers wait for clients far behind only while one of these takes something this often.
pub(super) const ACTIVE: Duration = Duration::from_millis(100);

/// How long the order of the clients furthest behind is taken for true.
const LOOK: Duration = Duration::from_millis(10);

/// The clients that are more than half a budget behind, and read.
#[derive(Debug, Default)]
struct FarBehind {
    /// How many of them took something lately.
    readers: usize,
    /// One of these took something just now.
    active: bool,
}

/// Clients for which something waits, the furthest behind first, as they were at one moment.
#[derive(Debug, Default)]
pub(super) struct Furthest {
    /// The bytes that wait for each as the budget counts them, and all of them.
    clients: BinaryHeap<(usize, usize, Key, ClientId)>,
    seen: Option<Instant>,
}

impl<W: Wire> Subscribers<W> {
    /// Whether the publishers are too fast for most of the clients that read, so that they must
    /// wait.
    ///
    /// Each client that a pause delays has a vote: those that have everything, and those that took
    /// something lately. When most of them are far behind, the publisher waits for them while they go
    /// on reading. It does not wait for clients that take nothing. They may be healthy, after a lost
    /// packet or in a busy process, but what they miss can wait in memory as long as there is enough.
    ///
    /// Every round asks this. So it looks at the clients that are far behind, and only at as many
    /// others as show that these are not most.
    pub(crate) fn is_overloaded(&mut self, now: Now) -> bool {
        let FarBehind { readers, active } = self.find_far_behind(now);
        let enough = readers * 2;
        readers > 0
            && (active || self.is_short_of_memory())
            && self.readers(now).take(enough).count() < enough
    }

    /// Whether the mailboxes hold so much that no client may have more than its budget.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory.bytes() > self.limits.mailboxes_bytes / 2
    }

    /// Notes how much waits for a client beyond the frame being written.
    pub(super) fn note_waiting(&mut self, key: Key, waiting: usize) {
        if waiting > self.limits.mailbox_bytes / 2
            && let Some(subscriber) = self.table.get_mut(key as usize).and_then(Option::as_mut)
            && !std::mem::replace(subscriber.sink.is_heavy(), true)
        {
            self.behind.heavy.push((key, subscriber.id));
        }
    }

    /// Looks at the clients that were more than half a budget behind, and forgets those that are not
    /// any more.
    fn find_far_behind(&mut self, now: Now) -> FarBehind {
        let mut found = FarBehind::default();
        let half = self.limits.mailbox_bytes / 2;
        let table = &mut self.table;
        self.behind.heavy.retain(|&(key, id)| {
            let subscriber = table.get_mut(key as usize).and_then(Option::as_mut);
            let Some(subscriber) = subscriber.filter(|subscriber| subscriber.id == id) else {
                return false;
            };
            let is_heavy = subscriber.sink.waiting() > half;
            *subscriber.sink.is_heavy() = is_heavy;
            if is_heavy
                && subscriber.sink.reads(now)
                && let Some(progress) = subscriber.sink.progress()
                && now.is_recent(progress)
            {
                found.readers += 1;
                found.active |= now.instant.saturating_duration_since(progress) < ACTIVE;
            }
            is_heavy
        });
        found
    }

    /// The clients that read, as they are now.
    fn readers(&mut self, now: Now) -> impl Iterator<Item = &mut Subscriber<W>> {
        self.table.iter_mut().flatten().filter_map(move |subscriber| {
            #[cfg(test)]
            super::LOOKED_AT.with(|count| count.set(count.get() + 1));
            subscriber.sink.reads(now).then_some(subscriber)
        })
    }

    /// Disconnects the clients that are furthest behind, until what waits for all is within its limit.
    pub(super) fn keep_within_memory(&mut self, now: Now) {
        // What is left of those that are gone is freed before anybody else goes for it.
        while self.memory.bytes() > self.limits.mailboxes_bytes
            && (!self.closing.is_empty() || self.shed(now))
        {
            self.closing.clear();
        }
    }

    /// Disconnects the client that is furthest behind; false if none is behind. The order was found a
    /// moment ago: looking at all clients for each that goes would delay the others.
    fn shed(&mut self, now: Now) -> bool {
        let since = |seen| now.instant.saturating_duration_since(seen);
        let mut looks = self.behind.furthest.seen.is_none_or(|seen| since(seen) >= LOOK);
        if looks {
            self.look_for_the_furthest(now);
        }
        loop {
            while let Some(seen) = self.behind.furthest.clients.pop() {
                let (_, _, key, id) = seen;
                match self.place_behind(key) {
                    // It took something since then, and others may be further behind.
                    Some(now) if now.3 == id && now < seen => {
                        self.behind.furthest.clients.push(now);
                    }
                    Some(now) if now.3 == id => {
                        self.remove(key, Disconnect::Behind);
                        return true;
                    }
                    _ => {}
                }
            }
            if looks {
                return false;
            }
            looks = true;
            self.look_for_the_furthest(now);
        }
    }

    fn look_for_the_furthest(&mut self, now: Now) {
        let mut clients = std::mem::take(&mut self.behind.furthest.clients).into_vec();
        clients.clear();
        let keys = 0..Key::try_from(self.table.len()).unwrap_or(Key::MAX);
        clients.extend(keys.filter_map(|key| self.place_behind(key)));
        self.behind.furthest = Furthest { clients: clients.into(), seen: Some(now.instant) };
    }

    /// How far a client is behind, to compare it with others; `None` where nothing waits for it.
    fn place_behind(&self, key: Key) -> Option<(usize, usize, Key, ClientId)> {
        #[cfg(test)]
        super::LOOKED_AT.with(|count| count.set(count.get() + 1));
        let Subscriber { id, sink, .. } = self.table.get(key as usize)?.as_ref()?;
        // The frame being written is nobody's fault, but it may be for one client alone.
        let held = sink.held();
        (held > 0).then(|| (sink.waiting(), held, key, *id))
    }
}
