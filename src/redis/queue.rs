//! What waits to be appended: many publishers put it there, the writer takes all that there is.

use std::{collections::VecDeque, iter, sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    link::{Fault, Link},
    part::{Answer, BATCH_BYTES, BATCH_MESSAGES, Part},
    receipt::Receipt,
};
use crate::{error::PublishError, journal::Refusal};

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
    /// How many these are, and bytes of their commands.
    messages: usize,
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

/// Messages on their way, one or a transaction.
#[derive(Debug)]
pub(super) struct Job {
    part: Part,
    /// Until it is answered.
    receipt: Option<Arc<Receipt>>,
}

impl Job {
    pub(super) fn packed(&self) -> &[u8] {
        &self.part.packed
    }

    pub(super) fn messages(&self) -> usize {
        self.part.messages
    }

    pub(super) fn receive(&self, link: &mut Link) -> Result<Vec<Answer>, Fault> {
        self.part.receive(link)
    }

    /// The answers to all of it.
    pub(super) fn answer(mut self, results: impl IntoIterator<Item = Result<(), PublishError>>) {
        self.give(results);
    }

    fn give(&mut self, results: impl IntoIterator<Item = Result<(), PublishError>>) {
        if let Some(receipt) = self.receipt.take() {
            receipt.answer(self.part.first, results);
        }
    }

    /// The same answer to all of it.
    fn all<T>(&self, result: T) -> iter::RepeatN<T>
    where
        T: Clone,
    {
        iter::repeat_n(result, self.part.messages)
    }
}

impl Drop for Job {
    /// Whatever happens to the writer, the publisher shall not wait for ever.
    fn drop(&mut self) {
        self.give(self.all(Err(PublishError::OutcomeUnknown)));
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
        let state = State { line, jobs, messages: 0, bytes: 0, taken: 0, is_doubted: false };
        let (work, room) = (Condvar::new(), Condvar::new());
        Self { messages, bytes, state: Mutex::new(state), work, room }
    }

