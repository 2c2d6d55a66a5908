//! The messages that wait to be appended. Many publishers add them; the writer takes them in
//! batches.

use std::{collections::VecDeque, iter, sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{
    acknowledgement::{Acknowledgement, Appended},
    link::{Fault, Link},
    part::{Answer, BATCH_BYTES, BATCH_MESSAGES, Part},
};
use crate::{broadcast::inbox::Refused, error::PublishError};

#[derive(Debug)]
pub(super) struct Queue {
    messages: usize,
    bytes: usize,
    /// Never held across a call to Redis.
    state: Mutex<State>,
    /// The writer waits here for messages.
    work: Condvar,
    /// Publishers wait here for room, or for the first connection.
    room: Condvar,
}

#[derive(Debug)]
struct State {
    line: Line,
    jobs: VecDeque<Job>,
    /// How many messages the jobs have, and the bytes of their commands.
    messages: usize,
    bytes: usize,
    /// How many messages the writer has taken and not answered yet.
    taken: usize,
    /// The writer must connect anew before it sends more.
    is_doubted: bool,
}

/// Whether the writer is connected.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// Not tried yet.
    Untried,
    Up,
    Down(String),
    Closed,
}

/// One message, or several as a transaction, on the way to Redis.
#[derive(Debug)]
pub(super) struct Job {
    part: Part,
    /// `None` once the job is answered.
    acknowledgement: Option<Arc<Acknowledgement>>,
}

impl Job {
    pub(super) fn packed(&self) -> &[u8] {
        &self.part.packed
    }

    /// The command of the last message.
    pub(super) fn last(&self) -> &[u8] {
        &self.part.packed[self.part.last..]
    }

    pub(super) fn messages(&self) -> usize {
        self.part.messages
    }

    pub(super) fn receive(&self, link: &mut Link) -> Result<Vec<Answer>, Fault> {
        self.part.receive(link)
    }

    /// Answers all messages of the job.
    pub(super) fn answer(mut self, results: impl IntoIterator<Item = Appended>) {
        self.give(results);
    }

    fn give(&mut self, results: impl IntoIterator<Item = Appended>) {
        if let Some(acknowledgement) = self.acknowledgement.take() {
            acknowledgement.answer(self.part.first, results);
        }
    }

    /// The same result for each message of the job.
    fn all<T>(&self, result: T) -> iter::RepeatN<T>
    where
        T: Clone,
    {
        iter::repeat_n(result, self.part.messages)
    }
}

impl Drop for Job {
    /// However the writer ends, the publisher must not wait for ever.
    fn drop(&mut self) {
        self.give(self.all(Err(PublishError::OutcomeUnknown)));
    }
}

/// What the writer takes.
#[derive(Debug)]
pub(super) enum Taken {
    Jobs(Vec<Job>),
    /// Nothing came in time.
    Idle,
    /// The address may lead to another server now.
    Doubted,
    /// The queue is closed and empty.
    Over,
}

impl Queue {
    pub(super) fn new(messages: usize, bytes: usize) -> Self {
        let (line, jobs) = (Line::Untried, VecDeque::new());
        let state = State { line, jobs, messages: 0, bytes: 0, taken: 0, is_doubted: false };
        let (work, room) = (Condvar::new(), Condvar::new());
        Self { messages, bytes, state: Mutex::new(state), work, room }
    }

    /// Adds messages; waits for room.
    pub(super) fn push(
        &self,
        part: Part,
        acknowledgement: &Arc<Acknowledgement>,
    ) -> Result<(), PublishError> {
        let mut state = self.state.lock();
        while !self.takes(&state, &part, acknowledgement)? {
            self.work.notify_one();
            self.room.wait(&mut state);
        }
        self.put(state, part, acknowledgement);
        Ok(())
    }

