//! A [`Message`] to publish, and an [`EventId`] if its publisher chooses one.
//!
//! | file | owns |
//! |---|---|
//! | `(this file)` | `Message` and `MessageError` |
//! | `id` | `EventId`, and the ids that the server makes: a name for the run, and base 36 |
//! | `entry_id` | the ids of entries in a log outside of memory |
//! | `channel` | the channels that exist: names, numbers, handles |
//! | `channels` | `Channels`: to which channels a client listens, as the program says it |
//! | `event_type` | the names of types with a meaning of their own |
//! | `event_types` | the registered event types |
//! | `listening` | how many clients listen to what |
//! | `published` | `Published`: what a publisher learns of a message that was accepted |
//! | `subscribed` | what a client subscribes to |
//! | `few` | a list that has one element mostly |
//! | `fields` | the fields of a message from outside: form, JSON, entry |
//! | `frame` | `Frame`: the bytes of one block, from a message and from the server |
//! | `json` | messages from JSON and to it |
//! | `json_text` | a text as JSON writes it |
//!
//! Imports nothing of the other folders.

pub(crate) mod channel;
pub(crate) mod channels;
#[cfg(any(feature = "outside-log", test))]
pub(crate) mod entry_id;
pub mod event_type;
pub(crate) mod event_types;
pub(crate) mod few;
pub(crate) mod fields;
pub(crate) mod frame;
pub(crate) mod id;
#[cfg(feature = "json")]
pub(crate) mod json;
pub(crate) mod json_text;
pub(crate) mod listening;
pub(crate) mod published;
pub(crate) mod subscribed;

use std::{error::Error, fmt, time::Duration};

pub(crate) use self::event_type::GENERAL;
use self::id::EventId;

/// A message to publish: data, and optionally an event type, an id and a reconnection time.
///
/// `data` may be any text. Its line endings (CR, LF, CRLF) arrive as `\n`, as the format demands;
/// everything else arrives unchanged. Without [`event`](Self::event) the message is of the general
/// type, which browsers dispatch as `message`.
///
/// ```
/// use std::time::Duration;
/// use websse::{EventId, Message};
///
/// let plain = Message::new("hello");
/// assert_eq!((plain.event_type(), plain.data()), ("message", "hello"));
/// assert_eq!((plain.event_id(), plain.retry_time()), (None, None));
///
/// let full = Message::new("{\"price\": 3}")
///     .event("offer")
///     .id(EventId::new("offer-17")?)
///     .retry(Duration::from_secs(10));
/// assert_eq!(full.event_type(), "offer");
/// assert_eq!(full.event_id().map(EventId::as_str), Some("offer-17"));
/// assert_eq!(full.retry_time(), Some(Duration::from_secs(10)));
/// # Ok::<(), websse::MessageError>(())
/// ```
///
/// What is only data is a message by itself: `Message::from("hello")`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a message does nothing until it is published"]
pub struct Message {
    data: String,
    /// `None` is the general type.
    event: Option<String>,
    id: Option<EventId>,
    /// Milliseconds.
    retry: Option<u64>,
    /// `None` is the common channel.
    channel: Option<String>,
}

/// A message of the general type with this data.
impl From<&str> for Message {
    fn from(data: &str) -> Self {
        Self::new(data)
    }
}

/// A message of the general type with this data.
impl From<String> for Message {
    fn from(data: String) -> Self {
        Self::new(data)
    }
}

impl Message {
    /// The longest [reconnection time](Self::retry): 2147483647 ms, almost 25 days.
    pub const MAX_RETRY: Duration = Duration::from_millis(2_147_483_647);

