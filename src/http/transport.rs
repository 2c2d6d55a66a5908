//! A connection's socket, with the thread that serves it: what may block does so only after the
//! turn to accept has been passed on.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::Shutdown,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connections::{For, Ticket},
    response::{Refusal, TakeOver},
    service::{Service, Turn},
    window::Window,
};
use crate::socket::Socket;

/// What a thread that has the turn reads of a connection before it passes the turn on.
const READ_IN_TURN: usize = 64 * 1024;
/// How long, and how much, the server reads on after it has closed its side.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
/// What one call writes at most.
const WRITE_BYTES: usize = 32 * 1024;
/// What is kept of the buffers from one connection to the next.
const KEPT_BYTES: usize = 64 * 1024;
/// Read time-outs are multiples of this.
const READ_TIMEOUT_STEP: Duration = Duration::from_millis(100);

/// Why a connection ends.
pub(super) enum End {
    /// Its last response was sent, or nobody is there to be answered.
    Close,
    /// The request is not served; what the client still sends is not read as a request.
    Refuse(Refusal),
    /// Somebody else takes the socket, to send this head and what follows.
    TakeOver(Vec<u8>, TakeOver),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<io::Error> for End {
    /// A socket that fails has nobody behind it.
    fn from(_: io::Error) -> Self {
        Self::Close
    }
}

/// A socket and the buffers around it.
pub(super) struct Transport<'c> {
    service: &'c Service,
    turn: &'c Turn<'c>,
    socket: Arc<Socket>,
    /// Held once the connection has the thread for itself: the socket blocks from then on.
    ticket: Option<Ticket>,
    /// The descriptor is the last one; the connection must not be kept.
    pub(super) spare: bool,
    /// What was read and not yet used.
    pub(super) window: &'c mut Window,
    /// What is to be written.
    pub(super) out: &'c mut Vec<u8>,
    /// Bytes read so far.
    read: usize,
    /// The read time-out that the socket has.
    read_timeout: Option<Duration>,
}

impl<'c> Transport<'c> {
    /// Takes a socket that was just accepted, by a thread that has the turn and so must not block.
    pub(super) fn new(
        service: &'c Service,
        turn: &'c Turn<'c>,
        socket: Socket,
        spare: bool,
        window: &'c mut Window,
        out: &'c mut Vec<u8>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        window.clear();
        out.clear();
        out.shrink_to(KEPT_BYTES);
        let socket = Arc::new(socket);
        let (ticket, read, read_timeout) = (None, 0, None);
        Ok(Self { service, turn, socket, ticket, spare, window, out, read, read_timeout })
    }

    /// Reads more; 0 is the end of what the client sends, `None` that the deadline has passed.
    pub(super) fn fill(&mut self, deadline: Instant, what: For) -> Result<Option<usize>, End> {
        self.flush()?;
        if self.read >= READ_IN_TURN {
            self.pass_turn()?;
        }
        loop {
            if let Some(ticket) = &self.ticket {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                // Rounded up, so that a wait of the same length needs no call to set it.
                let step = READ_TIMEOUT_STEP.as_millis();
                let rounded = u64::try_from((left.as_millis() / step + 1) * step);
                let timeout = Duration::from_millis(rounded.unwrap_or(u64::MAX));
                if self.read_timeout != Some(timeout) {
                    self.socket.set_read_timeout(timeout)?;
                    self.read_timeout = Some(timeout);
                }
                if !ticket.begin_wait(what) {
                    return Err(End::Close);
                }
            }
            let read = (&*self.socket).read(self.window.space());
            if let Some(ticket) = &self.ticket
                && ticket.end_wait()
            {
                let reason =
                    "too many connections, and this one had waited longest; try again later";
                let refusal = || Refusal::new(503, reason).into();
                return Err(if what == For::TheRest { refusal() } else { End::Close });
            }
            match read {
                Ok(length) => {
                    self.window.fill(length);
                    self.read = self.read.saturating_add(length);
                    return Ok(Some(length));
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // With the turn it means to pass it on, else that the time is over.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => self.pass_turn()?,
                    _ => return Err(End::Close),
                },
            }
        }
    }

    /// Writes what is gathered; on an error nobody is there to take it. Whatever happens it is not
    /// written again: a part of a response cannot be followed by another one.
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
            if self.ticket.is_some() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(End::Close);
                }
                self.socket.set_write_timeout(left)?;
            }
            // A Unix-domain socket's time-out begins anew with each part that it takes.
            let next = &self.out[written..self.out.len().min(written + WRITE_BYTES)];
            match (&*self.socket).write(next) {
                Ok(0) => return Err(End::Close),
                Ok(length) => written += length,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        self.pass_turn().map_err(|_| End::Close)?;
                    }
                    _ => return Err(End::Close),
                },
            }
        }
        Ok(())
    }

    /// A request is complete: until the next one the connection does not wait for its client.
    pub(super) fn work(&self) {
        if let Some(ticket) = &self.ticket {
            ticket.work();
        }
    }

    /// Whether the thread has the turn, and so must not block.
    pub(super) fn has_turn(&self) -> bool {
        self.ticket.is_none()
    }

    /// Makes sure that this thread may block: passes the turn on if it has it.
    pub(super) fn pass_turn(&mut self) -> Result<(), End> {
        if self.ticket.is_some() {
            return Ok(());
        }
        if self.spare {
            return Err(Refusal::new(503, "no descriptors left; try again later").into());
        }
        let ticket = self.service.connections.enter(&self.socket);
        let ticket = ticket.ok_or(Refusal::new(503, "too many connections; try again later"))?;
        let no_thread = |_| Refusal::new(503, "no threads left; try again later");
        self.turn.pass().map_err(no_thread)?;
        self.ticket = Some(ticket);
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// Sends what is gathered and passes the turn on, before code of the embedding program runs that
    /// the client need not wait for; false where that cannot be.
    pub(super) fn let_block(&mut self) -> Result<bool, End> {
        self.flush()?;
        Ok(self.pass_turn().is_ok())
    }

    /// Gives the socket away, non-blocking.
    pub(super) fn hand_over(self, head: &[u8], take: TakeOver) {
        if self.ticket.is_some() && self.socket.set_nonblocking(true).is_err() {
            return;
        }
        drop(self.ticket);
        // The ticket's was the only other reference.
        if let Some(socket) = Arc::into_inner(self.socket) {
            take(socket, head);
        }
    }

    /// Sends what is left and closes, so that the client gets all of it: if anything unread came
    /// in afterwards, closing at once would destroy what the client has not yet taken.
    pub(super) fn close(mut self, all_was_read: bool) {
        if self.flush().is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        // A short answer to a request that is read whole can be left to itself; with a thread for
        // the connection alone there is no need to trust the client.
        if all_was_read && self.has_turn() {
            return;
        }
        // Without a thread to wait in, what has come already is all that can be dropped.
        let may_wait = self.pass_turn().is_ok();
        self.linger(may_wait);
    }

    /// Reads and drops until the client closes, or has to give way.
    fn linger(&mut self, may_wait: bool) {
        if let Some(ticket) = &self.ticket {
            ticket.leave();
        }
        let deadline = Instant::now() + LINGER;
        let mut dropped = 0;
        while dropped < LINGER_BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || may_wait && self.socket.set_read_timeout(left).is_err() {
                return;
            }
            self.window.clear();
            match (&*self.socket).read(self.window.space()) {
                Ok(length) if length > 0 => dropped += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}
