//! Clients that are too far behind: wait for them, or let them go.

use std::time::{Duration, Instant};

use super::{Audience, Member, Outlet};
use crate::{
    meter::{Moment, PATIENCE},
    socket::Wire,
    stats::Disconnect,
};

/// How long publishers may be held up in vain for fewer than most of the readers.
pub(super) const ALLOWANCE: Duration = Duration::from_secs(3);
/// It is regained slowly, as is what each client may hold them up: one part in this many of the
/// time.
pub(super) const REGAINED: u32 = 10;

/// How long publishers may still be held up in vain for fewer than most of the readers: for
/// clients that were disconnected in the end, and may come back only to hold them up again.
#[derive(Debug)]
pub(super) struct Allowance {
    left: Duration,
    /// What was waited since some of it was last found to be in vain.
    waited: Duration,
    asked: Option<Instant>,
    /// Whether publishers are held up for a few now.
    granted: bool,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { left: ALLOWANCE, waited: Duration::ZERO, asked: None, granted: false }
    }
}

impl Allowance {
    /// How long publishers have been held up for a few since this was last asked.
    fn held_up(&mut self, now: Instant) -> Duration {
        let passed = self.asked.replace(now).map_or(Duration::ZERO, |asked| now - asked);
        self.left = ALLOWANCE.min(self.left.saturating_add(passed / REGAINED));
        let held = if self.granted { passed } else { Duration::ZERO };
        self.waited += held;
        held
    }

    fn grant(&mut self, wanted: bool) -> bool {
        self.granted = wanted && self.left >= PATIENCE;
        self.granted
    }

    /// A client was disconnected for being behind that had held up publishers for so long. Others
    /// may have done so at the same time; it counts once.
    pub(super) fn was_in_vain(&mut self, held: Duration) {
        let waited = std::mem::take(&mut self.waited);
        self.left = self.left.saturating_sub(held.min(waited));
    }
}

/// The clients that read, as they are now.
#[derive(Debug, Default)]
struct Readers {
    all: usize,
    /// Those that are more than half a budget behind and took something lately.
    far_behind: usize,
    /// Those of them that have not held up publishers for too long.
    late: usize,
}

impl<W: Wire> Audience<W> {
    /// Whether the publisher is too fast for the clients that read, so that it has to be paused.
    ///
    /// Everybody whom a pause delays has a vote: who has everything, or took something lately.
    /// When most of them are far behind, the publisher waits for them as long as they go on
    /// reading. In a flood, in which half a budget comes within a second or two, it waits for
    /// fewer too, so that a burst does not cost a healthy client its stream: for each client a
    /// second, and a tenth of the time in the long run, and less where too much of it was in vain
    /// lately. Who reads slowly or not at all is disconnected instead.
    pub(crate) fn is_overloaded(&mut self, moment: Moment) -> bool {
        let held = self.allowance.held_up(moment.now);
        let readers = self.count_readers(held, moment);
        let is_most = readers.far_behind * 2 > readers.all;
        let is_flood = self.published.recent(moment) > self.limits.mailbox_bytes / 2;
        let waits_for_few = !is_most && is_flood && readers.late > 0;
        self.allowance.grant(waits_for_few) || is_most
    }

    /// Counts the clients that read. Those for whom publishers were just `held` up have it noted.
    fn count_readers(&mut self, held: Duration, moment: Moment) -> Readers {
        let mut readers = Readers::default();
        if !std::mem::take(&mut self.heavy) {
            return readers;
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
            let progresses = progress.is_some_and(|progress| moment.is_recent(progress));
            self.heavy |= is_far;
            readers.all += usize::from(reads);
            if reads && is_far && progresses {
                readers.far_behind += 1;
                if member.held < PATIENCE {
                    readers.late += 1;
                    member.held += held;
                }
            }
        }
        readers
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