    /// A message of the general type.
    ///
    /// Data that contains NUL cannot be published: [`check`](Self::check) reports it at once, and
    /// publishing refuses it. Browsers differ in what they make of NUL.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), event: None, id: None, retry: None, channel: None }
    }

    /// Sets the event type; `""` and `message` are the general type.
    ///
    /// A message whose event type contains CR, LF or NUL cannot be published:
    /// [`check`](Self::check) reports it at once, and publishing refuses it.
    pub fn event(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.event = (!is_general(&name)).then_some(name);
        self
    }

    /// Sets the id, which clients send back as `Last-Event-ID` when they reconnect.
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Tells clients how long to wait before they reconnect, in whole milliseconds. This holds
    /// until the client gets another value.
    ///
    /// More than [`MAX_RETRY`](Self::MAX_RETRY) cannot be published: [`check`](Self::check) reports
    /// it at once, and publishing refuses it. Clients keep the number in 32 bits or fewer.
    pub fn retry(mut self, delay: Duration) -> Self {
        self.retry = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Sets the channel: for whom the message is, where the event type says what it is. `""` is the
    /// common channel, which is the default.
    ///
    /// Channels are not registered. Clients are not told which channel an event came by: the server
    /// decides to [which](crate::Channels) each of them listens.
    ///
    /// A message whose channel has more than 256 bytes or control characters, or is called `*`,
    /// cannot be published: [`check`](Self::check) reports it at once, and publishing refuses it.
    ///
    /// ```
    /// use websse::Message;
    ///
    /// let message = Message::new("42 %").event("progress").channel("user/17");
    /// assert_eq!(message.channel_name(), Some("user/17"));
    /// ```
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.channel = (!name.is_empty()).then_some(name);
        self
    }

    /// Whether the message can be published, as far as this is known without a server.
    ///
    /// # Errors
    /// [`MessageError::EventType`] if the event type contains CR, LF or NUL,
    /// [`MessageError::DataNul`] if the data contains NUL, [`MessageError::Channel`] if there is
    /// no such [channel](Self::channel), and [`MessageError::RetryTooLong`] if the reconnection
    /// time is longer than [`MAX_RETRY`](Self::MAX_RETRY).
    ///
    /// ```
    /// use websse::{Message, MessageError};
    ///
    /// let message = Message::new("data").event("two\nlines");
    /// assert_eq!(message.check(), Err(MessageError::EventType));
    /// assert_eq!(Message::new("a\0b").check(), Err(MessageError::DataNul));
    /// ```
    pub fn check(&self) -> Result<(), MessageError> {
        if !self.event.as_deref().is_none_or(is_one_line) {
            return Err(MessageError::EventType);
        }
        if self.data.as_bytes().contains(&0) {
            return Err(MessageError::DataNul);
        }
        if self.retry.is_some_and(|millis| Duration::from_millis(millis) > Self::MAX_RETRY) {
            return Err(MessageError::RetryTooLong);
        }
        self.channel.as_deref().map_or(Ok(()), channel::check)
    }

    /// The data as it was given.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The channel; `None` for the common one.
    pub fn channel_name(&self) -> Option<&str> {
        self.channel.as_deref()
    }

    /// The event type; `message` for the general one.
    pub fn event_type(&self) -> &str {
        self.event.as_deref().unwrap_or(GENERAL)
    }

    /// The id, if the publisher set one.
    pub fn event_id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// The reconnection time in whole milliseconds, if the publisher set one.
    pub fn retry_time(&self) -> Option<Duration> {
        self.retry.map(Duration::from_millis)
    }
}

/// A [`Message`](crate::Message) or an [`EventId`](crate::EventId) is not valid.
///
/// A line break in these fields would let a publisher write lines of its own into the stream, and
/// clients ignore an id that contains NUL ([HTML standard, 9.2.6][1]).
///
/// [1]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
///
/// ```
/// use websse::{EventId, MessageError};
///
/// assert_eq!(EventId::new(""), Err(MessageError::IdLength(0)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// The event type contains CR, LF or NUL. Use a name of one line.
    EventType,
    /// The id is empty or longer than 256 bytes. Leave the id out, or use a shorter one.
    IdLength(usize),
    /// The id contains a character that is not printable ASCII, or begins or ends with a blank.
    /// Clients send an id back as a header field, where it would arrive changed or not at all.
    IdCharacters,
    /// The id has the form of the server's own ids (13 characters `0-9a-z`, a hyphen, digits) and
    /// could be mistaken for one. Put a letter after the last digit.
    IdReserved,
    /// The data contains NUL, which not every browser passes on. Encode the data as text.
    DataNul,
    /// The reconnection time is longer than 2147483647 ms. Clients would read another number.
    RetryTooLong,
    /// There is no such channel: a name has 1 to 256 bytes without control characters, and is not
    /// `*`, which stands for all channels.
    Channel,
    /// A message to one client has an id. Leave it out: the client would reconnect with it, but it
    /// is not a position in the order of events.
    IdToOne,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventType => {
                f.write_str("an event type is one line of text: no CR, LF or NUL in it")
            }
            Self::IdLength(length) => {
                write!(f, "an id has 1 to 256 bytes, this one has {length}")
            }
            Self::IdCharacters => {
                f.write_str("an id is printable ASCII, and neither begins nor ends with a blank")
            }
            Self::IdReserved => f.write_str(
                "an id of 13 characters 0-9a-z, a hyphen and digits is reserved for the server",
            ),
            Self::DataNul => f.write_str("data has no NUL in it; encode it as text"),
            Self::RetryTooLong => {
                write!(f, "retry is at most {} milliseconds", Message::MAX_RETRY.as_millis())
            }
            Self::Channel => f.write_str(
                "a channel's name has 1 to 256 bytes without control characters, and is not *",
            ),
            Self::IdToOne => f.write_str("a message to one client has no id"),
        }
    }
}

impl Error for MessageError {}

/// Whether `name` means the general event type.
pub(crate) fn is_general(name: &str) -> bool {
    name.is_empty() || name == GENERAL
}

/// The canonical name of an event type: `""` and `message` are the same.
pub(crate) fn canonical(name: &str) -> &str {
    if is_general(name) { GENERAL } else { name }
}

/// Whether `text` can be part of one line of a stream.
pub(crate) fn is_one_line(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_event_type_mends_an_earlier_one() {
        let message = Message::new("").event("a\0b").event("a");
        assert_eq!(message.check(), Ok(()));
        assert_eq!(message.event_type(), "a");
    }
}
