//! Request bodies: their length and their decoding (RFC 9112, sections 6 and 7).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{
    limits::Limits,
    request::Request,
    response::{Refusal, is_token},
};

/// The longest line that announces a chunk, with its extensions.
const CHUNK_LINE_BYTES: usize = 256;
/// A chunked body may have this many bytes besides its data, plus [`OVERHEAD_FACTOR`] times its
/// data, so that small chunks are possible.
const OVERHEAD_BYTES: usize = 16 * 1024;
const OVERHEAD_FACTOR: usize = 8;

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The number of bytes; 0 without a body.
    Length(usize),
    Chunked,
}

impl Framing {
    /// Reads the framing from the head. An ambiguous head is refused: a proxy in front might read
    /// it differently and see another request (request smuggling).
    pub(super) fn of(request: &Request, is_1_1: bool, limits: &Limits) -> Result<Self, Refusal> {
        let mut lengths = request.headers("content-length");
        let mut encodings = request.headers("transfer-encoding");
        match (lengths.next(), encodings.next()) {
            (None, None) => Ok(Self::Length(0)),
            (Some(_), Some(_)) => Err(Refusal::new(
                400,
                "a request has either Content-Length or Transfer-Encoding, not both",
            )),
            (Some(length), None) => {
                if lengths.next().is_some() {
                    return Err(Refusal::new(400, "more than one Content-Length"));
                }
                let length = parse_length(length)?;
                if length > limits.body_bytes {
                    return Err(too_large(limits));
                }
                Ok(Self::Length(length))
            }
            (None, Some(encoding)) => {
                let only = encodings.next().is_none();
                if is_1_1 && only && encoding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Self::Chunked)
                } else {
                    Err(Refusal::new(
                        400,
                        "the only Transfer-Encoding understood is chunked, on HTTP/1.1",
                    ))
                }
            }
        }
    }
}

/// How much beside its data a chunked body of this size may have.
fn overhead_of(bytes: usize) -> usize {
    bytes.saturating_mul(OVERHEAD_FACTOR).saturating_add(OVERHEAD_BYTES)
}

fn too_large(limits: &Limits) -> Refusal {
    let limit = limits.body_bytes;
    Refusal::new(413, format!("the request body is larger than {limit} bytes"))
}

/// Accepts digits only. A number too large for the machine becomes the largest one, which exceeds
/// the limit.
fn parse_length(text: &[u8]) -> Result<usize, Refusal> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::new(400, "Content-Length is a decimal number of bytes"));
    }
    let digit = |length: usize, byte: &u8| {
        length.saturating_mul(10).saturating_add(usize::from(byte - b'0'))
    };
    Ok(text.iter().fold(0, digit))
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
mod tests {
    use super::*;

    fn decode(wire: &[u8], piece: usize) -> Result<(Vec<u8>, usize), u16> {
        decode_as(Framing::Chunked, wire, piece)
    }

    /// What a body is decoded to, and how much of `wire` it was; 0 where that is not all of it.
    fn decode_as(framing: Framing, wire: &[u8], piece: usize) -> Result<(Vec<u8>, usize), u16> {
        let limits = Limits::default();
        let mut decoder = Decoder::new(framing);
        let (mut body, mut start, mut end) = (Vec::new(), 0, 0);
        while !decoder.is_done() && end < wire.len() {
            end = (end + piece).min(wire.len());
            let read = decoder.decode(&wire[start..end], &mut body, &limits);
            start += read.map_err(|refusal| refusal.status)?;
        }
        if decoder.is_done() { Ok((body, start)) } else { Err(0) }
    }

    #[test]
    fn chunks_decode_alike_in_pieces_of_every_size() {
        let wire = b"5;name=value\r\nhello\r\n1 \r\n,\r\n00A\r\n0123456789\r\n0\r\nA: b\r\n\r\nGET";
        for piece in 1..=wire.len() {
            let read = decode(wire, piece);
            assert_eq!(read, Ok((b"hello,0123456789".to_vec(), wire.len() - 3)), "by {piece}");
        }
    }

