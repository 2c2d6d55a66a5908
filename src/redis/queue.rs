//! What waits to be appended: many publishers put it there, the writer takes all that there is.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::acknowledgement::Acknowledgement;
use crate::{broadcast::inbox::Refused, error::PublishError};

/// What goes out in one round trip at most.
const BATCH_MESSAGES: usize = 1024;
const BATCH_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Queue {
    messages: usize,
    bytes: usize,
    /// Never held across a call to Redis.
    state: Mutex<State>,
    /// The writer waits here.
    work: Condvar,
    /// Publishers wait here for room, or for the first connection.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    line: Line,
    jobs: VecDeque<Job>,
    bytes: usize,
    /// How many the writer has taken and not answered.
    taken: usize,
    /// There is to be a new connection.
    is_doubted: bool,
}

/// Whether there is a way to Redis.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// Not tried yet.
    Untried,
    Up,
    Down(String),
    Closed,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) command: Vec<u8>,
    /// Until it is answered.
    acknowledgement: Option<Arc<Acknowledgement>>,
    index: usize,
}

impl Job {
    pub(super) fn answer(mut self, result: Result<(), PublishError>) {
        self.give(result);
    }

    fn give(&mut self, result: Result<(), PublishError>) {
        if let Some(acknowledgement) = self.acknowledgement.take() {
            acknowledgement.answer(self.index, result);
        }
    }
}

impl Drop for Job {
    /// Whatever happens to the writer, the publisher shall not wait for ever.
    fn drop(&mut self) {
        self.give(Err(PublishError::OutcomeUnknown));
    }
}

/// What the writer finds.
#[derive(Debug)]
pub(super) enum Work {
    Jobs(Vec<Job>),
    /// Nothing came.
    Idle,
    /// The address may lead to another server now.
    Doubted,
    /// Nothing will come any more.
    Over,
}

impl Queue {
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        let (line, jobs) = (Line::Untried, VecDeque::new());
        let state = State { line, jobs, bytes: 0, taken: 0, is_doubted: false };
        let (work, room) = (Condvar::new(), Condvar::new());
        Self { messages, bytes, state: Mutex::new(state), work, room }
    }

    /// Puts messages there, those together that find room together; waits for room if `wait` says
    /// so. Returns the first that was not put there, and why.
    pub(super) fn push(
        &self,
        commands: Vec<Vec<u8>>,
        acknowledgement: &Arc<Acknowledgement>,
        wait: bool,
    ) -> Result<(), (usize, Refused)> {
        let mut state = self.state.lock();
        let mut result = Ok(());
        for (index, command) in commands.into_iter().enumerate() {
            if let Err(refusal) = self.wait_for_room(&mut state, command.len(), wait) {
                result = Err((index, refusal));
                break;
            }
            state.bytes += command.len();
            state.jobs.push_back(Job {
                command,
                acknowledgement: Some(Arc::clone(acknowledgement)),
                index,
            });
        }
        drop(state);
        self.work.notify_one();
        result
    }

    fn wait_for_room(
        &self,
        state: &mut MutexGuard<'_, State>,
        bytes: usize,
        wait: bool,
    ) -> Result<(), Refused> {
        loop {
            let refused = match &state.line {
                Line::Up if self.has_room(state, bytes) => return Ok(()),
                Line::Up | Line::Untried if wait => {
                    self.work.notify_one();
                    self.room.wait(state);
                    continue;
                }
                Line::Up | Line::Untried => return Err(Refused::Full),
                Line::Down(reason) => PublishError::LogUnavailable(reason.clone()),
                Line::Closed => PublishError::ShutDown,
            };
            return Err(Refused::Never(refused));
        }
    }

    /// Takes what there is; waits for it until `until`. What was taken before is answered now.
    pub(super) fn take(&self, until: Instant) -> Work {
        let mut state = self.state.lock();
        state.taken = 0;
        loop {
            if std::mem::take(&mut state.is_doubted) {
                return Work::Doubted;
            }
            if !state.jobs.is_empty() {
                break;
            }
            if state.line == Line::Closed {
                return Work::Over;
            }
            if self.work.wait_until(&mut state, until).timed_out() && state.jobs.is_empty() {
                return Work::Idle;
            }
        }
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(job) = state.jobs.front()
            && (jobs.is_empty()
                || jobs.len() < BATCH_MESSAGES && bytes + job.command.len() <= BATCH_BYTES)
        {
            bytes += job.command.len();
            jobs.extend(state.jobs.pop_front());
        }
        state.bytes -= bytes;
        state.taken = jobs.len();
        drop(state);
        self.room.notify_all();
        Work::Jobs(jobs)
    }

    /// A new connection is about to be made; later doubts are about that one.
    pub(super) fn connects(&self) {
        self.state.lock().is_doubted = false;
    }

    pub(super) fn connected(&self) {
        self.set(Line::Up);
    }

    /// Has a new connection made before more is sent.
    pub(super) fn doubt(&self) {
        self.state.lock().is_doubted = true;
        self.work.notify_one();
    }

    /// There is no way to Redis: what waits was not sent, and what comes is refused at once. Returns
    /// how many messages waited.
    pub(super) fn disconnected(&self, reason: &str) -> usize {
        self.set(Line::Down(reason.to_owned()));
        self.fail(&PublishError::LogUnavailable(reason.to_owned()))
    }

    /// Takes no more; what waits is still sent.
    pub(super) fn close(&self) {
        self.set(Line::Closed);
    }

    /// The writer has ended.
    pub(super) fn abandon(&self) {
        self.close();
        self.fail(&PublishError::ShutDown);
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.jobs.is_empty() && state.taken == 0
    }

    fn set(&self, line: Line) {
        let mut state = self.state.lock();
        if state.line != Line::Closed {
            state.line = line;
        }
        drop(state);
        self.work.notify_one();
        self.room.notify_all();
    }

    fn fail(&self, error: &PublishError) -> usize {
        let mut state = self.state.lock();
        let jobs = std::mem::take(&mut state.jobs);
        (state.bytes, state.taken) = (0, 0);
        drop(state);
        let count = jobs.len();
        for job in jobs {
            job.answer(Err(error.clone()));
        }
        count
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        // One message always fits, however small the limits.
        state.jobs.is_empty()
            || (state.jobs.len() < self.messages && state.bytes + bytes <= self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_dropped_is_answered() {
        let (queue, acknowledgement) = (Queue::new(9, 999), Arc::new(Acknowledgement::new(2)));
        queue.connected();
        queue.push(vec![vec![1], vec![2]], &acknowledgement, true).expect("there is room");
        let Work::Jobs(mut jobs) = queue.take(Instant::now()) else { panic!("they are there") };
        jobs.remove(0).answer(Ok(()));
        drop(jobs);
        assert_eq!(acknowledgement.wait(), Err((1, PublishError::OutcomeUnknown)));
    }
}
