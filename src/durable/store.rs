//! The segments of a directory: what is in them, and how more comes to it.

mod in_memory;
mod oldest;

use std::{
    collections::{HashMap, VecDeque},
    fs::{self, File, OpenOptions},
    hash::{BuildHasher, RandomState},
    io::{self, Write},
    mem,
    time::{SystemTime, UNIX_EPOCH},
};

use self::in_memory::InMemory;
pub(super) use self::oldest::Oldest;
use super::{
    config::{Commit, DurableConfig},
    directory::{Directory, Left},
    group::{Group, Part},
    reading::{Reading, Segment},
    record,
    records::Records,
    say,
    segment::{HEADER, Header},
};
use crate::{logs::Level, message::entry_id::EntryId};

/// Fewer segments are not worth less space.
const LEAST_SEGMENTS: u64 = 4;

#[derive(Debug)]
pub(super) struct Store {
    directory: Directory,
    pub(super) config: DurableConfig,
    /// All of them, the oldest first. The last one takes what comes, if `open` is set.
    segments: VecDeque<Segment>,
    open: Option<Open>,
    /// A file that is not used any more, and its length.
    spare: Option<(u64, u64)>,
    /// Files that go when there is a segment that says what was known of them.
    doomed: Vec<(u64, u64)>,
    /// What the newest header says.
    written: Header,
    /// A flush has failed since the newest segment was begun.
    has_failed: bool,
    /// Something that was acknowledged may be lost, and no header says so yet.
    is_doubtful: bool,
    /// What the next segment begins with.
    pub(super) next: Header,
    /// The newest event of each topic that has one here.
    pub(super) topics: HashMap<Box<[u8]>, u64>,
    /// Bytes that were written, and not yet to the disk.
    pub(super) is_dirty: bool,
    /// How many bytes the disk did not take.
    refused: usize,
    in_memory: InMemory,
    pub(super) buffer: Vec<u8>,
    pub(super) flushes: usize,
}

/// The segment that takes what comes.
#[derive(Debug)]
struct Open {
    file: File,
    /// Where the next record goes.
    end: u64,
    length: u64,
}

/// Not all was appended.
#[derive(Debug)]
pub(super) struct NotAppended {
    /// Those of the messages that were.
    pub(super) entries: Vec<EntryId>,
    pub(super) error: io::Error,
}

/// What a directory had when it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) store: Store,
    /// In the order of their entries.
    pub(super) records: Records,
}

impl Store {
    /// Reads what is there. From now on it may be appended to.
    pub(super) fn open(config: &DurableConfig) -> io::Result<Opened> {
        let mut directory = Directory::open(&config.path)?;
        let reading = Reading::all(&config.path, config.segment_bytes)?;
        let is_fresh = reading.segments.is_empty() && reading.damaged.is_empty();
        let doubt = if is_fresh { None } else { directory.doubt()? }.or(reading.doubt());
        let epoch = now();
        let mut next = reading.next.unwrap_or(Header {
            epoch,
            position: 1,
            number: 1,
            floor: EntryId { millis: epoch, number: 0 },
            ..Header::default()
        });
        if let Some(doubt) = doubt {
            next.epoch = later_epoch(epoch, next.epoch);
            next.broken = EntryId { millis: next.epoch, number: 0 };
            say(Level::Warn, format_args!("{doubt}: clients that come back are told of a gap"));
        }
        if reading.holes > 0 {
            let holes = reading.holes;
            say(
                Level::Warn,
                format_args!("{holes} records are damaged: clients are told of a gap"),
            );
        }
        let records = reading.records;
        let topics = reading.topics.into_iter().map(|(topic, newest)| (topic, newest.number));
        let mut store = Self {
            config: config.clone(),
            segments: reading.segments,
            open: None,
            spare: None,
            doomed: Vec::new(),
            written: reading.written.unwrap_or_default(),
            has_failed: false,
            is_doubtful: false,
            next,
            topics: topics.collect(),
            is_dirty: false,
            refused: 0,
            in_memory: InMemory::default(),
            buffer: Vec::new(),
            flushes: 0,
            directory,
        };
        for (file, length) in reading.damaged {
            store.let_go(file, length);
        }
        store.go_on(reading.end.filter(|_| doubt.is_none()))?;
        Ok(Opened { store, records })
    }

