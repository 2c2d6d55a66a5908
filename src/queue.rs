//! Published events that wait for their place in the order, all in one piece of memory: what one
//! thread allocates and another frees costs both of them more than all else about a small event.

use std::collections::VecDeque;

use crate::{frame::Encoded, message::EventId, types::TypeId};

/// An empty queue lets go of more memory than this.
const KEPT_BYTES: usize = 1024 * 1024;

/// A published event.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) kind: TypeId,
    pub(crate) encoded: Encoded,
}

/// A published event without its lines.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) kind: TypeId,
    /// Its publisher's own id.
    pub(crate) id: Option<EventId>,
    /// Bytes of its lines.
    length: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    heads: VecDeque<Head>,
    lines: VecDeque<u8>,
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
        self.lines.len() + self.heads.len()
    }

    /// Leaves the event's memory to the publisher, who frees it when nobody waits for that.
    pub(crate) fn push(&mut self, event: &mut Queued) {
        let Queued { kind, encoded: Encoded { lines, id } } = event;
        self.heads.push_back(Head { kind: *kind, id: id.take(), length: lines.len() });
        self.lines.extend(&*lines);
    }

    /// Moves events to the end of a batch: one, and more as long as they take `limit` bytes at most.
    pub(crate) fn take(&mut self, limit: usize, batch: &mut Batch) {
        if batch.is_empty() {
            batch.clear();
        }
        let (mut frames, mut lines) = (0, 0);
        while let Some(head) = self.heads.front()
            && (frames == 0 || frames + head.length < limit)
        {
            frames += head.length + 1;
            lines += head.length;
            batch.heads.extend(self.heads.pop_front());
        }
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

/// What the broadcaster took out of the queue and delivers at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    heads: VecDeque<Head>,
    lines: Vec<u8>,
    /// Bytes of the lines that were handed out.
    passed: usize,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Hands out the next event with its lines.
    pub(crate) fn pop(&mut self) -> Option<(Head, &[u8])> {
        let head = self.heads.pop_front()?;
        let begin = self.passed;
        self.passed += head.length;
        Some((head, &self.lines[begin..self.passed]))
    }

    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.lines.clear();
        self.lines.shrink_to(KEPT_BYTES);
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_as_they_went_in_also_where_the_memory_wraps_around() {
        let (mut queue, mut batch) = (Queue::default(), Batch::default());
        let text = |number: usize| number.to_string().repeat(number % 7);
        let mut out = 0;
        for number in 0..1000 {
            queue.push(&mut Queued { kind: 0, encoded: Encoded::raw(text(number).as_bytes()) });
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
}
