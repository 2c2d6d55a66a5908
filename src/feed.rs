//! A subscription as the broadcaster sees it, and what both sides know of each other.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use crate::{
    mail::Mail,
    meter::{Meter, Moment},
    stats::Disconnect,
};

/// What the two sides of a subscription share beside the mailbox.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Bytes in the mailbox.
    waiting: AtomicUsize,
    /// Bytes taken out of it so far; wraps.
    taken: AtomicUsize,
    /// The subscription was dropped.
    left: AtomicBool,
    /// Why the broadcaster ended it; set before its sender goes.
    reason: OnceLock<Disconnect>,
}

impl Tally {
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

/// The broadcaster's side.
#[derive(Debug)]
pub(crate) struct Feed {
    tally: Arc<Tally>,
    /// To free what waits when the subscription is cut off for being behind.
    mailbox: Receiver<Mail>,
    last_mail: Instant,
    taken: usize,
    progress: Instant,
    /// When it last had everything, as far as was seen.
    caught_up: Instant,
    /// What came when nothing waited: as the frame being written it is not held against it.
    first: usize,
    /// Bytes out of the history that may still wait beside what the budget allows.
    allowance: usize,
    meter: Meter,
    /// The audience has it among those that are far behind.
    pub(crate) is_heavy: bool,
}

impl Feed {
    pub(crate) fn new(tally: Arc<Tally>, mailbox: Receiver<Mail>, moment: Moment) -> Self {
        Self {
            tally,
            mailbox,
            last_mail: moment.now,
            taken: 0,
            progress: moment.now,
            caught_up: moment.now,
            first: 0,
            allowance: 0,
            meter: Meter::default(),
            is_heavy: false,
        }
    }

    /// Bytes that wait beside what came out of the history and the oldest: what the budget limits.
    pub(crate) fn waiting(&self) -> usize {
        let waiting = self.tally.waiting.load(Relaxed);
        waiting.saturating_sub(self.allowance).saturating_sub(self.first)
    }

    /// Bytes that wait, all of them.
    pub(crate) fn held(&self) -> usize {
        self.tally.waiting.load(Relaxed)
    }

    /// Notes that frames of `length` bytes were put into the mailbox; tells how many wait now.
    pub(crate) fn mailed(&mut self, length: usize, moment: Moment) -> usize {
        self.note_taken(moment);
        self.last_mail = moment.now;
        let before = self.tally.waiting.fetch_add(length, Relaxed);
        if before == 0 {
            (self.first, self.caught_up) = (length, moment.now);
        }
        // The oldest is taken first.
        self.allowance = self.allowance.min(before);
        self.waiting()
    }

    /// Notes a frame out of the history, which may go beyond the budget.
    pub(crate) fn replayed(&mut self, length: usize, moment: Moment) {
        self.mailed(length, moment);
        self.allowance += length;
    }

    /// Whether the subscriber reads, as far as can be told: it has everything, it took something
    /// lately, or it has hardly had the time to.
    pub(crate) fn reads(&mut self, moment: Moment) -> bool {
        self.note_taken(moment);
        self.tally.waiting.load(Relaxed) == 0
            || moment.is_recent(self.caught_up)
            || self.meter.reads(moment)
    }

    fn note_taken(&mut self, moment: Moment) {
        let taken = self.tally.taken.load(Relaxed);
        if taken != self.taken {
            self.meter.add(taken.wrapping_sub(self.taken), moment);
            self.taken = taken;
            self.progress = moment.now;
        }
    }

    /// When the subscriber was last seen to take something.
    pub(crate) fn progress(&self) -> Instant {
        self.progress
    }

    pub(crate) fn has_left(&self) -> bool {
        self.tally.left.load(Relaxed)
    }

    /// How long nothing was sent to a subscription that has taken everything.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        (self.tally.waiting.load(Relaxed) == 0)
            .then(|| now.saturating_duration_since(self.last_mail))
    }

    /// Tells the subscriber why it ends. What waits is still delivered, unless there is too much.
    pub(crate) fn end(&self, reason: Disconnect) {
        let _first_reason_stays = self.tally.reason.set(reason);
        if reason == Disconnect::Behind {
            while let Ok(mail) = self.mailbox.try_recv() {
                self.tally.took(mail.len());
            }
        }
    }
}