    /// Takes up where the process before ended: at `end` of the last segment, or in a new one.
    fn go_on(&mut self, end: Option<u64>) -> io::Result<()> {
        if let Some((end, last)) = end.zip(self.segments.back()) {
            let file = OpenOptions::new().write(true).open(self.directory.segment(last.file))?;
            // A process that was killed has left to the system what it wrote last.
            file.sync_data()?;
            self.open = Some(Open { file, end, length: last.length });
        }
        // Before the state says that everything is well, a header has to tell what was found out. On a
        // full disk it cannot; then the next process finds it out again.
        if !self.says_all()
            && let Err(error) = self.begin_segment(0)
        {
            say(Level::Warn, format_args!("{error}; nothing can be written"));
            self.is_doubtful = true;
        }
        self.leave()
    }

    /// Notes how this process leaves the directory if it is killed.
    fn leave(&mut self) -> io::Result<()> {
        self.directory.leave(match self.config.commit {
            _ if self.is_doubtful || !self.in_memory.is_empty() => Left::Lost,
            Commit::Each => Left::Synced,
            Commit::Every(_) | Commit::Never => Left::Unsynced,
        })
    }

    /// Whether the newest header says what the next one would.
    fn says_all(&self) -> bool {
        let said = |header: &Header| (header.epoch, header.floor, header.forgotten, header.broken);
        said(&self.written) == said(&self.next)
    }

    /// What the history begins with: everything up to the first is not known;
    /// the second is of channels; before the third something may be lost.
    pub(super) fn bounds(&self) -> [EntryId; 3] {
        [self.next.floor, self.next.forgotten, self.next.broken]
    }

    /// The newest event that there may be.
    pub(super) fn newest(&self) -> EntryId {
        EntryId { millis: self.next.epoch, number: self.next.number - 1 }
    }

