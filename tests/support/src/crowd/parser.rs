//! Bytes of a response to what they mean, in pieces of any size.
//!
//! It accepts what the library promises to send and nothing else: lines end with CRLF in the head
//! and with LF in the stream; a field is its name, a colon and one blank; fields come in the order
//! event, data, retry, id; a comment stands before the fields of a block, never between them. The
//! server's own `retry` and `id` stand before an event's fields, without a blank line.

use std::io::BufRead;

use super::payload::{self, Stamp};
use crate::chunks::Chunks;

/// No line is longer than an event that the library takes.
const LONGEST_LINE: usize = 2 << 20;

/// Which event type a client asked for, and thus must get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Any: the request names several types, or `*`.
    Any,
    /// The general type, whose events have no name.
    General,
    Only(String),
}

impl Names {
    /// From a request's target, for example `/event?event=x`.
    pub fn of_target(target: &str) -> Self {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let mut names = query.split('&').filter_map(|pair| pair.strip_prefix("event="));
        match (names.next(), names.next()) {
            (None | Some("" | "message"), None) => Self::General,
            (Some("*"), _) | (_, Some(_)) => Self::Any,
            (Some(name), None) => Self::Only(name.to_owned()),
        }
    }
}

/// What a piece of the response turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The head is complete, blank line included.
    Head {
        status: u16,
    },
    Comment,
    /// An event of this many bytes of data.
    Event {
        stamp: Stamp,
        bytes: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Status,
    Header,
    Stream,
    /// The body of a response that is no stream: dropped.
    Body,
}

/// Where in a block of the stream the parser is; fields come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Start,
    Comment,
    Event,
    Data,
    Retry,
    Id,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Parser {
    phase: Phase,
    status: u16,
    is_event_stream: bool,
    /// `Content-Length`, and later what of it has not come yet. A stream has none, unless it only
    /// says that there is no room.
    body_left: Option<usize>,
    /// Set if the body comes in chunks.
    chunks: Option<Chunks>,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    place: Place,
    is_named: bool,
    event: Option<(Stamp, u32)>,
}

impl Parser {
    pub fn new() -> Self {
        Self {
            phase: Phase::Status,
            status: 0,
            is_event_stream: false,
            body_left: None,
            chunks: None,
            partial: Vec::new(),
            place: Place::Start,
            is_named: false,
            event: None,
        }
    }

    /// Whether a response that ends here ends in good order: between two blocks of a stream, or
    /// with the last byte of a body.
    pub fn is_at_rest(&self) -> bool {
        let is_between_blocks = match self.phase {
            Phase::Status | Phase::Header => false,
            Phase::Stream => {
                self.place <= Place::Comment
                    && self.partial.is_empty()
                    && self.chunks.as_ref().is_none_or(Chunks::is_at_rest)
            }
            Phase::Body => true,
        };
        is_between_blocks && self.body_left.is_none_or(|left| left == 0)
    }

