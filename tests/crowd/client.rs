//! One client of the crowd: its socket, how far it is, and what it saw.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::Instant,
};

use mio::{Interest, Registry, Token, net::TcpStream};

use super::{
    parser::{Names, Parser, Seen},
    payload::{PUBLISHERS, Stamp},
};

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
pub(crate) struct Group {
    pub(crate) address: SocketAddr,
    pub(crate) request: Vec<u8>,
    pub(crate) names: Names,
    pub(crate) started: Instant,
}

/// What a client saw.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) status: u16,
    /// Microseconds from the start of the group to the head's last byte.
    pub(crate) head_micros: u64,
    pub(crate) events: u64,
    pub(crate) comments: u64,
    /// Sizes of the smallest and the largest event's data.
    pub(crate) bytes: (u32, u32),
    /// The first counter of each publisher, and the one that must come next.
    pub(crate) counters: [Option<(u32, u32)>; PUBLISHERS],
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Client {
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
    /// Bytes of the request that are sent.
    sent: usize,
    parser: Parser,
}

impl Client {
    pub(crate) fn new(group: usize) -> Self {
        Self {
            group,
            state: State::Queued,
            tally: Tally {
                status: 0,
                head_micros: 0,
                events: 0,
                comments: 0,
                bytes: (u32::MAX, 0),
                counters: [None; PUBLISHERS],
            },
            is_stuck: false,
            is_ending: false,
            is_queued: false,
            socket: None,
            sent: 0,
            parser: Parser::new(),
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
        group: &Group,
        registry: &Registry,
        token: Token,
    ) -> Result<(), String> {
        self.state = State::Asking;
        let connected = TcpStream::connect(group.address).and_then(|mut socket| {
            self.sent = write_some(&mut socket, &group.request)?;
            let interest = if self.sent < group.request.len() {
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

    /// The socket can take more of the request.
    ///
    /// # Errors
    /// What went wrong; the client has failed.
    pub(crate) fn write(&mut self, group: &Group) -> Result<(), String> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if self.sent == group.request.len() {
            return Ok(());
        }
        match write_some(socket, &group.request[self.sent..]) {
            Ok(written) => self.sent += written,
            Err(error) => self.end(State::Failed, Err(format!("cannot send: {error}")))?,
        }
        Ok(())
    }

    /// Reads once; tells whether more may have arrived already. If not, the poll will tell.
    ///
    /// # Errors
    /// What went wrong or came wrong; the client is in a final state.
    pub(crate) fn read(&mut self, group: &Group, buffer: &mut [u8]) -> Result<bool, String> {
        let Some(socket) = self.socket.as_mut().filter(|_| !self.is_stuck) else {
            return Ok(false);
        };
        match socket.read(buffer) {
            Ok(0) if self.parser.is_at_rest() => self.end(State::Ended, Ok(false)),
            Ok(0) => self.end(State::Cut, Ok(false)),
            Ok(length) => {
                let (tally, state) = (&mut self.tally, &mut self.state);
                let mut see = |seen| tally.take(seen, state, group.started);
                match self.parser.feed(&buffer[..length], &group.names, &mut see) {
                    // An end that was told already is not told again.
                    Ok(()) => Ok(length == buffer.len() || self.is_ending),
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
        }
    }

    fn end<T>(&mut self, state: State, outcome: Result<T, String>) -> Result<T, String> {
        self.state = state;
        self.socket = None;
        outcome
    }
}

impl Tally {
    fn take(&mut self, seen: Seen, state: &mut State, started: Instant) -> Result<(), String> {
        match seen {
            Seen::Head { status } => {
                self.status = status;
                self.head_micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                *state = State::Open;
            }
            Seen::Comment => self.comments += 1,
            Seen::Event { stamp, bytes } => {
                self.events += 1;
                self.bytes = (self.bytes.0.min(bytes), self.bytes.1.max(bytes));
                return self.count(stamp);
            }
        }
        Ok(())
    }

    fn count(&mut self, Stamp { publisher, counter }: Stamp) -> Result<(), String> {
        let (_, next) = self.counters[usize::from(publisher)].get_or_insert((counter, counter));
        let expected = *next;
        *next = counter + 1;
        match counter.cmp(&expected) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => {
                Err(format!("p{publisher} came again: expected {expected}, got {counter}"))
            }
            std::cmp::Ordering::Greater => {
                Err(format!("p{publisher} was lost: expected {expected}, got {counter}"))
            }
        }
    }
}

/// As much as the socket takes; nothing as long as it is not connected.
fn write_some(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
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
