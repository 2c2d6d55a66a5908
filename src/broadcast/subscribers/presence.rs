//! The number of clients, published as an event.

use super::Subscribers;
use crate::{
    message::{
        event_types::{EventTypes, TypeId},
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

    /// The number of clients, to be published: it is no news any more.
    pub(crate) fn count_clients(&mut self, types: &EventTypes) -> String {
        self.has_changed = false;
        json_counts(&types.count(self.registry.listening(), MOST_TYPES))
    }
}

/// Numbers by name, as a JSON object.
pub(crate) fn json_counts(counts: &[(String, usize)]) -> String {
    let fields = counts.iter().map(|(name, count)| format!("{}:{count}", json_string(name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}
