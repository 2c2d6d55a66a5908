//! Reading a directory: what is there, and what may be missing.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::{
    directory, record,
    records::Records,
    segment::{Contents, Found, HEADER, Header, NoSegment},
};
use crate::message::entry_id::EntryId;

/// A segment that has a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) file: u64,
    pub(super) length: u64,
    pub(super) position: u64,
}

/// Reads a file, at most this many bytes. False if a server that uses the directory has removed it.
fn read(directory: &Path, file: u64, most: u64, bytes: &mut Vec<u8>) -> io::Result<bool> {
    bytes.clear();
    match File::open(directory::segment(directory, file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        file => file?.take(most).read_to_end(bytes).map(|_| true),
    }
}

/// What was read of a directory so far.
#[derive(Default)]
pub(super) struct Reading {
    /// The least that the file of a segment has.
    segment_bytes: u64,
    pub(super) segments: VecDeque<Segment>,
    pub(super) records: Records,
    /// The newest event of each topic.
    pub(super) topics: HashMap<Box<[u8]>, EntryId>,
    /// What the newest header says.
    pub(super) written: Option<Header>,
    /// What comes behind the last segment.
    pub(super) next: Option<Header>,
    /// Where the last segment ends.
    pub(super) end: Option<u64>,
    /// How many records are missing between segments.
    pub(super) holes: u64,
    is_last_damaged: bool,
    /// A file that had events has no good header.
    lost_file: bool,
    /// Files without a good header, and their lengths.
    pub(super) damaged: Vec<(u64, u64)>,
}

impl Reading {
    /// Reads all segments, one after the other.
    pub(super) fn all(directory: &Path, segment_bytes: u64) -> io::Result<Self> {
        let records = Records::new(directory);
        let mut reading = Self { segment_bytes, records, ..Self::default() };
        let (mut good, mut damaged) = (Vec::new(), Vec::new());
        let mut bytes = Vec::new();
        for file in directory::segments(directory)? {
            if !read(directory, file, HEADER as u64, &mut bytes)? {
                continue;
            }
            match Header::read(&bytes) {
                Ok(header) => good.push((header.position, file)),
                Err(NoSegment::Damaged) => damaged.push(file),
                Err(error) => {
                    let path = directory::segment(directory, file);
                    return Err(io::Error::other(format!("{}: {error}", path.display())));
                }
            }
        }
        good.sort_unstable();
        for (at, &(_, file)) in good.iter().enumerate() {
            if read(directory, file, u64::MAX, &mut bytes)? {
                reading.take(file, &bytes, good.get(at + 1).map(|(position, _)| *position));
            }
        }
        // A file without a good header was being made, unless events are in it that nothing follows, or
        // it is the oldest one.
        let last = reading.next.map_or(0, |next| next.position - 1);
        let follows = |bytes: &[u8]| {
            bytes.get(HEADER..).is_some_and(|bytes| record::has_later_commit(bytes, last))
        };
        for file in damaged {
            if read(directory, file, u64::MAX, &mut bytes)? {
                reading.lost_file |= follows(&bytes);
                reading.damaged.push((file, bytes.len() as u64));
            }
        }
        let begins = good.first().map_or(u64::MAX, |(position, _)| *position);
        reading.lost_file |= reading.next.is_some_and(|next| next.oldest < begins);
        reading.records.sort();
        Ok(reading)
    }

    /// Why something that was acknowledged may be missing behind the last record, if it may.
    pub(super) fn doubt(&self) -> Option<&'static str> {
        match self {
            Self { is_last_damaged: true, .. } => Some("its end is damaged"),
            Self { lost_file: true, .. } => Some("a file of it is damaged"),
            _ => None,
        }
    }

    /// Takes the next segment; the one behind it begins at position `until`.
    fn take(&mut self, file: u64, bytes: &[u8], until: Option<u64>) {
        let Ok(contents) = Contents::read(bytes, until) else { return };
        let Contents { header, .. } = contents;
        self.written = Some(header);
        let mut next = header;
        if let Some(before) = self.next {
            next.broken = next.broken.max(before.broken);
            next.number = next.number.max(before.number);
            let missing = header.position.saturating_sub(before.position);
            if missing > 0 {
                self.holes += missing;
                let first = EntryId { millis: header.epoch, number: header.number };
                next.broken = next.broken.max(first);
            }
        }
        next.position = contents.next_position();
        self.records.add(file, header.position, &contents.records);
        for Found { record, .. } in contents.records {
            if record.entry.millis == next.epoch {
                next.number = next.number.max(record.entry.number + 1);
            }
            let newest = self.topics.entry(record::topic(&record.message).into()).or_default();
            *newest = record.entry.max(*newest);
        }
        let is_cut = (bytes.len() as u64) < self.segment_bytes;
        (self.end, self.is_last_damaged) =
            (Some(contents.end as u64), contents.is_damaged || is_cut);
        self.segments.push_back(Segment {
            file,
            length: bytes.len() as u64,
            position: header.position,
        });
        self.next = Some(next);
    }
}