    #[test]
    fn what_is_not_a_chunk_is_refused() {
        let long_line = [b"1;".as_slice(), &[b'x'; CHUNK_LINE_BYTES], b"\r\n"].concat();
        for (wire, status) in [
            (b"x\r\n".as_slice(), 400),
            (b"3\r\r\nabc\r\n", 400),
            (b"3\x0c\r\nabc\r\n", 400),
            (b"3;\0\r\nabc\r\n", 400),
            (b"0\r\nGET /admin HTTP/1.1\r\n\r\n", 400),
            (b"0\r\n folded\r\n\r\n", 400),
            (b"0\r\nabc\r\n\r\n", 400),
            (b"0\r\nA B: c\r\n\r\n", 400),
            (b"0\r\n: b\r\n\r\n", 400),
            (b"0\r\nA: b\rX: y\r\n\r\n", 400),
            (b"\r\n", 400),
            (b"+1\r\na\r\n", 400),
            (b"0x1\r\na\r\n", 400),
            (b"1\na\r\n", 400),
            (b"1\r\nab\r\n", 400),
            (b"1\r\na\n", 400),
            (b"000000001\r\na\r\n", 400),
            (b"ffffffff\r\n", 413),
            (b"100001\r\n", 413),
            (&long_line, 400),
            (&[b"1\r\na\r\n0\r\n".as_slice(), &b"A: bbbbbbbbb\r\n".repeat(2000)].concat(), 400),
        ] {
            let shown = String::from_utf8_lossy(&wire[..wire.len().min(20)]);
            assert_eq!(decode(wire, wire.len()), Err(status), "{shown:?}");
        }
    }

    #[test]
    fn a_body_of_a_known_length_is_what_comes_and_no_more() {
        for (length, piece) in [(0, 1), (1, 1), (5, 1), (5, 2), (5, 5), (5, 7), (7, 7)] {
            let body = decode_as(Framing::Length(length), b"1234567", piece);
            assert_eq!(body, Ok((b"1234567"[..length].to_vec(), length)), "{length} by {piece}");
        }
        assert_eq!(decode_as(Framing::Length(8), b"1234567", 3), Err(0), "it is not complete");
    }

    #[test]
    fn a_chunked_body_may_be_as_large_as_its_limits_and_no_larger() {
        // The data.
        let limit = Limits::default().body_bytes;
        let body = |first: usize, second: usize| {
            let chunk = |size: usize| format!("{size:08x}\r\n{}\r\n", "x".repeat(size));
            let wire = chunk(first) + &chunk(second) + "0\r\n\r\n";
            decode(wire.as_bytes(), wire.len()).map(|(body, _)| body.len())
        };
        assert_eq!(body(limit - 10, 10), Ok(limit));
        assert_eq!(body(limit - 10, 11), Err(413));
        // A line.
        for (length, expected) in [(CHUNK_LINE_BYTES, Ok(1)), (CHUNK_LINE_BYTES + 1, Err(400))] {
            let line = format!("1;{}\r\n", "\t".repeat(length - 4));
            let wire = line + "x\r\n0\r\n\r\n";
            for piece in [1, 7, wire.len()] {
                let body = decode(wire.as_bytes(), piece).map(|(body, _)| body.len());
                assert_eq!(body, expected, "a line of {length} by {piece}");
            }
        }
        // What is beside the data.
        for data in [1, 1000] {
            let begin = format!("{data:x}\r\n{}\r\n0\r\n", "x".repeat(data));
            let most = 16 * 1024 + 8 * data;
            let trailer = most - (begin.len() - data) - 2;
            let lines = "A: 4567\r\n".repeat(trailer / 9 - 1);
            let last = "x".repeat(trailer - lines.len() - 4);
            for (more, expected) in [("", Ok(data)), ("x", Err(400))] {
                let wire = format!("{begin}{lines}A:{last}{more}\r\n\r\n");
                let body = decode(wire.as_bytes(), wire.len()).map(|(body, _)| body.len());
                assert_eq!(body, expected, "{data} bytes of data");
            }
        }
    }

    #[test]
    fn a_budget_is_free_again_when_its_shares_are() {
        let budget = Budget::new(10);
        let mut one = budget.share();
        assert!(one.grow(6).is_ok() && one.grow(4).is_ok());
        assert!(budget.share().grow(5).is_err());
        let mut other = budget.share();
        assert!(other.grow(4).is_ok() && one.grow(7).is_err(), "all is used");
        drop(other);
        assert!(one.grow(10).is_ok() && budget.share().grow(1).is_err());
        drop(one);
        assert!(budget.share().grow(11).is_err());
        assert!(budget.share().grow(10).is_ok());
    }

    #[test]
    fn sizes_may_be_all_that_the_machine_can_count() {
        let budget = Budget::new(usize::MAX);
        let mut one = budget.share();
        assert!(one.grow(usize::MAX).is_ok());
        assert!(budget.share().grow(1).is_err());
        assert_eq!(overhead_of(usize::MAX), usize::MAX);
        assert_eq!(overhead_of(2), OVERHEAD_BYTES + 2 * OVERHEAD_FACTOR);
    }
}
