//! A message as an entry of the stream: the field `data`, and the fields `event`, `id`, `retry` and
//! `channel` if they are set. Other programs may append such entries too.
//!
//! A mark of a gap is an entry as well, with the fields `gap` and `after`. By it nodes tell each
//! other that events may be lost.

use std::hash::{DefaultHasher, Hash, Hasher};

use redis::{Cmd, Value, cmd};

use super::config::RedisConfig;
use crate::message::{
    GENERAL, Message, MessageError,
    entry_id::EntryId,
    fields::{FieldError, Fields},
};

const GAP: &str = "gap";
const AFTER: &str = "after";

/// A mark in the stream: events before this entry may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The replication id of the server that may lack events of the server before it.
    pub(super) server: String,
    /// The newest entry that a client may have received before it was told of this gap.
    pub(super) after: EntryId,
}

impl Mark {
    /// Whether a client that was told of this gap need not be told of the other.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.server == other.server && self.after >= other.after
    }
}

/// An entry as Redis sent it.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) id: EntryId,
    /// Names and values, alternating.
    pub(super) fields: Vec<Vec<u8>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Event(Message),
    Gap(Mark),
}

fn append(config: &RedisConfig, id: &str) -> Cmd {
    let mut command = cmd("XADD");
    command.arg(&config.stream).arg("MAXLEN").arg("~").arg(config.max_len).arg(id);
    command
}

/// Writes the command that appends a message, behind the commands that are there already.
pub(super) fn pack(config: &RedisConfig, message: &Message, commands: &mut Vec<u8>) {
    let mut command = append(config, "*");
    if message.event_type() != GENERAL {
        command.arg("event").arg(message.event_type());
    }
    command.arg("data").arg(message.data());
    if let Some(id) = message.event_id() {
        command.arg("id").arg(id.as_str());
    }
    if let Some(retry) = message.retry_time() {
        command.arg("retry").arg(retry.as_millis().to_string());
    }
    if let Some(channel) = message.channel_name() {
        command.arg("channel").arg(channel);
    }
    command.write_packed_command(commands);
}

/// An `XADD` that Redis checks like any other, and always refuses: no entry can have the id 0-0.
pub(super) fn probe(config: &RedisConfig) -> Cmd {
    let mut command = append(config, "0-0");
    command.arg("data").arg("");
    command
}

/// The command that appends a mark of a gap: right after entry `after`, or at the end of the
/// stream.
pub(super) fn gap(config: &RedisConfig, mark: &Mark, after: Option<EntryId>) -> Cmd {
    let id = after.map(|EntryId { millis, number }| match number.checked_add(1) {
        Some(number) => format!("{millis}-{number}"),
        None => format!("{}-0", millis.saturating_add(1)),
    });
    let mut command = append(config, id.as_deref().unwrap_or("*"));
    command.arg(GAP).arg(&mark.server).arg(AFTER).arg(mark.after.to_string());
    command
}

/// Tells an entry from another one with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentHash(u64);

impl ContentHash {
    fn new(fields: &[Vec<u8>]) -> Self {
        let mut hasher = DefaultHasher::new();
        fields.hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Of the entry that a command of [`pack`] appends.
    pub(super) fn of_packed(command: &[u8]) -> Option<Self> {
        let Ok(Value::Array(words)) = redis::parse_redis_value(command) else { return None };
        // Name, key, `MAXLEN ~ N` and the id come first.
        let fields = words.into_iter().skip(6).map(|word| match word {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        });
        Some(Self::new(&fields.collect::<Option<Vec<_>>>()?))
    }
}

impl Raw {
    pub(super) fn content_hash(&self) -> ContentHash {
        ContentHash::new(&self.fields)
    }

    /// About how many bytes it takes in memory.
    pub(super) fn len(&self) -> usize {
        self.fields.iter().map(|field| size_of::<Vec<u8>>() + field.len()).sum()
    }

    /// The size of the largest entry, in bytes; 0 if there is none.
    pub(super) fn largest(page: &[Self]) -> usize {
        page.iter().map(Self::len).max().unwrap_or(0)
    }

