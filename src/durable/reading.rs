//! Reading a directory: what is there, and what may be missing.

use std::{collections::VecDeque, fs, io, path::Path};

use super::{
    directory,
    record::{self, Record},
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

/// What was read of a directory so far.
#[derive(Default)]
pub(super) struct Reading {
    /// The least that the file of a segment has.
    segment_bytes: u64,
    pub(super) segments: VecDeque<Segment>,
    pub(super) records: Vec<Record>,
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
    /// Reads all segments. The records have the order of their entries then.
    pub(super) fn all(directory: &Path, segment_bytes: u64) -> io::Result<Self> {
        let mut reading = Self { segment_bytes, ..Self::default() };
        let (mut good, mut damaged) = (Vec::new(), Vec::new());
        for file in directory::segments(directory)? {
            let path = directory::segment(directory, file);
            let bytes = match fs::read(&path) {
                // A server that uses the directory has removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            match Header::read(&bytes) {
                Ok(header) => good.push((header, file, bytes)),
                Err(NoSegment::Damaged) => damaged.push((file, bytes)),
                Err(error) => return Err(io::Error::other(format!("{}: {error}", path.display()))),
            }
        }
        good.sort_by_key(|(header, file, _)| (header.position, *file));
        let starts: Vec<u64> = good.iter().map(|(header, _, _)| header.position).collect();
        for (at, (_, file, bytes)) in good.iter().enumerate() {
            reading.take(*file, bytes, starts.get(at + 1).copied());
        }
        // A file without a good header was being made, unless events are in it that nothing follows, or
        // it is the oldest one.
        let last = reading.next.map_or(0, |next| next.position - 1);
        let follows = |bytes: &[u8]| {
            bytes.get(HEADER..).is_some_and(|bytes| record::has_later_commit(bytes, last))
        };
        let begins = good.first().map_or(u64::MAX, |(header, _, _)| header.position);
        reading.lost_file = damaged.iter().any(|(_, bytes)| follows(bytes))
            || reading.next.is_some_and(|next| next.oldest < begins);
        reading.damaged =
            damaged.into_iter().map(|(file, bytes)| (file, bytes.len() as u64)).collect();
        reading.records.sort_by_key(|record| record.entry);
        // What was appended again may be there twice.
        reading.records.dedup_by_key(|record| record.entry);
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
        for Found { record, .. } in contents.records {
            if record.entry.millis == next.epoch {
                next.number = next.number.max(record.entry.number + 1);
            }
            self.records.push(record);
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
