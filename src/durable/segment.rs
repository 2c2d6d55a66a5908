//! A segment: a file that begins with a header, and has records behind it.

use std::{fmt, ops::Range};

use super::record::{self, Raw, Record};
use crate::message::entry_id::EntryId;

const MAGIC: &[u8; 8] = b"websse\r\n";
const FORMAT: u32 = 1;
/// The bytes of a header.
pub(super) const HEADER: usize = 100;

/// What was known when a segment was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    /// The first part of the ids that were given from then on, in milliseconds since 1970.
    pub(super) epoch: u64,
    /// The position of its first record.
    pub(super) position: u64,
    /// The number that the next event was to get.
    pub(super) number: u64,
    /// The position where the oldest segment began.
    pub(super) oldest: u64,
    /// The newest event of the common channel whose type had no event left in the directory.
    pub(super) floor: EntryId,
    /// The newest event of the channels that had no event left in the directory.
    pub(super) forgotten: EntryId,
    /// Events before this one may be lost.
    pub(super) broken: EntryId,
}

/// Why a file is no segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSegment {
    /// It was being made, or is damaged.
    Damaged,
    /// A later version has written it.
    Format(u32),
}

impl fmt::Display for NoSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("its header is damaged"),
            Self::Format(format) => {
                write!(f, "it has format {format}, and this version reads format {FORMAT}")
            }
        }
    }
}

impl Header {
    pub(super) fn write(&self) -> Vec<u8> {
        let Self { epoch, position, number, oldest, floor, forgotten, broken } = self;
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&u64::from(FORMAT).to_le_bytes());
        let entries = [floor, forgotten, broken];
        let entries = entries.into_iter().flat_map(|entry| [&entry.millis, &entry.number]);
        for number in [epoch, position, number, oldest].into_iter().chain(entries) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, NoSegment> {
        let (header, sum) = bytes
            .get(..HEADER)
            .and_then(|bytes| bytes.split_last_chunk::<4>())
            .ok_or(NoSegment::Damaged)?;
        let (magic, numbers) = header.split_at(MAGIC.len());
        let mut numbers =
            numbers.chunks_exact(8).map(|number| number.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || numbers.next().unwrap_or_default();
        let format = u32::try_from(next()).unwrap_or(u32::MAX);
        if magic != MAGIC || crc32fast::hash(header) != u32::from_le_bytes(*sum) {
            return Err(NoSegment::Damaged);
        }
        if format != FORMAT {
            return Err(NoSegment::Format(format));
        }
        let (epoch, position, number, oldest) = (next(), next(), next(), next());
        let mut entry = || EntryId { millis: next(), number: next() };
        let (floor, forgotten, broken) = (entry(), entry(), entry());
        let header = Self { epoch, position, number, oldest, floor, forgotten, broken };
        // What this crate has written leaves numbers for what comes.
        let is_bounded =
            [epoch, position, number, oldest].iter().all(|number| *number <= record::MOST);
        if is_bounded { Ok(header) } else { Err(NoSegment::Damaged) }
    }
}

/// What is in a segment, up to the first record that is not good.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) header: Header,
    pub(super) records: Vec<Found>,
    /// Where the records end.
    pub(super) end: usize,
    /// What was committed behind that cannot be read.
    pub(super) is_damaged: bool,
}

/// A record of a segment.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    /// Where its event is in the segment.
    pub(super) event: Range<usize>,
    /// Where all of it is.
    pub(super) whole: Range<usize>,
}

impl Contents {
    /// Reads the bytes of a segment. Records from position `until` on do not count: they were
    /// written again in the next segment.
    pub(super) fn read(bytes: &[u8], until: Option<u64>) -> Result<Self, NoSegment> {
        let header = Header::read(bytes)?;
        let mut contents = Self { header, records: Vec::new(), end: HEADER, is_damaged: false };
        loop {
            let position = contents.next_position();
            if until == Some(position) {
                return Ok(contents);
            }
            let rest = &bytes[contents.end..];
            let found = record::at(rest, position).and_then(|Raw { event, length, .. }| {
                Some((record::read(event)?, event.len(), length))
            });
            let Some((record, event, length)) = found else {
                contents.is_damaged = record::has_later_commit(rest, position);
                return Ok(contents);
            };
            let start = contents.end;
            contents.end += length;
            let (event, whole) = (contents.end - event..contents.end, start..contents.end);
            contents.records.push(Found { record, event, whole });
        }
    }

    /// The position behind the last record.
    pub(super) fn next_position(&self) -> u64 {
        self.header.position + self.records.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let entry = |millis, number| EntryId { millis, number };
        let header = Header {
            epoch: 1_700_000_000_000,
            position: 7,
            number: 9,
            oldest: 8,
            floor: entry(1, 2),
            forgotten: entry(3, 4),
            broken: entry(5, 6),
        };
        let mut bytes = header.write();
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(Header::read(&bytes), Ok(header));
        assert_eq!(Header::read(&bytes[..HEADER - 1]), Err(NoSegment::Damaged));
        for at in 0..HEADER {
            bytes[at] ^= 1;
            assert_eq!(Header::read(&bytes), Err(NoSegment::Damaged), "{at}");
            bytes[at] ^= 1;
        }
        bytes[8] = 2;
        let sum = crc32fast::hash(&bytes[..HEADER - 4]).to_le_bytes();
        bytes[HEADER - 4..].copy_from_slice(&sum);
        assert_eq!(Header::read(&bytes), Err(NoSegment::Format(2)));
    }
}
