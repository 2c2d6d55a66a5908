//! Numbers in ASCII digits: what is read from outside, and what is written often.

use std::str::{self, FromStr};

/// A number in ASCII digits and nothing else. Rust's own parser takes `+5` as well.
pub(crate) fn number<N: FromStr>(text: &str) -> Option<N> {
    is_digits(text).then(|| text.parse().ok()).flatten()
}

/// Whether a text is one ASCII digit or more.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The digits of a number. Every event and every answer has some, and formatting costs three
/// allocations.
pub(crate) struct Decimal {
    /// Those of the number are the last ones.
    digits: [u8; 20],
    first: usize,
}

impl Decimal {
    pub(crate) fn new(mut number: u64) -> Self {
        let mut decimal = Self { digits: [0; 20], first: 20 };
        loop {
            decimal.first -= 1;
            decimal.digits[decimal.first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.first..]
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_it_is_formatted() {
        for number in [0, 9, 10, 2_147_483_647, u64::MAX] {
            assert_eq!(Decimal::new(number).as_str(), number.to_string());
        }
    }
}
