//! Text from outside, quoted in an error or a log line.

use std::fmt;

/// A text from outside as a message quotes it: on one line, and of a long one the beginning only.
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
