//! What waits in a client's mailbox: frames. All clients that wait for a frame share it, and it is
//! counted once.

use std::{
    cell::RefCell,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::message::frame::Frame;

/// What a frame in a mailbox costs in addition to its bytes.
const OVERHEAD: usize = 32;

/// The bytes in all mailboxes together. A shared frame counts once.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryInUse(Arc<AtomicUsize>);

impl MemoryInUse {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A frame in a mailbox. Cloning shares it.
#[derive(Debug)]
pub(crate) struct Pending(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    frame: Frame,
    memory: MemoryInUse,
}

/// A frame that is kept elsewhere, and may wait in mailboxes as well. It counts once for all of
/// them.
#[derive(Debug)]
pub(crate) struct SharedFrame {
    frame: Frame,
    waiting: RefCell<Weak<Counted>>,
}

impl SharedFrame {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, waiting: RefCell::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    pub(crate) fn pending(&self, memory: &MemoryInUse) -> Pending {
        if let Some(counted) = self.waiting.borrow().upgrade() {
            memory.0.fetch_add(OVERHEAD, Relaxed);
            return Pending(counted);
        }
        let pending = Pending::new(self.frame.clone(), memory);
        *self.waiting.borrow_mut() = Arc::downgrade(&pending.0);
        pending
    }
}

impl Pending {
    pub(crate) fn new(frame: Frame, memory: &MemoryInUse) -> Self {
        memory.0.fetch_add(frame.len() + OVERHEAD, Relaxed);
        Self(Arc::new(Counted { frame, memory: memory.clone() }))
    }

    pub(crate) fn frame(&self) -> &Frame {
        &self.0.frame
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.frame.as_bytes()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.frame.len()
    }
}

impl Clone for Pending {
    fn clone(&self) -> Self {
        self.0.memory.0.fetch_add(OVERHEAD, Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.memory.0.fetch_sub(OVERHEAD, Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.frame.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_frame_is_counted_once_and_each_place_beside_it() {
        let memory = MemoryInUse::default();
        let pending = Pending::new(Frame::from_bytes(&[b'x'; 100]), &memory);
        let copies = vec![pending.clone(), pending.clone()];
        assert_eq!(memory.bytes(), 100 + 3 * OVERHEAD);
        drop(pending);
        assert_eq!(memory.bytes(), 100 + 2 * OVERHEAD);
        drop(copies);
        assert_eq!(memory.bytes(), 0);
        let original = SharedFrame::new(Frame::from_bytes(&[b'x'; 100]));
        let waiting = vec![original.pending(&memory), original.pending(&memory)];
        assert_eq!(memory.bytes(), 100 + 2 * OVERHEAD);
        drop(waiting);
        assert_eq!(memory.bytes(), 0);
    }
}
