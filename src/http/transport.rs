//! A connection's socket, and the thread that serves it: it blocks only after it has passed
//! leadership on.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    read_buffer::ReadBuffer,
    response::{Refusal, TakeOver},
    service::{Leader, Service},
    slots::{Slot, WaitingFor},
};
use crate::socket::Socket;

/// How many bytes of a connection the leader reads before it passes leadership on.
const READ_AS_LEADER: usize = 64 * 1024;
/// How long, and how many bytes, the server reads on after it has closed its side.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
/// The most bytes that one call writes.
const WRITE_BYTES: usize = 32 * 1024;
/// The most memory of a buffer that is kept for the next connection.
const KEPT_BYTES: usize = 64 * 1024;
/// Read time-outs are multiples of this.
const READ_TIMEOUT_STEP: Duration = Duration::from_millis(100);

/// Why a connection ends.
pub(super) enum End {
    /// Its last response was sent, or the client is gone.
    Close,
    /// The request is refused. What the client still sends is not read as a request.
    Refuse(Refusal),
    /// The socket is taken over, with this head to send first.
    TakeOver(Vec<u8>, TakeOver),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<io::Error> for End {
    /// If the socket fails, the client is gone.
    fn from(_: io::Error) -> Self {
        Self::Close
    }
}

/// A socket and the buffers around it.
pub(super) struct Transport<'c> {
    service: &'c Service,
    leader: &'c Leader<'c>,
    socket: Arc<Socket>,
    /// Held once the connection has the thread for itself. From then on the socket blocks.
    slot: Option<Slot>,
    /// The socket has the last descriptor; the connection must not be kept.
    pub(super) spare: bool,
    /// What was read and not yet used.
    pub(super) read_buffer: &'c mut ReadBuffer,
    /// Bytes to be written.
    pub(super) out: &'c mut Vec<u8>,
    /// Bytes read so far.
    read: usize,
    /// The socket's current read time-out.
    read_timeout: Option<Duration>,
}

impl<'c> Transport<'c> {
    /// Takes a socket that was just accepted. Its thread is the leader, so it must not block.
    pub(super) fn new(
        service: &'c Service,
        leader: &'c Leader<'c>,
        socket: Socket,
        spare: bool,
        read_buffer: &'c mut ReadBuffer,
        out: &'c mut Vec<u8>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        read_buffer.clear();
        out.clear();
        out.shrink_to(KEPT_BYTES);
        let socket = Arc::new(socket);
        let (slot, read, read_timeout) = (None, 0, None);
        Ok(Self { service, leader, socket, slot, spare, read_buffer, out, read, read_timeout })
    }

    /// Reads more. 0: the client sends nothing more. `None`: the deadline has passed.
    pub(super) fn fill(
        &mut self,
        deadline: Instant,
        what: WaitingFor,
    ) -> Result<Option<usize>, End> {
        self.flush()?;
        if self.read >= READ_AS_LEADER {
            self.pass_leadership()?;
        }
        loop {
            if let Some(slot) = &self.slot {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                // Rounded up, so that a wait of the same length need not set it again.
                let step = READ_TIMEOUT_STEP.as_millis();
                let rounded = u64::try_from((left.as_millis() / step + 1) * step);
                let timeout = Duration::from_millis(rounded.unwrap_or(u64::MAX));
                if self.read_timeout != Some(timeout) {
                    self.socket.set_read_timeout(timeout)?;
                    self.read_timeout = Some(timeout);
                }
                if !slot.begin_wait(what) {
                    return Err(End::Close);
                }
            }
            let read = (&*self.socket).read(self.read_buffer.space());
            if let Some(slot) = &self.slot
                && slot.end_wait()
            {
                let reason =
                    "too many connections, and this one had waited longest; try again later";
                let refusal = || Refusal::new(503, reason).into();
                return Err(if what == WaitingFor::TheRest { refusal() } else { End::Close });
            }
            match read {
                Ok(length) => {
                    self.read_buffer.fill(length);
                    self.read = self.read.saturating_add(length);
                    return Ok(Some(length));
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // The leader passes leadership on; for any other thread the time is over.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => self.pass_leadership()?,
                    _ => return Err(End::Close),
                },
            }
        }
    }

