//! What is left to write to a stream that is behind.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use super::{FIRST_NAP, GATHER_BYTES, GATHER_FRAMES};
use crate::{history::Sequence, mail::Mail, meter::Moment};

/// Bytes a second that a client has to take of its replay.
const SLOWEST_REPLAY: u64 = 1024;

#[derive(Debug)]
pub(super) struct Behind {
    /// The frames being written, and how much of the first one is.
    pub(super) parts: VecDeque<Mail>,
    pub(super) written: usize,
    /// Bytes in the mailbox.
    pub(super) waiting: usize,
    pub(super) nap: Duration,
    pub(super) retry_at: Instant,
    /// When the socket last took something.
    pub(super) progress: Instant,
    /// When it fell behind.
    pub(super) since: Instant,
    /// The rest up to the newest event is read from the history; in the mailbox are only messages to
    /// this client alone, which come after it.
    pub(super) replay: Option<Replay>,
}

/// How far a stream is in the history.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) position: Sequence,
    /// How many events the history had dropped when it began.
    pub(super) drops: u64,
    /// What the client took since then.
    pub(super) taken: usize,
    pub(super) since: Instant,
}

impl Behind {
    pub(super) fn new(moment: Moment) -> Box<Self> {
        Box::new(Self {
            parts: VecDeque::new(),
            written: 0,
            waiting: 0,
            nap: FIRST_NAP,
            retry_at: moment.now,
            progress: moment.now,
            since: moment.now,
            replay: None,
        })
    }

    /// Whether a client takes its replay fast enough to be worth it.
    pub(super) fn keeps_pace(&mut self, taken: usize, period: Duration, now: Instant) -> bool {
        let Some(replay) = &mut self.replay else { return true };
        replay.taken = replay.taken.saturating_add(taken);
        let passed = now.saturating_duration_since(replay.since);
        if passed < period {
            return true;
        }
        let owed = passed.as_secs().saturating_mul(SLOWEST_REPLAY);
        let keeps_pace = replay.taken as u64 >= owed;
        (replay.taken, replay.since) = (0, now);
        keeps_pace
    }

    /// Takes from the mailbox what the next write can carry; the history comes first.
    pub(super) fn gather(&mut self, mailbox: &Receiver<Mail>) {
        if self.replay.is_some() {
            return;
        }
        let mut bytes: usize = self.parts.iter().map(Mail::len).sum();
        while bytes < GATHER_BYTES
            && self.parts.len() < GATHER_FRAMES
            && let Ok(mail) = mailbox.try_recv()
        {
            bytes += mail.len();
            self.waiting = self.waiting.saturating_sub(mail.len());
            self.parts.push_back(mail);
        }
    }

    /// Lets go of the frames that are written whole.
    pub(super) fn consume(&mut self, written: usize) {
        self.written += written;
        while let Some(first) = self.parts.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.parts.pop_front();
        }
    }
}
