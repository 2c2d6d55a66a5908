//! The log of one event type in one channel, and what it takes of the memory.

use std::collections::VecDeque;

use super::{IdUse, Order, Sequence};
use crate::{
    broadcast::{log::EntryId, mailbox::SharedFrame},
    message::{channel::ChannelId, event_types::TypeId, frame::allocated},
};

/// The memory of one entry among the publishers' ids, in bytes: about two thirds of such a tree are
/// in use.
const ID: usize = size_of::<IdUse>() * 3 / 2;
/// The memory of a log of which something is kept, beside a slot for each event.
pub(super) const LOG: usize = size_of::<TypeLog>();

#[derive(Debug, Default)]
pub(super) struct TypeLog {
    /// Takes no memory while it is empty.
    pub(super) kept: VecDeque<Kept>,
    /// The memory of the events themselves, without their places.
    pub(super) events: usize,
    /// The newest event of this log that is not kept, or not any more; 0 is none.
    pub(super) dropped: Sequence,
    /// Its entry, where events come out of a log.
    pub(super) dropped_entry: EntryId,
    /// The type's number.
    pub(super) kind: TypeId,
    /// The channel's number; `None` is the common one.
    pub(super) channel: Option<ChannelId>,
    /// Which of all drops was the last one here, counted from 1.
    pub(super) last_drop: u64,
}

#[derive(Debug)]
pub(crate) struct Kept {
    pub(super) sequence: Sequence,
    pub(super) frame: SharedFrame,
    /// The id in its frame is its publisher's own.
    pub(super) has_id: bool,
    /// Its entry, where it came out of a log.
    pub(super) entry: EntryId,
}

impl Kept {
    /// What it takes of the memory beside its place in the log.
    pub(super) fn memory(&self) -> usize {
        self.frame.memory() + Order::EVENT + if self.has_id { ID } else { 0 }
    }

    /// Its publisher's own id.
    pub(super) fn own_id(&self) -> Option<&str> {
        self.has_id.then(|| self.frame.last_id()).flatten()
    }
}

/// The memory of slots for this number of events.
pub(super) fn slots(events: usize) -> usize {
    if events == 0 { 0 } else { allocated(events * size_of::<Kept>()) }
}

impl TypeLog {
    pub(super) fn push(&mut self, kept: Kept) {
        self.events += kept.memory();
        if self.kept.len() == self.kept.capacity() {
            // Not twice as many: most types have few events.
            self.kept.reserve_exact(self.kept.len() / 4 + 1);
        }
        self.kept.push_back(kept);
    }

    pub(super) fn pop(&mut self) -> Option<Kept> {
        let gone = self.kept.pop_front()?;
        self.events -= gone.memory();
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        } else if self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
        Some(gone)
    }

    /// What it takes of the memory. As long as nothing is kept of a type, its log in the common channel
    /// counts as a part of the type.
    pub(super) fn memory(&self) -> usize {
        let log = if self.kept.is_empty() && self.channel.is_none() { 0 } else { LOG };
        log + self.events + slots(self.kept.capacity())
    }

    /// Where in the log the events after `position` begin.
    pub(super) fn begin(&self, position: Sequence) -> usize {
        self.kept.partition_point(|kept| kept.sequence <= position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::frame::Frame;

    #[test]
    fn what_containers_take_beside_their_contents_is_counted() {
        let id = size_of::<IdUse>();
        // A tree is more than half full, and mostly not much more.
        assert!((id * 5 / 4..2 * id).contains(&ID), "{ID} bytes for {id}");
        assert_eq!(slots(0), 0);
        let kept = size_of::<Kept>();
        assert!((10 * kept..11 * kept).contains(&slots(10)), "{} for {kept}", slots(10));
    }

    #[test]
    fn places_are_for_a_quarter_more_events_than_there_are_and_at_most_four_times_as_many() {
        let mut log = TypeLog::default();
        let mut rooms = Vec::new();
        for sequence in 1..=1000 {
            let frame = SharedFrame::new(Frame::from_block(b"x\n\n"));
            log.push(Kept { sequence, frame, has_id: false, entry: EntryId::ZERO });
            if rooms.last() != Some(&log.kept.capacity()) {
                rooms.push(log.kept.capacity());
            }
        }
        assert_eq!(rooms[..12], [1, 2, 3, 4, 6, 8, 11, 14, 18, 23, 29, 37]);
        let mut room = log.kept.capacity();
        assert!((1000..=1251).contains(&room), "{room}");
        let mut shrunk = 0;
        while log.pop().is_some() {
            let events = log.kept.len();
            if events > 0 && events < room / 4 {
                room = 2 * events;
                shrunk += 1;
            }
            assert_eq!(log.kept.capacity(), if events > 0 { room } else { 0 }, "{events} events");
        }
        assert!(shrunk > 5, "{shrunk}");
        assert_eq!(log.memory(), 0);
    }
}
