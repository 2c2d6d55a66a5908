//! Publishing the lines of standard input.

use std::io::{self, BufRead, Read};

use log::{info, warn};
use websse::{Message, PublishError, Server};

use crate::config::Lines;

/// A longer line is skipped.
const LONGEST: u64 = 1024 * 1024;

/// Publishes each line of the input until the input or the server ends. Lines of text have the type
/// `event`.
pub(crate) fn publish(server: &Server, mut input: impl BufRead, lines: Lines, event: &str) {
    let mut line = Vec::new();
    for number in 1_u64.. {
        match read_line(&mut input, &mut line) {
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                warn!("standard input, line {number}: longer than {LONGEST} bytes, left out");
                continue;
            }
            Ok(None) => {
                info!("standard input has ended after {} lines", number - 1);
                return;
            }
            Err(error) => {
                warn!("standard input, line {number}: {error}; no more is read");
                return;
            }
        }
        match message(&line, lines, event).map(|message| server.publish(message)) {
            Ok(Ok(_)) => {}
            Ok(Err(PublishError::ShutDown)) => return,
            Ok(Err(error @ PublishError::OutcomeUnknown)) => {
                warn!("standard input, line {number}: {error}");
            }
            Ok(Err(error)) => warn!("standard input, line {number}: {error}; left out"),
            Err(error) => warn!("standard input, line {number}: {error}; left out"),
        }
    }
}

fn message(line: &[u8], lines: Lines, event: &str) -> Result<Message, String> {
    match lines {
        Lines::Json => Message::from_json(line).map_err(|error| error.to_string()),
        Lines::Text => {
            let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
            Ok(Message::new(text).event(event))
        }
    }
}

/// Reads a line without its end. False: it is too long. `None`: the input has ended.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if input.by_ref().take(LONGEST + 2).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    let whole = line.pop_if(|byte| *byte == b'\n').is_some();
    line.pop_if(|byte| *byte == b'\r');
    if line.len() as u64 <= LONGEST {
        return Ok(Some(true));
    }
    if !whole {
        input.skip_until(b'\n')?;
    }
    Ok(Some(false))
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use super::*;

    #[test]
    fn lines_end_with_their_line_feed_and_have_a_greatest_length() {
        let longest = usize::try_from(LONGEST).expect("a MiB");
        let long: Vec<u8> = repeat_n(b'x', longest + 1).collect();
        let longer: Vec<u8> = repeat_n(b'x', longest * 2).collect();
        let text = [b"a\r\n\n", &long[1..], b"\n", &long, b"\n", &longer, b"\r\n", b"end"].concat();
        let mut input = io::Cursor::new(text);
        let mut line = Vec::new();
        let mut next = || {
            let read = read_line(&mut input, &mut line).expect("it is in memory");
            read.map(|whole| whole.then_some(line.len()))
        };
        let lengths: Vec<_> = std::iter::from_fn(&mut next).collect();
        assert_eq!(lengths, [Some(1), Some(0), Some(longest), None, None, Some(3)]);
    }
}
