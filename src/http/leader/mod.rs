//! Threads take turns accepting (the leader/followers pattern).
//!
//! One thread is the leader: it accepts a connection and serves it itself. Before it does anything
//! that may block, it passes leadership on to a parked thread or a new one, and then only serves
//! its connection. When the connection is done, the thread parks; it ends if it is not needed for a
//! while. A thread that begins a long answer starts one that parks, so that the leader need not.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;

use std::{
    io, mem,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

/// How long a thread stays parked before it ends.
const PARKED: Duration = Duration::from_secs(3);

/// Which thread is the leader, and how the others wait to become it.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// Never held while a thread is started or a connection is served.
    state: Mutex<State>,
    /// Parked threads wait here.
    vacant: Condvar,
    /// Threads that wait for all the others to end wait here.
    ended: Condvar,
}

/// The state of the leadership.
///
/// Until it is stopped, exactly one of these is true: a thread is the leader; or leadership is
/// vacant, and a parked thread was woken or a new one started to take it. No thread ends without
/// checking whether leadership is vacant.
///
/// Each method is one step of a thread, taken under the lock. Its result says what the thread does
/// next, without the lock. `walk.rs` takes the steps in every possible order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    vacant: bool,
    parked: usize,
    threads: usize,
    stopping: bool,
}

/// What the leader does after it has offered leadership to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// Nothing: all threads must stop, so none of them takes it.
    Over,
    /// It wakes a parked thread.
    Wake,
    /// It starts a thread, which [looks](State::look). If that fails, it
    /// [withdraws](State::withdraw) the offer.
    Start,
}

/// What a thread that is not the leader does after it has looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It is the leader now.
    Leader,
    /// It parks, and looks again when it [wakes](State::wake).
    Park,
    /// It is not counted any more; it notifies the waiters and ends.
    End,
}

impl State {
    /// The leader passes leadership on.
    fn offer(&mut self) -> Offer {
        if self.stopping {
            return Offer::Over;
        }
        self.vacant = true;
        if self.parked > 0 {
            return Offer::Wake;
        }
        // Counted before it runs, so that no waiter takes the other threads for all threads.
        self.threads += 1;
        Offer::Start
    }

    /// A thread that is not the leader checks whether any thread is parked. True: none is, and it
    /// starts one, which [looks](Self::look). If that fails, it [does without](Self::do_without).
    fn lacks_reserve(&mut self) -> bool {
        // If leadership is vacant, one of the parked threads may be about to take it.
        let lacks = !self.stopping && self.parked <= usize::from(self.vacant);
        self.threads += usize::from(lacks);
        lacks
    }

    /// The thread in reserve could not be started.
    fn do_without(&mut self) {
        self.threads -= 1;
    }

    /// The thread could not be started. True: the caller is still the leader. False: another thread
    /// has finished its connection meanwhile and become the leader.
    fn withdraw(&mut self) -> bool {
        self.threads -= 1;
        mem::take(&mut self.vacant)
    }

    /// A thread that is not the leader checks whether leadership is vacant. If it is not `in_time`,
    /// it has been parked for long enough and does not park again.
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

    /// A parked thread has woken, for whatever reason, or its time is over.
    fn wake(&mut self, in_time: bool) -> Look {
        self.parked -= 1;
        self.look(in_time)
    }

    /// The leader ends, because all threads must stop.
    fn leave(&mut self) {
        self.threads -= 1;
    }

    /// All threads must end; false if this was called before.
    fn stop(&mut self) -> bool {
        !mem::replace(&mut self.stopping, true)
    }

    /// Whether all threads but `own` have ended, and no new one will start.
    fn has_ended(&self, own: usize) -> bool {
        self.stopping && self.threads <= own
    }
}

impl Leadership {
    /// Passes leadership on; calls `start` if no thread is parked. A new thread must begin with
    /// [`wait`](Self::wait). On an error the caller is still the leader.
    pub(super) fn pass(&self, start: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        // The lock is released before the offer is carried out.
        let offer = self.state.lock().offer();
        match offer {
            Offer::Over => {}
            Offer::Wake => {
                self.vacant.notify_one();
            }
            Offer::Start => {
                if let Err(error) = start() {
                    // No notification is needed: this thread is still counted, and it notifies when
                    // it ends.
                    let is_kept = self.state.lock().withdraw();
                    if is_kept {
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Starts a thread if none is parked, so that the leader need not start one when it passes
    /// leadership on: the next connections wait for that. For a thread that is not the leader, and
    /// that nobody waits for.
    pub(super) fn keep_reserve(&self, start: impl FnOnce() -> io::Result<()>) {
        let lacks_reserve = self.state.lock().lacks_reserve();
        // If it fails, the leader will try. This thread is still counted, and notifies when it ends.
        if lacks_reserve && start().is_err() {
            self.state.lock().do_without();
        }
    }

    /// Waits to become the leader. False: the thread must end, and is not counted any more.
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

    /// The leader waits until `end`, or until all threads must stop.
    pub(super) fn pause(&self, end: Instant) {
        let mut state = self.state.lock();
        while !state.stopping && !self.ended.wait_until(&mut state, end).timed_out() {}
    }

    /// The leader ends, because all threads must stop.
    pub(super) fn end(&self) {
        self.state.lock().leave();
        self.ended.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state.lock().stopping
    }

    /// Makes all threads end as soon as their connections are done; false if this was called
    /// before.
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
