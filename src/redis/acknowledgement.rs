//! The log's answers to all messages of one call. The publisher waits for them.

use parking_lot::{Condvar, Mutex};

use crate::{
    broadcast::log::{EntryId, NotAppended},
    error::PublishError,
};

/// The entry that a message became, or why it became none.
pub(super) type Appended = Result<EntryId, PublishError>;

#[derive(Debug)]
pub(super) struct Acknowledgement {
    state: Mutex<State>,
    /// The publisher waits here for the last answer.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many answers are still to come.
    open: usize,
    /// What the messages became.
    entries: Vec<EntryId>,
    /// No message from this index on is in the log.
    reached: usize,
    /// The first message that was not appended, and why.
    failed: Option<(usize, PublishError)>,
}

impl Acknowledgement {
    pub(super) fn new(messages: usize) -> Self {
        let entries = vec![EntryId::ZERO; messages];
        let state = State { open: messages, entries, reached: 0, failed: None };
        Self { state: Mutex::new(state), done: Condvar::new() }
    }

    /// Notes the answers to consecutive messages, from index `first` on.
    pub(super) fn answer(&self, first: usize, results: impl IntoIterator<Item = Appended>) {
        let mut state = self.state.lock();
        for (index, result) in (first..).zip(results) {
            state.open -= 1;
            if !matches!(&result, Err(error) if *error != PublishError::OutcomeUnknown) {
                state.reached = state.reached.max(index + 1);
            }
            match result {
                Ok(entry) => state.entries[index] = entry,
                Err(error) => state.fail(index, error),
            }
        }
        if state.open == 0 {
            self.done.notify_one();
        }
    }

    /// Why a message was not appended. The messages behind it must then not be sent.
    pub(super) fn failure(&self) -> Option<PublishError> {
        self.state.lock().failed.as_ref().map(|(_, error)| error.clone())
    }

    /// Notes that the `count` messages from index `first` on were not sent.
    pub(super) fn give_up(&self, first: usize, count: usize, error: PublishError) {
        let mut state = self.state.lock();
        state.fail(first, error);
        state.open -= count;
    }

    /// What the messages became.
    pub(super) fn wait(&self) -> Result<Vec<EntryId>, NotAppended> {
        let mut state = self.state.lock();
        while state.open > 0 {
            self.done.wait(&mut state);
        }
        if let Some((index, error)) = state.failed.take() {
            let unknown = state.reached.saturating_sub(index);
            return Err(NotAppended { index, unknown, error });
        }
        Ok(std::mem::take(&mut state.entries))
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
        let refused = || Err(PublishError::RedisUnavailable("full".to_owned()));
        let unknown = || Err(PublishError::OutcomeUnknown);
        let entry = || Ok(EntryId::ZERO);
        for (results, index, open) in [
            (vec![entry(), entry(), refused(), refused()], 2, 0),
            (vec![entry(), unknown(), unknown(), refused()], 1, 2),
            (vec![refused(), refused()], 0, 0),
            // A refused message before an accepted one counts as unknown, so that the accepted one
            // is not sent again.
            (vec![entry(), refused(), entry(), refused()], 1, 2),
        ] {
            let acknowledgement = Acknowledgement::new(results.len() + 2);
            acknowledgement.answer(0, results.iter().take(1).cloned());
            acknowledgement.answer(1, results.iter().skip(1).cloned());
            assert!(acknowledgement.failure().is_some());
            acknowledgement.give_up(results.len(), 2, PublishError::ShutDown);
            let error = acknowledgement.wait().expect_err("some failed");
            assert_eq!((error.index, error.unknown), (index, open), "{results:?}");
        }
        assert!(Acknowledgement::new(0).wait().is_ok());
    }
}
