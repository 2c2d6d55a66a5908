//! Clients that are too far behind: give them time, make publishers wait, or disconnect them.

use std::time::Duration;

use super::{Sink, Subscriber, Subscribers};
use crate::{
    broadcast::{clock::Now, stats::Disconnect},
    socket::Wire,
};

/// Publishers wait for clients far behind only while one of these takes something this often.
pub(super) const ACTIVE: Duration = Duration::from_millis(100);

/// The clients that read, counted now.
#[derive(Debug, Default)]
struct Readers {
    all: usize,
    /// Those that are more than half a budget behind, and took something lately.
    far_behind: usize,
    /// One of these took something within [`ACTIVE`].
    active: bool,
}

impl<W: Wire> Subscribers<W> {
    /// Whether the publishers are too fast for most of the clients that read, so that they must
    /// wait.
    ///
    /// The clients that count are those that a wait delays: a client that is caught up, or that
    /// took something lately. If most of these are far behind, the publishers wait for as long as
    /// one of them goes on reading, or memory is short. Publishers do not wait for a client that
    /// takes nothing. It may be healthy: a packet was lost, or its process is busy. But what it
    /// misses can wait in memory, as long as there is enough.
    pub(crate) fn is_overloaded(&mut self, now: Now) -> bool {
        let Readers { all, far_behind, active } = self.count_readers(now);
        far_behind * 2 > all && (active || self.is_short_of_memory())
    }

    /// Whether the mailboxes hold so much that no client may have more than its budget.
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

    /// Disconnects clients until all mailboxes together are within their limit.
    pub(super) fn keep_within_memory(&mut self) {
        while self.memory.bytes() > self.limits.mailboxes_bytes && self.shed() {
            self.closing.clear();
        }
    }

    /// Disconnects the client that is furthest behind; false if there is none.
    fn shed(&mut self) -> bool {
        let furthest = (0..).zip(&self.table).filter_map(|(key, subscriber)| {
            let Subscriber { sink, .. } = subscriber.as_ref()?;
            // The frame being written comes second: a client is not behind because of it, but it
            // may be in memory for this client alone.
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
