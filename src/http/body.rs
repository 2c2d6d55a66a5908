//! Request bodies: how long they are, and their decoding (RFC 9112, sections 6 and 7).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{
    limits::Limits,
    request::Request,
    response::{Refusal, is_token},
};

/// A line that announces a chunk, its extensions included.
const CHUNK_LINE_BYTES: usize = 256;
/// What a chunked body may have beside its data: this much, and as much again as its data several
/// times over, for small chunks.
const OVERHEAD_BYTES: usize = 16 * 1024;
const OVERHEAD_FACTOR: usize = 8;

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 without a body.
    Length(usize),
    Chunked,
}

impl Framing {
    /// Reads it from the head. What is ambiguous is refused: a proxy in front might see it the
    /// other way, and so another request (request smuggling).
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

/// Digits only; a number too large for the machine is one too large for the limit.
fn parse_length(text: &[u8]) -> Result<usize, Refusal> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::new(400, "Content-Length is a decimal number of bytes"));
    }
    let digit = |length: usize, byte: &u8| {
        length.saturating_mul(10).saturating_add(usize::from(byte - b'0'))
    };
    Ok(text.iter().fold(0, digit))
}

/// Decodes a body as it comes in.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    /// Bytes that were not data.
    overhead: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes are still to come, and nothing else.
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

    /// Decodes what it can of `input` into `body`; returns how much of `input` that was. What it
    /// leaves is the beginning of a line, to be offered again with more behind it.
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
            // Trailer fields are allowed and mean nothing here.
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

/// A line without its end, and what follows.
type Split<'b> = (&'b [u8], &'b [u8]);

/// Splits off a line that ends with CRLF; `None` where its end is not there yet.
fn split_line(bytes: &[u8]) -> Result<Option<Split<'_>>, Refusal> {
    let window = &bytes[..bytes.len().min(CHUNK_LINE_BYTES)];
    match window.iter().position(|&byte| byte == b'\n') {
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
        None if window.len() < CHUNK_LINE_BYTES => Ok(None),
        None => Err(Refusal::new(
            400,
            format!("a line of a chunked body is longer than {CHUNK_LINE_BYTES} bytes"),
        )),
    }
}

/// The size in a chunk's line, whose extensions mean nothing here.
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

/// What the bodies of all clients may take together.
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

/// One body's part of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    /// Grows to `bytes`, or says that there is no room.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let more = bytes.saturating_sub(self.bytes);
        let limit = self.budget.limit;
        // What is refused is never counted, or another body that fits would be refused with it.
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
        let limits = Limits::default();
        let mut decoder = Decoder::new(Framing::Chunked);
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
    fn a_budget_is_free_again_when_its_shares_are() {
        let budget = Budget::new(10);
        let mut one = budget.share();
        assert!(one.grow(6).is_ok() && one.grow(4).is_ok());
        assert!(budget.share().grow(5).is_err());
        drop(one);
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
