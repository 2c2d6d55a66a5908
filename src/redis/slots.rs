//! At most `limit` clients that come back have a thread of their own at the same time. If all slots
//! are taken, further clients wait, and a client that has had its time hands its slot over.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    /// Held only while counting.
    state: Mutex<State>,
    /// Clients wait here for a slot.
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    waiting: usize,
    is_closed: bool,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), free: Condvar::new() }
    }

    /// Takes a slot; waits for one until `until`. `None` if there is none by then. At most as many
    /// clients wait as there are slots, since a client that waits holds a thread as well.
    pub(super) fn take(&self, until: Instant) -> Option<Slot<'_>> {
        let mut state = self.state.lock();
        if state.taken >= self.limit && state.waiting < self.limit {
            state.waiting += 1;
            while state.taken >= self.limit
                && !state.is_closed
                && !self.free.wait_until(&mut state, until).timed_out()
            {}
            state.waiting -= 1;
        }
        if state.taken >= self.limit || state.is_closed {
            return None;
        }
        state.taken += 1;
        Some(Slot(self))
    }

    /// Gives out no more slots.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.free.notify_all();
    }

    pub(super) fn taken(&self) -> usize {
        self.state.lock().taken
    }
}

/// The right of a client to a thread. Dropping it frees the slot.
#[derive(Debug)]
pub(super) struct Slot<'s>(&'s Slots);

impl Slot<'_> {
    /// If all slots are taken and a client waits, gives it this slot. Otherwise returns the slot.
    pub(super) fn hand_over(self) -> Result<(), Self> {
        let mut state = self.0.state.lock();
        if state.waiting == 0 || state.taken < self.0.limit {
            drop(state);
            return Err(self);
        }
        state.taken -= 1;
        drop(state);
        self.0.free.notify_one();
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.state.lock().taken -= 1;
        self.0.free.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn later() -> Instant {
        Instant::now() + LONG
    }

    #[test]
    fn one_hands_over_for_each_that_waits() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take(later()), slots.take(later()));
        let (Some(mut first), Some(second)) = (first, second) else { panic!("two are free") };
        first = first.hand_over().expect_err("none waits");
        assert!(slots.take(Instant::now()).is_none(), "none is free");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.take(later()));
            while let Err(back) = first.hand_over() {
                first = back;
                thread::yield_now();
            }
            let second = second.hand_over().expect_err("one waits, for one that is free");
            let third = waiting.join().expect("it does not panic").expect("it was handed over");
            assert_eq!(slots.taken(), 2);
            let waiting = scope.spawn(|| slots.take(later()));
            drop(second);
            let fourth = waiting.join().expect("it does not panic").expect("it is free");
            let waiting = scope.spawn(|| slots.take(later()));
            slots.close();
            assert!(waiting.join().expect("it does not panic").is_none());
            drop((third, fourth));
        });
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn no_more_wait_than_there_are_places() {
        let slots = Slots::new(1);
        let only = slots.take(later()).expect("it is free");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| slots.take(later()).is_some());
            while slots.state.lock().waiting == 0 {
                thread::yield_now();
            }
            let start = Instant::now();
            assert!(slots.take(later()).is_none());
            assert!(start.elapsed() < LONG, "it waited");
            drop(only);
            assert!(waiting.join().expect("it does not panic"));
        });
    }
}
