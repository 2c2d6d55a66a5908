//! Clients that are too far behind: be patient with them, wait for them, or let them go.

use std::{
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::{Audience, Member};
use crate::{client::ClientId, groups::Key, meter::Moment, socket::Wire, stats::Disconnect};

/// Publishers wait for clients far behind as long as one of them takes something this often.
pub(super) const ACTIVE: Duration = Duration::from_millis(100);

/// How long it is good enough to know who was the furthest behind.
const LOOK: Duration = Duration::from_millis(10);

/// Those that are more than half a budget behind, and read.
#[derive(Debug, Default)]
struct FarBehind {
    /// Those that took something lately.
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

impl<W: Wire> Audience<W> {
    /// Whether the publisher is too fast for most of the clients that read, so that it has to be
    /// paused.
    ///
    /// Everybody whom a pause delays has a vote: who has everything, or took something lately.
    /// When most of them are far behind, the publisher waits for them while they go on reading.
    /// It does not wait for those who take nothing: they may be healthy, a packet lost or their
    /// process busy elsewhere, but what they miss can wait in memory as long as there is enough.
    ///
    /// It is asked for every round, so it looks at those who are far behind, and at no more of the
    /// others than it takes to see that these are not most.
    pub(crate) fn is_overloaded(&mut self, moment: Moment) -> bool {
        let FarBehind { readers, active } = self.find_far_behind(moment);
        let enough = readers * 2;
        readers > 0
            && (active || self.is_short_of_memory())
            && self.readers(moment).take(enough).count() < enough
    }

    /// Whether so much waits in all mailboxes that nobody may have more than the budget.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.load.bytes() > self.limits.mailboxes_bytes / 2
    }

    /// Notes how much waits for a client beyond the frame being written.
    pub(super) fn note_waiting(&mut self, key: Key, waiting: usize) {
        if waiting > self.limits.mailbox_bytes / 2
            && let Some(member) = self.members.get_mut(key as usize).and_then(Option::as_mut)
            && !std::mem::replace(member.outlet.is_heavy(), true)
        {
            self.heavy.push((key, member.id));
        }
    }

    /// Looks at those who were seen to be more than half a budget behind; forgets who is not.
    fn find_far_behind(&mut self, moment: Moment) -> FarBehind {
        let mut found = FarBehind::default();
        let half = self.limits.mailbox_bytes / 2;
        let members = &mut self.members;
        self.heavy.retain(|&(key, id)| {
            let member = members.get_mut(key as usize).and_then(Option::as_mut);
            let Some(member) = member.filter(|member| member.id == id) else {
                return false;
            };
            let is_heavy = member.outlet.waiting() > half;
            *member.outlet.is_heavy() = is_heavy;
            if is_heavy
                && member.outlet.reads(moment)
                && let Some(progress) = member.outlet.progress()
                && moment.is_recent(progress)
            {
                found.readers += 1;
                found.active |= moment.now.saturating_duration_since(progress) < ACTIVE;
            }
            is_heavy
        });
        found
    }

    /// The clients that read, as they are now.
    fn readers(&mut self, moment: Moment) -> impl Iterator<Item = &mut Member<W>> {
        self.members.iter_mut().flatten().filter_map(move |member| {
            #[cfg(test)]
            super::LOOKED_AT.with(|count| count.set(count.get() + 1));
            member.outlet.reads(moment).then_some(member)
        })
    }

    /// Disconnects clients until what waits for all of them is within its limit, those first that
    /// are the furthest behind.
    pub(super) fn keep_within_memory(&mut self, moment: Moment) {
        while self.load.bytes() > self.limits.mailboxes_bytes && self.shed(moment) {
            self.graves.clear();
        }
    }

    /// Disconnects the client that is furthest behind; false where nobody is. Who that is was seen a
    /// moment ago: to look at all clients for each that goes would hold up everybody.
    fn shed(&mut self, moment: Moment) -> bool {
        let since = |seen| moment.now.saturating_duration_since(seen);
        let mut looks = self.furthest.seen.is_none_or(|seen| since(seen) >= LOOK);
        if looks {
            self.look_for_the_furthest(moment);
        }
        loop {
            while let Some(seen) = self.furthest.clients.pop() {
                let (_, _, key, id) = seen;
                match self.place_behind(key) {
                    // It took something since then, and others may be further behind.
                    Some(now) if now.3 == id && now < seen => self.furthest.clients.push(now),
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
            self.look_for_the_furthest(moment);
        }
    }

    fn look_for_the_furthest(&mut self, moment: Moment) {
        let mut clients = std::mem::take(&mut self.furthest.clients).into_vec();
        clients.clear();
        let keys = 0..Key::try_from(self.members.len()).unwrap_or(Key::MAX);
        clients.extend(keys.filter_map(|key| self.place_behind(key)));
        self.furthest = Furthest { clients: clients.into(), seen: Some(moment.now) };
    }

    /// How far a client is behind, to compare it with others; `None` where nothing waits for it.
    fn place_behind(&self, key: Key) -> Option<(usize, usize, Key, ClientId)> {
        #[cfg(test)]
        super::LOOKED_AT.with(|count| count.set(count.get() + 1));
        let Member { id, outlet, .. } = self.members.get(key as usize)?.as_ref()?;
        // The frame being written is nobody's fault, but it may be for one client alone.
        let held = outlet.held();
        (held > 0).then(|| (outlet.waiting(), held, key, *id))
    }
}
