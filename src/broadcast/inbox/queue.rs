//! Published events that wait for the broadcaster. Small events lie in one piece of memory: what
//! one thread allocates and another frees costs both of them more than all else about such an
//! event.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    error::PublishError,
    message::{
        Message,
        channel::{Channel, ChannelTable},
        event_types::{EventTypes, TypeId},
        frame::Encoded,
        id::EventId,
    },
};

/// Larger events are not copied: their lines stay where the publisher has put them.
const SMALL: usize = 1024;
/// The broadcaster takes and sends at most this many bytes at once: a group commit.
pub(crate) const MAX_BATCH_BYTES: usize = 64 * 1024;

/// An empty queue frees its memory if it is more than this.
const KEPT_BYTES: usize = 1024 * 1024;

/// A published event.
#[derive(Debug)]
pub(crate) struct Queued {
    /// `None` is the common channel.
    pub(crate) channel: Option<Channel>,
    pub(crate) kind: TypeId,
    /// Of the types, before the number was found.
    pub(crate) generation: usize,
    pub(crate) encoded: Encoded,
}

impl Queued {
    /// Checks and encodes a message. `limit` is for its frame, in bytes.
    pub(crate) fn new(
        types: &EventTypes,
        channels: &Arc<ChannelTable>,
        max_channels: usize,
        message: &Message,
        limit: usize,
    ) -> Result<Self, PublishError> {
        message.check()?;
        let (name, generation) = (message.event_type(), types.generation().get());
        let kind =
            types.find(name).ok_or_else(|| PublishError::EventNotRegistered(name.to_owned()))?;
        let encoded = Encoded::new(message, limit)?;
        // The last one, as it may make the channel.
        let channel =
            message.channel_name().map(|name| channels.get(name, max_channels)).transpose()?;
        Ok(Self { channel, kind, generation, encoded })
    }
}

/// What is known of a published event, except its lines.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) channel: Option<Channel>,
    pub(crate) kind: TypeId,
    /// The id that its publisher chose.
    pub(crate) id: Option<EventId>,
    lines: Lines,
}

#[derive(Debug)]
enum Lines {
    /// This many bytes of the lines of all small events.
    Small(usize),
    Large(Vec<u8>),
}

