//! A connection's socket, and the thread that serves it: it blocks only after it has passed
//! leadership on.

use std::{
    io::{self, ErrorKind, Read},
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    body_writer::{LOOK, Line},
    read_buffer::ReadBuffer,
    refusals,
    response::{Refusal, TakeOver},
    service::{Leader, Service},
    slots::{Slot, WaitingFor},
};
use crate::{
    YEAR,
    socket::{self, RawSocket, Socket},
    tls::{Session, TlsConfig},
};

/// How many bytes of a connection the leader reads before it passes leadership on.
const READ_AS_LEADER: usize = 64 * 1024;
/// How long, and how many bytes, the server reads on after it has closed its side.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
/// The most bytes that one call writes.
const WRITE_BYTES: usize = 32 * 1024;
/// The most memory of a buffer that is kept for the next connection.
const KEPT_BYTES: usize = 64 * 1024;
/// How much is read at a time of what a client sends while its answer is written.
const PIECE_BYTES: usize = 512;
/// The kernel's timers are at most as coarse as this.
const TICK: Duration = Duration::from_millis(10);
/// Read time-outs are multiples of this.
const READ_TIMEOUT_STEP: Duration = Duration::from_millis(100);

/// How long a client may take to say hello before others come first. Where thousands come at once
/// from one machine, it may say each hello late.
const HANDSHAKE: Duration = Duration::from_millis(250);

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

/// Sets a time-out of a socket, unless it is set already.
fn set_once(
    current: &mut Option<Duration>,
    timeout: Duration,
    set: impl FnOnce(Duration) -> io::Result<()>,
) -> io::Result<()> {
    if *current != Some(timeout) {
        set(timeout)?;
        *current = Some(timeout);
    }
    Ok(())
}

