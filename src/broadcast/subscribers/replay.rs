//! Clients that come back: where they begin, and what they have missed.

use std::{cmp::Reverse, collections::VecDeque, io::IoSlice, time::Instant};

use super::{Sink, Subscribers};
use crate::{
    broadcast::{
        arrival::{Replay, Resume},
        clock::Now,
        history::{Found, History, Sequence, Wanted},
        mailbox::Pending,
        stats::Disconnect,
        stream::ReplayFrom,
        subscription_sets::Key,
    },
    message::{
        frame::{self, Coding, Frame, Own},
        subscribed::Subscribed,
    },
    socket::Wire,
};

/// A slice of the history has at most this many frames, and about this many bytes.
const SLICE_FRAMES: usize = 64;
const SLICE_BYTES: usize = 64 * 1024;
/// How many kept events are looked at one after the other for which nobody waits any more.
const RELEASED: usize = 64;

impl<W: Wire> Subscribers<W> {
    /// Finds where a client begins, and appends its position to the preamble. The frame is a
    /// `stream-gap`, if the client has missed something that is not kept, or may have: it is early if a
    /// type was unregistered, and perhaps registered again, of which the history does not know yet.
    pub(super) fn begin(
        &mut self,
        subscribed: &Subscribed,
        resume: &Resume,
        is_early: bool,
        own: Own,
        preamble: &mut String,
    ) -> (ReplayFrom, Option<Frame>) {
        let history = &self.history;
        let mut last_until = 0;
        let known = match (&resume.last_event_id, resume.replay) {
            (Some(id), _) => history.position_of(subscribed, id),
            (None, Replay::Last(count)) => Some(history.position_before_last(subscribed, count)),
            (None, Replay::Each) => {
                last_until = history.newest();
                Some(history.position_before_all(subscribed))
            }
        };
        // If the position is unknown, all that is kept may be new to the client.
        let position = known.unwrap_or(0);
        if !resume.from_log.has_begun() {
            let id = history.id_of(position);
            preamble.push_str(&own.position(id.as_deref()));
        }
        let mut gap = None;
        if let Some(requested) = &resume.last_event_id
            && (known.is_none()
                || is_early
                || resume.from_log.is_elsewhere()
                || history.has_gap(subscribed, position, 0)
                || history.is_broken_after(subscribed, requested))
        {
            let oldest = history.oldest_id(subscribed);
            gap = Some(frame::gap(requested, oldest.as_deref()));
            self.stats.gaps += 1;
        }
        self.stats.resumed += u64::from(resume.last_event_id.is_some());
        (ReplayFrom { position, drops: history.drops(), last_until }, gap)
    }

    /// Sends a stream these first bytes and then events from the history: what one slice has and the
    /// socket takes at once, the rest by and by.
    pub(super) fn replay(&mut self, key: Key, from: ReplayFrom, first: &[u8], now: Now) {
        let Some(client) = self.table.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let Sink::Stream(stream) = &mut client.sink else { return };
        let Some(subscribed) = self.sets.subscribed(client.set) else { return };
        let coding = stream.form.coding;
        let (slice, next) = slice_of(&self.history, subscribed, from, coding);
        let frames = slice.iter().map(|frame| frame.coded(coding));
        let parts = [first].into_iter().chain(frames).filter(|part| !part.is_empty());
        let parts: Vec<IoSlice<'_>> = parts.map(IoSlice::new).collect();
        self.stats.deliveries += slice.len() as u64;
        self.stats.delivered_bytes +=
            slice.iter().map(|frame| frame.coded(coding).len() as u64).sum::<u64>();
        let mut written = if parts.is_empty() {
            0
        } else {
            match stream.begin(&parts, now) {
                Ok(written) => written,
                Err(reason) => return self.remove(key, reason),
            }
        };
        // Only what has to wait is made ready for that.
        let mut rest = VecDeque::new();
        let mut wait = |part: &[u8], pending: &dyn Fn() -> Pending| {
            if let Some(left) = written.checked_sub(part.len())
                && rest.is_empty()
            {
                written = left;
            } else {
                rest.push_back(pending());
            }
        };
        wait(first, &|| Pending::raw(first, &self.memory));
        for frame in &slice {
            wait(frame.coded(coding), &|| frame.pending(&self.memory));
        }
        let from = ReplayFrom { position: next, ..from };
        let from = (next != self.history.newest()).then_some(from);
        if !rest.is_empty() || from.is_some() {
            let at = stream.fall_behind(rest, written, from, now);
            self.stats.behind += 1;
            self.behind.retries.push(Reverse((at, key)));
        }
    }

