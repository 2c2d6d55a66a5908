//! The end of all streams, in good order.

use std::time::Duration;

use super::{Audience, Outlet};
use crate::{groups::Key, socket::Wire, stats::Disconnect, stream::Moment};

/// How long a client may take to close after the server has ended its stream.
pub(super) const LINGER: Duration = Duration::from_secs(1);

impl<W: Wire> Audience<W> {
    /// Ends streams that have everything, and subscriptions; lets go of those that have closed.
    pub(crate) fn end_all(&mut self, moment: Moment) {
        for at in 0..self.members.len() {
            // The table may shrink on the way.
            let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else {
                continue;
            };
            let ended = match &mut member.outlet {
                Outlet::Feed(_) => true,
                Outlet::Stream(stream) if !stream.is_caught_up() => false,
                Outlet::Stream(stream) if !stream.is_finished() => stream.finish(moment).is_err(),
                Outlet::Stream(stream) => {
                    stream.poll_input(&mut self.input).is_err()
                        || stream.silence(moment.now) >= Some(LINGER)
                }
            };
            if ended {
                self.remove(Key::try_from(at).unwrap_or(Key::MAX), Disconnect::Shutdown);
            }
        }
    }

    /// Cuts off whoever is left; returns how many had not got everything.
    pub(crate) fn cut_all(&mut self) -> usize {
        let cut = self.stats.behind;
        for at in 0..self.members.len() {
            if self.members.get(at).is_some_and(Option::is_some) {
                self.remove(Key::try_from(at).unwrap_or(Key::MAX), Disconnect::Shutdown);
            }
        }
        cut
    }
}
