//! Clients that come back: where they begin, and what they have missed.

use std::{cmp::Reverse, collections::VecDeque, time::Instant};

use super::{Audience, Origin, Outlet, Resume};
use crate::{
    frame::{self, Frame},
    groups::Key,
    history::Sequence,
    meter::Moment,
    socket::Wire,
    stats::Disconnect,
    types::Subscribed,
};

/// What a slice of the history holds at most: so many frames, and about so many bytes.
const SLICE_FRAMES: usize = 64;
const SLICE_BYTES: usize = 64 * 1024;
/// How many kept events are looked at one after the other for which nobody waits any more.
const RELEASED: usize = 64;

impl<W: Wire> Audience<W> {
    /// Finds where a client begins, and adds its position to the preamble. The frame is a
    /// `stream-gap`, where it has missed something that is not kept.
    pub(super) fn begin(
        &mut self,
        subscribed: &Subscribed,
        resume: &Resume,
        preamble: &mut Vec<u8>,
    ) -> (Sequence, Option<Frame>) {
        let history = &self.history;
        let known = match &resume.last_event_id {
            Some(id) => history.position_of(subscribed, id),
            None => Some(history.position_before_last(subscribed, resume.replay)),
        };
        // Of somebody whose position is not known, all that is kept may be news.
        let position = known.unwrap_or(0);
        if !resume.begun {
            let id = history.id_of(position);
            preamble.extend_from_slice(frame::position(id.as_deref()).as_bytes());
        }
        let mut gap = None;
        if let Some(requested) = &resume.last_event_id
            && (known.is_none()
                || resume.origin == Origin::Elsewhere
                || history.has_gap(subscribed, position, 0)
                || history.is_broken_after(subscribed, requested))
        {
            let oldest = history.oldest_id(subscribed);
            gap = Some(frame::gap(requested, oldest.as_deref()));
            self.stats.gaps += 1;
        }
        self.stats.resumed += u64::from(resume.last_event_id.is_some());
        (position, gap)
    }

    /// Begins to send a client what came after `position`.
    pub(super) fn replay(
        &mut self,
        key: Key,
        subscribed: &Subscribed,
        position: Sequence,
        moment: Moment,
    ) {
        let Some(member) = self.members.get_mut(key as usize).and_then(Option::as_mut) else {
            // It failed at its first bytes, and the table may be empty again.
            return;
        };
        match &mut member.outlet {
            Outlet::Stream(stream) => {
                let was_caught_up = stream.is_caught_up();
                stream.replay_from(position, self.history.drops(), moment);
                if was_caught_up {
                    self.stats.behind += 1;
                    self.retries.push(Reverse((moment.now, key)));
                }
            }
            Outlet::Feed(feed) => {
                // Its reader is a thread of the program itself: all of it waits in the mailbox, where
                // the frames are shared with the history, and is not held against it.
                let mut mails = Vec::new();
                let mut bytes = 0;
                self.history.read(subscribed, position, |frame| {
                    bytes += frame.len();
                    feed.replayed(frame.len(), moment);
                    mails.push((member.id, frame.mail(&self.load)));
                    true
                });
                self.stats.deliveries += mails.len() as u64;
                self.stats.bytes += bytes as u64;
                self.registry.send(mails);
            }
        }
    }

    /// Hands the next slice of the history to a stream that was to be tried at this time and has
    /// sent the one before.
    pub(super) fn refill(&mut self, key: Key, at: Instant) {
        let Some(member) = self.members.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let Outlet::Stream(stream) = &mut member.outlet else {
            return;
        };
        if stream.retry_at() != Some(at) {
            return;
        }
        let Some((position, drops)) = stream.next_replay() else {
            return;
        };
        let Some(subscribed) = self.groups.subscribed(member.group) else {
            return;
        };
        if self.history.has_gap(subscribed, position, drops) {
            // The history has gone past it since it came. It comes back, and is told.
            return self.remove(key, Disconnect::Behind);
        }
        let mut slice = VecDeque::new();
        let mut bytes = 0;
        let next = self.history.read(subscribed, position, |frame| {
            bytes += frame.len();
            slice.push_back(frame.mail(&self.load));
            slice.len() < SLICE_FRAMES && bytes < SLICE_BYTES
        });
        self.stats.deliveries += slice.len() as u64;
        self.stats.bytes += bytes as u64;
        stream.refill(slice, next, next == self.history.newest());
    }

    /// Lets go of what some of the kept events needed while somebody waited for them; false if there
    /// are none.
    pub(crate) fn release_some(&mut self) -> bool {
        if self.released.is_empty() {
            self.released = self.load.take_released();
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
