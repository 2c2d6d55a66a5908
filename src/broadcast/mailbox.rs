//! What waits in a client's mailbox: a frame shared by all who wait for it, counted while it waits.

use std::{
    cell::RefCell,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use crate::message::frame::Frame;

/// What one place in a mailbox costs beside the frame, in bytes.
const PLACE: usize = 32;

/// Bytes that all mailboxes together hold, a shared frame counted once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load(Arc<AtomicUsize>);

impl Load {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// A frame in a mailbox. Cloning shares it.
#[derive(Debug)]
pub(crate) struct Mail(Arc<Parcel>);

#[derive(Debug)]
struct Parcel {
    frame: Frame,
    load: Load,
}

/// A frame that is kept, and may wait in mailboxes meanwhile: it is counted once for all of them.
#[derive(Debug)]
pub(crate) struct Original {
    frame: Frame,
    waiting: RefCell<Weak<Parcel>>,
}

impl Original {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { frame, waiting: RefCell::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.frame.len()
    }

    pub(crate) fn mail(&self, load: &Load) -> Mail {
        if let Some(parcel) = self.waiting.borrow().upgrade() {
            load.0.fetch_add(PLACE, Relaxed);
            return Mail(parcel);
        }
        let mail = Mail::new(self.frame.clone(), load);
        *self.waiting.borrow_mut() = Arc::downgrade(&mail.0);
        mail
    }
}

impl Mail {
    pub(crate) fn new(frame: Frame, load: &Load) -> Self {
        load.0.fetch_add(frame.len() + PLACE, Relaxed);
        Self(Arc::new(Parcel { frame, load: load.clone() }))
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
        self.0.load.0.fetch_add(PLACE, Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.0.load.0.fetch_sub(PLACE, Relaxed);
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.load.0.fetch_sub(self.frame.len(), Relaxed);
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
        assert_eq!(load.bytes(), 100 + 3 * PLACE);
        drop(mail);
        assert_eq!(load.bytes(), 100 + 2 * PLACE);
        drop(copies);
        assert_eq!(load.bytes(), 0);
        let original = Original::new(Frame::from_bytes(&[b'x'; 100]));
        let waiting = vec![original.mail(&load), original.mail(&load)];
        assert_eq!(load.bytes(), 100 + 2 * PLACE);
        drop(waiting);
        assert_eq!(load.bytes(), 0);
    }
}