    /// Puts events from the history into the mailbox of a subscription. It does not count against the
    /// budget: the frames are shared with the history, and the subscriber is a thread of the program
    /// itself.
    pub(super) fn replay_to_subscription(
        &mut self,
        key: Key,
        subscribed: &Subscribed,
        from: ReplayFrom,
        now: Now,
    ) {
        let Some(client) = self.table.get_mut(key as usize).and_then(Option::as_mut) else {
            // It failed at its first frames, and the table may be empty again.
            return;
        };
        let Sink::Local(local) = &mut client.sink else { return };
        let mut pending = Vec::new();
        let (mut position, mut bytes) = (from.position, 0);
        let wanted = Wanted { subscribed, last_until: from.last_until };
        while position < self.history.newest() {
            position = self.history.read(wanted, position, &mut |frame| {
                let frame = frame.pending(&self.memory);
                let length = frame.as_bytes().len();
                bytes += length;
                local.replayed(length, now);
                pending.push((client.id, frame));
                true
            });
        }
        self.stats.deliveries += pending.len() as u64;
        self.stats.delivered_bytes += bytes as u64;
        self.registry.send(pending);
    }

    /// If the stream's retry time is `at` and it has sent its previous slice, gives it the next
    /// one.
    pub(super) fn refill(&mut self, key: Key, at: Instant) {
        let Some(client) = self.table.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let Sink::Stream(stream) = &mut client.sink else {
            return;
        };
        if stream.retry_at() != Some(at) {
            return;
        }
        let Some(from) = stream.next_replay() else {
            return;
        };
        let Some(subscribed) = self.sets.subscribed(client.set) else {
            return;
        };
        if self.history.has_lost(subscribed, from) {
            // It comes back, and learns of a gap.
            return self.remove(key, Disconnect::Behind);
        }
        let coding = stream.form.coding;
        let (slice, next) = slice_of(&self.history, subscribed, from, coding);
        self.stats.deliveries += slice.len() as u64;
        self.stats.delivered_bytes +=
            slice.iter().map(|frame| frame.coded(coding).len() as u64).sum::<u64>();
        let slice = slice.iter().map(|frame| frame.pending(&self.memory)).collect();
        stream.refill(slice, next, next == self.history.newest());
    }

    /// Lets go of what some of the kept events needed while somebody waited for them; false if there
    /// are none.
    pub(crate) fn release_some(&mut self) -> bool {
        if self.released.is_empty() {
            self.released = self.memory.take_released();
        }
        let some = self.released.len().min(RELEASED);
        self.released.drain(self.released.len() - some..).for_each(|at| self.history.release(at));
        some > 0
    }

    /// Whether there are more of these.
    pub(crate) fn has_released(&self) -> bool {
        !self.released.is_empty()
    }
}

/// The next events of a replay, and the position behind them.
fn slice_of<'h>(
    history: &'h History,
    subscribed: &Subscribed,
    from: ReplayFrom,
    coding: Coding,
) -> (Vec<Found<'h>>, Sequence) {
    let mut slice = Vec::new();
    let mut bytes = 0;
    let wanted = Wanted { subscribed, last_until: from.last_until };
    let next = history.read(wanted, from.position, &mut |frame| {
        bytes += frame.coded(coding).len();
        slice.push(frame);
        slice.len() < SLICE_FRAMES && bytes < SLICE_BYTES
    });
    (slice, next)
}
