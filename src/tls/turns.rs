//! Turns of the processor for handshakes. Each costs much of it, and thousands may come at once. By
//! these most threads wait, and the broadcaster finds a processor that is free.

use std::{num::NonZero, thread};

use parking_lot::{Condvar, Mutex};

/// How many may wait for their turn before no further connection is accepted.
const FEW: usize = 16;

#[derive(Debug)]
pub(super) struct Turns {
    state: Mutex<State>,
    /// Threads wait here for their turn.
    freed: Condvar,
    /// Threads wait here until few others wait.
    few: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many there are. 0: not yet counted.
    all: usize,
    taken: usize,
    waiting: usize,
}

impl Turns {
    pub(super) const fn new() -> Self {
        let state = State { all: 0, taken: 0, waiting: 0 };
        Self { state: Mutex::new(state), freed: Condvar::new(), few: Condvar::new() }
    }

    /// Waits for a turn.
    pub(super) fn take(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        let all = state.all();
        state.waiting += 1;
        while state.taken >= all {
            self.freed.wait(&mut state);
        }
        state.waiting -= 1;
        state.taken += 1;
        if state.waiting < FEW {
            self.few.notify_all();
        }
        Turn(self)
    }

    /// Whether a second turn would be left, if one was taken now.
    pub(super) fn are_two_left(&self) -> bool {
        let mut state = self.state.lock();
        state.taken + 2 <= state.all()
    }

    /// Waits until few wait for their turn.
    pub(super) fn wait_for_few(&self) {
        let mut state = self.state.lock();
        while state.waiting >= FEW {
            self.few.wait(&mut state);
        }
    }
}

impl State {
    /// How many turns there are.
    fn all(&mut self) -> usize {
        if self.all == 0 {
            // One processor is left for what was there before.
            self.all = thread::available_parallelism().map_or(1, NonZero::get).max(2) - 1;
        }
        self.all
    }
}

/// A turn, until it is dropped.
pub(super) struct Turn<'t>(&'t Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().taken -= 1;
        self.0.freed.notify_one();
    }
}
