//! What an entry means to this node.

use super::entry::{Content, Mark, Raw};
use crate::{
    broadcast::log::{Entry, LogInput},
    error::PublishError,
    message::entry_id::EntryId,
};

#[derive(Debug)]
pub(super) enum Found {
    Event(Entry),
    /// Events before it may be lost.
    Gap(Mark),
    /// Its type is not registered here.
    UnknownType,
    /// It is not an event; the text says why, for people.
    Malformed(String),
}

pub(super) fn classify(input: &LogInput, raw: &Raw) -> Found {
    let message = match raw.content() {
        Ok(Content::Event(message)) => message,
        Ok(Content::Gap(mark)) => return Found::Gap(mark),
        Err(reason) => return Found::Malformed(reason.to_owned()),
    };
    match input.encode(&message) {
        Ok(event) => Found::Event(Entry { id: raw.id, before: EntryId::ZERO, event }),
        Err(PublishError::EventNotRegistered(_)) => Found::UnknownType,
        Err(error) => Found::Malformed(error.to_string()),
    }
}