    /// Adds messages if there is room.
    pub(super) fn try_push(
        &self,
        part: Part,
        acknowledgement: &Arc<Acknowledgement>,
    ) -> Result<(), Refused> {
        let state = self.state.lock();
        if !self.takes(&state, &part, acknowledgement).map_err(Refused::Never)? {
            return Err(Refused::Full);
        }
        self.put(state, part, acknowledgement);
        Ok(())
    }

    /// Whether there is room for the messages now.
    fn takes(
        &self,
        state: &State,
        part: &Part,
        acknowledgement: &Acknowledgement,
    ) -> Result<bool, PublishError> {
        // Nothing is sent behind a message that was refused. If one is refused after this check,
        // all messages that wait here are refused with it.
        if let Some(failure) = acknowledgement.failure() {
            return Err(failure);
        }
        match &state.line {
            Line::Up => Ok(self.has_room(state, part.packed.len())),
            Line::Untried => Ok(false),
            Line::Down(reason) => Err(PublishError::RedisUnavailable(reason.clone())),
            Line::Closed => Err(PublishError::ShutDown),
        }
    }

    fn put(
        &self,
        mut state: MutexGuard<'_, State>,
        part: Part,
        acknowledgement: &Arc<Acknowledgement>,
    ) {
        state.messages += part.messages;
        state.bytes += part.packed.len();
        state.jobs.push_back(Job { part, acknowledgement: Some(Arc::clone(acknowledgement)) });
        drop(state);
        self.work.notify_one();
    }

    /// Takes what waits, at most a batch; waits for messages until `until`. The call also says that
    /// the messages taken before are answered.
    pub(super) fn take(&self, until: Instant) -> Taken {
        let mut state = self.state.lock();
        state.taken = 0;
        loop {
            if std::mem::take(&mut state.is_doubted) {
                return Taken::Doubted;
            }
            if !state.jobs.is_empty() {
                break;
            }
            if state.line == Line::Closed {
                return Taken::Over;
            }
            if self.work.wait_until(&mut state, until).timed_out() && state.jobs.is_empty() {
                return Taken::Idle;
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
                // The rest of the same call is sent only after this part was accepted.
                break;
            }
        }
        state.messages -= messages;
        state.bytes -= bytes;
        state.taken = messages;
        drop(state);
        self.room.notify_all();
        Taken::Jobs(jobs)
    }

    /// Puts messages back that were not sent after all, before all others.
    pub(super) fn put_back(&self, jobs: Vec<Job>) {
        let mut state = self.state.lock();
        for job in jobs.into_iter().rev() {
            state.messages += job.part.messages;
            state.bytes += job.part.packed.len();
            state.jobs.push_front(job);
        }
    }

    /// The writer is about to connect. Doubts that come later are about the new connection.
    pub(super) fn connects(&self) {
        self.state.lock().is_doubted = false;
    }

    pub(super) fn connected(&self) {
        self.set(Line::Up);
    }

    /// Makes the writer connect anew before it sends more.
    pub(super) fn doubt(&self) {
        self.state.lock().is_doubted = true;
        self.work.notify_one();
    }

    /// The connection is lost. The messages that wait were not sent and are refused; so are those
    /// that come. Returns how many waited.
    pub(super) fn disconnected(&self, reason: &str) -> usize {
        self.set(Line::Down(reason.to_owned()));
        self.fail(&PublishError::RedisUnavailable(reason.to_owned()))
    }

    /// Accepts no more messages. Those that wait are still sent.
    pub(super) fn close(&self) {
        self.set(Line::Closed);
    }

