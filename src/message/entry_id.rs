//! The ids of the entries of a log outside the process.

use std::fmt;

use super::id::{EPOCH_LENGTH, base_36};

use crate::decimal::is_digits;

/// The id of an entry, which orders the log: milliseconds, and a number within the same
/// millisecond. It is the event's id at all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId {
    pub(crate) millis: u64,
    pub(crate) number: u64,
}

/// The milliseconds always have [`EPOCH_LENGTH`] characters, the form reserved for the server.
/// After the year 2286 they do not fit in decimal. Then they are in base 36, and their first digit
/// becomes a letter, so that none of them looks decimal: foreign writers may give microseconds.
const LAST_DECIMAL: u64 = 9_999_999_999_999;
const FIRST_DIGIT: u8 = b'w';

impl EntryId {
    /// The id before all entries.
    pub(crate) const ZERO: Self = Self { millis: 0, number: 0 };

    /// Reads an id that a client sends back.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (millis, number) = text.split_once('-')?;
        if millis.len() != EPOCH_LENGTH || !is_digits(number) {
            return None;
        }
        let millis = if is_digits(millis) { millis.parse().ok()? } else { Self::far(millis)? };
        Some(Self { millis, number: number.parse().ok()? })
    }

    /// Reads milliseconds above [`LAST_DECIMAL`].
    fn far(text: &str) -> Option<u64> {
        let (first, rest) = text.split_at_checked(1)?;
        let digit = first.bytes().next()?.checked_sub(FIRST_DIGIT)?;
        let rest = u64::from_str_radix(rest, 36).ok()?;
        let millis = u64::from(digit).checked_mul(36_u64.pow(12))?.checked_add(rest)?;
        // Any other way to write the number was not written here.
        let is_far = millis > LAST_DECIMAL && Self { millis, number: 0 }.millis_text() == text;
        is_far.then_some(millis)
    }

    /// The last id before this one, whether or not an entry has it.
    pub(crate) fn before(self) -> Self {
        match self {
            Self { millis: 0, number: 0 } => self,
            Self { millis, number: 0 } => Self { millis: millis - 1, number: u64::MAX },
            Self { millis, number } => Self { millis, number: number - 1 },
        }
    }

    /// Whether `place` is this id or the one right before it.
    pub(crate) fn is_at_or_after(self, place: Self) -> bool {
        self == place || self.before() == place
    }

    /// The part before the hyphen.
    pub(crate) fn millis_text(self) -> String {
        if self.millis <= LAST_DECIMAL {
            return format!("{:0EPOCH_LENGTH$}", self.millis);
        }
        let digits = base_36(self.millis, EPOCH_LENGTH);
        let first = FIRST_DIGIT + (digits.as_bytes()[0] - b'0');
        format!("{}{}", char::from(first), &digits[1..])
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis_text(), self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_id_is_read_back_as_it_was_written() {
        for (text, millis, number) in [
            ("1700000000000-0", 1_700_000_000_000, 0),
            ("0000000000001-7", 1, 7),
            ("9999999999999-18446744073709551615", 9_999_999_999_999, u64::MAX),
            ("w0003jlxpt2ps-0", 10_000_000_000_000, 0),
            ("zw5e11264sgsf-3", u64::MAX, 3),
        ] {
            let id = EntryId { millis, number };
            assert_eq!(id.to_string(), text);
            assert_eq!(EntryId::parse(text), Some(id));
        }
        for text in [
            "",
            "-",
            "17-0",
            "1700000000000",
            "1700000000000-",
            "170000000000a-0",
            "20260101120000-5",
            "0mwscj3olj8rw-1",
            "w0003jlxpt2pr-0",
            "zw5e11264sgsg-0",
            "zé5e11264sgs-0",
            "w0003+lxpt2ps-0",
        ] {
            assert_eq!(EntryId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn nothing_is_between_an_id_and_the_one_before() {
        let id = |millis, number| EntryId { millis, number };
        assert_eq!(id(7, 3).before(), id(7, 2));
        assert_eq!(id(7, 0).before(), id(6, u64::MAX));
        assert_eq!(EntryId::ZERO.before(), EntryId::ZERO);
    }
}
