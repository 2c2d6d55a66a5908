//! Request bodies: their decoding, and the memory for all of them (RFC 9112, section 7).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{
    limits::Limits,
    request::{Framing, too_large},
    response::{Refusal, is_token},
};

/// The longest line that announces a chunk, with its extensions.
const CHUNK_LINE_BYTES: usize = 256;
/// A chunked body may have this many bytes besides its data, plus [`OVERHEAD_FACTOR`] times its
/// data, so that small chunks are possible.
const OVERHEAD_BYTES: usize = 16 * 1024;
const OVERHEAD_FACTOR: usize = 8;

/// How much beside its data a chunked body of this size may have.
fn overhead_of(bytes: usize) -> usize {
    bytes.saturating_mul(OVERHEAD_FACTOR).saturating_add(OVERHEAD_BYTES)
}

/// Decodes a body as it arrives.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// The number of bytes that were not data.
    overhead: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The number of data bytes still to come; nothing follows them.
    Length(usize),
    ChunkLine,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    Done,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
        };
        Self { state, overhead: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes as much of `input` into `body` as it can, and returns the number of bytes used. The
    /// rest is the beginning of a line: call it again with the rest and more bytes.
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        body: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<usize, Refusal> {
        let mut rest = input;
        while !self.is_done() && !rest.is_empty() {
            match self.state {
                State::Length(left) | State::Chunk(left) => {
                    let (data, tail) = rest.split_at(left.min(rest.len()));
                    body.extend_from_slice(data);
                    rest = tail;
                    self.state = match (self.state, left - data.len()) {
                        (State::Length(_), 0) => State::Done,
                        (State::Length(_), left) => State::Length(left),
                        (_, 0) => State::ChunkEnd,
                        (_, left) => State::Chunk(left),
                    };
                }
                State::ChunkLine | State::ChunkEnd | State::Trailer => {
                    let Some((line, tail)) = split_line(rest)? else {
                        break;
                    };
                    self.overhead += rest.len() - tail.len();
                    if self.overhead > overhead_of(body.len()) {
                        return Err(Refusal::new(
                            400,
                            "too much beside the data in a chunked body",
                        ));
                    }
                    rest = tail;
                    self.line(line, body.len(), limits)?;
                }
                State::Done => {}
            }
        }
        Ok(input.len() - rest.len())
    }

    fn line(&mut self, line: &[u8], decoded: usize, limits: &Limits) -> Result<(), Refusal> {
        self.state = match self.state {
            State::ChunkLine => match chunk_size(line)? {
                0 => State::Trailer,
                size if size > limits.body_bytes.saturating_sub(decoded) => {
                    return Err(too_large(limits));
                }
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::ChunkLine,
            State::ChunkEnd => {
                return Err(Refusal::new(400, "a chunk is longer than its size says"));
            }
            State::Trailer if line.is_empty() => State::Done,
            // Trailer fields are allowed and ignored.
            State::Trailer if is_field(line) => State::Trailer,
            State::Trailer => return Err(Refusal::new(400, "malformed trailer field")),
            other => other,
        };
        Ok(())
    }
}

/// Whether a line is a header field: a name, a colon, a value.
fn is_field(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    name.len() < line.len() && std::str::from_utf8(name).is_ok_and(is_token)
}

/// A line without its end, and the bytes after it.
type Split<'b> = (&'b [u8], &'b [u8]);

/// Splits off a line that ends with CRLF; `None` if its end has not arrived.
fn split_line(bytes: &[u8]) -> Result<Option<Split<'_>>, Refusal> {
    let read_buffer = &bytes[..bytes.len().min(CHUNK_LINE_BYTES)];
    match read_buffer.iter().position(|&byte| byte == b'\n') {
        Some(end) if end > 0 && bytes[end - 1] == b'\r' => {
            let line = &bytes[..end - 1];
            if line.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(Refusal::new(
                    400,
                    "control characters beside the data of a chunked body",
                ));
            }
            Ok(Some((line, &bytes[end + 1..])))
        }
        Some(_) => Err(Refusal::new(400, "lines of a chunked body end with CR and LF")),
        None if read_buffer.len() < CHUNK_LINE_BYTES => Ok(None),
        None => Err(Refusal::new(
            400,
            format!("a line of a chunked body is longer than {CHUNK_LINE_BYTES} bytes"),
        )),
    }
}

/// Reads the size from a chunk's line and ignores the line's extensions.
fn chunk_size(line: &[u8]) -> Result<usize, Refusal> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    let blanks = digits.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let digits = &digits[..digits.len() - blanks];
    let size = std::str::from_utf8(digits).ok().filter(|text| {
        (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    size.and_then(|text| usize::from_str_radix(text, 16).ok())
        .ok_or_else(|| Refusal::new(400, "a chunk's size is 1 to 8 hexadecimal digits"))
}

/// The memory that the bodies of all clients may use together.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    used: Arc<AtomicUsize>,
    limit: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { used: Arc::default(), limit }
    }

    pub(super) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// One body's share of the budget; dropping it gives the share back.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Grows to `bytes`, or refuses if the budget has no room.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        let limit = self.budget.limit;
        // Bytes are counted only if they fit: otherwise a body that is refused could push out one
        // that fits.
        let grown = |used: usize| used.checked_add(more).filter(|&used| used <= limit);
        self.budget
            .used
            .fetch_update(Relaxed, Relaxed, grown)
            .map_err(|_| Refusal::new(503, "too many request bodies at a time; try again later"))?;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests;
