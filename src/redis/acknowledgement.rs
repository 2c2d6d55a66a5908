//! What publishers wait for: the log's answers to all messages of one call.

use parking_lot::{Condvar, Mutex};

use crate::error::PublishError;

#[derive(Debug)]
pub(super) struct Acknowledgement {
    state: Mutex<State>,
    /// Waits for the last answer.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many answers are missing.
    open: usize,
    /// The first message that was not appended, and why.
    failed: Option<(usize, PublishError)>,
}

impl Acknowledgement {
    pub(super) fn new(messages: usize) -> Self {
        let state = State { open: messages, failed: None };
        Self { state: Mutex::new(state), done: Condvar::new() }
    }

    /// The answer to one message.
    pub(super) fn answer(&self, index: usize, result: Result<(), PublishError>) {
        let mut state = self.state.lock();
        if let Err(error) = result {
            state.fail(index, error);
        }
        state.open -= 1;
        if state.open == 0 {
            self.done.notify_one();
        }
    }

    /// The messages from this one on were not sent.
    pub(super) fn give_up(&self, first: usize, count: usize, error: PublishError) {
        let mut state = self.state.lock();
        state.fail(first, error);
        state.open -= count;
    }

    pub(super) fn wait(&self) -> Result<(), (usize, PublishError)> {
        let mut state = self.state.lock();
        while state.open > 0 {
            self.done.wait(&mut state);
        }
        state.failed.take().map_or(Ok(()), Err)
    }
}

impl State {
    fn fail(&mut self, index: usize, error: PublishError) {
        if self.failed.as_ref().is_none_or(|(first, _)| index < *first) {
            self.failed = Some((index, error));
        }
    }
}
