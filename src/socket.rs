//! A connected socket, TCP or Unix-domain, with TLS or without, as one type.

#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use crate::tls::Session;

/// What a stream needs of its socket, which never blocks. Tests use a scripted one.
pub(crate) trait Wire: Read + Write {
    /// Ends the sending direction; what the peer sends can still be read.
    fn finish(&mut self) -> io::Result<()>;
}

/// A connected socket, and the TLS session over it if there is one.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) raw: RawSocket,
    pub(crate) session: Option<Session>,
}

/// A connected socket of the operating system.
#[derive(Debug)]
pub(crate) enum RawSocket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Makes the same call on either kind of socket.
macro_rules! either {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            RawSocket::Tcp($socket) => $call,
            #[cfg(unix)]
            RawSocket::Unix($socket) => $call,
        }
    };
}

impl RawSocket {
    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        either!(self, socket => socket.set_nonblocking(nonblocking))
    }

    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        either!(self, socket => socket.set_read_timeout(Some(timeout)))
    }

    pub(crate) fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        either!(self, socket => socket.set_write_timeout(Some(timeout)))
    }

    /// Ends one or both directions. A thread that is blocked in a read or a write returns.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self, socket => socket.shutdown(how))
    }
}

// Reading and writing need no exclusive access to a socket. So one thread can wait in a read while
// another one ends it by `shutdown`.
impl Read for &RawSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => { let mut socket = socket; socket.read(buffer) })
    }
}

impl Write for &RawSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => { let mut socket = socket; socket.write(bytes) })
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, socket => { let mut socket = socket; socket.write_vectored(slices) })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads from a socket, through the session over it if there is one.
pub(crate) fn read(
    mut raw: &RawSocket,
    session: Option<&mut Session>,
    buffer: &mut [u8],
) -> io::Result<usize> {
    match session {
        None => raw.read(buffer),
        Some(session) => session.read(raw, buffer),
    }
}

/// Writes to a socket, through the session over it if there is one. What that session does not take
/// must come first in the next call.
pub(crate) fn write(
    mut raw: &RawSocket,
    session: Option<&mut Session>,
    bytes: &[u8],
) -> io::Result<usize> {
    match session {
        None => raw.write(bytes),
        Some(session) => session.write(raw, &[IoSlice::new(bytes)]),
    }
}

/// Ends the sending direction of a socket, and of the session over it if there is one.
pub(crate) fn finish(raw: &RawSocket, session: Option<&mut Session>) -> io::Result<()> {
    if let Some(session) = session {
        session.finish(raw);
    }
    raw.shutdown(Shutdown::Write)
}

impl Wire for Socket {
    fn finish(&mut self) -> io::Result<()> {
        finish(&self.raw, self.session.as_mut())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = read(&self.raw, self.session.as_mut(), buffer);
        // The client has closed its side, and waits for the same here (RFC 8446, section 6.1).
        if matches!(read, Ok(0))
            && let Some(session) = &mut self.session
        {
            session.finish(&self.raw);
        }
        read
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(&self.raw, self.session.as_mut(), bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.session {
            None => (&self.raw).write_vectored(slices),
            Some(session) => session.write(&self.raw, slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
