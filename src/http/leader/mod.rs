//! Threads that take turns accepting (the leader/followers pattern).
//!
//! One thread has the turn: it accepts a connection and serves it itself. Before anything that
//! could hold it up it passes the turn on, to a parked thread or a new one, and goes on alone. A
//! thread that is done parks, and ends if it is not needed for a while.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;

use std::{
    io, mem,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// How long a parked thread waits for a turn before it ends.
const PARKED: Duration = Duration::from_secs(3);

/// Whose turn it is, and how threads wait for theirs.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// Never held while a thread is started or a connection is served.
    state: Mutex<State>,
    /// Parked threads wait here.
    vacant: Condvar,
    /// Who waits for the threads to end waits here.
    ended: Condvar,
}

/// Whose turn it is.
///
/// Until it is stopped, exactly one of these holds: a thread has the turn; or the turn is vacant,
/// and a parked thread was woken or a new one started to take it. A thread never ends without
/// having looked whether the turn is vacant.
///
/// Each method is one step of a thread, taken under the lock; what it returns is what the thread
/// does next, without the lock. `walk.rs` takes them in every order there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    vacant: bool,
    parked: usize,
    threads: usize,
    stopping: bool,
}

/// What becomes of a turn that its thread offers to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// Nobody takes it any more: all are to stop.
    Over,
    /// A parked thread is to be woken.
    Wake,
    /// A thread is to be started, which [looks](State::look), or else the offer is
    /// [withdrawn](State::withdraw).
    Start,
}

/// What a thread without the turn does, once it has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It has the turn.
    Leader,
    /// It parks, and looks again when it [wakes](State::wake).
    Park,
    /// It is not counted any more, tells so, and ends.
    End,
}

impl State {
    /// A thread with the turn passes it on.
    fn offer(&mut self) -> Offer {
        if self.stopping {
            return Offer::Over;
        }
        self.vacant = true;
        if self.parked > 0 {
            return Offer::Wake;
        }
        // Counted before it runs, so that nobody takes the others for all.
        self.threads += 1;
        Offer::Start
    }

    /// No thread could be started. True means that the turn is still the caller's; else a thread
    /// that was done with its connection has taken it meanwhile.
    fn withdraw(&mut self) -> bool {
        self.threads -= 1;
        mem::take(&mut self.vacant)
    }

    /// A thread without the turn looks for it; one that has been parked for long enough is not
    /// `in_time` to park again.
    fn look(&mut self, in_time: bool) -> Look {
        if !self.stopping {
            if mem::take(&mut self.vacant) {
                return Look::Leader;
            }
            if in_time {
                self.parked += 1;
                return Look::Park;
            }
        }
        self.threads -= 1;
        Look::End
    }

    /// A parked thread was woken, by whomever, or its time is over.
    fn wake(&mut self, in_time: bool) -> Look {
        self.parked -= 1;
        self.look(in_time)
    }

    /// A thread with the turn ends, since all are to stop.
    fn leave(&mut self) {
        self.threads -= 1;
    }

    /// All threads are to end; false if that was said before.
    fn stop(&mut self) -> bool {
        !mem::replace(&mut self.stopping, true)
    }

    /// Whether all threads but `own` have ended, for good.
    fn has_ended(&self, own: usize) -> bool {
        self.stopping && self.threads <= own
    }
}

impl Leadership {
    /// Passes the turn on, by `start` where nobody is parked. A new thread begins with
    /// [`wait`](Self::wait). On an error the caller has the turn still.
    pub(super) fn pass(&self, start: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        // The lock is free again when it is known what to do.
        let offer = self.state.lock().offer();
        match offer {
            Offer::Over => {}
            Offer::Wake => {
                self.vacant.notify_one();
            }
            Offer::Start => {
                if let Err(error) = start() {
                    // Nobody waits for that thread alone: this one is counted, and ends later.
                    let is_kept = self.state.lock().withdraw();
                    if is_kept {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for the turn. False means that the thread is to end, and is not counted any more.
    pub(super) fn wait(&self) -> bool {
        self.wait_until(Instant::now() + PARKED)
    }

    fn wait_until(&self, end: Instant) -> bool {
        let mut state = self.state.lock();
        let mut look = state.look(true);
        while look == Look::Park {
            let in_time = !self.vacant.wait_until(&mut state, end).timed_out();
            look = state.wake(in_time);
        }
        drop(state);
        if look == Look::End {
            self.ended.notify_all();
        }
        look == Look::Leader
    }

    /// A thread with the turn waits until `end`, or until it is to stop.
    pub(super) fn pause(&self, end: Instant) {
        let mut state = self.state.lock();
        while !state.stopping && !self.ended.wait_until(&mut state, end).timed_out() {}
    }

    /// A thread with the turn ends, since all are to stop.
    pub(super) fn end(&self) {
        self.state.lock().leave();
        self.ended.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Lets all threads end as soon as they are done with their connections; false if that was
    /// said before.
    pub(super) fn stop(&self) -> bool {
        let is_first = self.state.lock().stop();
        self.vacant.notify_all();
        self.ended.notify_all();
        is_first
    }

    /// Waits until all threads but `own` have ended, or until `end`; returns how many are left.
    pub(super) fn wait_ended(&self, own: usize, end: Option<Instant>) -> usize {
        let mut state = self.state.lock();
        while !state.has_ended(own) {
            match end {
                Some(end) if self.ended.wait_until(&mut state, end).timed_out() => break,
                Some(_) => {}
                None => self.ended.wait(&mut state),
            }
        }
        state.threads.saturating_sub(own)
    }
}