    /// Reads the fields, and ignores those with other names. An error is a text for people.
    pub(super) fn content(&self) -> Result<Content, &'static str> {
        let (mut fields, mut gap, mut after) = (Fields::default(), None, None);
        for pair in self.fields.chunks(2) {
            let [name, value] = pair else {
                return Err("a field without a value");
            };
            let field = match &**name {
                b"data" => &mut fields.data,
                b"event" => &mut fields.event,
                b"id" => &mut fields.id,
                b"retry" => &mut fields.retry,
                b"channel" => &mut fields.channel,
                name if name == GAP.as_bytes() => &mut gap,
                name if name == AFTER.as_bytes() => &mut after,
                _ => continue,
            };
            let value = std::str::from_utf8(value).map_err(|_| "a field that is not UTF-8")?;
            if field.replace(value.into()).is_some() {
                return Err("a field that is there twice");
            }
        }
        if let (Some(server), None) = (gap, &fields.data) {
            let after = after.and_then(|id| EntryId::parse(&id)).ok_or("a gap after no entry")?;
            return Ok(Content::Gap(Mark { server: server.into_owned(), after }));
        }
        if fields.data.is_none() {
            return Err("no field data");
        }
        if fields.id.as_deref() == Some("") {
            return Err("an id that clients cannot have");
        }
        let message = fields.into_message().map_err(|error| match error {
            FieldError::Retry(_) => "a retry not in digits",
            _ => "an id that clients cannot have",
        })?;
        match message.check() {
            Err(MessageError::RetryTooLong) => Err("a retry that clients cannot keep"),
            Err(MessageError::DataNul) => Err("NUL in the data"),
            Err(MessageError::Channel) => Err("a channel that there cannot be"),
            // An event type that cannot be sent is not registered.
            _ => Ok(Content::Event(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::id::EventId;

    fn raw(fields: &[&str]) -> Raw {
        let fields = fields.iter().map(|field| field.as_bytes().to_vec()).collect();
        Raw { id: EntryId::ZERO, fields }
    }

    #[test]
    fn what_is_written_is_read() {
        let config = RedisConfig::new("redis://localhost").expect("it is good");
        let id = EventId::new("order-17").expect("it is good");
        let full = Message::new("a\nb").event("e").id(id).retry(Duration::from_millis(7));
        let full = full.channel("user/17");
        for message in [Message::new(""), full] {
            let mut packed = Vec::new();
            pack(&config, &message, &mut packed);
            let written = redis::parse_redis_value(&packed).expect("RESP");
            let Value::Array(parts) = written else { panic!("{written:?}") };
            let fields = parts.into_iter().skip(6).map(|part| match part {
                Value::BulkString(bytes) => bytes,
                other => panic!("{other:?}"),
            });
            let raw = Raw { id: EntryId::ZERO, fields: fields.collect() };
            assert_eq!(ContentHash::of_packed(&packed), Some(raw.content_hash()));
            assert_eq!(raw.content(), Ok(Content::Event(message)));
        }
    }

    #[test]
    fn what_is_no_message_is_told_from_one() {
        for fields in [
            &[][..],
            &["event", "e"],
            &["data"],
            &["data", "x", "data", "y"],
            &["data", "x", "retry", "+5"],
            &["data", "x", "retry", "2147483648"],
            &["data", "x", "retry", "99999999999999999999"],
            &["data", "a\0b"],
            &["data", "x", "id", "\u{e9}"],
            &["data", "x", "id", ""],
            &["data", "x", "id", "1700000000000-0"],
            &["data", "x", "id", "a\nevent: b"],
            &["data", "x", "channel", "a\nb"],
            &["data", "x", "channel", "*"],
        ] {
            assert!(raw(fields).content().is_err(), "{fields:?}");
        }
        let mut other = raw(&["trace", "", "data", "x"]);
        other.fields[1] = vec![0xff];
        assert_eq!(other.content(), Ok(Content::Event(Message::new("x"))));
        other.fields[3] = vec![0xff];
        assert!(other.content().is_err(), "that is not UTF-8");
        let mark = Mark { server: "s".to_owned(), after: EntryId { millis: 7, number: 1 } };
        let gap = ["gap", "s", "after", "0000000000007-1"];
        assert_eq!(raw(&gap).content(), Ok(Content::Gap(mark.clone())));
        assert!(raw(&gap[..2]).content().is_err(), "after what?");
        let event = [&gap[..], &["data", "x"]].concat();
        assert_eq!(raw(&event).content(), Ok(Content::Event(Message::new("x"))));
        let later = Mark { after: EntryId { millis: 7, number: 2 }, ..mark.clone() };
        assert!(later.covers(&mark) && !mark.covers(&later));
        assert!(!Mark { server: "t".to_owned(), ..later }.covers(&mark));
    }
}
