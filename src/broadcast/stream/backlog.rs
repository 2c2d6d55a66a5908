//! What is left to write to a stream that is behind.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use super::{FIRST_NAP, GATHER_BYTES, GATHER_FRAMES};
use crate::{
    broadcast::{clock::Now, history::Sequence, mailbox::Pending},
    message::frame::Coding,
};

/// A client must take at least this many bytes a second of its replay.
const SLOWEST_REPLAY: u64 = 1024;

#[derive(Debug)]
pub(super) struct Behind {
    /// The frames being written, and how many bytes of the first one are.
    pub(super) parts: VecDeque<Pending>,
    pub(super) written: usize,
    /// Bytes in the mailbox.
    pub(super) waiting: usize,
    pub(super) nap: Duration,
    pub(super) retry_at: Instant,
    /// When the socket last took something.
    pub(super) progress: Instant,
    /// When it fell behind.
    pub(super) since: Instant,
    /// The rest up to the newest event is read from the history. The mailbox then holds only
    /// messages to this client alone, which come after the replay.
    pub(super) replay: Option<Replay>,
}

/// From where in the history a client is sent events.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReplayFrom {
    pub(crate) position: Sequence,
    /// The number of the history's last drop when the replay began.
    pub(crate) drops: u64,
    /// Of the events up to here only the last one of each log is sent.
    pub(crate) last_until: Sequence,
}

/// How far a replay has come.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) from: ReplayFrom,
    /// Bytes that the client took after `since`.
    pub(super) taken: usize,
    pub(super) since: Instant,
}

impl Behind {
    pub(super) fn new(now: Now) -> Box<Self> {
        Box::new(Self {
            parts: VecDeque::new(),
            written: 0,
            waiting: 0,
            nap: FIRST_NAP,
            retry_at: now.instant,
            progress: now.instant,
            since: now.instant,
            replay: None,
        })
    }

    /// Whether a client takes its replay fast enough.
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

    /// The bytes of the frames being written.
    pub(super) fn being_written(&self, coding: Coding) -> usize {
        self.parts.iter().map(|part| part.coded(coding).len()).sum()
    }

    /// Takes from the mailbox what the next write can carry. A replay comes first.
    pub(super) fn gather(&mut self, mailbox: &Receiver<Pending>, coding: Coding) {
        if self.replay.is_some() {
            return;
        }
        let mut bytes = self.being_written(coding);
        while bytes < GATHER_BYTES
            && self.parts.len() < GATHER_FRAMES
            && let Ok(pending) = mailbox.try_recv()
        {
            let length = pending.coded(coding).len();
            bytes += length;
            self.waiting = self.waiting.saturating_sub(length);
            self.parts.push_back(pending);
        }
    }

    /// Drops the frames that are written whole.
    pub(super) fn consume(&mut self, written: usize, coding: Coding) {
        self.written += written;
        while let Some(first) = self.parts.front()
            && let Some(rest) = self.written.checked_sub(first.coded(coding).len())
        {
            self.written = rest;
            self.parts.pop_front();
        }
    }
}
