//! Clients that are too far behind: wait for them, or let them go.

use std::time::{Duration, Instant};

use super::{Audience, Member, Outlet};
use crate::{socket::Wire, stats::Disconnect, stream::Moment};

/// How long a client may take nothing and still be waited for. A healthy one can be silent for
/// some hundred milliseconds, while a lost packet is sent again or its process reads elsewhere.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// The clients that read, as they are now.
#[derive(Default)]
struct Readers {
    all: usize,
    /// Those more than half a budget behind that took something within the patience.
    far_behind: usize,
    /// When the last of those fell so far behind.
    since: Option<Instant>,
}

impl<W: Wire> Audience<W> {
    /// Whether the publisher is too fast for the clients that read, so that it has to be paused.
    ///
    /// A client reads if it took something lately. When most of those that do are far behind, the
    /// publisher waits for them as long as they go on reading. In a flood, in which half a budget
    /// comes within a second or two, it waits for fewer too, so that a burst does not cost a healthy
    /// client its stream; but for a second only, and once: who reads slowly or not at all is
    /// disconnected soon after.
    pub(crate) fn is_overloaded(&mut self, moment: Moment) -> bool {
        let readers = self.survey(moment);
        let is_flood = self.published.recent(moment) > self.limits.mailbox_bytes / 2;
        readers.far_behind * 2 > readers.all
            || is_flood && readers.since.is_some_and(|since| is_recent(since, moment))
    }

    fn survey(&mut self, moment: Moment) -> Readers {
        let half = self.limits.mailbox_bytes / 2;
        let mut readers = Readers::default();
        if !std::mem::take(&mut self.heavy) {
            return readers;
        }
        for member in self.members.iter_mut().flatten() {
            let (reads, progress, since) = match &mut member.outlet {
                Outlet::Stream(stream) => (
                    stream.reads(moment),
                    stream.progress(),
                    stream.far_behind_since(half, moment.now),
                ),
                Outlet::Feed(feed) => (
                    feed.reads(moment),
                    Some(feed.progress()),
                    feed.far_behind_since(half, moment.now),
                ),
            };
            self.heavy |= since.is_some();
            readers.all += usize::from(reads);
            if reads
                && since.is_some()
                && progress.is_some_and(|progress| is_recent(progress, moment))
            {
                readers.far_behind += 1;
                readers.since = readers.since.max(since);
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

fn is_recent(past: Instant, moment: Moment) -> bool {
    moment.now.saturating_duration_since(past) < PATIENCE
}
