//! One client of the crowd: its socket, how far it is, and what it saw.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::Instant,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use socket2::{Domain, Socket, Type};

use super::{ear::Ear, payload::PUBLISHERS, protocol::Security, tls::Session};

/// What a narrow client's socket takes, and the segments that it asks for.
const NARROW_BUFFER: usize = 16 << 10;
#[cfg(target_os = "linux")]
const NARROW_SEGMENT: u32 = 1400;

/// How far a client is. The last five are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits for its turn to connect.
    Queued,
    /// Connects, or waits for the response head.
    Asking,
    /// Has the head; the connection is open.
    Open,
    /// The hub ended the response in good order.
    Ended,
    /// The hub ended the response in the middle of something, or before anything.
    Cut,
    /// The connection was refused or reset.
    Failed,
    /// What came was wrong; the client closed the connection.
    Faulty,
    /// The leader closed the connection.
    Closed,
}

/// What all clients of one `connect` have in common.
#[derive(Debug)]
pub(crate) struct Group<W> {
    pub(crate) address: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) wanted: W,
    /// Whether little may be on its way to a client.
    pub(crate) is_narrow: bool,
    pub(crate) security: Security,
    pub(crate) started: Instant,
}

/// What a client saw.
#[derive(Clone, Debug)]
pub struct Tally {
    pub status: u16,
    /// Microseconds to the head's last byte: from the start of the group, and of the client itself.
    pub head_micros: u64,
    pub answer_micros: u64,
    /// Whether a TLS session was resumed.
    pub is_resumed: bool,
    pub events: u64,
    pub comments: u64,
    /// Sizes of the smallest and the largest event's data.
    pub bytes: (u32, u32),
    /// The first counter of each publisher, and the one that must come next.
    pub counters: [Option<(u32, u32)>; PUBLISHERS],
    /// Events that came again, and those that came after a later one, where the ear counts them.
    pub repeated: u64,
    pub late: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Client<E> {
    pub(crate) group: usize,
    pub(crate) state: State,
    pub(crate) tally: Tally,
    /// Whether it has stopped reading.
    pub(crate) is_stuck: bool,
    /// Whether the poll has told that there is an end to what arrives.
    pub(crate) is_ending: bool,
    /// Whether it stands in the queue of those that may have something to read.
    pub(crate) is_queued: bool,
    socket: Option<TcpStream>,
    /// `None` if nothing protects the connection.
    session: Option<Box<Session>>,
    started: Instant,
    /// Bytes of the request that are sent, where nothing protects it.
    sent: usize,
    ear: E,
}

impl<E: Ear> Client<E> {
    pub(crate) fn new(group: usize) -> Self {
        Self {
            group,
            state: State::Queued,
            tally: Tally::new(),
            is_stuck: false,
            is_ending: false,
            is_queued: false,
            socket: None,
            session: None,
            started: Instant::now(),
            sent: 0,
            ear: E::new(),
        }
    }

    /// Whether it is still to come, or on the way to its response head.
    pub(crate) fn is_on_the_way(&self) -> bool {
        matches!(self.state, State::Queued | State::Asking)
    }

