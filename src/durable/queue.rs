//! The messages that wait to be committed.

use std::{collections::VecDeque, mem, time::Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use super::group::Part;
use crate::{
    broadcast::{
        inbox::{Refused, queue::Queued},
        log::NotAppended,
    },
    error::PublishError,
    message::entry_id::EntryId,
};

/// The messages of one call.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) parts: Vec<Part>,
    pub(super) events: Vec<Queued>,
    /// Dropped without an answer if the committer has ended.
    pub(super) answer: Sender<Result<Vec<EntryId>, NotAppended>>,
}

impl Job {
    fn bytes(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    most_messages: usize,
    most_bytes: usize,
    state: Mutex<State>,
    /// The committer waits for jobs.
    more: Condvar,
    /// Publishers wait for room.
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    messages: usize,
    bytes: usize,
    /// Nothing more is taken.
    is_closed: bool,
    /// The committer has to look when it must do something.
    is_nudged: bool,
}

pub(super) enum Taken {
    Jobs(Vec<Job>),
    /// It is time to do something else.
    Idle,
    /// The queue is closed and empty.
    Over,
}

impl Queue {
    pub(super) fn new(most_messages: usize, most_bytes: usize) -> Self {
        Self {
            most_messages,
            most_bytes,
            state: Mutex::default(),
            more: Condvar::new(),
            room: Condvar::new(),
        }
    }

    /// Adds a job. Waits for room if `waits`; a job that is too large waits until it is alone.
    pub(super) fn push(&self, job: Job, waits: bool) -> Result<(), Refused> {
        let (messages, bytes) = (job.parts.len(), job.bytes());
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return Err(Refused::Never(PublishError::ShutDown));
            }
            let has_room = state.messages + messages <= self.most_messages
                && state.bytes + bytes <= self.most_bytes;
            if has_room || state.jobs.is_empty() {
                break;
            }
            if !waits {
                return Err(Refused::Full);
            }
            self.room.wait(&mut state);
        }
        (state.messages, state.bytes) = (state.messages + messages, state.bytes + bytes);
        state.jobs.push_back(job);
        self.more.notify_one();
        Ok(())
    }

    /// Takes what waits, about as much as `most_bytes`. Waits until then, if nothing does.
    pub(super) fn take(&self, most_bytes: usize, until: Option<Instant>) -> Taken {
        let mut state = self.state.lock();
        while state.jobs.is_empty() {
            if state.is_closed {
                return Taken::Over;
            }
            if mem::take(&mut state.is_nudged) {
                return Taken::Idle;
            }
            match until {
                None => self.more.wait(&mut state),
                Some(until) if self.more.wait_until(&mut state, until).timed_out() => {
                    return Taken::Idle;
                }
                Some(_) => {}
            }
        }
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while let Some(job) = state.jobs.pop_front() {
            bytes += job.bytes();
            state.messages -= job.parts.len();
            jobs.push(job);
            if bytes >= most_bytes {
                break;
            }
        }
        state.bytes -= bytes;
        self.room.notify_all();
        Taken::Jobs(jobs)
    }

    /// Has the committer look when it must do something.
    pub(super) fn nudge(&self) {
        self.state.lock().is_nudged = true;
        self.more.notify_one();
    }

    /// Whether it takes jobs, and has none.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.jobs.is_empty() && !state.is_closed
    }

    /// Takes no more jobs; those that wait are still committed.
    pub(super) fn close(&self) {
        self.state.lock().is_closed = true;
        self.more.notify_all();
        self.room.notify_all();
    }

    /// Drops what waits: nobody will commit it.
    pub(super) fn abandon(&self) {
        self.close();
        let jobs = mem::take(&mut self.state.lock().jobs);
        drop(jobs);
    }
}
