//! Event ids: those that a publisher chooses, and the form of those that the server makes.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use super::MessageError;

use crate::decimal::{Decimal, is_digits};

/// An event id chosen by its publisher: 1 to 256 characters of printable ASCII, without blanks at
/// its ends.
///
/// Clients send the id of the last event back in the `Last-Event-ID` header, so an id must be valid
/// as a header's value (RFC 9110, section 5.5). Beyond ASCII, some clients send another text back,
/// and several cannot reconnect at all. Ids in the form of the server's own (13 characters
/// `0-9a-z`, a hyphen, digits) are refused, so that the two cannot be confused.
///
/// ```
/// use websse::EventId;
///
/// assert_eq!(EventId::new("order-17")?.as_str(), "order-17");
/// assert!(EventId::new("two\nlines").is_err() && EventId::new("número 17").is_err());
/// assert!(EventId::new("x".repeat(EventId::MAX_BYTES + 1)).is_err());
///
/// let id: EventId = "order-17".parse()?;
/// assert_eq!(id.to_string(), "order-17");
/// # Ok::<(), websse::MessageError>(())
/// ```
///
/// Their order is that of texts, which is not the order of events.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Box<str>);

impl AsRef<str> for EventId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for EventId {
    type Err = MessageError;

    fn from_str(id: &str) -> Result<Self, MessageError> {
        Self::new(id)
    }
}

impl TryFrom<&str> for EventId {
    type Error = MessageError;

    fn try_from(id: &str) -> Result<Self, MessageError> {
        Self::new(id)
    }
}

impl TryFrom<String> for EventId {
    type Error = MessageError;

    fn try_from(id: String) -> Result<Self, MessageError> {
        Self::new(id)
    }
}

impl std::borrow::Borrow<str> for EventId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl EventId {
    /// The longest id in bytes.
    pub const MAX_BYTES: usize = 256;

    /// Checks an id and takes it.
    ///
    /// # Errors
    /// [`MessageError::IdLength`], [`MessageError::IdCharacters`] or [`MessageError::IdReserved`].
    pub fn new(id: impl Into<String>) -> Result<Self, MessageError> {
        let id = id.into();
        if id.is_empty() || id.len() > Self::MAX_BYTES {
            return Err(MessageError::IdLength(id.len()));
        }
        let is_printable = id.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_printable || id.starts_with(' ') || id.ends_with(' ') {
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

/// The length of the part of a server's own id that names its run.
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
            && is_digits(sequence)
    })
}

/// A name for a run of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch([u8; EPOCH_LENGTH]);

impl Epoch {
    /// A name for this run: its start time and random digits, since hosts without a clock start at
    /// the same time every day.
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let random = RandomState::new().hash_one(millis);
        let mut name = [0; EPOCH_LENGTH];
        let (time, chance) = name.split_at_mut(EPOCH_LENGTH - RANDOM_DIGITS);
        time.copy_from_slice(base_36(millis, time.len()).as_bytes());
        chance.copy_from_slice(base_36(random, chance.len()).as_bytes());
        Self(name)
    }

    pub(crate) fn as_str(&self) -> &str {
        // It is made of digits and letters.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The id that the server gives an event, for its position in the order.
pub(crate) fn generated_id(epoch: &str, sequence: u64) -> String {
    [epoch, "-", Decimal::new(sequence).as_str()].concat()
}

/// How many of the digits that name a run are random: more than 20 bits.
const RANDOM_DIGITS: usize = 4;

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
            ("\u{7f}", MessageError::IdCharacters),
            ("\u{85}next line", MessageError::IdCharacters),
            ("é", MessageError::IdCharacters),
            ("😀", MessageError::IdCharacters),
            (" a", MessageError::IdCharacters),
            ("a ", MessageError::IdCharacters),
            ("0123456789abc-17", MessageError::IdReserved),
        ] {
            assert_eq!(EventId::new(id), Err(error), "{id:?}");
        }
        assert_eq!(EventId::new("é".repeat(129)), Err(MessageError::IdLength(258)));
        for id in ["17", "a b", "~", "order-17", "0123456789abc-17x", "0123456789ABC-17", "-"] {
            assert_eq!(EventId::new(id).as_ref().map(EventId::as_str), Ok(id));
        }
    }

    #[test]
    fn each_run_has_a_name_of_its_own() {
        let (one, other) = (Epoch::new(), Epoch::new());
        assert_ne!(one, other);
        let (one, other) = (one.as_str(), other.as_str());
        for epoch in [one, other] {
            assert_eq!(epoch.len(), EPOCH_LENGTH, "{epoch}");
            assert!(epoch.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase()));
        }
        // They begin with the time, in these digits with hours.
        assert_eq!(one[..4], other[..4]);
    }
}
