//! Clients on their way to the broadcaster.

use std::sync::Arc;

use crate::{
    broadcast::{local_sink::SharedCounts, log::FromLog, registry::Seat},
    message::{
        frame::{Coding, Own},
        id::EventId,
    },
};

/// A registered client on its way to the broadcaster.
#[derive(Debug)]
pub(crate) struct Arrival<W> {
    pub(crate) seat: Seat,
    /// The response head. It is empty once it was sent, and for a subscription.
    pub(crate) head: Vec<u8>,
    /// What the client's first block begins with; empty once it was sent.
    pub(crate) preamble: String,
    pub(crate) form: Form,
    pub(crate) resume: Resume,
    pub(crate) via: Via<W>,
}

/// How a client's stream is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) coding: Coding,
    pub(crate) own: Own,
    /// After how many seconds of silence the client wants a heartbeat; 0 leaves it to the server.
    pub(crate) heartbeat: u16,
}

/// Where a client wants to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resume {
    /// The id of the last event that it has; `None` if it comes for the first time.
    pub(crate) last_event_id: Option<String>,
    /// What it wants if it comes for the first time.
    pub(crate) replay: Replay,
    pub(crate) from_log: FromLog,
}

/// The events that a new client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// This many, the last ones.
    Last(usize),
    /// The last one of each type in each of its channels.
    Each,
}

impl Default for Replay {
    fn default() -> Self {
        Self::Last(0)
    }
}

impl Resume {
    /// Begins after the event with this id. An empty id means that the client never got one. An id
    /// that is too long belongs to no event; the gap then quotes a part of it.
    pub(crate) fn after(&mut self, id: String) {
        let is_too_long = id.len() > EventId::MAX_BYTES;
        let part = || id.chars().take(EventId::MAX_BYTES / 4).chain(['…']).collect();
        self.last_event_id = if id.is_empty() {
            None
        } else if is_too_long {
            Some(part())
        } else {
            Some(id)
        };
    }
}

/// How an arriving client listens.
#[derive(Debug)]
pub(crate) enum Via<W> {
    /// Over a connection, whose socket does not block.
    Wire(W),
    /// By a subscription.
    Local(Arc<SharedCounts>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_id_that_is_too_long_a_part_is_kept() {
        let after = |id: &str| {
            let mut resume = Resume::default();
            resume.after(id.to_owned());
            resume.last_event_id
        };
        assert_eq!(after(""), None);
        for good in ["e-1".to_owned(), "x".repeat(256)] {
            assert_eq!(after(&good), Some(good));
        }
        assert_eq!(after(&"x".repeat(257)), Some("x".repeat(64) + "…"));
        assert_eq!(after(&"ü".repeat(129)), Some("ü".repeat(64) + "…"));
    }
}
