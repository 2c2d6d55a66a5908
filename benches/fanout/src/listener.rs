//! What a client of the crowd understands of any server's stream, as cheaply as can be: what it
//! costs is missing elsewhere on the machine.
//!
//! Data of an event is `TYPE-NUMBER-TIME-PADDING`; see [`compose`].

use std::ops::Range;

use memchr::{memchr, memmem};
use support::chunks::Chunks;

use super::latency::{Latencies, now};
use crate::crowd::{Ear, Tally};

/// No head and no line is longer.
const LONGEST: usize = 64 << 10;
/// No type gets so many events; a larger number is damaged.
const MOST_EVENTS: u32 = 50_000_000;

/// Makes `data` that of an event published at this time.
pub(crate) fn compose(data: &mut Vec<u8>, kind: usize, number: u32, time: u64, size: usize) {
    data.clear();
    data.extend_from_slice(format!("{kind}-{number}-{time}-").as_bytes());
    data.resize(size.max(data.len()), b'x');
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Listener {
    phase: Phase,
    stream: Stream,
}

#[derive(Debug)]
enum Phase {
    /// What there is of the head.
    Head(Vec<u8>),
    Stream,
    Chunked(Chunks),
    /// The body of an answer that is no stream: dropped.
    Other,
}

impl Ear for Listener {
    /// The numbers of the types asked for, or of channels: 7 is `c7`, 0 is the common one,
    /// and where all are asked for whatever comes.
    type Wanted = Vec<u16>;
    type Figures = Latencies;

    fn new() -> Self {
        let (line, size, progress) = (Vec::new(), Vec::new(), Vec::new());
        // None is so long.
        let chunk = Usual { length: usize::MAX, data: 0, end: 0 };
        let stream = Stream { line, usual: 1, between: 0, chunk, size, progress };
        Self { phase: Phase::Head(Vec::new()), stream }
    }

    fn wanted(target: &str) -> Vec<u16> {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let values = |key: &'static str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(move |(name, _)| *name == key).map(|(_, value)| value)
        };
        let number = |name: &str| name.get(1..)?.parse().ok();
        if values("channel").next().is_none() {
            return values("event").filter_map(number).collect();
        }
        let channel = |name: &str| if ["", "*"].contains(&name) { Some(0) } else { number(name) };
        values("channel").filter_map(channel).collect()
    }

    fn hear(
        &mut self,
        mut bytes: &[u8],
        wanted: &Vec<u16>,
        tally: &mut Tally,
        latencies: Option<&mut Latencies>,
    ) -> Result<(), String> {
        if let Phase::Head(head) = &mut self.phase {
            let before = head.len();
            head.extend_from_slice(bytes);
            let Some(length) = end_of_head(head) else {
                return (head.len() < LONGEST).then_some(()).ok_or("no end of the head".into());
            };
            bytes = &bytes[length - before..];
            head.truncate(length);
            (tally.status, self.phase) = read_head(head)?;
        }
        let mut hearing = Hearing { wanted, tally, latencies, now: now() };
        match &mut self.phase {
            Phase::Stream => self.stream.take(bytes, &mut hearing),
            Phase::Chunked(chunks) => loop {
                if chunks.is_at_rest() {
                    bytes = self.stream.take_usual_chunks(bytes, &mut hearing)?;
                }
                let before = bytes;
                let Some(data) = chunks.next(&mut bytes)? else { return Ok(()) };
                self.stream.take_chunk(data, before, &mut hearing)?;
            },
            Phase::Head(_) | Phase::Other => Ok(()),
        }
    }

    fn is_at_rest(&self) -> bool {
        self.stream.line.is_empty() && !matches!(self.phase, Phase::Head(_))
    }
}

/// Where the head ends, blank line included.
fn end_of_head(head: &[u8]) -> Option<usize> {
    head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn read_head(head: &[u8]) -> Result<(u16, Phase), String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(head).map_err(|error| format!("no response head: {error}"))?;
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map_or("", |header| std::str::from_utf8(header.value).unwrap_or(""))
    };
    let phase = if status != 200 || !value("content-type").starts_with("text/event-stream") {
        Phase::Other
    } else if value("transfer-encoding").eq_ignore_ascii_case("chunked") {
        Phase::Chunked(Chunks::default())
    } else {
        Phase::Stream
    };
    Ok((status, phase))
}