    /// How many bytes the segments may take on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let spare = self.spare.map_or(0, |(_, length)| length);
        self.segments.iter().map(|segment| segment.length).sum::<u64>() + spare
    }

    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Appends messages, and returns their entries. In the mode [`Commit::Each`] they are on the
    /// disk then, or all that comes is kept in memory. If it fails, the next call begins a new segment.
    pub(super) fn append<'p>(
        &mut self,
        parts: impl Iterator<Item = &'p Part> + Clone,
    ) -> Result<Vec<EntryId>, NotAppended> {
        let millis = now();
        let mut entries = Vec::new();
        let mut left = parts.peekable();
        while left.peek().is_some() && self.in_memory.is_empty() {
            let (committed, unwritten) = (entries.len(), left.clone());
            let mut group = Group::new(self);
            while left.next_if(|part| group.push(self, part, millis)).is_some() {
                entries.push(EntryId { millis: group.epoch, number: group.number - 1 });
            }
            let Group { count, bytes, number, topics, .. } = group;
            let written = self.write(&bytes);
            self.buffer = bytes;
            if let Err(error) = written {
                entries.truncate(committed);
                left = unwritten;
                match self.go_on_in_memory(error) {
                    Ok(()) => break,
                    Err(error) => return Err(NotAppended { entries, error }),
                }
            }
            self.next.position += count;
            self.next.number = number;
            self.topics.extend(topics);
        }
        entries.extend(left.map(|part| self.keep_in_memory(part, millis)));
        Ok(entries)
    }

    /// Writes records behind the last one of the open segment; into a new one, if that fails or has
    /// no room: nobody knows what a failed write has left, and a flush that failed is never
    /// repeated.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.room() >= bytes.len() as u64 {
            match self.write_to_open(bytes) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    say(Level::Warn, format_args!("{error}; goes on in a new segment"));
                    // It has what was written before, which nobody writes again.
                    let _ = self.flush();
                    self.open = None;
                }
            }
        }
        self.refused = bytes.len();
        self.begin_segment(bytes.len() as u64).inspect_err(|_| self.note_doubt())?;
        self.write_to_open(bytes).inspect_err(|_| self.drop_empty())
    }

    /// Lets go of the segment that was begun last, and has no records: a full disk has no room for it.
    fn drop_empty(&mut self) {
        self.open = None;
        self.note_doubt();
        if let Some(&empty) = self.segments.back()
            && empty.position == self.next.position
        {
            self.segments.pop_back();
            self.remove_or_keep(empty.file, empty.length);
        }
    }

    /// Writes what only memory has. If there is nothing, tries whether the disk takes again as much as
    /// it did not take: writes zeros, which are the end.
    pub(super) fn try_again(&mut self) -> io::Result<()> {
        if !self.in_memory.is_empty() {
            return self.write_some();
        }
        let zeros = vec![0; self.refused.max(1)];
        self.write(&zeros)?;
        self.flush().inspect_err(|_| self.drop_empty())?;
        if let Some(open) = &mut self.open {
            open.end -= zeros.len() as u64;
        }
        Ok(())
    }

    /// After a failed flush nobody knows what the disk has, as long as no segment was begun behind it.
    fn note_doubt(&mut self) {
        if self.has_failed
            && !mem::replace(&mut self.is_doubtful, true)
            && let Err(error) = self.leave()
        {
            say(Level::Error, format_args!("cannot note that events may be lost: {error}"));
        }
    }

    /// Removes a file. False if that fails, and it is still there.
    fn remove(&self, file: u64) -> bool {
        let path = self.directory.segment(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                say(Level::Warn, format_args!("cannot remove {}: {error}", path.display()));
                false
            }
            _ => {
                // If that fails, the file may be there again after a power cut, and is read.
                let _ = self.directory.sync();
                true
            }
        }
    }

    /// Removes a file without records; if that fails, it is the next segment.
    fn remove_or_keep(&mut self, file: u64, length: u64) {
        if !self.remove(file) {
            self.spare = Some((file, length));
        }
    }

    fn write_to_open(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Err(io::ErrorKind::NotFound.into()) };
        write_at(&open.file, open.end, bytes)?;
        self.is_dirty = true;
        if self.config.commit == Commit::Each {
            self.flush()?;
        }
        if let Some(open) = &mut self.open {
            open.end += bytes.len() as u64;
        }
        Ok(())
    }

    /// Writes to the disk what is not there yet.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(open) = self.open.as_ref().filter(|_| self.is_dirty) {
            self.flushes += 1;
            let flushed = open.file.sync_data();
            self.is_dirty = false;
            if let Err(error) = flushed {
                (self.open, self.has_failed) = (None, true);
                if self.config.commit != Commit::Each {
                    self.note_doubt();
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The bytes that the open segment has left.
    pub(super) fn room(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.length.saturating_sub(open.end))
    }

    /// Begins a segment with room for this many bytes.
    fn begin_segment(&mut self, bytes: u64) -> io::Result<()> {
        // What comes after it must not be on the disk before it is. If that failed, the positions
        // that are missing tell it.
        let _ = self.flush();
        let length = self.config.segment_bytes.max(HEADER as u64 + bytes);
        while self.needs(length) > self.config.disk_bytes && self.segments.len() > 1 {
            match self.oldest() {
                Ok(Some(oldest)) => self.drop_oldest(&oldest, |_| false)?,
                Ok(None) | Err(_) => self.lose_oldest(),
            }
        }
        let files = self.segments.iter().map(|it| it.file).chain(self.doomed.iter().map(|it| it.0));
        let fresh = files.max().map_or(0, |newest| newest + 1);
        let (number, is_new) = self.spare.map_or((fresh, true), |(spare, _)| (spare, false));
        let length = length.max(self.spare.map_or(0, |(_, length)| length));
        let oldest = self.segments.front().map_or(self.next.position, |oldest| oldest.position);
        let header = Header { oldest, ..self.next };
        let path = self.directory.segment(number);
        let begin = || -> io::Result<File> {
            let mut file =
                OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            if file.metadata()?.len() < length {
                file.set_len(length)?;
            }
            file.write_all(&header.write())?;
            file.sync_all()?;
            if is_new {
                self.directory.sync()?;
            }
            Ok(file)
        };
        self.flushes += 1;
        let result = begin();
        self.spare = None;
        let file = result.inspect_err(|_| {
            // Without a header it is nothing; with one it has no records. What it was before is not
            // missing before another segment was begun.
            self.remove_or_keep(number, length);
            self.has_failed |= !is_new;
        })?;
        self.segments.push_back(Segment { file: number, length, position: self.next.position });
        self.open = Some(Open { file, end: HEADER as u64, length });
        (self.written, self.has_failed) = (header, false);
        let doomed = mem::take(&mut self.doomed);
        self.doomed = doomed.into_iter().filter(|&(file, _)| !self.remove(file)).collect();
        if mem::take(&mut self.is_doubtful) {
            self.leave_well();
        }
        Ok(())
    }

    /// Notes that nothing is missing any more. If that fails, clients learn of a gap that is none.
    fn leave_well(&mut self) {
        if let Err(error) = self.leave() {
            say(Level::Warn, format_args!("cannot note that nothing is missing: {error}"));
            self.is_doubtful = true;
        }
    }

    /// What the segments would take with one more of this length.
    fn needs(&self, length: u64) -> u64 {
        let own = self.spare.map_or(length, |(_, spare)| length.saturating_sub(spare));
        self.disk_bytes() + own
    }

    /// Whether the next segment would be one too many, if `live` bytes of events are wanted.
    pub(super) fn is_full(&self, live: u64) -> bool {
        let DurableConfig { segment_bytes, disk_bytes, .. } = self.config;
        let enough = (LEAST_SEGMENTS * segment_bytes).max(live.saturating_mul(4));
        self.segments.len() > 1 && self.needs(segment_bytes) > enough.min(disk_bytes)
    }

    /// When events are to be on the disk.
    pub(super) fn commit(&self) -> Commit {
        self.config.commit
    }

    /// Whether another segment would be more than the directory may take.
    pub(super) fn is_at_limit(&self) -> bool {
        self.needs(self.config.segment_bytes) > self.config.disk_bytes
    }

    /// Everything is on the disk, and the directory is left in good order.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        while !self.in_memory.is_empty() {
            self.write_some()?;
        }
        self.flush()?;
        if !self.says_all() {
            self.begin_segment(0)?;
        }
        if self.has_failed || self.is_doubtful {
            self.is_doubtful = true;
            return self.leave();
        }
        self.directory.leave(Left::Closed)
    }
}

/// Writes bytes at this place of a file.
fn write_at(file: &File, place: u64, bytes: &[u8]) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::write_all_at(file, bytes, place);
    #[cfg(not(unix))]
    {
        let mut file = file;
        io::Seek::seek(&mut file, io::SeekFrom::Start(place))?;
        file.write_all(bytes)
    }
}

/// An epoch after this one: the time, unless the clock was set back. Then any: another copy of the
/// directory may begin one too.
fn later_epoch(time: u64, before: u64) -> u64 {
    if time > before { time } else { before + 1 + RandomState::new().hash_one(()) % (1 << 20) }
}

/// The time, in milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, record::millis)
}

#[cfg(test)]
mod tests;
