//! The names of a stream's query parameters, and the answer to a client that misspells one.

use crate::{http::Request, quoted::Quoted};

/// The names of the last event's id: the clients that send it in the query do not agree on one.
pub(super) const LAST_EVENT_ID: [&str; 4] =
    ["last_event_id", "lastEventId", "lastEventID", "last-event-id"];

/// All names that mean something for a stream. Others are ignored: they are for a proxy, for
/// `authorize`, or against caches.
const KNOWN: &[&[&str]] = &[&["event", "replay", "heartbeat", "stream-open"], &LAST_EVENT_ID];

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
    if known().any(|known| known == name) {
        return None;
    }
    let plain = plain(name);
    known().find(|known| self::plain(known) == plain)
}

/// A name without what is easily mistaken: case, everything but letters, and the plural.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphabetic);
    let mut plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    if plain.ends_with('s') {
        plain.pop();
    }
    plain
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