/// What one call of `hear` is about.
struct Hearing<'a> {
    wanted: &'a [u16],
    tally: &'a mut Tally,
    latencies: Option<&'a mut Latencies>,
    now: u64,
}

#[derive(Debug)]
struct Stream {
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
    /// The length of the last line of data, and what was between it and the one before. Both are
    /// likely the same next time, and then nothing else needs to be looked at.
    usual: usize,
    between: usize,
    /// The same for a chunk with one event, and the line of its size.
    chunk: Usual,
    size: Vec<u8>,
    progress: Vec<Progress>,
}

/// A chunk, its size and its end included.
#[derive(Clone, Copy, Debug)]
struct Usual {
    length: usize,
    /// Where its line of data begins, and where that ends.
    data: usize,
    end: usize,
}

/// How far a client is in the events of one type.
#[derive(Debug)]
struct Progress {
    kind: u16,
    next: u32,
    /// What was left out.
    gaps: Vec<Range<u32>>,
}

impl Stream {
    fn take(&mut self, mut bytes: &[u8], hearing: &mut Hearing<'_>) -> Result<(), String> {
        if !self.line.is_empty() {
            let length = first_line(bytes);
            self.line.extend_from_slice(&bytes[..length]);
            if !self.line.ends_with(b"\n") {
                return (self.line.len() < LONGEST).then_some(()).ok_or("an endless line".into());
            }
            let mut line = std::mem::take(&mut self.line);
            self.lines(&line, hearing)?;
            line.clear();
            self.line = line;
            bytes = &bytes[length..];
        }
        self.lines(bytes, hearing)
    }

