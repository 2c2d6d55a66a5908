//! The number of clients, published as an event.

use super::Subscribers;
use crate::{
    broadcast::{clock::Now, subscription_sets::Event},
    message::{
        Message,
        event_types::{EventTypes, TypeId},
        frame::Encoded,
        json_text::json_string,
    },
    socket::Wire,
};

/// The event tells the numbers for at most this many types, as metrics do by default.
pub(crate) const MOST_TYPES: usize = 1000;

impl<W: Wire> Subscribers<W> {
    /// Whether clients have come or gone since their number was last published, and a client
    /// listens to this type.
    pub(crate) fn has_news(&self, kind: TypeId) -> bool {
        self.has_changed && self.sets.listens(kind)
    }

    /// Publishes the number of clients as an event of this type.
    pub(crate) fn announce(&mut self, kind: TypeId, name: &str, types: &EventTypes, now: Now) {
        self.has_changed = false;
        let counts = types.count(&self.registry.listening(), MOST_TYPES);
        let message = Message::new(json_counts(&counts)).event(name);
        // The number of names bounds its size, and no other limit is needed.
        if let Ok(encoded) = Encoded::new(&message, usize::MAX) {
            let frame = self.history.record(None, kind, None, &encoded.lines);
            let in_history = self.history.keeps_own();
            self.deliver_events(&[Event { channel: None, kind, frame }], in_history, now);
        }
    }
}

/// Numbers by name, as a JSON object.
pub(crate) fn json_counts(counts: &[(String, usize)]) -> String {
    let fields = counts.iter().map(|(name, count)| format!("{}:{count}", json_string(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}
