//! Messages that are written at once, as records.

use std::{collections::HashMap, mem};

use super::{
    record::{self, HEAD, Place},
    segment::{HEADER, Header},
    store::Store,
};
use crate::message::{Message, entry_id::EntryId};

/// A message that is about to be appended.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// Its [encoding](record::encode), the first `topic` bytes of which are its topic.
    bytes: Vec<u8>,
    topic: usize,
}

impl Part {
    pub(super) fn new(message: &Message) -> Self {
        let (bytes, topic) = record::encode(message);
        Self { bytes, topic }
    }

    /// The room it takes, about.
    pub(super) fn len(&self) -> usize {
        HEAD + self.bytes.len()
    }

    pub(super) fn topic(&self) -> &[u8] {
        &self.bytes[..self.topic]
    }
}

/// Records that are written at once.
pub(super) struct Group {
    pub(super) epoch: u64,
    /// The number of the next event.
    pub(super) number: u64,
    /// The position of the first record.
    first: u64,
    pub(super) count: u64,
    pub(super) bytes: Vec<u8>,
    /// The newest events of topics in it.
    pub(super) topics: HashMap<Box<[u8]>, u64>,
}

impl Group {
    pub(super) fn new(store: &mut Store) -> Self {
        let mut bytes = mem::take(&mut store.buffer);
        bytes.clear();
        let Header { epoch, number, position: first, .. } = store.next;
        Self { epoch, number, first, count: 0, bytes, topics: HashMap::new() }
    }

    fn place(&self) -> Place {
        Place { position: self.first + self.count, in_commit: self.count }
    }

    /// Adds an event, if the segment to which the group goes has room for it.
    pub(super) fn push(&mut self, store: &Store, part: &Part, millis: u64) -> bool {
        let entry = EntryId { millis: self.epoch, number: self.number };
        let newest = self.topics.get(part.topic()).or_else(|| store.topics.get(part.topic()));
        let before = newest.copied().unwrap_or(0);
        let start = self.bytes.len();
        let place = self.place();
        record::push(&mut self.bytes, place, (entry, before, millis), &part.bytes);
        // What has no room in the open segment goes to a new one.
        let room = match store.room() {
            room if start as u64 <= room && (start > 0 || self.bytes.len() as u64 <= room) => room,
            _ => store.config.segment_bytes - HEADER as u64,
        };
        // A new segment is as large as its first record.
        if start > 0 && self.bytes.len() as u64 > room {
            self.bytes.truncate(start);
            return false;
        }
        match self.topics.get_mut(part.topic()) {
            Some(newest) => *newest = self.number,
            None => {
                self.topics.insert(part.topic().into(), self.number);
            }
        }
        (self.count, self.number) = (self.count + 1, self.number + 1);
        true
    }

    pub(super) fn push_again(&mut self, event: &[u8]) {
        let place = self.place();
        record::push_again(&mut self.bytes, place, &[event]);
        self.count += 1;
    }
}
