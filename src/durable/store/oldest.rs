//! The oldest segment goes, and what is still wanted of it is appended again.

use std::{collections::HashSet, fs, io};

use super::{
    super::{
        group::Group,
        record::{self, HEAD, Record},
        say,
        segment::{Contents, Found},
    },
    Store,
};
use crate::{logs::Level, message::entry_id::EntryId};

/// The oldest segment, which is to go.
#[derive(Debug)]
pub(in crate::durable) struct Oldest {
    contents: Contents,
    bytes: Vec<u8>,
}

impl Oldest {
    pub(in crate::durable) fn entries(&self) -> Vec<EntryId> {
        self.contents.records.iter().map(|found| found.record.entry).collect()
    }
}

impl Store {
    /// Reads the oldest segment.
    pub(in crate::durable) fn oldest(&self) -> io::Result<Option<Oldest>> {
        let Some(segment) = self.segments.front().filter(|_| self.segments.len() > 1) else {
            return Ok(None);
        };
        let bytes = fs::read(self.directory.segment(segment.file))?;
        let until = self.segments.get(1).map(|next| next.position);
        let contents = Contents::read(&bytes, until)
            .map_err(|error| io::Error::other(format!("the oldest segment: {error}")))?;
        Ok(Some(Oldest { contents, bytes }))
    }

    /// Lets the oldest segment go. What is still wanted of it is appended again, unless there is no
    /// room for that.
    pub(in crate::durable) fn drop_oldest(
        &mut self,
        oldest: &Oldest,
        is_wanted: impl Fn(EntryId) -> bool,
    ) -> io::Result<()> {
        let Contents { records, .. } = &oldest.contents;
        let wanted: Vec<&Found> =
            records.iter().filter(|found| is_wanted(found.record.entry)).collect();
        let bytes: usize = wanted.iter().map(|found| HEAD + 10 + found.event.len()).sum();
        // Most of a segment again would leave no room for anything else.
        let is_room = !self.is_at_limit() || bytes as u64 <= self.config.segment_bytes / 2;
        let kept = if is_room { &*wanted } else { &[] };
        let position = oldest.contents.header.position;
        let Some(&gone) = self.segments.front().filter(|it| it.position == position) else {
            // It has gone meanwhile.
            return Ok(());
        };
        // No other one goes while this one is copied.
        self.segments.pop_front();
        if let Err(error) = self.append_again(oldest, kept) {
            self.segments.push_front(gone);
            return Err(error);
        }
        let end = self.segments.front().map_or(self.next.position, |next| next.position);
        if oldest.contents.next_position() < end {
            self.next.broken = EntryId { millis: self.next.epoch, number: self.next.number };
        }
        let kept: HashSet<EntryId> = kept.iter().map(|found| found.record.entry).collect();
        for Found { record: Record { entry, message, .. }, .. } in records {
            let topic = record::topic(message);
            if self.topics.get(&*topic) == Some(&entry.number) && !kept.contains(entry) {
                self.topics.remove(&*topic);
                let bound = match message.channel_name() {
                    Some(_) => &mut self.next.forgotten,
                    None => &mut self.next.floor,
                };
                *bound = (*bound).max(*entry);
            }
        }
        self.let_go(gone.file, gone.length);
        Ok(())
    }

    /// Appends events of the oldest segment again.
    fn append_again(&mut self, oldest: &Oldest, kept: &[&Found]) -> io::Result<()> {
        if kept.is_empty() {
            return Ok(());
        }
        let mut group = Group::new(self);
        for found in kept {
            group.push_again(&oldest.bytes[found.event.clone()]);
        }
        let Group { count, bytes, .. } = group;
        let written = self.write(&bytes).and_then(|()| self.flush());
        self.buffer = bytes;
        written?;
        self.next.position += count;
        Ok(())
    }

    /// Lets the oldest segment go, which cannot be read.
    pub(in crate::durable) fn lose_oldest(&mut self) {
        if let Some(gone) = self.segments.pop_front() {
            say(Level::Warn, format_args!("the oldest events cannot be read"));
            self.next.broken = EntryId { millis: self.next.epoch, number: self.next.number };
            self.let_go(gone.file, gone.length);
        }
    }

    /// A file is not used any more: it is the next segment, or goes when there is one.
    pub(super) fn let_go(&mut self, file: u64, length: u64) {
        let is_spare = self.spare.is_none() && length == self.config.segment_bytes;
        if is_spare && self.disk_bytes() + length <= self.config.disk_bytes {
            self.spare = Some((file, length));
        } else {
            self.doomed.push((file, length));
        }
    }
}
