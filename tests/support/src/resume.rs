//! A client that comes back, and what it is told.

use serde_json::Value;
use websse::{EventId, Message};

use crate::sse::Block;
use crate::{Client, Hub, SOON, eventually};

/// A listener whose preamble is read.
pub struct Listener {
    pub client: Client,
    /// The id of its preamble.
    pub position: Option<String>,
}

/// The request of a stream, with further header lines.
pub fn request(query: &str, lines: &[&[u8]]) -> Vec<u8> {
    let mut raw = format!("GET /event{query} HTTP/1.1\r\nHost: a\r\n").into_bytes();
    for line in lines {
        raw.extend_from_slice(line);
        raw.extend_from_slice(b"\r\n");
    }
    raw.extend_from_slice(b"\r\n");
    raw
}

/// A client that has sent `raw` and has its head and its preamble.
#[track_caller]
pub fn open(hub: &Hub, raw: &[u8]) -> Listener {
    let mut client = hub.ask(raw);
    let head = client.head();
    assert_eq!(head.line, "HTTP/1.1 200 OK", "{head:?}");
    let position = client.preamble().1.id;
    Listener { client, position }
}

/// A client that is here for the first time.
#[track_caller]
pub fn first(hub: &Hub, query: &str) -> Listener {
    open(hub, &request(query, &[]))
}

/// A client that comes back with this id in the header, as browsers do.
#[track_caller]
pub fn come_back(hub: &Hub, query: &str, id: impl AsRef<[u8]>) -> Listener {
    open(hub, &request(query, &[&[b"Last-Event-ID: ", id.as_ref()].concat()]))
}

impl Listener {
    /// The data of the next events.
    #[track_caller]
    pub fn next(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.client.event().data.unwrap()).collect()
    }

    /// The next events are these, and then one that is published now, of type `a`.
    #[track_caller]
    pub fn gets_then_live(&mut self, hub: &Hub, expected: &[&str]) {
        publish(hub, &[("a", "live")]);
        let got = self.next(expected.len() + 1);
        assert_eq!(got, [expected, &["live"]].concat(), "what was missed, then live");
    }

    /// The next event is a gap without an id of its own; what came with it as `requested` and
    /// `oldest`.
    #[track_caller]
    pub fn gap(&mut self) -> (String, Option<String>) {
        gap_in(&self.client.event())
    }
}

#[track_caller]
pub fn gap_in(event: &Block) -> (String, Option<String>) {
    assert_eq!(event.event.as_deref(), Some("stream-gap"), "{event:?}");
    assert_eq!((&event.id, event.retry), (&None, None), "{event:?}");
    let data = event.data.as_deref().unwrap();
    let gap: Value = serde_json::from_str(data).unwrap_or_else(|error| panic!("{data}: {error}"));
    let text = |name: &str| gap[name].as_str().map(str::to_owned);
    let is_whole = gap.as_object().is_some_and(|fields| fields.len() == 2)
        && data.starts_with(r#"{"requested":""#)
        && (data.contains(r#"","oldest":""#) || data.ends_with(r#"","oldest":null}"#));
    let Some(requested) = text("requested").filter(|_| is_whole) else {
        panic!(r#"expected {{"requested":"…","oldest":"…" or null}}, got {data}"#);
    };
    (requested, text("oldest"))
}

/// Publishes events of these types with these data, and waits until each has its place in the
/// history.
#[track_caller]
pub fn publish(hub: &Hub, events: &[(&str, &str)]) {
    let messages = events.iter().map(|&(event, data)| Message::new(data).event(event));
    publish_all(hub, messages.collect());
}

#[track_caller]
pub fn publish_all(hub: &Hub, messages: Vec<Message>) {
    let goal = hub.server.stats().published + messages.len() as u64;
    for message in messages {
        hub.publish(message);
    }
    eventually(SOON, goal, || hub.server.stats().published);
}

/// An event of type `a` with an id of its publisher.
pub fn own(id: &str, data: &str) -> Message {
    Message::new(data).event("a").id(EventId::new(id).unwrap())
}

/// An id that the server made: its run and its sequence.
#[track_caller]
pub fn parts(id: &str) -> (&str, u64) {
    let (run, sequence) = id.split_once('-').unwrap_or_else(|| panic!("no hyphen in {id:?}"));
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    assert!(run.len() == 13 && run.bytes().all(is_digit), "run of an id: {id:?}");
    let number = sequence.parse().unwrap();
    assert_eq!(sequence, format!("{number}"), "sequence of an id: {id:?}");
    (run, number)
}
