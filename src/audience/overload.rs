//! Clients that are too far behind: wait for them, or let them go.

use std::time::{Duration, Instant};

use super::{Audience, Member, Outlet};
use crate::{
    meter::{Moment, PATIENCE},
    socket::Wire,
    stats::Disconnect,
};

/// A pause for few begins only if it can last this long.
const SHORTEST: Duration = Duration::from_millis(100);
/// Of all time, so much may go into waiting for fewer than most: one part in this many.
const SHARE: u32 = 10;

/// How long publishers may still be held up for fewer than most of the readers: used up by doing
/// so, regained slowly.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Duration,
    /// When it was last asked for, and whether it was granted then.
    asked: Option<(Instant, bool)>,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: PATIENCE, asked: None }
    }
}

impl Allowance {
    fn grant(&mut self, wanted: bool, now: Instant) -> bool {
        let (asked, was_granted) = self.asked.unwrap_or((now, false));
        let passed = now.saturating_duration_since(asked);
        let enough = if was_granted {
            self.left = self.left.saturating_sub(passed);
            !self.left.is_zero()
        } else {
            self.left = PATIENCE.min(self.left.saturating_add(passed / SHARE));
            self.left >= SHORTEST
        };
        let granted = wanted && enough;
        self.asked = Some((now, granted));
        granted
    }
}

impl<W: Wire> Audience<W> {
    /// Whether the publisher is too fast for the clients that read, so that it has to be paused.
    ///
    /// Everybody whom a pause delays has a vote: who has everything, or took something lately.
    /// When most of them are far behind, the publisher waits for them as long as they go on
    /// reading. In a flood, in which half a budget comes within a second or two, it waits for
    /// fewer too, so that a burst does not cost a healthy client its stream; but not longer than a
    /// second, and a tenth of the time in the long run: who reads slowly or not at all is
    /// disconnected instead.
    pub(crate) fn is_overloaded(&mut self, moment: Moment) -> bool {
        let (readers, far_behind) = self.count_readers(moment);
        let is_most = far_behind * 2 > readers;
        let is_flood = self.published.recent(moment) > self.limits.mailbox_bytes / 2;
        let is_worth_it = far_behind > 0 && !is_most && is_flood;
        self.allowance.grant(is_worth_it, moment.now) || is_most
    }

    /// The clients that read, and those of them that are more than half a budget behind and took
    /// something lately.
    fn count_readers(&mut self, moment: Moment) -> (usize, usize) {
        let (mut readers, mut far_behind) = (0, 0);
        if !std::mem::take(&mut self.heavy) {
            return (readers, far_behind);
        }
        let half = self.limits.mailbox_bytes / 2;
        for member in self.members.iter_mut().flatten() {
            let (reads, waiting, progress) = match &mut member.outlet {
                Outlet::Stream(stream) => {
                    (stream.reads(moment), stream.waiting(), stream.progress())
                }
                Outlet::Feed(feed) => (feed.reads(moment), feed.waiting(), Some(feed.progress())),
            };
            let is_far = waiting > half;
            self.heavy |= is_far;
            readers += usize::from(reads);
            let progresses = progress.is_some_and(|progress| moment.is_recent(progress));
            far_behind += usize::from(reads && is_far && progresses);
        }
        (readers, far_behind)
    }

    /// Disconnects the client that is furthest behind; false where nobody is.
    pub(super) fn shed(&mut self) -> bool {
        let waiting = |member: &Member<W>| match &member.outlet {
            Outlet::Stream(stream) => stream.waiting(),
            Outlet::Feed(feed) => feed.waiting(),
        };
        let furthest = (0..).zip(&self.members).filter_map(|(key, member)| {
            let waiting = waiting(member.as_ref()?);
            (waiting > 0).then_some((waiting, key))
        });
        let Some((_, key)) = furthest.max() else {
            return false;
        };
        self.remove(key, Disconnect::Behind);
        true
    }
}
