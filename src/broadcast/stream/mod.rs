//! One stream as the broadcaster sees it: caught up, or behind with the rest in its mailbox.
//!
//! Plain data without a lock: only the broadcaster's thread touches a stream, and its socket never
//! blocks. Generic over the socket, so that tests can drive it through every split and error.

mod backlog;
#[cfg(test)]
pub(crate) mod scripted;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice},
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

pub(crate) use self::backlog::ReplayFrom;
use self::backlog::{Behind, Replay};
use crate::{
    broadcast::{
        arrival::Form,
        clock::{Now, ReadRate},
        history::Sequence,
        mailbox::Pending,
        stats::Disconnect,
    },
    socket::Wire,
};

/// Bytes after the request that a client may send before it is disconnected.
const INPUT_LIMIT: usize = 64 * 1024;
/// How long to wait before writing again to a socket that is full: at first, and at most.
const FIRST_NAP: Duration = Duration::from_millis(1);
const LONGEST_NAP: Duration = Duration::from_millis(50);
/// One write has at most this many frames, and about this many bytes: what a stream begins with,
/// and a slice of the history.
const GATHER_FRAMES: usize = 65;
const GATHER_BYTES: usize = 64 * 1024;

/// What is left to do for a stream after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The stream has everything.
    CaughtUp,
    /// Its socket is full, or its share of the round is used up: retry at this time.
    Retry(Instant),
}

/// A step ends with what is left to do, or with the end of the stream.
pub(crate) type Step = Result<Progress, Disconnect>;

#[derive(Debug)]
pub(crate) struct Stream<W> {
    wire: W,
    pub(crate) form: Form,
    /// What waits behind the frames being written. The registry has the sender.
    mailbox: Receiver<Pending>,
    /// Whether the mailbox has room. A channel that was used keeps a block of memory, more than all
    /// else that an idle stream costs. So a stream that is caught up has a mailbox without room.
    has_room: bool,
    /// `None` when caught up. Boxed, since most streams are idle and should be small.
    behind: Option<Box<Behind>>,
    ending: Ending,
    /// The audience has it among those that are far behind.
    pub(crate) is_heavy: bool,
    /// Bytes that came after the request.
    input: u32,
    last_write: Instant,
    rate: ReadRate,
}

/// How far the end of a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    No,
    /// The client was told when to come back.
    Told,
    /// Nothing more is sent. The client has a moment to read the rest and close.
    Finished,
}

impl<W: Wire> Stream<W> {
    /// A stream that is caught up. Its response head is not written yet.
    pub(crate) fn new(wire: W, mailbox: Receiver<Pending>, form: Form, now: Now) -> Self {
        Self {
            wire,
            form,
            mailbox,
            behind: None,
            has_room: false,
            is_heavy: false,
            ending: Ending::No,
            input: 0,
            last_write: now.instant,
            rate: ReadRate::default(),
        }
    }

    pub(crate) fn is_caught_up(&self) -> bool {
        self.behind.is_none()
    }

    /// Bytes that wait behind the frames being written: what the budget limits.
    pub(crate) fn waiting(&self) -> usize {
        self.behind.as_ref().map_or(0, |behind| behind.waiting)
    }

    /// Bytes that wait, including the frames being written.
    pub(crate) fn held(&self) -> usize {
        let of = |behind: &Behind| behind.waiting + behind.being_written(self.form.coding);
        self.behind.as_deref().map_or(0, of)
    }