impl Lines {
    fn len(&self) -> usize {
        match self {
            Self::Small(length) => *length,
            Self::Large(lines) => lines.len(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    heads: VecDeque<Head>,
    /// The lines of the small events.
    lines: VecDeque<u8>,
    /// The size of all frames, without the ids that the server adds.
    bytes: usize,
}

impl Queue {
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// The size of all its frames, without the ids that the server adds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies a small event. Its publisher frees the original, when no thread waits for that.
    pub(crate) fn push(&mut self, event: &mut Queued) {
        self.bytes += event.encoded.len();
        let Queued { channel, kind, encoded: Encoded { lines, id }, .. } = event;
        let lines = if lines.len() > SMALL {
            Lines::Large(std::mem::take(lines))
        } else {
            self.lines.extend(&*lines);
            Lines::Small(lines.len())
        };
        let channel = channel.take();
        self.heads.push_back(Head { channel, kind: *kind, id: id.take(), lines });
    }

    /// Moves events to the end of a batch: one, and more while they take at most `limit` bytes.
    pub(crate) fn take(&mut self, limit: usize, batch: &mut Batch) {
        if batch.is_empty() {
            batch.clear();
        }
        let (mut frames, mut lines) = (0, 0);
        while let Some(head) = self.heads.front()
            && (frames == 0 || frames + head.lines.len() < limit)
        {
            frames += head.lines.len() + 1;
            if let Lines::Small(length) = head.lines {
                lines += length;
            }
            batch.heads.extend(self.heads.pop_front());
        }
        self.bytes -= frames;
        let (front, back) = self.lines.as_slices();
        let (first, second) = (lines.min(front.len()), lines.saturating_sub(front.len()));
        batch.lines.extend_from_slice(&front[..first]);
        batch.lines.extend_from_slice(&back[..second]);
        self.lines.drain(..lines);
        if self.is_empty() && self.lines.capacity() > KEPT_BYTES {
            self.lines = VecDeque::new();
        }
    }
}

/// The events that the broadcaster took out of the queue and delivers at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    heads: VecDeque<Head>,
    /// The lines of the small events.
    lines: Vec<u8>,
    /// How many bytes of `lines` were given out.
    passed: usize,
    /// The lines of the large event that was given out last.
    large: Vec<u8>,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Gives out the next event with its lines.
    pub(crate) fn pop(&mut self) -> Option<(Head, &[u8])> {
        let mut head = self.heads.pop_front()?;
        let lines = match &mut head.lines {
            Lines::Small(length) => {
                let begin = self.passed;
                self.passed += *length;
                &self.lines[begin..self.passed]
            }
            Lines::Large(lines) => {
                self.large = std::mem::take(lines);
                &self.large
            }
        };
        Some((head, lines))
    }

    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.lines.clear();
        self.lines.shrink_to(KEPT_BYTES);
        self.passed = 0;
        self.large = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_as_they_went_in_also_where_the_memory_wraps_around() {
        let (mut queue, mut batch) = (Queue::default(), Batch::default());
        let text = |number: usize| {
            let length =
                if number.is_multiple_of(50) { SMALL - 1 + number % 3 } else { number % 20 };
            number.to_string().repeat(length)[..length].to_owned()
        };
        let mut out = 0;
        for number in 0..1000 {
            let encoded = Encoded::raw(text(number).as_bytes());
            queue.push(&mut Queued { channel: None, kind: 0, generation: 0, encoded });
            if number % 3 == 0 {
                queue.take(40, &mut batch);
                while let Some((head, lines)) = batch.pop() {
                    assert_eq!((head.kind, lines), (0, text(out).as_bytes()));
                    out += 1;
                }
            }
            let waiting = (out..=number).map(|number| text(number).len() + 1);
            assert_eq!((queue.len(), queue.bytes()), (number + 1 - out, waiting.sum()));
        }
        assert!(out > 900, "only {out} came out");
    }

    fn push(queue: &mut Queue, lines: usize) {
        let encoded = Encoded::raw(&vec![b'x'; lines]);
        queue.push(&mut Queued { channel: None, kind: 0, generation: 0, encoded });
    }

    #[test]
    fn an_empty_queue_and_an_empty_batch_keep_little_memory() {
        let (mut queue, mut batch) = (Queue::default(), Batch::default());
        let kept = 1024 * 1024;
        (0..3 * kept / SMALL).for_each(|_| push(&mut queue, SMALL));
        assert!(queue.lines.capacity() > 2 * kept);
        // One large event is handed out last.
        push(&mut queue, SMALL + 1);
        queue.take(kept, &mut batch);
        assert!(!queue.is_empty() && queue.lines.capacity() > kept, "it is needed");
        queue.take(usize::MAX, &mut batch);
        assert!(queue.is_empty() && queue.lines.capacity() <= kept);
        assert!(batch.lines.capacity() > 2 * kept);
        while batch.pop().is_some() {}
        assert_eq!(batch.large.len(), SMALL + 1);
        queue.take(usize::MAX, &mut batch);
        assert!(batch.lines.capacity() <= kept, "{}", batch.lines.capacity());
        assert_eq!(batch.large.capacity(), 0);
        // What is needed again at once is not allocated again.
        (0..kept / 2 / SMALL).for_each(|_| push(&mut queue, SMALL));
        let capacity = queue.lines.capacity();
        queue.take(usize::MAX, &mut batch);
        assert_eq!(queue.lines.capacity(), capacity);
        assert!(capacity > kept / 4);
        queue.lines = VecDeque::with_capacity(kept);
        assert_eq!(queue.lines.capacity(), kept);
        push(&mut queue, SMALL);
        queue.take(usize::MAX, &mut batch);
        assert_eq!(queue.lines.capacity(), kept, "so much may be kept");
    }

    #[test]
    fn a_batch_takes_its_limit_and_not_a_byte_more() {
        for (limit, taken) in [(1, 1), (10, 1), (19, 1), (20, 2), (29, 2), (30, 3), (100, 3)] {
            let (mut queue, mut batch) = (Queue::default(), Batch::default());
            // Frames of ten bytes.
            (0..3).for_each(|_| push(&mut queue, 9));
            queue.take(limit, &mut batch);
            assert_eq!((batch.len(), queue.len()), (taken, 3 - taken), "of {limit} bytes");
            assert_eq!(queue.bytes(), 10 * (3 - taken));
        }
        assert_eq!(MAX_BATCH_BYTES, 65_536);
    }
}
