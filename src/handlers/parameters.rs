//! The names of a stream's query parameters, and the answer to a client that misspells one.

use crate::{
    http::{LAST_EVENT_ID, Request},
    quoted::Quoted,
};

/// All names that mean something for a stream. Others are ignored: they are for a proxy, for
/// `authorize`, or against caches.
const KNOWN: &[&[&str]] =
    &[&["event", "channel", "replay", "heartbeat", "stream-open"], &LAST_EVENT_ID];

/// A longer name is nobody's mistake.
const LONGEST: usize = 24;

/// What is wrong with the names of a stream's parameters, if one is a near miss of a known name. If
/// it were ignored, the client would wait for events of the wrong type, or miss some.
pub(super) fn misspelt(request: &Request) -> Option<String> {
    request.query().find_map(|(name, _)| {
        let right = near_miss(&name)?;
        Some(format!("unknown parameter {}; it is written {right}", Quoted(&name)))
    })
}

/// The known name that this one is meant to be.
fn near_miss(name: &str) -> Option<&'static str> {
    let known = || KNOWN.iter().copied().flatten().copied();
    if name.len() > LONGEST || known().any(|known| known == name) {
        return None;
    }
    known().find(|known| is_alike(known, name))
}

/// Whether two names differ only in what is easily mistaken: case, everything but letters, and the
/// plural.
fn is_alike(one: &str, other: &str) -> bool {
    fn letters(name: &str) -> impl Iterator<Item = u8> + '_ {
        let letters = name.bytes().filter(u8::is_ascii_alphabetic);
        letters.map(|letter| letter.to_ascii_lowercase())
    }
    let (mut one, mut other) = (letters(one), letters(other));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other => {}
            (None, Some(b's')) => return other.next().is_none(),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_miss_is_told_the_name_that_was_meant() {
        for (name, meant) in [
            ("events", "event"),
            ("Event", "event"),
            ("EVENTS", "event"),
            ("event[]", "event"),
            ("event[0]", "event"),
            (" event", "event"),
            ("replays", "replay"),
            ("lasteventid", "last_event_id"),
            ("LastEventId", "last_event_id"),
            ("Last-Event-ID", "last_event_id"),
            ("last_event_ids", "last_event_id"),
        ] {
            assert_eq!(near_miss(name), Some(meant), "{name}");
        }
        let known = ["event", "replay", "last_event_id", "lastEventId", "lastEventID"];
        let foreign = ["", "_", "s", "access_token", "type", "topic", "eventtype", "id", "évent"];
        for name in known.iter().chain(&foreign) {
            assert_eq!(near_miss(name), None, "{name}");
        }
    }
}
