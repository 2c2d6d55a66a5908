//! Clients on their way to the broadcaster.

use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::{
    broadcast::{history::Lack, local_sink::Tally, registry::Seat},
    message::EventId,
};

/// A registered client on its way to the broadcaster.
#[derive(Debug)]
pub(crate) struct Arrival<W> {
    pub(crate) seat: Seat,
    /// What it gets first, before its position.
    pub(crate) preamble: Vec<u8>,
    pub(crate) resume: Resume,
    pub(crate) via: Via<W>,
    /// Where it goes back to when it cannot be served from what is kept here.
    pub(crate) back: Option<Sender<Returned<W>>>,
}

/// A client that a log has to be read for.
#[derive(Debug)]
pub(crate) struct Returned<W> {
    pub(crate) lack: Lack,
    pub(crate) arrival: Arrival<W>,
}

/// Where a client wants to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resume {
    /// The id of the last event that it has; without one it is here for the first time.
    pub(crate) last_event_id: Option<String>,
    /// On the first time: how many of the last events it wants.
    pub(crate) replay: usize,
    /// It was told its position already.
    pub(crate) begun: bool,
    pub(crate) origin: Origin,
}

/// Where a client's last event came from, if there is a log that several nodes share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// That was not looked at yet.
    #[default]
    Unknown,
    /// It is in the log, or was.
    Log,
    /// The log has never had it: it was lost with another server.
    Elsewhere,
}

impl Resume {
    /// Begins after the event with this id. An empty one is what a client has that never got an
    /// id; one that is too long is nobody's, and of it the gap quotes a part.
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
    Tally(Arc<Tally>),
}
