//! What publishers wait for: the log's answers to all messages of one call.

use parking_lot::{Condvar, Mutex};

use crate::{
    error::PublishError,
    journal::{Refusal, Unappended},
};

#[derive(Debug)]
pub(super) struct Receipt {
    state: Mutex<State>,
    /// Waits for the last answer.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many answers are missing.
    open: usize,
    /// From this message on none is in the log.
    reached: usize,
    /// The first message that was not appended, and why.
    failed: Option<(usize, PublishError)>,
}

impl Receipt {
    pub(super) fn new(messages: usize) -> Self {
        let state = State { open: messages, reached: 0, failed: None };
        Self { state: Mutex::new(state), done: Condvar::new() }
    }

    /// The answers to messages in a row.
    pub(super) fn answer(
        &self,
        first: usize,
        results: impl IntoIterator<Item = Result<(), PublishError>>,
    ) {
        let mut state = self.state.lock();
        for (index, result) in (first..).zip(results) {
            state.open -= 1;
            if !matches!(&result, Err(error) if *error != PublishError::OutcomeUnknown) {
                state.reached = state.reached.max(index + 1);
            }
            if let Err(error) = result {
                state.fail(index, error);
            }
        }
        if state.open == 0 {
            self.done.notify_one();
        }
    }

    /// Why one of the messages was not appended; then those behind it are not to be.
    pub(super) fn failure(&self) -> Option<PublishError> {
        self.state.lock().failed.as_ref().map(|(_, error)| error.clone())
    }

    /// The messages from this one on were not sent.
    pub(super) fn give_up(&self, first: usize, count: usize, error: PublishError) {
        let mut state = self.state.lock();
        state.fail(first, error);
        state.open -= count;
    }

    pub(super) fn wait(&self) -> Result<(), Unappended> {
        let mut state = self.state.lock();
        while state.open > 0 {
            self.done.wait(&mut state);
        }
        let reached = state.reached;
        state.failed.take().map_or(Ok(()), |(index, error)| {
            let unknown = reached.saturating_sub(index);
            Err(Unappended { index, unknown, error: Refusal::Never(error) })
        })
    }
}

impl State {
    fn fail(&mut self, index: usize, error: PublishError) {
        if self.failed.as_ref().is_none_or(|(first, _)| index < *first) {
            self.failed = Some((index, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_in_the_log_is_told_from_what_is_not() {
        let refused = || Err(PublishError::LogUnavailable("full".to_owned()));
        let unknown = || Err(PublishError::OutcomeUnknown);
        for (results, index, open) in [
            (vec![Ok(()), Ok(()), refused(), refused()], 2, 0),
            (vec![Ok(()), unknown(), unknown(), refused()], 1, 2),
            (vec![refused(), refused()], 0, 0),
            // A hole is told as open, which keeps what is behind it from being sent again.
            (vec![Ok(()), refused(), Ok(()), refused()], 1, 2),
        ] {
            let receipt = Receipt::new(results.len() + 2);
            receipt.answer(0, results.iter().take(1).cloned());
            receipt.answer(1, results.iter().skip(1).cloned());
            assert!(receipt.failure().is_some());
            receipt.give_up(results.len(), 2, PublishError::ShutDown);
            let error = receipt.wait().expect_err("some failed");
            assert_eq!((error.index, error.unknown), (index, open), "{results:?}");
        }
        assert!(Receipt::new(0).wait().is_ok());
    }
}
