//! What waits in a client's mailbox: frames. All clients that wait for a frame share it, and it is
//! counted once.

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

use crate::{
    broadcast::history::Place,
    message::frame::{Coding, Frame, allocated, shared},
};

/// What one slot in a mailbox costs beside the frame, in bytes: a pointer to it, and the channel's
/// own.
const OVERHEAD: usize = 3 * size_of::<usize>();
/// What a frame costs while it waits, however many wait for it.
const COUNTED: usize = shared(size_of::<Counted>());

/// The memory that all mailboxes together hold, a shared frame counted once.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryInUse(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicUsize,
    /// Kept events for which nobody waits any more. Held for a step of a few instructions only.
    released: Mutex<Vec<Place>>,
}

impl MemoryInUse {
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes.load(Relaxed)
    }

    /// Takes the list of kept events for which nobody waits any more.
    pub(crate) fn take_released(&self) -> Vec<Place> {
        std::mem::take(&mut *self.0.released.lock())
    }

    fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Relaxed);
    }
}

/// A frame in a mailbox. Cloning shares it.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    frame: Held,
    memory: MemoryInUse,
    /// Where it is kept meanwhile.
    place: Option<Place>,
}

#[derive(Debug)]
enum Held {
    Frame(Frame),
    /// What one kind of stream is sent as it is, for example several frames.
    Raw(Box<[u8]>),
}

impl Counted {
    fn memory(&self) -> usize {
        COUNTED
            + match &self.frame {
                Held::Frame(frame) => frame.memory(),
                Held::Raw(bytes) => allocated(bytes.len()),
            }
    }
}

/// A frame that is kept, and may wait in mailboxes meanwhile: it is counted once for all of them.
pub(crate) struct SharedFrame {
    frame: Frame,
    /// Takes memory until it is [released](Self::release), also when nobody waits any more.
    waiting: Cell<Weak<Counted>>,
}

impl fmt::Debug for SharedFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frame.fmt(f)
    }
}

impl SharedFrame {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, waiting: Cell::default() }
    }

    pub(crate) fn coded(&self, coding: Coding) -> &[u8] {
        self.frame.coded(coding)
    }

    /// What the frame takes of the memory.
    pub(crate) fn memory(&self) -> usize {
        self.frame.memory()
    }

    /// The id, where it stands last.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.frame.last_id()
    }

    pub(crate) fn pending(&self, place: Place, memory: &MemoryInUse) -> Pending {
        let waiting = self.waiting.take();
        if let Some(counted) = waiting.upgrade() {
            self.waiting.set(waiting);
            memory.add(OVERHEAD);
            return Pending(counted);
        }
        let pending = Pending::put(Held::Frame(self.frame.clone()), Some(place), memory);
        self.waiting.set(Arc::downgrade(&pending.0));
        pending
    }

    #[cfg(test)]
    pub(crate) fn is_waiting(&self) -> bool {
        let waiting = self.waiting.take();
        let is_waiting = !waiting.ptr_eq(&Weak::new());
        self.waiting.set(waiting);
        is_waiting
    }

    /// Lets go of what it needed while somebody waited for it, unless somebody does now.
    pub(crate) fn release(&self) {
        let waiting = self.waiting.take();
        if waiting.strong_count() > 0 {
            self.waiting.set(waiting);
        }
    }
}

impl Pending {
    pub(crate) fn new(frame: Frame, memory: &MemoryInUse) -> Self {
        Self::put(Held::Frame(frame), None, memory)
    }

    /// What is not one frame, for streams of one coding.
    pub(crate) fn raw(bytes: &[u8], memory: &MemoryInUse) -> Self {
        Self::put(Held::Raw(bytes.into()), None, memory)
    }

    fn put(frame: Held, place: Option<Place>, memory: &MemoryInUse) -> Self {
        let counted = Counted { frame, memory: memory.clone(), place };
        memory.add(counted.memory() + OVERHEAD);
        Self(Arc::new(counted))
    }

    /// The frame; only a stream can have something else in its mailbox.
    pub(crate) fn frame(&self) -> Option<&Frame> {
        match &self.0.frame {
            Held::Frame(frame) => Some(frame),
            Held::Raw(_) => None,
        }
    }

    /// The bytes as a subscription gets them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.coded(Coding::Plain)
    }

    /// The bytes for a stream with this coding.
    pub(crate) fn coded(&self, coding: Coding) -> &[u8] {
        match &self.0.frame {
            Held::Frame(frame) => frame.coded(coding),
            Held::Raw(bytes) => bytes,
        }
    }
}

impl Clone for Pending {
    fn clone(&self) -> Self {
        self.0.memory.add(OVERHEAD);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.memory.subtract(OVERHEAD);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.memory.subtract(self.memory());
        if let Some(place) = self.place {
            self.memory.0.released.lock().push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_frame_is_counted_once_and_each_place_beside_it() {
        let memory = MemoryInUse::default();
        let pending = Pending::new(Frame::from_block(&[b'x'; 100]), &memory);
        let copies = vec![pending.clone(), pending.clone()];
        let once = pending.0.memory();
        assert_eq!(memory.bytes(), once + 3 * OVERHEAD);
        drop(pending);
        assert_eq!(memory.bytes(), once + 2 * OVERHEAD);
        drop(copies);
        assert_eq!(memory.bytes(), 0);
        let original = SharedFrame::new(Frame::from_block(&[b'x'; 100]));
        let waiting = vec![original.pending((1, 2), &memory), original.pending((1, 2), &memory)];
        assert_eq!(memory.bytes(), once + 2 * OVERHEAD);
        drop(waiting);
        assert_eq!(memory.bytes(), 0);
    }

    #[test]
    fn what_a_kept_frame_needed_while_it_waited_can_be_let_go_of() {
        let memory = MemoryInUse::default();
        let original = SharedFrame::new(Frame::from_block(&[b'x'; 100]));
        let first = original.pending((1, 2), &memory);
        let second = original.pending((1, 2), &memory);
        drop(first);
        assert_eq!(memory.take_released(), []);
        original.release();
        assert!(Arc::ptr_eq(&original.pending((1, 2), &memory).0, &second.0));
        drop(second);
        assert_eq!(memory.take_released(), [(1, 2)]);
        assert!(original.is_waiting());
        original.release();
        assert!(!original.is_waiting(), "it has no memory any more");
    }
}
