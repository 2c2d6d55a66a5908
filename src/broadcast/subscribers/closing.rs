//! The orderly end of all streams.

use std::{hash::BuildHasher, time::Duration};

use super::{Sink, Subscribers};
use crate::{
    broadcast::{clock::Now, stats::Disconnect, stream::Ending, subscription_sets::Key},
    message::frame::{Frame, Own},
    socket::Wire,
};

/// How long a client may take to close after the server has ended its stream.
pub(super) const LINGER: Duration = Duration::from_secs(1);

impl<W: Wire> Subscribers<W> {
    /// Ends streams that are caught up, and subscriptions. Removes those whose clients have closed.
    pub(crate) fn end_all(&mut self, now: Now) {
        for at in 0..self.table.len() {
            // The table may shrink meanwhile.
            let Some(subscriber) = self.table.get_mut(at).and_then(Option::as_mut) else {
                continue;
            };
            let key = Key::try_from(at).unwrap_or(Key::MAX);
            let ended = match &mut subscriber.sink {
                Sink::Local(_) => true,
                Sink::Stream(stream) if !stream.is_caught_up() => false,
                Sink::Stream(stream) => match *stream.ending() {
                    Ending::No if !self.limits.reconnect_spread.is_zero() => {
                        *stream.ending() = Ending::Told;
                        let own = stream.form.own;
                        let goodbye = self.goodbye(key, own);
                        self.say(key, &goodbye, now);
                        false
                    }
                    Ending::No | Ending::Told => stream.finish(now).is_err(),
                    Ending::Finished => {
                        stream.poll_input(&mut self.scratch.input).is_err()
                            || stream.silence(now.instant) >= Some(LINGER)
                    }
                },
            };
            if ended {
                self.remove(key, Disconnect::Shutdown);
            }
        }
    }

    /// Tells a client when to come back, at a time of its own.
    fn goodbye(&self, key: Key, own: Own) -> Frame {
        let range = u64::try_from(self.limits.reconnect_spread.as_millis()).unwrap_or(u64::MAX);
        let retry = self.random.hash_one(key) % range.saturating_add(1).max(1);
        Frame::from_block(own.retry(retry).as_bytes())
    }

    /// Cuts off the clients that are left. Returns how many were behind.
    pub(crate) fn cut_all(&mut self) -> usize {
        let cut = self.stats.behind;
        for at in 0..self.table.len() {
            if self.table.get(at).is_some_and(Option::is_some) {
                self.remove(Key::try_from(at).unwrap_or(Key::MAX), Disconnect::Shutdown);
            }
        }
        cut
    }
}
