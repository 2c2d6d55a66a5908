//! A subscription as the broadcaster sees it, and the counts that both sides share.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use crate::broadcast::{
    clock::{Now, ReadRate},
    mailbox::Pending,
    stats::Disconnect,
};

/// What both sides of a subscription share, in addition to the mailbox.
#[derive(Debug, Default)]
pub(crate) struct SharedCounts {
    /// Bytes in the mailbox.
    waiting: AtomicUsize,
    /// Bytes taken out of it since the start; wraps around.
    taken: AtomicUsize,
    /// The subscription was dropped.
    left: AtomicBool,
    /// Why the broadcaster ended it. Set before its sender is dropped.
    reason: OnceLock<Disconnect>,
}

impl SharedCounts {
    /// The subscriber took this many bytes.
    pub(crate) fn took(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Relaxed);
        self.taken.fetch_add(bytes, Relaxed);
    }

    /// The subscriber will take no more.
    pub(crate) fn leave(&self) {
        self.left.store(true, Relaxed);
    }

    pub(crate) fn reason(&self) -> Option<Disconnect> {
        self.reason.get().copied()
    }
}

/// The broadcaster's side of a subscription.
#[derive(Debug)]
pub(crate) struct LocalSink {
    counts: Arc<SharedCounts>,
    /// For freeing what waits, if the subscription is cut off because it is behind.
    mailbox: Receiver<Pending>,
    last_added: Instant,
    taken: usize,
    progress: Instant,
    /// When it was last seen to be caught up.
    caught_up: Instant,
    /// Bytes that came when nothing waited. Like a frame being written, they do not count against
    /// the budget.
    first: usize,
    /// Bytes from the history that may still wait in addition to the budget.
    allowance: usize,
    rate: ReadRate,
    /// The audience has it among those that are far behind.
    pub(crate) is_heavy: bool,
}

impl LocalSink {
    pub(crate) fn new(counts: Arc<SharedCounts>, mailbox: Receiver<Pending>, now: Now) -> Self {
        Self {
            counts,
            mailbox,
            last_added: now.instant,
            taken: 0,
            progress: now.instant,
            caught_up: now.instant,
            first: 0,
            allowance: 0,
            rate: ReadRate::default(),
            is_heavy: false,
        }
    }

    /// Bytes that count against the budget: all but those from the history and the oldest ones.
    pub(crate) fn waiting(&self) -> usize {
        let waiting = self.counts.waiting.load(Relaxed);
        waiting.saturating_sub(self.allowance).saturating_sub(self.first)
    }

    /// All bytes that wait.
    pub(crate) fn held(&self) -> usize {
        self.counts.waiting.load(Relaxed)
    }

    /// Notes that frames of `length` bytes were put into the mailbox. Returns the bytes that count
    /// against the budget.
    pub(crate) fn added(&mut self, length: usize, now: Now) -> usize {
        self.note_taken(now);
        self.last_added = now.instant;
        let before = self.counts.waiting.fetch_add(length, Relaxed);
        if before == 0 {
            (self.first, self.caught_up) = (length, now.instant);
        }
        // The oldest frames are taken first.
        self.allowance = self.allowance.min(before);
        self.waiting()
    }

    /// Notes a frame from the history, which may exceed the budget.
    pub(crate) fn replayed(&mut self, length: usize, now: Now) {
        self.added(length, now);
        self.allowance += length;
    }

    /// Whether the subscriber reads, as far as is known: it is caught up, it took something lately,
    /// or it fell behind just now.
    pub(crate) fn reads(&mut self, now: Now) -> bool {
        self.note_taken(now);
        self.counts.waiting.load(Relaxed) == 0
            || now.is_recent(self.caught_up)
            || self.rate.reads(now)
    }

    fn note_taken(&mut self, now: Now) {
        let taken = self.counts.taken.load(Relaxed);
        if taken != self.taken {
            self.rate.add(taken.wrapping_sub(self.taken), now);
            self.taken = taken;
            self.progress = now.instant;
        }
    }

    /// When the subscriber was last seen to take something.
    pub(crate) fn progress(&self) -> Instant {
        self.progress
    }

    pub(crate) fn has_left(&self) -> bool {
        self.counts.left.load(Relaxed)
    }

    /// How long nothing was sent to a subscription that is caught up.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        (self.counts.waiting.load(Relaxed) == 0)
            .then(|| now.saturating_duration_since(self.last_added))
    }

    /// Tells the subscriber why it ends. What waits is still delivered, unless there is too much.
    pub(crate) fn end(&self, reason: Disconnect) {
        let _first_reason_stays = self.counts.reason.set(reason);
        if reason == Disconnect::Behind {
            while let Ok(pending) = self.mailbox.try_recv() {
                self.counts.took(pending.as_bytes().len());
            }
        }
    }
}