    /// When to retry a stream that is behind.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.behind.as_ref().map(|behind| behind.retry_at)
    }

    /// When the socket of a stream that is behind last took something.
    pub(crate) fn progress(&self) -> Option<Instant> {
        self.behind.as_ref().map(|behind| behind.progress)
    }

    /// Whether the client reads, as far as is known: it is caught up, it took something lately, or
    /// it fell behind just now.
    pub(crate) fn reads(&mut self, now: Now) -> bool {
        self.behind.as_ref().is_none_or(|behind| now.is_recent(behind.since))
            || self.rate.reads(now)
    }

    /// How long nothing was sent to a stream that is caught up.
    pub(crate) fn silence(&self, now: Instant) -> Option<Duration> {
        self.is_caught_up().then(|| now.saturating_duration_since(self.last_write))
    }

    /// Sends to a stream that is caught up. If the socket does not take everything, the stream
    /// falls behind, and the rest waits in the frame that `share` returns.
    pub(crate) fn send(&mut self, bytes: &[u8], share: impl FnOnce() -> Pending, now: Now) -> Step {
        debug_assert!(self.is_caught_up(), "what comes later must wait in the mailbox");
        let written = self.write(&[IoSlice::new(bytes)], now)?;
        if written == bytes.len() {
            return Ok(Progress::CaughtUp);
        }
        Ok(Progress::Retry(self.fall_behind([share()].into(), written, None, now)))
    }

    /// Writes what a stream begins with, at once. Returns how many bytes the socket took. If that is
    /// not all, or more of the history follows, the stream [falls behind](Self::fall_behind).
    pub(crate) fn begin(&mut self, parts: &[IoSlice<'_>], now: Now) -> Result<usize, Disconnect> {
        debug_assert!(self.is_caught_up(), "it comes before everything else");
        self.write(parts, now)
    }

    /// Keeps the rest of a write for later, of which `written` bytes of the first part are written, and
    /// then sends events from the history. Returns when to go on.
    pub(crate) fn fall_behind(
        &mut self,
        rest: VecDeque<Pending>,
        written: usize,
        from: Option<ReplayFrom>,
        now: Now,
    ) -> Instant {
        let mut behind = Behind::new(now);
        if !rest.is_empty() {
            behind.retry_at = now.instant + FIRST_NAP;
        }
        (behind.parts, behind.written) = (rest, written);
        behind.replay = from.map(|from| Replay { from, taken: 0, since: now.instant });
        let retry_at = behind.retry_at;
        self.behind = Some(behind);
        retry_at
    }

    /// Whether this stream gets live events from the history.
    pub(crate) fn is_replaying(&self) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.replay.is_some())
    }

    /// From where to read on in the history. `None` until everything before is written.
    pub(crate) fn next_replay(&self) -> Option<ReplayFrom> {
        let behind = self.behind.as_ref().filter(|behind| behind.parts.is_empty())?;
        behind.replay.as_ref().map(|replay| replay.from)
    }

    /// Takes a slice of the history that ends at `position`. If `is_last`, the replay ends with it.
    pub(crate) fn refill(&mut self, slice: VecDeque<Pending>, position: Sequence, is_last: bool) {
        if let Some(behind) = &mut self.behind {
            behind.parts = slice;
            match &mut behind.replay {
                Some(replay) if !is_last => replay.from.position = position,
                replay => *replay = None,
            }
        }
    }

    /// Notes that a frame of `length` bytes was put into the mailbox of this stream, which is
    /// behind. Returns how many bytes wait now.
    pub(crate) fn added(&mut self, length: usize) -> usize {
        debug_assert!(self.has_room, "a frame needs a mailbox with room");
        let Some(behind) = &mut self.behind else {
            debug_assert!(false, "nothing waits for a stream that is caught up");
            return 0;
        };
        behind.waiting += length;
        behind.waiting
    }

    /// Writes what waits, until the socket is full, nothing is left, or about `share` bytes are
    /// written.
    pub(crate) fn catch_up(&mut self, share: usize, stall_timeout: Duration, now: Now) -> Step {
        let Some(mut behind) = self.behind.take() else {
            return Ok(Progress::CaughtUp);
        };
        let mut taken = 0;
        let full = loop {
            behind.gather(&self.mailbox, self.form.coding);
            if behind.parts.is_empty() && behind.replay.is_none() {
                return Ok(Progress::CaughtUp);
            }
            // The next slice of the history comes after other streams were served.
            if taken >= share || behind.parts.is_empty() {
                break false;
            }
            let (written, whole) = self.write_parts(&behind, now)?;
            taken += written;
            behind.consume(written, self.form.coding);
            if !whole {
                break true;
            }
        };
        if !behind.keeps_pace(taken, stall_timeout, now.instant) {
            return Err(Disconnect::Stalled);
        }
        if taken > 0 {
            behind.progress = now.instant;
            behind.nap = FIRST_NAP;
        } else if full {
            if now.instant.saturating_duration_since(behind.progress) >= stall_timeout {
                return Err(Disconnect::Stalled);
            }
            behind.nap = (behind.nap * 2).min(LONGEST_NAP);
        }
        behind.retry_at = if full { now.instant + behind.nap } else { now.instant };
        let retry_at = behind.retry_at;
        self.behind = Some(behind);
        Ok(Progress::Retry(retry_at))
    }

    /// Writes the next frames, once. Returns how many bytes were written, and whether that was all.
    fn write_parts(&mut self, behind: &Behind, now: Now) -> Result<(usize, bool), Disconnect> {
        let mut slices = [IoSlice::new(&[]); GATHER_FRAMES];
        let mut length = 0;
        let mut skip = behind.written;
        for (slice, part) in slices.iter_mut().zip(&behind.parts) {
            let bytes = &part.coded(self.form.coding)[skip..];
            *slice = IoSlice::new(bytes);
            length += bytes.len();
            skip = 0;
        }
        let count = behind.parts.len().min(GATHER_FRAMES);
        let written = self.write(&slices[..count], now)?;
        Ok((written, written == length))
    }

    /// Reads and drops what the client sent after its request. Fails if the client has gone.
    ///
    /// A client that closes only its sending side counts as gone. A browser or curl does that only
    /// when it ends, and the two cases cannot be told apart.
    pub(crate) fn poll_input(&mut self, buffer: &mut [u8]) -> Result<(), Disconnect> {
        loop {
            match self.wire.read(buffer) {
                Ok(0) => return Err(Disconnect::ClosedByPeer),
                Ok(length) => {
                    let length = u32::try_from(length).unwrap_or(u32::MAX);
                    self.input = self.input.saturating_add(length);
                    if self.input as usize > INPUT_LIMIT {
                        return Err(Disconnect::Error);
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted => {}
                    _ => return Err(reason(&error)),
                },
            }
        }
    }

    /// Replaces the mailbox if it does not suit the stream: with room if it is behind, without if
    /// not.
    pub(crate) fn fit_mailbox(&mut self, renew: impl FnOnce(bool) -> Option<Receiver<Pending>>) {
        let behind = !self.is_caught_up();
        if self.has_room != behind
            && let Some(mailbox) = renew(behind)
        {
            self.mailbox = mailbox;
            self.has_room = behind;
        }
    }

    /// Ends the sending side of a stream that is caught up. The client reads the rest and closes.
    pub(crate) fn finish(&mut self, now: Now) -> Result<(), Disconnect> {
        self.wire.finish().map_err(|error| reason(&error))?;
        self.ending = Ending::Finished;
        self.last_write = now.instant;
        Ok(())
    }

    /// How far the end of this stream has come.
    pub(crate) fn ending(&mut self) -> &mut Ending {
        &mut self.ending
    }

    /// Writes what the socket takes at once: all, a part, or nothing.
    fn write(&mut self, slices: &[IoSlice<'_>], now: Now) -> Result<usize, Disconnect> {
        loop {
            let result = match slices {
                [slice] => self.wire.write(slice),
                slices => self.wire.write_vectored(slices),
            };
            match result {
                Ok(0) => return Err(Disconnect::Error),
                Ok(written) => {
                    self.last_write = now.instant;
                    self.rate.add(written, now);
                    return Ok(written);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(0),
                    ErrorKind::Interrupted => {}
                    _ => return Err(reason(&error)),
                },
            }
        }
    }
}

fn reason(error: &io::Error) -> Disconnect {
    match error.kind() {
        ErrorKind::BrokenPipe
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::NotConnected => Disconnect::ClosedByPeer,
        _ => Disconnect::Error,
    }
}

#[cfg(test)]
mod tests;
