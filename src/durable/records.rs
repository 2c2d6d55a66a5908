//! The records of a directory in the order of their entries, read one after the other: all of them
//! at once would take as much memory as the history does.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{
    directory,
    record::{self, Record},
    segment::Found,
};
use crate::message::entry_id::EntryId;

/// Where a record is.
#[derive(Clone, Copy, Debug)]
struct At {
    entry: EntryId,
    position: u64,
    /// Where it begins in its file, which is one of `files`.
    start: u64,
    file: u32,
    length: u32,
}

#[derive(Debug, Default)]
pub(super) struct Records {
    directory: PathBuf,
    files: Vec<u64>,
    found: Vec<At>,
    next: usize,
    /// The bytes of a file, and which one it is.
    buffer: Vec<u8>,
    buffered: Option<u32>,
    /// How many could not be read any more.
    pub(super) missing: u64,
}

impl Records {
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), ..Self::default() }
    }

    /// Adds what was found in a file, the first at this position.
    pub(super) fn add(&mut self, file: u64, position: u64, found: &[Found]) {
        let Ok(number) = u32::try_from(self.files.len()) else { return };
        self.files.push(file);
        self.found.extend((position..).zip(found).map(|(position, found)| At {
            entry: found.record.entry,
            position,
            start: found.whole.start as u64,
            file: number,
            length: u32::try_from(found.whole.len()).unwrap_or(u32::MAX),
        }));
    }

    /// Gives them the order of their entries. One that was appended again may be there twice.
    pub(super) fn sort(&mut self) {
        self.found.sort_by_key(|at| at.entry);
        self.found.dedup_by_key(|at| at.entry);
    }

    fn read(&mut self, at: At, is_run: bool) -> io::Result<Option<Record>> {
        let path = directory::segment(&self.directory, self.files[at.file as usize]);
        let (mut start, length) = (at.start, at.length as usize);
        if self.buffered != Some(at.file) {
            self.buffered = None;
            self.buffer.clear();
            let mut file = File::open(path)?;
            if is_run {
                file.read_to_end(&mut self.buffer)?;
                self.buffered = Some(at.file);
            } else {
                io::Seek::seek(&mut file, io::SeekFrom::Start(start))?;
                file.take(length as u64).read_to_end(&mut self.buffer)?;
                start = 0;
            }
        }
        let bytes = usize::try_from(start).ok().and_then(|start| self.buffer.get(start..));
        let raw = bytes.and_then(|bytes| record::at(bytes, at.position));
        Ok(raw.and_then(|raw| record::read(raw.event)))
    }
}

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            let &at = self.found.get(self.next)?;
            self.next += 1;
            let is_run = self.found.get(self.next).is_some_and(|next| next.file == at.file);
            match self.read(at, is_run) {
                Ok(Some(record)) => return Some(record),
                Ok(None) | Err(_) => self.missing += 1,
            }
        }
    }
}
