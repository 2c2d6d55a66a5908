//! What concerns one client: a message to it alone, and its end by the program's wish.

use super::{Audience, Outlet};
use crate::{
    client::ClientId, frame::Frame, groups::Key, meter::Moment, socket::Wire, stats::Disconnect,
};

/// What the program wants of the broadcaster for one client, in the order of publishing.
#[derive(Debug)]
pub(crate) enum Order {
    Send(ClientId, Frame),
    Disconnect(ClientId),
}

impl Order {
    /// What it takes of the publish queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Send(_, frame) => frame.len(),
            Self::Disconnect(_) => 0,
        }
    }
}

impl<W: Wire> Audience<W> {
    /// Does what was ordered, unless the client has left.
    pub(crate) fn obey(&mut self, order: Order, moment: Moment) {
        match order {
            Order::Send(client, frame) => {
                if let Some(key) = self.registry.key(client) {
                    self.send_to(key, &frame, moment);
                }
            }
            Order::Disconnect(client) => {
                if let Some(key) = self.registry.key(client) {
                    self.disconnect(key, moment);
                }
            }
        }
    }

    /// Sends one client what is for it alone; to a client that is behind, in its turn.
    fn send_to(&mut self, key: Key, frame: &Frame, moment: Moment) {
        self.stats.direct += 1;
        self.stats.deliveries += 1;
        self.stats.bytes += frame.len() as u64;
        self.say(key, frame, moment);
        let is_short = self.is_short_of_memory();
        if let Some(member) = self.members.get(key as usize).and_then(Option::as_ref) {
            let waiting = member.outlet.waiting();
            if waiting > self.limits.mailbox_bytes
                && (is_short || !member.outlet.takes_something(moment))
            {
                self.remove(key, Disconnect::Behind);
            }
        }
        self.keep_within_memory(moment);
    }

    /// Ends a client's stream; what its socket has not taken by now it does not get.
    fn disconnect(&mut self, key: Key, moment: Moment) {
        if let Some(member) = &mut self.members[key as usize]
            && let Outlet::Stream(stream) = &mut member.outlet
        {
            // A close with something unread would destroy what was sent. On an error it has gone.
            let _ = stream.poll_input(&mut self.input).and_then(|()| stream.finish(moment));
        }
        self.remove(key, Disconnect::ClosedByServer);
    }
}
