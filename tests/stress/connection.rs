//! One connection to a stream, which may be read at any pace, and may end at any byte.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use support::shown;
use support::sse::{Block, Item, Parser};

/// How long a read waits; whoever waits longer looks meanwhile whether all is over.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// Connecting to a busy server takes its time.
const PATIENCE: Duration = Duration::from_secs(20);
/// The receive buffer of a client on a small device.
#[cfg(feature = "cli")]
const SMALL_BUFFER: usize = 4096;

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes,
    Nothing,
    /// The other side has ended the connection, in order or not.
    End,
}

pub(crate) struct Connection {
    socket: TcpStream,
    head: Vec<u8>,
    is_stream: bool,
    parser: Parser,
    was_reset: bool,
}

impl Connection {
    /// Connects, again and again if need be, and sends a request.
    #[track_caller]
    pub(crate) fn open(addr: SocketAddr, request: &str, has_small_buffer: bool) -> Connection {
        let end = Instant::now() + PATIENCE;
        loop {
            match Connection::try_open(addr, request, has_small_buffer) {
                Ok(connection) => return connection,
                // No port left, or the backlog is full: both pass.
                Err(_) if Instant::now() < end => thread::sleep(LOOK),
                Err(error) => panic!("cannot connect: {error}"),
            }
        }
    }

    fn try_open(addr: SocketAddr, request: &str, has_small_buffer: bool) -> io::Result<Connection> {
        let mut socket = connect(addr, has_small_buffer)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LOOK))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.write_all(request.as_bytes())?;
        let (head, parser) = (Vec::new(), Parser::default());
        Ok(Connection { socket, head, is_stream: false, parser, was_reset: false })
    }

    /// Waits for the head; false where the connection ends before.
    #[track_caller]
    pub(crate) fn wait_for_head(&mut self) -> bool {
        let end = Instant::now() + PATIENCE;
        while !self.is_stream {
            assert!(Instant::now() < end, "expected a head, got {:?}", shown(&self.head));
            if self.read(256) == Got::End {
                return false;
            }
        }
        true
    }

    /// Reads at most so many bytes.
    pub(crate) fn read(&mut self, most: usize) -> Got {
        let mut piece = [0; 16 * 1024];
        let most = most.min(piece.len());
        match self.socket.read(&mut piece[..most]) {
            Ok(0) => Got::End,
            Ok(count) => {
                self.feed(&piece[..count]);
                Got::Bytes
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {
                    Got::Nothing
                }
                _ => {
                    self.was_reset = true;
                    Got::End
                }
            },
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.is_stream {
            return self.parser.feed(bytes);
        }
        self.head.extend_from_slice(bytes);
        if let Some(at) = self.head.windows(4).position(|four| four == b"\r\n\r\n") {
            assert!(self.head.starts_with(b"HTTP/1.1 200 OK\r\n"), "head: {:?}", shown(&self.head));
            self.is_stream = true;
            self.parser.feed(&self.head[at + 4..]);
        }
    }

    /// The next block that is here whole; comments before it are passed over.
    pub(crate) fn block(&mut self) -> Option<Block> {
        loop {
            match self.parser.item()? {
                Item::Block(block) => return Some(block),
                Item::Comment(_) => {}
            }
        }
    }

    /// Whether it ended, if it has, with a reset or in the middle of a block.
    pub(crate) fn was_broken_off(&self) -> bool {
        self.was_reset || !self.parser.rest().is_empty()
    }

    /// Waits until something is unread, which makes its close a reset; false where nothing comes.
    pub(crate) fn has_something_unread(&self) -> bool {
        matches!(self.socket.peek(&mut [0]), Ok(1))
    }

    /// From now on a read does not wait.
    pub(crate) fn wait_no_more(&self) {
        self.socket.set_nonblocking(true).unwrap();
    }

    /// Says that nothing more is sent.
    pub(crate) fn half_close(&self) {
        // Fails where the other side has ended it.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// A buffer of another size can be had with a crate that only the command needs; with the usual one
/// the kernel keeps some 64 KiB more of what a slow client does not read.
fn connect(addr: SocketAddr, has_small_buffer: bool) -> io::Result<TcpStream> {
    #[cfg(feature = "cli")]
    if has_small_buffer {
        let (domain, kind) = (socket2::Domain::for_address(addr), socket2::Type::STREAM);
        let socket = socket2::Socket::new(domain, kind, None)?;
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        socket.connect_timeout(&addr.into(), PATIENCE)?;
        return Ok(socket.into());
    }
    let _ = has_small_buffer;
    TcpStream::connect_timeout(&addr, PATIENCE)
}
