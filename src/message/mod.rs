//! What a publisher says: a [`Message`], with an [`EventId`] where it has one of its own.

pub(crate) mod event_types;
pub(crate) mod frame;
#[cfg(feature = "json")]
pub(crate) mod json;

use std::time::Duration;

use crate::error::MessageError;

/// A message to publish: data, and optionally an event type, an id and a reconnection time.
///
/// `data` may be any text. Its line endings (CR, LF, CRLF) arrive as `\n`, as the format demands;
/// everything else arrives as it is. Without [`event`](Self::event) the message is of the general
/// type, which browsers dispatch as `message`.
///
/// ```
/// use std::time::Duration;
/// use websse::{EventId, Message};
///
/// let plain = Message::new("hello");
/// assert_eq!((plain.event_type(), plain.data()), ("message", "hello"));
/// assert_eq!((plain.event_id(), plain.retry_millis()), (None, None));
///
/// let full = Message::new("{\"price\": 3}")
///     .event("offer")
///     .id(EventId::new("offer-17")?)
///     .retry(Duration::from_secs(10));
/// assert_eq!(full.event_type(), "offer");
/// assert_eq!(full.event_id().map(EventId::as_str), Some("offer-17"));
/// assert_eq!(full.retry_millis(), Some(10_000));
/// # Ok::<(), websse::MessageError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    data: String,
    /// `None` is the general type.
    event: Option<String>,
    id: Option<EventId>,
    /// Milliseconds.
    retry: Option<u64>,
    /// The event type cannot be sent; told when the message is published.
    invalid: bool,
}

impl Message {
    /// A message of the general type.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), event: None, id: None, retry: None, invalid: false }
    }

    /// The same message with other data.
    #[cfg(feature = "json")]
    pub(crate) fn with_data(self, data: String) -> Self {
        Self { data, ..self }
    }

    /// Sets the event type; `""` and `message` are the general type.
    ///
    /// A name with CR, LF or NUL makes the message one that cannot be published:
    /// [`check`](Self::check) says so at once, and publishing does.
    pub fn event(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.invalid = !is_one_line(&name);
        self.event = (!is_general(&name)).then_some(name);
        self
    }

    /// Sets the id, which clients send back as `Last-Event-ID` when they reconnect.
    pub fn id(mut self, id: EventId) -> Self {
        self.id = Some(id);
        self
    }

    /// Tells clients how long to wait before they reconnect, in whole milliseconds. It lasts until
    /// the client is told another value.
    pub fn retry(mut self, delay: Duration) -> Self {
        self.retry = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Whether the message can be published as far as it can be told without a server.
    ///
    /// # Errors
    /// [`MessageError::EventType`] where the event type holds CR, LF or NUL.
    ///
    /// ```
    /// use websse::{Message, MessageError};
    ///
    /// let message = Message::new("data").event("two\nlines");
    /// assert_eq!(message.check(), Err(MessageError::EventType));
    /// ```
    pub fn check(&self) -> Result<(), MessageError> {
        if self.invalid { Err(MessageError::EventType) } else { Ok(()) }
    }

    /// The data as it was given.
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The event type; `message` for the general one.
    pub fn event_type(&self) -> &str {
        self.event.as_deref().unwrap_or(GENERAL)
    }

    /// The id, where the publisher set one.
    pub fn event_id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// The reconnection time in milliseconds, where the publisher set one.
    pub fn retry_millis(&self) -> Option<u64> {
        self.retry
    }
}

/// The general event type, to which browsers give this name when a stream names none
/// (HTML standard, 9.2.6).
pub(crate) const GENERAL: &str = "message";

/// Whether `name` means the general event type.
pub(crate) fn is_general(name: &str) -> bool {
    name.is_empty() || name == GENERAL
}

/// The one name of an event type: `""` and `message` are the same.
pub(crate) fn canonical(name: &str) -> &str {
    if is_general(name) { GENERAL } else { name }
}

/// Whether `text` can stand in one line of a stream.
pub(crate) fn is_one_line(text: &str) -> bool {
    !text.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0))
}

/// An event's id as its publisher chose it: 1 to 256 bytes, without control characters and without
/// blanks at its ends.
///
/// Clients send the id of the last event back in the `Last-Event-ID` header, so an id must survive
/// as a header's value. Ids of the form that the server makes itself (13 characters `0-9a-z`, a
/// hyphen, digits) are refused, so that the two cannot be mixed up.
///
/// ```
/// use websse::EventId;
///
/// assert_eq!(EventId::new("order-17")?.as_str(), "order-17");
/// assert!(EventId::new("two\nlines").is_err());
/// assert!(EventId::new("x".repeat(EventId::MAX_BYTES + 1)).is_err());
/// # Ok::<(), websse::MessageError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Box<str>);

impl std::borrow::Borrow<str> for EventId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl EventId {
    /// Longest id in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks and takes an id.
    ///
    /// # Errors
    /// [`MessageError::IdLength`], [`MessageError::IdCharacters`] or [`MessageError::IdReserved`].
    pub fn new(id: impl Into<String>) -> Result<Self, MessageError> {
        let id = id.into();
        if id.is_empty() || id.len() > Self::MAX_BYTES {
            return Err(MessageError::IdLength(id.len()));
        }
        if id.chars().any(char::is_control) || id.starts_with(' ') || id.ends_with(' ') {
            return Err(MessageError::IdCharacters);
        }
        if is_generated_form(&id) {
            return Err(MessageError::IdReserved);
        }
        Ok(Self(id.into_boxed_str()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters in the part of a server's own id that names its run.
pub(crate) const EPOCH_LENGTH: usize = 13;

/// The last `length` digits of a number in base 36.
pub(crate) fn base_36(mut number: u64, length: usize) -> String {
    let mut digits = vec!['0'; length];
    for digit in digits.iter_mut().rev() {
        *digit = char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
    }
    digits.into_iter().collect()
}

fn is_generated_form(id: &str) -> bool {
    id.split_once('-').is_some_and(|(epoch, sequence)| {
        epoch.len() == EPOCH_LENGTH
            && epoch.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
            && !sequence.is_empty()
            && sequence.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_refused_for_what_a_header_or_a_line_cannot_carry() {
        for (id, error) in [
            ("", MessageError::IdLength(0)),
            ("a\n", MessageError::IdCharacters),
            ("a\rb", MessageError::IdCharacters),
            ("a\0b", MessageError::IdCharacters),
            ("tab\tbed", MessageError::IdCharacters),
            ("\u{85}next line", MessageError::IdCharacters),
            (" a", MessageError::IdCharacters),
            ("a ", MessageError::IdCharacters),
            ("0123456789abc-17", MessageError::IdReserved),
        ] {
            assert_eq!(EventId::new(id), Err(error), "{id:?}");
        }
        assert_eq!(EventId::new("é".repeat(129)), Err(MessageError::IdLength(258)));
        for id in ["17", "a b", "é", "order-17", "0123456789abc-17x", "0123456789ABC-17", "-"] {
            assert_eq!(EventId::new(id).as_ref().map(EventId::as_str), Ok(id));
        }
    }

    #[test]
    fn a_later_event_type_mends_an_earlier_one() {
        let message = Message::new("").event("a\0b").event("a");
        assert_eq!(message.check(), Ok(()));
        assert_eq!(message.event_type(), "a");
    }
}
