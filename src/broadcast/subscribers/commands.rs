//! Commands for one client: send it a message, or disconnect it.

use super::{Sink, Subscribers};
use crate::{
    broadcast::{client::ClientId, clock::Now, stats::Disconnect, subscription_sets::Key},
    message::{event_types::Unregister, frame::Frame},
    socket::Wire,
};

/// What the program wants done, in the order of publishing: mostly for one client.
#[derive(Debug)]
pub(crate) enum Command {
    Send(ClientId, Frame),
    Disconnect(ClientId),
    Unregister(Unregister),
}

impl Command {
    /// How many bytes it takes of the publish queue.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Send(_, frame) => frame.len(),
            Self::Disconnect(_) | Self::Unregister(..) => 0,
        }
    }
}

impl<W: Wire> Subscribers<W> {
    /// Executes a command, unless its client has left.
    pub(crate) fn execute(&mut self, command: Command, now: Now) {
        match command {
            Command::Send(client, frame) => {
                if let Some(key) = self.registry.key(client) {
                    self.send_to(key, &frame, now);
                }
            }
            Command::Disconnect(client) => {
                if let Some(key) = self.registry.key(client) {
                    self.disconnect(key, Disconnect::ClosedByServer, now);
                }
            }
            Command::Unregister(Unregister { kind, used, generation }) => {
                self.generation = generation;
                self.history.unregister(kind, used);
            }
        }
    }

    /// Sends one client a message. If the client is behind, the message comes after what waits.
    fn send_to(&mut self, key: Key, frame: &Frame, now: Now) {
        self.stats.direct_messages += 1;
        self.stats.deliveries += 1;
        self.stats.delivered_bytes += frame.len() as u64;
        self.say(key, frame, now);
        let is_short = self.is_short_of_memory();
        if let Some(subscriber) = self.table.get(key as usize).and_then(Option::as_ref)
            && subscriber.sink.is_too_far_behind(self.limits.mailbox_bytes, is_short, now)
        {
            self.remove(key, Disconnect::Behind);
        }
        self.keep_within_memory(now);
    }

    /// Ends a client's stream. The client does not get what its socket has not taken by now.
    pub(super) fn disconnect(&mut self, key: Key, reason: Disconnect, now: Now) {
        if let Some(subscriber) = &mut self.table[key as usize]
            && let Sink::Stream(stream) = &mut subscriber.sink
        {
            // A close with unread input would destroy what was sent. On an error the client has
            // gone.
            let _ = stream.poll_input(&mut self.scratch.input).and_then(|()| stream.finish(now));
        }
        self.remove(key, reason);
    }
}
