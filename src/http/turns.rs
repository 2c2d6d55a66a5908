//! Threads that take turns accepting (the leader/followers pattern).
//!
//! One thread has the turn: it accepts a connection and serves it itself. Before anything that
//! could hold it up it passes the turn on, to a parked thread or a new one, and goes on alone. A
//! thread that is done parks, and ends if it is not needed for a while.

use std::{
    io,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

/// How long a parked thread waits for a turn before it ends.
const PARKED: Duration = Duration::from_secs(3);

/// Whose turn it is.
///
/// Until it is stopped, exactly one of these holds: a thread has the turn; or the turn is vacant,
/// and a parked thread was woken or a new one started to take it. A thread never ends without
/// having looked, under the lock, whether the turn is vacant.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Never held while a thread is started or a connection is served.
    state: Mutex<State>,
    /// Parked threads wait here.
    vacant: Condvar,
    /// Who waits for the threads to end waits here.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    vacant: bool,
    parked: usize,
    threads: usize,
    stopping: bool,
}

impl Turns {
    /// Passes the turn on, by `spawn` where nobody is parked. A new thread begins with
    /// [`wait`](Self::wait). On an error the caller has the turn still.
    pub(super) fn pass(&self, spawn: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.stopping {
            return Ok(());
        }
        state.vacant = true;
        if state.parked > 0 {
            drop(state);
            self.vacant.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let Err(error) = spawn() else {
            return Ok(());
        };
        let mut state = self.state.lock();
        // A thread that was done with its connection may have taken the turn meanwhile.
        let taken = !std::mem::take(&mut state.vacant);
        self.leave(state);
        if taken { Ok(()) } else { Err(error) }
    }

    /// Waits for the turn. False means that the thread is to end, and is not counted any more.
    pub(super) fn wait(&self) -> bool {
        let end = Instant::now() + PARKED;
        let mut state = self.state.lock();
        let mut in_time = true;
        while !state.stopping {
            if std::mem::take(&mut state.vacant) {
                return true;
            }
            if !in_time {
                break;
            }
            state.parked += 1;
            in_time = !self.vacant.wait_until(&mut state, end).timed_out();
            state.parked -= 1;
        }
        self.leave(state);
        false
    }

    /// A thread with the turn waits until `end`, or until it is to stop.
    pub(super) fn pause(&self, end: Instant) {
        let mut state = self.state.lock();
        while !state.stopping && !self.ended.wait_until(&mut state, end).timed_out() {}
    }

    /// A thread with the turn ends, since all are to stop.
    pub(super) fn end(&self) {
        self.leave(self.state.lock());
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Lets all threads end as soon as they are done with their connections; false if that was
    /// said before.
    pub(super) fn stop(&self) -> bool {
        let was_stopping = std::mem::replace(&mut self.state.lock().stopping, true);
        self.vacant.notify_all();
        self.ended.notify_all();
        !was_stopping
    }

    /// Waits until all threads but `own` have ended, or until `end`; returns how many are left.
    pub(super) fn wait_ended(&self, own: usize, end: Option<Instant>) -> usize {
        let mut state = self.state.lock();
        while state.threads > own || !state.stopping {
            match end {
                Some(end) if self.ended.wait_until(&mut state, end).timed_out() => break,
                Some(_) => {}
                None => self.ended.wait(&mut state),
            }
        }
        state.threads.saturating_sub(own)
    }

    fn leave(&self, mut state: MutexGuard<'_, State>) {
        state.threads -= 1;
        drop(state);
        self.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    fn no_thread() -> io::Result<()> {
        Err(io::ErrorKind::OutOfMemory.into())
    }

    /// A thread that waits for the turn, and tells whether it got it.
    fn waiting(turns: &Arc<Turns>) -> thread::JoinHandle<bool> {
        let shared = Arc::clone(turns);
        turns.state.lock().threads += 1;
        let waiting = thread::spawn(move || shared.wait());
        while turns.state.lock().parked == 0 && !waiting.is_finished() {
            thread::yield_now();
        }
        waiting
    }

    #[test]
    fn a_turn_that_nobody_can_take_stays_where_it_is() {
        let turns = Turns::default();
        assert!(turns.pass(no_thread).is_err());
        let state = turns.state.lock();
        assert!(!state.vacant && state.threads == 0);
    }

    #[test]
    fn a_turn_goes_to_a_parked_thread_rather_than_to_a_new_one() {
        let turns = Arc::new(Turns::default());
        let parked = waiting(&turns);
        assert!(turns.pass(|| panic!("a thread is parked")).is_ok());
        assert!(parked.join().expect("it does not panic"));
        assert!(!turns.state.lock().vacant);
    }

    #[test]
    fn a_thread_that_becomes_free_while_none_can_be_started_takes_the_turn() {
        let turns = Arc::new(Turns::default());
        let spawn = || {
            // Just now another one is done with its connection.
            assert!(waiting(&turns).join().expect("it does not panic"));
            no_thread()
        };
        assert!(turns.pass(spawn).is_ok());
        assert!(!turns.state.lock().vacant);
    }

    #[test]
    fn a_thread_without_a_turn_ends_after_a_while_and_all_end_when_told_to() {
        let turns = Arc::new(Turns::default());
        let start = Instant::now();
        assert!(!waiting(&turns).join().expect("it does not panic"));
        assert!(start.elapsed() >= PARKED);
        let parked = waiting(&turns);
        assert!(turns.stop() && !turns.stop(), "only the first time is the first");
        assert!(!parked.join().expect("it does not panic"));
        assert_eq!(turns.wait_ended(0, Some(Instant::now())), 0);
    }
}
