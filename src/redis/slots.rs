//! Places for clients that come back and are served by a thread of their own. Where all are taken,
//! others wait for one, and whoever had its turn hands over.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    /// Held for a moment only.
    state: Mutex<State>,
    /// Those wait here who want a place.
    free: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    waiting: usize,
    is_closed: bool,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), free: Condvar::new() }
    }

    /// Takes a place, waiting for one until `until`; false where there is none. No more may wait than
    /// there are places: they hold threads as well.
    pub(super) fn take(&self, until: Instant) -> bool {
        let mut state = self.state.lock();
        if state.taken >= self.limit && state.waiting < self.limit {
            state.waiting += 1;
            while state.taken >= self.limit
                && !state.is_closed
                && !self.free.wait_until(&mut state, until).timed_out()
            {}
            state.waiting -= 1;
        }
        let is_free = state.taken < self.limit && !state.is_closed;
        state.taken += usize::from(is_free);
        is_free
    }

    /// Leaves a place if somebody waits for one that is not free yet; true if so.
    pub(super) fn hand_over(&self) -> bool {
        let mut state = self.state.lock();
        let is_wanted = state.waiting > 0 && state.taken >= self.limit;
        if is_wanted {
            state.taken -= 1;
            self.free.notify_one();
        }
        is_wanted
    }

    pub(super) fn leave(&self) {
        self.state.lock().taken -= 1;
        self.free.notify_one();
    }

    /// Nobody gets a place any more.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.free.notify_all();
    }

    pub(super) fn taken(&self) -> usize {
        self.state.lock().taken
    }
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn one_hands_over_for_each_that_waits() {
        let places = Places::new(2);
        let later = || Instant::now() + LONG;
        assert!(places.take(later()) && places.take(later()));
        assert!(!places.hand_over(), "nobody waits");
        assert!(!places.take(Instant::now()), "there is none");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| places.take(later()));
            while !places.hand_over() {
                thread::yield_now();
            }
            assert!(!places.hand_over(), "one waits, for one that is free");
            assert!(waiting.join().expect("it does not panic"));
            assert_eq!(places.taken(), 2);
            let waiting = scope.spawn(|| places.take(later()));
            places.leave();
            assert!(waiting.join().expect("it does not panic"));
            let waiting = scope.spawn(|| places.take(later()));
            places.close();
            assert!(!waiting.join().expect("it does not panic"));
        });
    }

    #[test]
    fn no_more_wait_than_there_are_places() {
        let places = Places::new(1);
        let later = || Instant::now() + LONG;
        assert!(places.take(later()));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| places.take(later()));
            while places.state.lock().waiting == 0 {
                thread::yield_now();
            }
            let start = Instant::now();
            assert!(!places.take(later()));
            assert!(start.elapsed() < LONG, "it waited");
            places.leave();
            assert!(waiting.join().expect("it does not panic"));
        });
    }
}
