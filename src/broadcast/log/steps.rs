//! What a log has found and the broadcaster has not taken yet.

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::SendTimeoutError;
use parking_lot::{Condvar, Mutex};

use super::Step;

/// At most this many steps wait, and about this many bytes of events. A publisher that is committed
/// by itself has a step for each event: many must have room, so that they can be delivered at once.
const MOST: usize = 1024;
const MOST_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct Waiting {
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    bytes: usize,
    /// Nobody takes any.
    is_ended: bool,
}

/// The log's end.
#[derive(Debug)]
pub(crate) struct StepSender(Arc<Waiting>);

/// The broadcaster's end.
#[derive(Debug)]
pub(crate) struct StepReceiver(Arc<Waiting>);

pub(crate) fn steps() -> (StepSender, StepReceiver) {
    let waiting = Arc::<Waiting>::default();
    (StepSender(Arc::clone(&waiting)), StepReceiver(waiting))
}

impl StepSender {
    /// Whether the next one may have to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.0.state.lock().is_full()
    }

    /// Adds a step. Waits for room, at most `timeout`.
    pub(crate) fn send(&self, step: Step, timeout: Duration) -> Result<(), SendTimeoutError<Step>> {
        let mut state = self.0.state.lock();
        let until = state.is_full().then(|| Instant::now() + timeout);
        while let Some(until) = until.filter(|_| state.is_full()) {
            if self.0.room.wait_until(&mut state, until).timed_out() && state.is_full() {
                return Err(SendTimeoutError::Timeout(step));
            }
        }
        if state.is_ended {
            return Err(SendTimeoutError::Disconnected(step));
        }
        state.bytes += step.bytes();
        state.steps.push_back(step);
        Ok(())
    }
}

impl State {
    fn is_full(&self) -> bool {
        !self.is_ended && (self.steps.len() >= MOST || self.bytes >= MOST_BYTES)
    }
}

impl StepReceiver {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.state.lock().steps.is_empty()
    }

    /// Takes all that wait.
    pub(crate) fn take(&self) -> VecDeque<Step> {
        let mut state = self.0.state.lock();
        let was_full = state.is_full();
        state.bytes = 0;
        let steps = mem::take(&mut state.steps);
        drop(state);
        if was_full {
            self.0.room.notify_all();
        }
        steps
    }
}

impl Drop for StepReceiver {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.is_ended = true;
        let steps = mem::take(&mut state.steps);
        drop(state);
        self.0.room.notify_all();
        drop(steps);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::message::entry_id::EntryId;

    const SOON: Duration = Duration::from_secs(10);

    fn step() -> Step {
        Step::Reach(EntryId::ZERO)
    }

    #[test]
    fn many_steps_wait_and_then_their_sender_does() {
        let (sender, receiver) = steps();
        for _ in 0..MOST {
            assert!(!sender.is_full());
            sender.send(step(), Duration::ZERO).expect("there is room");
        }
        let refused = sender.send(step(), Duration::from_millis(1));
        assert!(matches!(refused, Err(SendTimeoutError::Timeout(_))));
        thread::scope(|scope| {
            let waits = scope.spawn(|| sender.send(step(), SOON).is_ok());
            assert_eq!(receiver.take().len(), MOST);
            assert!(waits.join().expect("it ends"));
        });
        assert_eq!(receiver.take().len(), 1);
        for _ in 0..MOST {
            sender.send(step(), Duration::ZERO).expect("there is room");
        }
        thread::scope(|scope| {
            let waits = scope.spawn(|| sender.send(step(), SOON));
            drop(receiver);
            let ended = waits.join().expect("it ends");
            assert!(matches!(ended, Err(SendTimeoutError::Disconnected(_))));
        });
    }
}