    /// Puts messages there; waits for room if `wait` says so.
    pub(super) fn push(
        &self,
        part: Part,
        receipt: &Arc<Receipt>,
        wait: bool,
    ) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        self.wait_for_room(&mut state, part.packed.len(), receipt, wait)?;
        state.messages += part.messages;
        state.bytes += part.packed.len();
        state.jobs.push_back(Job { part, receipt: Some(Arc::clone(receipt)) });
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    fn wait_for_room(
        &self,
        state: &mut MutexGuard<'_, State>,
        bytes: usize,
        receipt: &Receipt,
        wait: bool,
    ) -> Result<(), Refusal> {
        loop {
            // Nothing goes behind what was refused. What is refused later than this takes with it all that
            // waits here.
            if let Some(failure) = receipt.failure() {
                return Err(Refusal::Never(failure));
            }
            let refused = match &state.line {
                Line::Up if self.has_room(state, bytes) => return Ok(()),
                Line::Up | Line::Untried if wait => {
                    self.work.notify_one();
                    self.room.wait(state);
                    continue;
                }
                Line::Up | Line::Untried => return Err(Refusal::Full),
                Line::Down(reason) => PublishError::LogUnavailable(reason.clone()),
                Line::Closed => PublishError::ShutDown,
            };
            return Err(Refusal::Never(refused));
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
        let (mut jobs, mut messages, mut bytes) = (Vec::new(), 0, 0);
        while let Some(Job { part, .. }) = state.jobs.front()
            && (jobs.is_empty()
                || messages + part.messages <= BATCH_MESSAGES
                    && bytes + part.packed.len() <= BATCH_BYTES)
        {
            messages += part.messages;
            bytes += part.packed.len();
            let is_last = part.is_last;
            jobs.extend(state.jobs.pop_front());
            if !is_last {
                // What follows of the same call is not sent before this was taken.
                break;
            }
        }
        state.messages -= messages;
        state.bytes -= bytes;
        state.taken = messages;
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
        let count = std::mem::take(&mut state.messages);
        (state.bytes, state.taken) = (0, 0);
        drop(state);
        for job in jobs {
            let results = job.all(Err(error.clone()));
            job.answer(results);
        }
        count
    }

    fn has_room(&self, state: &State, bytes: usize) -> bool {
        // One message always fits, however small the limits; a transaction where one message would, or
        // many small ones could keep it out for ever.
        state.jobs.is_empty()
            || (state.messages < self.messages && state.bytes + bytes <= self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(first: usize, messages: usize, is_last: bool) -> Part {
        Part { packed: vec![0; messages], first, messages, is_last }
    }

    fn taken(queue: &Queue) -> Vec<Job> {
        match queue.take(Instant::now()) {
            Work::Jobs(jobs) => jobs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_that_is_dropped_is_answered() {
        let (queue, receipt) = (Queue::new(9, 999), Arc::new(Receipt::new(3)));
        queue.connected();
        queue.push(part(0, 1, false), &receipt, true).expect("there is room");
        queue.push(part(1, 2, true), &receipt, true).expect("there is room");
        taken(&queue).remove(0).answer([Ok(())]);
        drop(taken(&queue));
        let error = receipt.wait().expect_err("one was dropped");
        assert_eq!((error.index, error.unknown), (1, 2));
    }

    #[test]
    fn what_follows_of_a_call_waits_for_the_answer() {
        let (queue, receipt) = (Queue::new(9, 999), Arc::new(Receipt::new(4)));
        let others: Vec<_> = (0..3).map(|_| Arc::new(Receipt::new(1))).collect();
        queue.connected();
        queue.push(part(0, 1, true), &others[0], true).expect("there is room");
        queue.push(part(0, 2, false), &receipt, true).expect("there is room");
        queue.push(part(0, 1, true), &others[1], true).expect("there is room");
        queue.push(part(2, 2, true), &receipt, true).expect("there is room");
        queue.push(part(0, 1, true), &others[2], true).expect("there is room");
        let firsts = |jobs: &[Job]| jobs.iter().map(|job| job.part.first).collect::<Vec<_>>();
        assert_eq!(firsts(&taken(&queue)), [0, 0]);
        assert_eq!(firsts(&taken(&queue)), [0, 2, 0]);
    }

    #[test]
    fn nothing_goes_behind_what_was_refused() {
        let (queue, receipt) = (Queue::new(9, 999), Arc::new(Receipt::new(6)));
        let refused = || PublishError::LogUnavailable("full".to_owned());
        queue.connected();
        queue.push(part(0, 2, false), &receipt, true).expect("there is room");
        let job = taken(&queue).remove(0);
        queue.push(part(2, 2, false), &receipt, true).expect("nothing was refused yet");
        let results = job.all(Err(refused()));
        job.answer(results);
        assert_eq!(queue.disconnected("full"), 2);
        // There is a new connection, and room.
        queue.connected();
        let Err(Refusal::Never(error)) = queue.push(part(4, 2, true), &receipt, true) else {
            panic!("it was taken")
        };
        assert_eq!(error, refused());
        assert!(queue.is_empty());
        receipt.give_up(4, 2, error);
        let error = receipt.wait().expect_err("all were refused");
        assert_eq!((error.index, error.unknown), (0, 0));
    }

    #[test]
    fn a_transaction_is_let_in_where_one_message_is() {
        let queue = Queue::new(2, 999);
        let receipt = Arc::new(Receipt::new(99));
        queue.connected();
        queue.push(part(0, 1, true), &receipt, false).expect("it is empty");
        queue.push(part(1, 50, true), &receipt, false).expect("there is room for one");
        let refused = queue.push(part(51, 1, true), &receipt, false);
        assert!(matches!(refused, Err(Refusal::Full)), "{refused:?}");
    }
}
