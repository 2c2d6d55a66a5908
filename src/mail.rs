//! What waits in a client's mailbox: a frame shared by all who wait for it, counted while it waits.

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
    frame::{Frame, shared},
    history::Place,
};

/// What one place in a mailbox costs beside the frame, in bytes: a pointer to it, and the channel's own.
const PLACE: usize = 3 * size_of::<usize>();
/// What a frame costs while it waits, however many wait for it.
const PARCEL: usize = shared(size_of::<Parcel>());

/// The memory that all mailboxes together hold, a shared frame counted once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicUsize,
    /// Kept events for which nobody waits any more. Held for a step of a few instructions only.
    released: Mutex<Vec<Place>>,
}

impl Load {
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
pub(crate) struct Mail(Arc<Parcel>);

#[derive(Debug)]
struct Parcel {
    frame: Frame,
    load: Load,
    /// Where it is kept meanwhile.
    place: Option<Place>,
}

impl Parcel {
    fn memory(&self) -> usize {
        PARCEL + self.frame.memory()
    }
}

/// A frame that is kept, and may wait in mailboxes meanwhile: it is counted once for all of them.
pub(crate) struct Original {
    frame: Frame,
    /// Takes memory until it is [released](Self::release), also when nobody waits any more.
    waiting: Cell<Weak<Parcel>>,
}

impl fmt::Debug for Original {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.frame.fmt(f)
    }
}

impl Original {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, waiting: Cell::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    /// What the frame takes of the memory.
    pub(crate) fn memory(&self) -> usize {
        self.frame.memory()
    }

    /// The id, where it stands last.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.frame.last_id()
    }

    pub(crate) fn mail(&self, place: Place, load: &Load) -> Mail {
        let waiting = self.waiting.take();
        if let Some(parcel) = waiting.upgrade() {
            self.waiting.set(waiting);
            load.add(PLACE);
            return Mail(parcel);
        }
        let mail = Mail::put(self.frame.clone(), Some(place), load);
        self.waiting.set(Arc::downgrade(&mail.0));
        mail
    }

    #[cfg(test)]
    pub(crate) fn has_parcel(&self) -> bool {
        let waiting = self.waiting.take();
        let has_parcel = !waiting.ptr_eq(&Weak::new());
        self.waiting.set(waiting);
        has_parcel
    }

    /// Lets go of what it needed while somebody waited for it, unless somebody does now.
    pub(crate) fn release(&self) {
        let waiting = self.waiting.take();
        if waiting.strong_count() > 0 {
            self.waiting.set(waiting);
        }
    }
}

impl Mail {
    pub(crate) fn new(frame: Frame, load: &Load) -> Self {
        Self::put(frame, None, load)
    }

    fn put(frame: Frame, place: Option<Place>, load: &Load) -> Self {
        let parcel = Parcel { frame, load: load.clone(), place };
        load.add(parcel.memory() + PLACE);
        Self(Arc::new(parcel))
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

impl Clone for Mail {
    fn clone(&self) -> Self {
        self.0.load.add(PLACE);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.0.load.subtract(PLACE);
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.load.subtract(self.memory());
        if let Some(place) = self.place {
            self.load.0.released.lock().push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_frame_is_counted_once_and_each_place_beside_it() {
        let load = Load::default();
        let mail = Mail::new(Frame::from_bytes(&[b'x'; 100]), &load);
        let copies = vec![mail.clone(), mail.clone()];
        let once = mail.frame().memory() + PARCEL;
        assert_eq!(load.bytes(), once + 3 * PLACE);
        drop(mail);
        assert_eq!(load.bytes(), once + 2 * PLACE);
        drop(copies);
        assert_eq!(load.bytes(), 0);
        let original = Original::new(Frame::from_bytes(&[b'x'; 100]));
        let waiting = vec![original.mail((1, 2), &load), original.mail((1, 2), &load)];
        assert_eq!(load.bytes(), once + 2 * PLACE);
        drop(waiting);
        assert_eq!(load.bytes(), 0);
    }

    #[test]
    fn what_a_kept_frame_needed_while_it_waited_can_be_let_go_of() {
        let load = Load::default();
        let original = Original::new(Frame::from_bytes(&[b'x'; 100]));
        let first = original.mail((1, 2), &load);
        let second = original.mail((1, 2), &load);
        drop(first);
        assert_eq!(load.take_released(), []);
        original.release();
        assert_eq!(original.mail((1, 2), &load).0.frame, second.0.frame);
        drop(second);
        assert_eq!(load.take_released(), [(1, 2)]);
        assert!(original.has_parcel());
        original.release();
        assert!(!original.has_parcel(), "it has no memory any more");
    }
}
