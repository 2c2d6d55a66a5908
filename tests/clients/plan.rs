//! What is published, from its number, and what every client makes of it.

use std::time::Duration;

use websse::{EventId, Message};

/// The types that clients listen to.
pub(crate) const TYPES: [&str; 3] = ["message", "a", "größe"];
/// A type that none of them listens to.
const OTHER: &str = "other";
/// All of them, for registering.
pub(crate) const ALL: [&str; 4] = [TYPES[0], TYPES[1], TYPES[2], OTHER];

/// Lines that a parser may stumble over.
const LINES: [&str; 10] = [
    "",
    " a blank first",
    "data: no field",
    ": no comment",
    "\"quoted\" \\ {",
    "größe 😀 日本語",
    "\u{feff}\u{85}\u{2028}",
    "a tab\tand an end ",
    "id:",
    "event: a",
];

/// The events of one run of the server, numbered from 1 in the order of publishing.
pub(crate) struct Run {
    /// As the ids of the run begin.
    pub(crate) name: String,
}

impl Run {
    pub(crate) fn id(&self, number: usize) -> String {
        own_id(number).unwrap_or_else(|| format!("{}-{number}", self.name))
    }

    /// What a client that listens says about an event, if it gets it.
    pub(crate) fn line(&self, number: usize) -> Option<String> {
        let arrives = data(number).replace("\r\n", "\n").replace('\r', "\n");
        (kind(number) != OTHER).then(|| line(kind(number), &arrives, &self.id(number)))
    }

    /// What a client says that comes from another run, where it had `requested` last.
    pub(crate) fn gap_line(&self, requested: &str) -> String {
        let (requested, oldest) = (json(requested), json(&self.id(1)));
        let data = format!(r#"{{"requested":{requested},"oldest":{oldest}}}"#);
        line("stream-gap", &data, &format!("{}-0", self.name))
    }
}

pub(crate) fn message(number: usize) -> Message {
    let mut message = Message::new(data(number)).event(kind(number));
    if let Some(id) = own_id(number) {
        message = message.id(EventId::new(id).unwrap());
    }
    if number.is_multiple_of(11) {
        message = message.retry(Duration::from_millis(15 + number as u64 % 10));
    }
    message
}

fn kind(number: usize) -> &'static str {
    ALL[[0, 1, 0, 2, 0, 3, 1, 0][number % 8]]
}

fn own_id(number: usize) -> Option<String> {
    number.is_multiple_of(7).then(|| format!("own {number}"))
}

/// Its number, a line of up to 400 bytes, and up to five others; sometimes nothing.
fn data(number: usize) -> String {
    if number.is_multiple_of(13) {
        return String::new();
    }
    let mut data = format!("{number} {}", "é".repeat(number * 37 % 200));
    for at in 0..number % 6 {
        data.push_str(["\n", "\r\n", "\r"][number % 3]);
        data.push_str(LINES[(number + 3 * at) % LINES.len()]);
    }
    data
}

fn line(kind: &str, data: &str, id: &str) -> String {
    let [kind, data, id] = [kind, data, id].map(json);
    format!(r#"{{"type":{kind},"data":{data},"lastEventId":{id}}}"#)
}

/// A text as all the clients write it in JSON.
fn json(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            plain => quoted.push(plain),
        }
    }
    quoted + "\""
}