    /// Takes the next bytes and tells `see` what they complete.
    ///
    /// # Errors
    /// What is wrong with them. The parser is of no use then.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        names: &Names,
        see: &mut impl FnMut(Seen) -> Result<(), String>,
    ) -> Result<(), String> {
        let bytes = self.lines(bytes, names, see)?;
        let Some(mut chunks) = self.chunks.take() else { return Ok(()) };
        let decoded = chunks.decode(bytes, &mut |data| self.lines(data, names, see).map(|_| ()));
        self.chunks = Some(chunks);
        decoded
    }

    /// Takes whole lines and beginnings of lines. Returns what follows a head whose body comes in
    /// chunks.
    fn lines<'b>(
        &mut self,
        mut bytes: &'b [u8],
        names: &Names,
        see: &mut impl FnMut(Seen) -> Result<(), String>,
    ) -> Result<&'b [u8], String> {
        while !bytes.is_empty() && (self.chunks.is_none() || self.phase < Phase::Stream) {
            if self.phase == Phase::Body {
                self.count_body(bytes.len())?;
                return Ok(&[]);
            }
            let mut rest = bytes;
            let length = rest.skip_until(b'\n').map_err(|error| error.to_string())?;
            if self.phase == Phase::Stream {
                self.count_body(length)?;
            }
            let (line, is_whole) = match &bytes[..length] {
                [line @ .., b'\n'] => (line, true),
                beginning => (beginning, false),
            };
            bytes = rest;
            if is_whole && self.partial.is_empty() {
                self.line(line, names, see)?;
                continue;
            }
            self.partial.extend_from_slice(line);
            if self.partial.len() > LONGEST_LINE {
                return Err(format!("a line of more than {LONGEST_LINE} bytes"));
            }
            if is_whole {
                let mut line = std::mem::take(&mut self.partial);
                self.line(&line, names, see)?;
                line.clear();
                self.partial = line;
            }
        }
        Ok(bytes)
    }

    fn count_body(&mut self, length: usize) -> Result<(), String> {
        if let Some(left) = &mut self.body_left {
            *left = left.checked_sub(length).ok_or("more bytes than Content-Length says")?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        line: &[u8],
        names: &Names,
        see: &mut impl FnMut(Seen) -> Result<(), String>,
    ) -> Result<(), String> {
        if self.phase == Phase::Stream {
            return self.stream_line(line, names, see);
        }
        let line = line.strip_suffix(b"\r").ok_or_else(|| wrong("no CRLF in the head", line))?;
        if line.is_empty() && self.phase == Phase::Header {
            self.end_of_head()?;
            return see(Seen::Head { status: self.status });
        }
        if self.phase == Phase::Status {
            self.status = status_of(line).ok_or_else(|| wrong("no status line", line))?;
            self.phase = Phase::Header;
            return Ok(());
        }
        self.header(line).ok_or_else(|| wrong("no header field", line))
    }

    fn header(&mut self, line: &[u8]) -> Option<()> {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(": ")?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_token) || value.contains('\r') {
            return None;
        }
        if name.eq_ignore_ascii_case("content-type") {
            self.is_event_stream = value.starts_with("text/event-stream");
        } else if name.eq_ignore_ascii_case("content-length") {
            self.body_left = Some(value.parse().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            self.chunks = (value == "chunked").then(Chunks::default);
            return self.chunks.is_some().then_some(());
        }
        Some(())
    }

    fn end_of_head(&mut self) -> Result<(), String> {
        self.phase = match (self.status, self.is_event_stream) {
            (200, true) => Phase::Stream,
            (_, true) => return Err(format!("a stream with status {}", self.status)),
            (_, false) => Phase::Body,
        };
        Ok(())
    }

    fn stream_line(
        &mut self,
        line: &[u8],
        names: &Names,
        see: &mut impl FnMut(Seen) -> Result<(), String>,
    ) -> Result<(), String> {
        if let Some(data) = line.strip_prefix(b"data: ") {
            self.enter(Place::Data, line)?;
            // Its check of every byte also finds a CR.
            let stamp = payload::parse(data).ok_or_else(|| wrong("data that nobody sent", line))?;
            let bytes = u32::try_from(data.len()).expect("no longer than the longest line");
            self.event = Some((stamp, bytes));
            return Ok(());
        }
        if line.contains(&b'\r') {
            return Err(wrong("a CR in the stream", line));
        }
        match line {
            [] => self.end_of_block(names, see),
            [b':', ..] => {
                if self.place > Place::Comment {
                    return Err(wrong("a comment between fields", line));
                }
                self.place = Place::Comment;
                see(Seen::Comment)
            }
            _ => self.field(line, names),
        }
    }

    fn field(&mut self, line: &[u8], names: &Names) -> Result<(), String> {
        if let Some(name) = line.strip_prefix(b"event: ") {
            self.enter(Place::Event, line)?;
            self.is_named = true;
            return match names {
                Names::Any => Ok(()),
                Names::Only(expected) if expected.as_bytes() == name => Ok(()),
                Names::Only(_) | Names::General => Err(wrong("an event nobody asked for", line)),
            };
        }
        let is_own = self.place <= Place::Comment;
        if let Some(id) = line.strip_prefix(b"id: ") {
            self.enter(if is_own { Place::Start } else { Place::Id }, line)?;
            return (!id.is_empty()).then_some(()).ok_or_else(|| wrong("an empty id", line));
        }
        if let Some(time) = line.strip_prefix(b"retry: ") {
            self.enter(if is_own { Place::Start } else { Place::Retry }, line)?;
            let is_number = !time.is_empty() && time.iter().all(u8::is_ascii_digit);
            return is_number.then_some(()).ok_or_else(|| wrong("no time to retry", line));
        }
        Err(wrong("no field of a stream", line))
    }

    fn enter(&mut self, place: Place, line: &[u8]) -> Result<(), String> {
        if place > Place::Start && self.place >= place {
            return Err(wrong("a field out of order", line));
        }
        self.place = place;
        Ok(())
    }

    fn end_of_block(
        &mut self,
        names: &Names,
        see: &mut impl FnMut(Seen) -> Result<(), String>,
    ) -> Result<(), String> {
        let (place, is_named) = (self.place, self.is_named);
        self.place = Place::Start;
        self.is_named = false;
        match self.event.take() {
            Some(_) if !is_named && matches!(names, Names::Only(_)) => {
                Err("an event without its name".into())
            }
            Some((stamp, bytes)) => see(Seen::Event { stamp, bytes }),
            None if place <= Place::Comment => Err("a blank line that ends no event".into()),
            None if is_named => Err("an event without data".into()),
            None => Ok(()),
        }
    }
}

fn status_of(line: &[u8]) -> Option<u16> {
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.1 ")?;
    let (status, reason) = rest.split_once(' ')?;
    let is_status = status.len() == 3 && !reason.is_empty();
    is_status.then(|| status.parse().ok()).flatten()
}

fn wrong(what: &str, line: &[u8]) -> String {
    let shown = &line[..line.len().min(40)];
    format!("{what}: {:?} ({} bytes)", String::from_utf8_lossy(shown), line.len())
}
