//! Clients that are too far behind: wait for them, or let them go.

use std::time::Duration;

use super::{Audience, Member, Outlet};
use crate::{socket::Wire, stats::Disconnect, stream::Moment};

/// As long as clients far behind take something at least this often, they count as reading.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

impl<W: Wire> Audience<W> {
    /// Whether the publisher is too fast for most of the clients that do read.
    ///
    /// A client reads if it took something lately. Those far behind are waited for as long as at
    /// least one of them goes on reading; clients that are stuck so hold up nobody for longer.
    pub(crate) fn is_overloaded(&mut self, moment: Moment) -> bool {
        if !self.heavy {
            return false;
        }
        let half = self.limits.mailbox_bytes / 2;
        self.heavy = false;
        let (mut reading, mut far_behind, mut progress) = (0, 0, None);
        for member in self.members.iter_mut().flatten() {
            let (waiting, reads, last) = match &mut member.outlet {
                Outlet::Stream(stream) => {
                    (stream.waiting(), stream.reads(moment), stream.progress())
                }
                Outlet::Feed(feed) => (feed.waiting(), feed.reads(moment), Some(feed.progress())),
            };
            self.heavy |= waiting > half;
            reading += usize::from(reads);
            if reads && waiting > half {
                far_behind += 1;
                progress = progress.max(last);
            }
        }
        far_behind * 2 > reading
            && progress.is_some_and(|last| moment.now.saturating_duration_since(last) < PATIENCE)
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
