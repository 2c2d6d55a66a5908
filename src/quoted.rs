//! Text from outside, quoted in an error or a log line.

use std::fmt;

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