    /// The writer has ended: refuses the messages that wait.
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
        // One message always fits, however small the limits. A transaction fits where one message
        // would: otherwise many small messages could keep it out for ever.
        state.jobs.is_empty()
            || (state.messages < self.messages && state.bytes + bytes <= self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::log::EntryId;

    fn part(first: usize, messages: usize, is_last: bool) -> Part {
        Part { packed: vec![0; messages], last: 0, first, messages, is_last }
    }

    fn taken(queue: &Queue) -> Vec<Job> {
        match queue.take(Instant::now()) {
            Taken::Jobs(jobs) => jobs,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_job_that_is_dropped_is_answered() {
        let (queue, acknowledgement) = (Queue::new(9, 999), Arc::new(Acknowledgement::new(3)));
        queue.connected();
        queue.push(part(0, 1, false), &acknowledgement).expect("there is room");
        queue.push(part(1, 2, true), &acknowledgement).expect("there is room");
        taken(&queue).remove(0).answer([Ok(EntryId::default())]);
        drop(taken(&queue));
        let error = acknowledgement.wait().expect_err("one was dropped");
        assert_eq!((error.index, error.unknown), (1, 2));
    }

    #[test]
    fn what_follows_of_a_call_waits_for_the_answer() {
        let (queue, acknowledgement) = (Queue::new(9, 999), Arc::new(Acknowledgement::new(4)));
        let others: Vec<_> = (0..3).map(|_| Arc::new(Acknowledgement::new(1))).collect();
        queue.connected();
        queue.push(part(0, 1, true), &others[0]).expect("there is room");
        queue.push(part(0, 2, false), &acknowledgement).expect("there is room");
        queue.push(part(0, 1, true), &others[1]).expect("there is room");
        queue.push(part(2, 2, true), &acknowledgement).expect("there is room");
        queue.push(part(0, 1, true), &others[2]).expect("there is room");
        let firsts = |jobs: &[Job]| jobs.iter().map(|job| job.part.first).collect::<Vec<_>>();
        assert_eq!(firsts(&taken(&queue)), [0, 0]);
        assert_eq!(firsts(&taken(&queue)), [0, 2, 0]);
    }

    #[test]
    fn what_is_put_back_comes_first_and_in_its_order() {
        let queue = Queue::new(9, 999);
        let all = Arc::new(Acknowledgement::new(9));
        queue.connected();
        for first in 0..4 {
            queue.push(part(first, 1, true), &all).expect("there is room");
        }
        let mut jobs = taken(&queue);
        drop(jobs.drain(..2));
        let other = Arc::new(Acknowledgement::new(9));
        queue.push(part(4, 1, true), &other).expect("there is room");
        queue.put_back(jobs);
        assert!(!queue.is_empty());
        let firsts: Vec<_> = taken(&queue).iter().map(|job| job.part.first).collect();
        assert_eq!(firsts, [2, 3, 4]);
        let state = queue.state.lock();
        assert_eq!((state.messages, state.bytes), (0, 0));
    }

    #[test]
    fn nothing_goes_behind_what_was_refused() {
        let (queue, acknowledgement) = (Queue::new(9, 999), Arc::new(Acknowledgement::new(6)));
        let refused = || PublishError::RedisUnavailable("full".to_owned());
        queue.connected();
        queue.push(part(0, 2, false), &acknowledgement).expect("there is room");
        let job = taken(&queue).remove(0);
        queue.push(part(2, 2, false), &acknowledgement).expect("nothing was refused yet");
        let results = job.all(Err(refused()));
        job.answer(results);
        assert_eq!(queue.disconnected("full"), 2);
        // There is a new connection, and room.
        queue.connected();
        let Err(error) = queue.push(part(4, 2, true), &acknowledgement) else {
            panic!("it was taken")
        };
        assert_eq!(error, refused());
        assert!(queue.is_empty());
        acknowledgement.give_up(4, 2, error);
        let error = acknowledgement.wait().expect_err("all were refused");
        assert_eq!((error.index, error.unknown), (0, 0));
    }

    #[test]
    fn a_transaction_is_let_in_where_one_message_is() {
        let queue = Queue::new(2, 999);
        let acknowledgement = Arc::new(Acknowledgement::new(99));
        queue.connected();
        queue.try_push(part(0, 1, true), &acknowledgement).expect("it is empty");
        queue.try_push(part(1, 50, true), &acknowledgement).expect("there is room for one");
        let refused = queue.try_push(part(51, 1, true), &acknowledgement);
        assert!(matches!(refused, Err(Refused::Full)), "{refused:?}");
    }
}