    /// Writes the gathered bytes; an error means that the client is gone. They are never written
    /// again: a part of a response cannot be followed by another one.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.write_out();
        self.out.clear();
        written
    }

    fn write_out(&mut self) -> Result<(), End> {
        let deadline = Instant::now() + self.service.rules.limits.write_timeout;
        let mut written = 0;
        while written < self.out.len() {
            if self.slot.is_some() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(End::Close);
                }
                self.socket.set_write_timeout(left)?;
            }
            // A Unix-domain socket restarts its time-out with each part that it takes.
            let next = &self.out[written..self.out.len().min(written + WRITE_BYTES)];
            match (&*self.socket).write(next) {
                Ok(0) => return Err(End::Close),
                Ok(length) => written += length,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        self.pass_leadership().map_err(|_| End::Close)?;
                    }
                    _ => return Err(End::Close),
                },
            }
        }
        Ok(())
    }

    /// A request is complete: until the next one the connection does not wait for its client.
    pub(super) fn work(&self) {
        if let Some(slot) = &self.slot {
            slot.work();
        }
    }

    /// Whether the thread is the leader, and so must not block.
    pub(super) fn is_leader(&self) -> bool {
        self.slot.is_none()
    }

    /// Makes sure that this thread may block: passes leadership on if it is the leader.
    pub(super) fn pass_leadership(&mut self) -> Result<(), End> {
        if self.slot.is_some() {
            return Ok(());
        }
        if self.spare {
            return Err(Refusal::new(503, "no descriptors left; try again later").into());
        }
        let slot = self.service.connections.enter(&self.socket);
        let slot = slot.ok_or(Refusal::new(503, "too many connections; try again later"))?;
        let no_thread = |_| Refusal::new(503, "no threads left; try again later");
        self.leader.pass().map_err(no_thread)?;
        self.slot = Some(slot);
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// Sends the gathered bytes and passes leadership on, before code of the embedding program runs
    /// for which the client need not wait. False: leadership cannot be passed on.
    pub(super) fn let_block(&mut self) -> Result<bool, End> {
        self.flush()?;
        Ok(self.pass_leadership().is_ok())
    }

    /// Hands the socket over, non-blocking.
    pub(super) fn hand_over(self, head: &[u8], take: TakeOver) {
        if self.slot.is_some() && self.socket.set_nonblocking(true).is_err() {
            return;
        }
        drop(self.slot);
        // The slot had the only other reference.
        if let Some(socket) = Arc::into_inner(self.socket) {
            take(socket, head);
        }
    }

    /// Sends the rest and closes, so that the client gets all of it. Closing at once would destroy
    /// what the client has not yet read, if anything unread arrives afterwards.
    pub(super) fn close(mut self, all_was_read: bool) {
        if self.flush().is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // If the request was read completely, the leader closes at once. With a thread of its own
        // the connection need not trust the client, and reads on.
        if all_was_read && self.is_leader() {
            return;
        }
        // Without a thread that may wait, only what has arrived already can be dropped.
        let may_wait = self.pass_leadership().is_ok();
        self.linger(may_wait);
    }

    /// Reads and drops bytes until the client closes, or the connection must give way.
    fn linger(&mut self, may_wait: bool) {
        if let Some(slot) = &self.slot {
            slot.leave();
        }
        let deadline = Instant::now() + LINGER;
        let mut dropped = 0;
        while dropped < LINGER_BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || may_wait && self.socket.set_read_timeout(left).is_err() {
                return;
            }
            self.read_buffer.clear();
            match (&*self.socket).read(self.read_buffer.space()) {
                Ok(length) if length > 0 => dropped += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}
