//! Text from outside: quoted in an error or a log line, or read as a number.

use std::{fmt, str::FromStr};

/// Quotes a text from outside: on one line, and only the beginning of a long one.
pub(crate) struct Quoted<'t>(pub(crate) &'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARS: usize = 64;
        match self.0.char_indices().nth(CHARS) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// A number in ASCII digits and nothing else. Rust's own parser takes `+5` as well.
pub(crate) fn number<N: FromStr>(text: &str) -> Option<N> {
    is_digits(text).then(|| text.parse().ok()).flatten()
}

/// Whether a text is one ASCII digit or more.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
