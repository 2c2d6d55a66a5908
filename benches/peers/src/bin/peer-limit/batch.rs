//! What a publisher sends, and the batch of events that is made of it.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;

/// The type's number and the length of the payload, both with the lowest byte first.
const RECORD_HEAD: usize = 6;
/// As long as the part of an id in websse that stands for the run.
const EPOCH: &str = "0000000000000";

/// What has come from a publisher.
pub struct Records {
    pub input: Input,
    bytes: Vec<u8>,
    /// What of it is published.
    done: usize,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Input {
    Ready,
    Drained,
    Ended,
}

/// Framed events, one after the other.
pub struct Batch {
    limit: usize,
    sequence: u64,
    /// How the events of each type begin.
    beginnings: Vec<String>,
    bytes: Vec<u8>,
    /// The type and the end of each.
    events: Vec<(u16, usize)>,
    /// Events of the first type that were published, for those who come back: their numbers, and
    /// where each begins in `kept_bytes`. The oldest half goes when there are too many.
    kept: Vec<(u64, usize)>,
    kept_bytes: Vec<u8>,
}

/// More than any client misses here, and little beside what is measured.
const KEPT: usize = 64;

impl Records {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { input: Input::Ready, bytes, done: 0 }
    }

    /// Reads, unless there is enough for a batch.
    pub fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) {
        if self.input != Input::Ready || self.bytes.len() - self.done >= buffer.len() {
            return;
        }
        match socket.read(buffer) {
            Ok(0) => self.input = Input::Ended,
            Ok(read) => {
                self.bytes.drain(..self.done);
                self.done = 0;
                self.bytes.extend_from_slice(&buffer[..read]);
                if read < buffer.len() {
                    self.input = Input::Drained;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.input = Input::Drained,
            Err(_) => self.input = Input::Ended,
        }
    }

    /// The next whole record: its type and its payload.
    fn peek(&self) -> Option<(u16, &[u8])> {
        let (head, rest) = self.bytes[self.done..].split_first_chunk::<RECORD_HEAD>()?;
        let [low, high, length @ ..] = *head;
        let payload = rest.get(..u32::from_le_bytes(length) as usize)?;
        Some((u16::from_le_bytes([low, high]), payload))
    }
}

impl Batch {
    pub fn new(types: u16, limit: usize) -> Self {
        let beginnings = (0..types).map(|number| format!("event: t{number}\ndata: ")).collect();
        let (bytes, events, kept, kept_bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { limit, sequence: 0, beginnings, bytes, events, kept, kept_bytes }
    }

    /// Frames the next records, one at least and up to the limit; returns whether there are more.
    pub fn fill(&mut self, records: &mut Records) -> bool {
        self.bytes.clear();
        self.events.clear();
        // Counted as websse does, without the ids.
        let mut counted = 0;
        while let Some((kind, payload)) = records.peek() {
            // The events of channels are of the first type.
            let beginning = self.beginnings.get(usize::from(kind)).unwrap_or(&self.beginnings[0]);
            counted += beginning.len() + payload.len() + "\n\n".len();
            if counted > self.limit && !self.events.is_empty() {
                return true;
            }
            self.sequence += 1;
            self.bytes.extend_from_slice(beginning.as_bytes());
            self.bytes.extend_from_slice(payload);
            write!(self.bytes, "\nid: {EPOCH}-{}\n\n", self.sequence).expect("memory takes all");
            if kind == 0 {
                self.keep();
            }
            self.events.push((kind, self.bytes.len()));
            records.done += RECORD_HEAD + payload.len();
        }
        false
    }

    /// Keeps the last event, which is not counted yet.
    fn keep(&mut self) {
        if self.kept.len() == 2 * KEPT {
            let (_, start) = self.kept[KEPT];
            self.kept_bytes.drain(..start);
            self.kept.drain(..KEPT);
            self.kept.iter_mut().for_each(|(_, at)| *at -= start);
        }
        let start = self.events.last().map_or(0, |event| event.1);
        self.kept.push((self.sequence, self.kept_bytes.len()));
        self.kept_bytes.extend_from_slice(&self.bytes[start..]);
    }

    /// The events of the first type after this one.
    pub fn after(&self, last: u64) -> &[u8] {
        let first = self.kept.partition_point(|&(sequence, _)| sequence <= last);
        self.kept.get(first).map_or(&[], |&(_, start)| &self.kept_bytes[start..])
    }

    pub fn kinds(&self) -> impl Iterator<Item = u16> {
        self.events.iter().map(|&(kind, _)| kind)
    }

    pub fn event(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.events[before].1);
        &self.bytes[start..self.events[at].1]
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}
