//! The look at one client after the other: has it gone, must it go, does it need a heartbeat.

use std::time::Duration;

use super::{SWEEP, Sink, Subscribers};
use crate::{
    broadcast::{clock::Now, stats::Disconnect, subscription_sets::Key},
    message::{
        event_types::Types,
        frame::{Frame, HEARTBEAT},
    },
    socket::Wire,
};

impl<W: Wire> Subscribers<W> {
    /// Checks the next client in turn: whether it has gone, whether its time is over, and whether it
    /// needs a heartbeat.
    pub(crate) fn sweep_one(&mut self, now: Now) {
        if self.cursor >= self.table.len() {
            self.cursor = 0;
        }
        let at = self.cursor;
        self.cursor += 1;
        let Some(subscriber) = self.table.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        let key = Key::try_from(at).unwrap_or(Key::MAX);
        if subscriber.sink.is_too_far_behind(self.limits.mailbox_bytes, false, now) {
            return self.remove(key, Disconnect::Behind);
        }
        if subscriber.until.as_ref().is_some_and(|until| **until <= now.instant) {
            return self.disconnect(key, Disconnect::Expired, now);
        }
        if self.types.generation().get() > 0
            && let Some(Types::Named(types)) =
                self.sets.subscribed(subscriber.set).map(|it| &it.types)
            && !types.iter().any(|&kind| self.types.has(kind))
        {
            // All of its types were unregistered.
            return self.disconnect(key, Disconnect::ClosedByServer, now);
        }
        let mut heartbeat = self.limits.heartbeat;
        let silence = match &mut subscriber.sink {
            Sink::Stream(stream) => {
                if let Err(reason) = stream.poll_input(&mut self.scratch.input) {
                    return self.remove(key, reason);
                }
                stream.fit_mailbox(|room| self.registry.replace_mailbox(subscriber.id, room));
                if stream.form.heartbeat > 0 {
                    heartbeat = heartbeat.min(Duration::from_secs(stream.form.heartbeat.into()));
                }
                stream.silence(now.instant)
            }
            Sink::Local(local) if local.has_left() => {
                return self.remove(key, Disconnect::ClosedByPeer);
            }
            Sink::Local(local) => local.silence(now.instant),
        };
        // At the next look it would be too late for a client that gives up.
        if silence.is_some_and(|silence| silence + SWEEP >= heartbeat) {
            self.say(key, &Frame::from_block(HEARTBEAT), now);
        }
    }
}