    /// Begins to connect. On loopback that is often done at once, and so is the request.
    ///
    /// # Errors
    /// What went wrong; the client has failed.
    pub(crate) fn start(
        &mut self,
        group: &Group<E::Wanted>,
        registry: &Registry,
        token: Token,
    ) -> Result<(), String> {
        self.state = State::Asking;
        self.started = Instant::now();
        let connected = connect(group).and_then(|mut socket| {
            if let Security::Tls(tls) = group.security {
                self.session = Some(Session::start(tls).map_err(io::Error::other)?);
            }
            self.write_some(&mut socket, group)?;
            let interest = if self.session.is_some() || self.sent < group.request.len() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            registry.register(&mut socket, token, interest)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.end(State::Failed, Err(format!("cannot connect: {error}")))?,
        }
        Ok(())
    }

    /// The socket can take more of the request, or of what TLS has to say.
    ///
    /// # Errors
    /// What went wrong; the client has failed.
    pub(crate) fn write(&mut self, group: &Group<E::Wanted>) -> Result<(), String> {
        let Some(mut socket) = self.socket.take() else { return Ok(()) };
        match self.write_some(&mut socket, group) {
            Ok(()) => self.socket = Some(socket),
            Err(error) => self.end(State::Failed, Err(format!("cannot send: {error}")))?,
        }
        Ok(())
    }

    fn write_some(&mut self, socket: &mut TcpStream, group: &Group<E::Wanted>) -> io::Result<()> {
        if let Some(session) = &mut self.session {
            let written = write_some(socket, session.unsent())?;
            session.sent(written);
        } else {
            self.sent += write_some(socket, &group.request[self.sent..])?;
        }
        Ok(())
    }

    /// Reads once, at most so many bytes, with room for an incomplete record before them; tells whether more may have arrived already. If not, the poll will tell.
    ///
    /// # Errors
    /// What went wrong or came wrong; the client is in a final state.
    pub(crate) fn read(
        &mut self,
        group: &Group<E::Wanted>,
        buffer: &mut [u8],
        most: usize,
        figures: &mut E::Figures,
    ) -> Result<bool, String> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        let kept = self.session.as_ref().map_or(0, |session| session.put_back(buffer));
        match socket.read(&mut buffer[kept..kept + most]) {
            Ok(0) if self.ear.is_at_rest() => self.end(State::Ended, Ok(false)),
            Ok(0) => self.end(State::Cut, Ok(false)),
            Ok(length) => {
                let mut figures = (!self.is_stuck).then_some(figures);
                let bytes = &mut buffer[..kept + length];
                let mut hear = |bytes: &[u8]| {
                    self.ear.hear(bytes, &group.wanted, &mut self.tally, figures.as_deref_mut())
                };
                let heard = match &mut self.session {
                    None => hear(bytes),
                    Some(session) => session.take(bytes, &group.request, &mut hear),
                };
                if self.state == State::Asking && self.tally.status != 0 {
                    self.state = State::Open;
                    let micros = |since: Instant| u64::try_from(since.elapsed().as_micros());
                    self.tally.head_micros = micros(group.started).unwrap_or(u64::MAX);
                    self.tally.answer_micros = micros(self.started).unwrap_or(u64::MAX);
                    self.tally.is_resumed =
                        self.session.as_ref().is_some_and(|session| session.is_resumed());
                }
                match heard {
                    Ok(()) => {
                        if self.session.as_ref().is_some_and(|session| !session.unsent().is_empty())
                        {
                            self.write(group)?;
                        }
                        // An end that was told already is not told again.
                        Ok(length == most || self.is_ending)
                    }
                    Err(fault) => self.end(State::Faulty, Err(fault)),
                }
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => self.end(State::Failed, Err(format!("cannot read: {error}"))),
            },
        }
    }

    /// Closes the connection; if something is unread, that resets it.
    pub(crate) fn close(&mut self) {
        if matches!(self.state, State::Queued | State::Asking | State::Open) {
            self.state = State::Closed;
            self.socket = None;
            self.session = None;
        }
    }

    fn end<T>(&mut self, state: State, outcome: Result<T, String>) -> Result<T, String> {
        self.state = state;
        self.socket = None;
        self.session = None;
        outcome
    }
}

impl Tally {
    pub fn new() -> Self {
        Self {
            status: 0,
            head_micros: 0,
            answer_micros: 0,
            is_resumed: false,
            events: 0,
            comments: 0,
            bytes: (u32::MAX, 0),
            counters: [None; PUBLISHERS],
            repeated: 0,
            late: 0,
        }
    }

    /// Counts events anew.
    pub fn restart(&mut self) {
        let Self { status, head_micros, answer_micros, is_resumed, .. } = *self;
        *self = Self { status, head_micros, answer_micros, is_resumed, ..Self::new() };
    }
}

/// Begins to connect.
fn connect<W>(group: &Group<W>) -> io::Result<TcpStream> {
    if !group.is_narrow {
        return TcpStream::connect(group.address);
    }
    let socket = Socket::new(Domain::for_address(group.address), Type::STREAM, None)?;
    socket.set_recv_buffer_size(NARROW_BUFFER)?;
    // The sender's buffer grows with the segments; those of the loopback interface are large.
    #[cfg(target_os = "linux")]
    socket.set_tcp_mss(NARROW_SEGMENT)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&group.address.into()) {
        Ok(()) => {}
        Err(error) if is_under_way(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// On Linux `EINPROGRESS`, which the standard library does not name yet.
fn is_under_way(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(115)
}

/// As much as the socket takes; nothing as long as it is not connected.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match socket.write(bytes) {
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted => Ok(0),
            _ => Err(error),
        },
        written => written,
    }
}