    /// Takes chunks with one event as long as they are like the last such one, and gives what is
    /// behind them.
    fn take_usual_chunks<'b>(
        &mut self,
        mut bytes: &'b [u8],
        hearing: &mut Hearing<'_>,
    ) -> Result<&'b [u8], String> {
        let Usual { length, data, end } = self.chunk;
        while let Some((chunk, rest)) = bytes.split_at_checked(length)
            && self.line.is_empty()
            && chunk.starts_with(&self.size)
            && chunk[data..].starts_with(b"data: ")
            && chunk[end] == b'\n'
            && chunk.ends_with(b"\n\n\r\n")
        {
            self.event(&chunk[data + "data: ".len()..end], hearing)?;
            bytes = rest;
        }
        Ok(bytes)
    }

    /// Takes the data of a chunk, or a part of it. It stands in `bytes`.
    fn take_chunk(
        &mut self,
        data: &[u8],
        bytes: &[u8],
        hearing: &mut Hearing<'_>,
    ) -> Result<(), String> {
        let events = hearing.tally.events;
        self.take(data, hearing)?;
        if hearing.tally.events != events + 1 {
            return Ok(());
        }
        let size = format!("{:x}\r\n", data.len());
        if bytes.starts_with(size.as_bytes())
            && let Some(at) = memmem::find(data, b"\ndata: ")
        {
            let (length, data) = (size.len() + data.len() + 2, size.len() + at + 1);
            self.chunk = Usual { length, data, end: data + self.usual - 1 };
            self.size = size.into_bytes();
        }
        Ok(())
    }

    fn lines(&mut self, bytes: &[u8], hearing: &mut Hearing<'_>) -> Result<(), String> {
        let mut at = 0;
        // Where the last data ended, if that was in these bytes.
        let mut behind = None;
        while at < bytes.len() {
            let skip = if behind == Some(at) { self.between } else { 0 };
            let (line, length) =
                if let Some(length) = self.usual_line(bytes.get(at + skip..).unwrap_or_default()) {
                    at += skip;
                    (&bytes[at..at + length - 1], length)
                } else {
                    let length = first_line(&bytes[at..]);
                    match &bytes[at..at + length] {
                        [line @ .., b'\n'] => (line, length),
                        beginning => {
                            self.line.extend_from_slice(beginning);
                            return Ok(());
                        }
                    }
                };
            let Some(data) = line.strip_prefix(b"data:") else {
                other_line(line, hearing)?;
                at += length;
                continue;
            };
            self.usual = length;
            if let Some(behind) = behind {
                self.between = at - behind;
            }
            at += length;
            behind = Some(at);
            let data = data.strip_prefix(b" ").unwrap_or(data);
            self.event(data.strip_suffix(b"\r").unwrap_or(data), hearing)?;
        }
        Ok(())
    }

    /// The length of the line of data that these bytes begin with, if it is as long as the last.
    fn usual_line(&self, bytes: &[u8]) -> Option<usize> {
        let is_it = bytes.starts_with(b"data:") && bytes.get(self.usual - 1) == Some(&b'\n');
        is_it.then_some(self.usual)
    }

    fn event(&mut self, data: &[u8], hearing: &mut Hearing<'_>) -> Result<(), String> {
        let damaged = || wrong("data that nobody sent", data);
        let (kind, rest) = read_number(data).ok_or_else(damaged)?;
        let (number, rest) =
            read_number(rest).filter(|(number, _)| *number <= MOST_EVENTS).ok_or_else(damaged)?;
        let known = self.progress.iter_mut().find(|known| known.kind == kind);
        let known = match known {
            Some(known) => known,
            None if hearing.wanted.contains(&kind) => {
                self.progress.push(Progress { kind, next: number, gaps: Vec::new() });
                self.progress.last_mut().ok_or_else(damaged)?
            }
            None => return Err(wrong("a type that was not asked for", data)),
        };
        let tally = &mut *hearing.tally;
        let length = u32::try_from(data.len()).map_err(|_| damaged())?;
        tally.bytes = (tally.bytes.0.min(length), tally.bytes.1.max(length));
        if number == known.next {
            known.next += 1;
        } else if number > known.next {
            known.gaps.push(known.next..number);
            known.next = number + 1;
        } else if known.fills_a_gap(number) {
            tally.late += 1;
        } else {
            tally.repeated += 1;
            return Ok(());
        }
        tally.events += 1;
        let Some(latencies) = &mut hearing.latencies else { return Ok(()) };
        latencies.add(kind, number, hearing.now, || {
            let (published, _) = read_number(rest).ok_or_else(damaged)?;
            Ok(published)
        })
    }
}

/// The length of the first line with its end, or of its beginning.
fn first_line(bytes: &[u8]) -> usize {
    memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

/// A line that is not data.
fn other_line(line: &[u8], hearing: &mut Hearing<'_>) -> Result<(), String> {
    if line.starts_with(b":") {
        hearing.tally.comments += 1;
        return Ok(());
    }
    let is_known = [&b"event:"[..], b"id:", b"retry:"].iter().any(|name| line.starts_with(name));
    // Some send `id` alone, some end lines with CRLF.
    let is_known = is_known || matches!(line, b"" | b"\r" | b"id" | b"id\r");
    is_known.then_some(()).ok_or_else(|| wrong("no field of a stream", line))
}

impl Progress {
    fn fills_a_gap(&mut self, number: u32) -> bool {
        let Some(index) = self.gaps.iter().position(|gap| gap.contains(&number)) else {
            return false;
        };
        let gap = self.gaps.swap_remove(index);
        let halves = [gap.start..number, number + 1..gap.end];
        self.gaps.extend(halves.into_iter().filter(|half| !half.is_empty()));
        true
    }
}

/// A number up to a hyphen, and what is behind it.
fn read_number<T: TryFrom<u64>>(data: &[u8]) -> Option<(T, &[u8])> {
    let mut number: u64 = 0;
    for (index, byte) in data.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?,
            b'-' if index > 0 => return Some((number.try_into().ok()?, &data[index + 1..])),
            _ => return None,
        }
    }
    None
}

fn wrong(what: &str, line: &[u8]) -> String {
    let shown = &line[..line.len().min(40)];
    format!("{what}: {:?} ({} bytes)", String::from_utf8_lossy(shown), line.len())
}