/// A socket and the buffers around it.
pub(super) struct Transport<'c> {
    service: &'c Service,
    leader: &'c Leader<'c>,
    socket: Arc<RawSocket>,
    session: Option<Session>,
    peer: Option<SocketAddr>,
    /// How long it waits for a slot before others must give way.
    patience: Duration,
    /// Held once the connection has the thread for itself. From then on the socket blocks.
    slot: Option<Slot>,
    /// The slot that will be its own as soon as it has the thread for itself.
    entered: Option<Slot>,
    /// The socket has the last descriptor; the connection must not be kept.
    pub(super) spare: bool,
    /// What was read and not yet used.
    pub(super) read_buffer: &'c mut ReadBuffer,
    /// Bytes to be written.
    pub(super) out: &'c mut Vec<u8>,
    /// Bytes read so far.
    read: usize,
    /// The socket's current time-outs.
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl<'c> Transport<'c> {
    /// Takes a socket that was just accepted. Its thread is the leader, so it must not block.
    pub(super) fn new(
        service: &'c Service,
        leader: &'c Leader<'c>,
        socket: RawSocket,
        spare: bool,
        read_buffer: &'c mut ReadBuffer,
        out: &'c mut Vec<u8>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        read_buffer.clear();
        out.clear();
        out.shrink_to(KEPT_BYTES);
        Ok(Self {
            service,
            leader,
            socket: Arc::new(socket),
            session: None,
            peer: None,
            patience: Duration::ZERO,
            slot: None,
            entered: None,
            spare,
            read_buffer,
            out,
            read: 0,
            read_timeout: None,
            write_timeout: None,
        })
    }

    /// Puts TLS between the socket and everything else. Its handshake comes with the first read. The
    /// leader answers a hello itself where only one is answered at a time: passing leadership on
    /// would cost half as much again, and let nobody begin earlier.
    pub(super) fn secure(
        &mut self,
        config: &TlsConfig,
        peer: Option<SocketAddr>,
    ) -> Result<(), End> {
        Session::wait_for_room();
        self.patience = HANDSHAKE;
        self.peer = peer;
        if !self.spare {
            self.entered = self.service.connections.enter(&self.socket, self.patience);
        }
        let must_pass = Session::another_may_begin() || config.is_look_due();
        if self.entered.is_none() || must_pass && self.pass_leadership().is_err() {
            // A client that has no session could not read the refusal.
            Session::refuse(&*self.socket);
            return Err(End::Close);
        }
        // Reading writes too: what the protocol wants answered.
        let timeout = self.service.rules.limits.write_timeout;
        set_once(&mut self.write_timeout, timeout, |it| self.socket.set_write_timeout(it))?;
        self.session = Some(Session::new(config)?);
        Ok(())
    }

    /// Whether the server has answered in the handshake of TLS.
    pub(super) fn has_greeted(&self) -> bool {
        self.session.as_ref().is_some_and(Session::has_greeted)
    }

    /// The session over the socket.
    #[cfg(feature = "tls")]
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
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
                set_once(&mut self.read_timeout, timeout, |it| self.socket.set_read_timeout(it))?;
                if !slot.begin_wait(what) {
                    return Err(End::Close);
                }
            }
            let read = socket::read(&self.socket, self.session.as_mut(), self.read_buffer.space());
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
                    _ => {
                        self.log_handshake(&error);
                        return Err(End::Close);
                    }
                },
            }
        }
    }

    /// Logs why a handshake failed.
    fn log_handshake(&self, error: &io::Error) {
        if self.session.as_ref().is_some_and(Session::is_beginning) {
            refusals::log_handshake(self.peer, error);
        }
    }

    /// Writes the gathered bytes; an error means that the client is gone. They are never written
    /// again: a part of a response cannot be followed by another one.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let written = self.write_out();
        self.out.clear();
        written
    }

    fn write_out(&mut self) -> io::Result<()> {
        let mut left = self.service.rules.limits.write_timeout;
        let deadline = Instant::now() + left;
        let mut written = 0;
        while written < self.out.len() {
            if self.slot.is_some() {
                if left.is_zero() {
                    return Err(ErrorKind::TimedOut.into());
                }
                set_once(&mut self.write_timeout, left, |it| self.socket.set_write_timeout(it))?;
            }
            // A Unix-domain socket restarts its time-out with each part that it takes.
            let next = &self.out[written..self.out.len().min(written + WRITE_BYTES)];
            match socket::write(&self.socket, self.session.as_mut(), next) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => written += length,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        let blocked = |_| io::Error::from(ErrorKind::WouldBlock);
                        self.pass_leadership().map_err(blocked)?;
                    }
                    _ => return Err(error),
                },
            }
            left = deadline.saturating_duration_since(Instant::now());
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
        let enter = || self.service.connections.enter(&self.socket, self.patience);
        let slot = self.entered.take().or_else(enter);
        let slot = slot.ok_or(Refusal::new(503, "too many connections; try again later"))?;
        let no_thread = |_| Refusal::new(503, "no threads left; try again later");
        self.leader.pass().map_err(no_thread)?;
        self.slot = Some(slot);
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// Makes sure that a thread is parked or is about to: this one will be busy for long.
    pub(super) fn keep_reserve(&self) {
        self.leader.keep_reserve();
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
        drop(self.entered);
        // The slot had the only other reference.
        if let Some(socket) = Arc::into_inner(self.socket) {
            take(Socket { raw: socket, session: self.session }, head);
        }
    }

    /// Sends the rest and closes, so that the client gets all of it. Closing at once would destroy
    /// what the client has not yet read, if anything unread arrives afterwards.
    pub(super) fn close(mut self, all_was_read: bool) {
        if self.flush().is_err() || socket::finish(&self.socket, self.session.as_mut()).is_err() {
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
                Ok(length) if length > 0 => {
                    self.read_buffer.fill(length);
                    dropped += length;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// A body that the program writes: the connection has the thread for itself.
impl Line for Transport<'_> {
    fn out(&mut self) -> &mut Vec<u8> {
        self.out
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush()
    }

    fn leaves_within(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time.min(YEAR);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // What the client sends is the beginning of its next request. It is read, as its end
            // comes behind it.
            let mut piece = [0; PIECE_BYTES];
            let piece = &mut piece[..PIECE_BYTES.min(self.read_buffer.room())];
            let read = if piece.is_empty() {
                // So much, that its end cannot be seen.
                if self.slot.as_ref().is_some_and(Slot::is_ended) {
                    return true;
                }
                thread::sleep(left.min(LOOK));
                Err(ErrorKind::WouldBlock.into())
            } else if left.is_zero() {
                self.read_now(piece)
            } else {
                self.read_for(left, piece)
            };
            match read {
                Ok(0) => return true,
                Ok(length) => self.read_buffer.push(&piece[..length]),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        // The kernel's time-outs may be early by a tick.
                        let left = deadline.saturating_duration_since(Instant::now());
                        if left <= TICK {
                            thread::sleep(left);
                            return false;
                        }
                    }
                    _ => return true,
                },
            }
        }
    }

    fn has_no_end(&mut self) {
        if let Some(slot) = &self.slot {
            slot.work_endlessly();
        }
    }
}

impl Transport<'_> {
    /// Reads what has arrived.
    fn read_now(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.socket.set_nonblocking(true)?;
        let read = socket::read(&self.socket, self.session.as_mut(), piece);
        self.socket.set_nonblocking(false)?;
        read
    }

    /// Reads for at most this time, in whole milliseconds, so that the next wait of the same length
    /// need not set it again.
    fn read_for(&mut self, time: Duration, piece: &mut [u8]) -> io::Result<usize> {
        let millis = u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        let timeout = Duration::from_millis(millis);
        set_once(&mut self.read_timeout, timeout, |it| self.socket.set_read_timeout(it))?;
        socket::read(&self.socket, self.session.as_mut(), piece)
    }
}
