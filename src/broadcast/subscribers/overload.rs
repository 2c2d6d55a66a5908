//! Clients that are too far behind: be patient with them, wait for them, or let them go.

use std::time::Duration;

use super::{Sink, Subscriber, Subscribers};
use crate::{
    broadcast::{clock::Now, stats::Disconnect},
    socket::Wire,
};

/// Publishers wait for clients far behind as long as one of them takes something this often.
pub(super) const ACTIVE: Duration = Duration::from_millis(100);

/// The clients that read, as they are now.
#[derive(Debug, Default)]
struct Readers {
    all: usize,
    /// Those that are more than half a budget behind and took something lately.
    far_behind: usize,
    /// One of those took something just now.
    active: bool,
}

impl<W: Wire> Subscribers<W> {
    /// Whether the publisher is too fast for most of the clients that read, so that it has to be
    /// paused.
    ///
    /// Everybody whom a pause delays has a vote: who has everything, or took something lately.
    /// When most of them are far behind, the publisher waits for them while they go on reading.
    /// It does not wait for those who take nothing: they may be healthy, a packet lost or their
    /// process busy elsewhere, but what they miss can wait in memory as long as there is enough.
    pub(crate) fn is_overloaded(&mut self, now: Now) -> bool {
        let Readers { all, far_behind, active } = self.count_readers(now);
        far_behind * 2 > all && (active || self.is_short_of_memory())
    }

    /// Whether so much waits in all mailboxes that nobody may have more than the budget.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.memory.bytes() > self.limits.mailboxes_bytes / 2
    }

    fn count_readers(&mut self, now: Now) -> Readers {
        let mut readers = Readers::default();
        if !std::mem::take(&mut self.heavy) {
            return readers;
        }
        let half = self.limits.mailbox_bytes / 2;
        for subscriber in self.table.iter_mut().flatten() {
            let (reads, waiting) = match &mut subscriber.sink {
                Sink::Stream(stream) => (stream.reads(now), stream.waiting()),
                Sink::Local(local) => (local.reads(now), local.waiting()),
            };
            self.heavy |= waiting > half;
            readers.all += usize::from(reads);
            if reads
                && waiting > half
                && let Some(progress) = subscriber.sink.progress()
                && now.is_recent(progress)
            {
                readers.far_behind += 1;
                readers.active |= now.instant.saturating_duration_since(progress) < ACTIVE;
            }
        }
        readers
    }

    /// Disconnects clients until what waits for all of them is within its limit.
    pub(super) fn keep_within_memory(&mut self) {
        while self.memory.bytes() > self.limits.mailboxes_bytes && self.shed() {
            self.closing.clear();
        }
    }

    /// Disconnects the client that is furthest behind; false where nobody is.
    fn shed(&mut self) -> bool {
        let furthest = (0..).zip(&self.table).filter_map(|(key, subscriber)| {
            let Subscriber { sink, .. } = subscriber.as_ref()?;
            // The frame being written is nobody's fault, but it may be for one client alone.
            let held = sink.held();
            (held > 0).then(|| (sink.waiting(), held, key))
        });
        let Some((_, _, key)) = furthest.max() else {
            return false;
        };
        self.remove(key, Disconnect::Behind);
        true
    }
}
