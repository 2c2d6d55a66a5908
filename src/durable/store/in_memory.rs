//! Events that were accepted while the disk took none: only memory has them, until there is room.

use std::{collections::VecDeque, io, mem};

use super::{
    super::{
        config::WhenDiskFails,
        group::{Group, Part},
        say,
    },
    Store,
};
use crate::{logs::Level, message::entry_id::EntryId};

#[derive(Debug, Default)]
pub(super) struct InMemory {
    /// In their order, with no number left out: the time of each, and what it is.
    events: VecDeque<(u64, Part)>,
    bytes: usize,
    /// The number of the first one.
    first: u64,
    /// Why they are not on the disk.
    reason: String,
    /// Some were given up.
    is_short: bool,
}

impl InMemory {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl Store {
    /// Why there are events that only memory has, if there are.
    pub(in crate::durable) fn in_memory(&self) -> Option<&str> {
        (!self.in_memory.is_empty()).then_some(&self.in_memory.reason)
    }

    /// How many these are.
    pub(in crate::durable) fn in_memory_events(&self) -> usize {
        self.in_memory.events.len()
    }

    /// What comes is kept in memory, if that is wanted. Then the directory says that something is
    /// missing: after a restart clients have to learn of it.
    pub(super) fn go_on_in_memory(&mut self, error: io::Error) -> io::Result<()> {
        if self.config.when_disk_fails == WhenDiskFails::Refuse {
            return Err(error);
        }
        self.is_doubtful = true;
        if let Err(second) = self.leave() {
            say(
                Level::Warn,
                format_args!("cannot go on in memory, as nobody would know: {second}"),
            );
            return Err(error);
        }
        (self.in_memory.reason, self.in_memory.is_short) = (error.to_string(), false);
        Ok(())
    }

    /// Keeps an event in memory, and returns its entry. The oldest ones are given up if there are too
    /// many.
    pub(super) fn keep_in_memory(&mut self, part: &Part, millis: u64) -> EntryId {
        let entry = EntryId { millis: self.next.epoch, number: self.next.number };
        if self.in_memory.is_empty() {
            self.in_memory.first = entry.number;
        }
        self.next.number += 1;
        self.in_memory.bytes += part.len();
        self.in_memory.events.push_back((millis, part.clone()));
        while self.in_memory.bytes as u64 > self.config.disk_bytes / 4
            && let Some((_, gone)) = self.in_memory.events.pop_front()
        {
            self.in_memory.bytes -= gone.len();
            self.topics.insert(gone.topic().into(), self.in_memory.first);
            self.in_memory.first += 1;
            let broken = EntryId { number: self.in_memory.first, ..entry };
            self.next.broken = broken;
            if !mem::replace(&mut self.in_memory.is_short, true) {
                let text = "what waits for the disk is too much: the oldest of it is not written";
                say(Level::Warn, format_args!("{text}"));
            }
        }
        entry
    }

    /// Writes some of what only memory has, as much as a segment takes.
    pub(super) fn write_some(&mut self) -> io::Result<()> {
        let mut group = Group::new(self);
        group.number = self.in_memory.first;
        for (millis, part) in &self.in_memory.events {
            if !group.push(self, part, *millis) {
                break;
            }
        }
        let Group { count, bytes, number, topics, .. } = group;
        let written = self.write(&bytes);
        self.buffer = bytes;
        if let Err(error) = written {
            self.in_memory.reason = error.to_string();
            return Err(error);
        }
        self.next.position += count;
        self.topics.extend(topics);
        while self.in_memory.first < number
            && let Some((_, written)) = self.in_memory.events.pop_front()
        {
            self.in_memory.bytes -= written.len();
            self.in_memory.first += 1;
        }
        if self.in_memory.is_empty() {
            self.leave_well();
        }
        Ok(())
    }
}
