//! A connected socket, TCP or Unix-domain, as one type.

#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::{
    io::{self, IoSlice, Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

/// What a stream needs of its socket, which never blocks. Tests use a scripted one.
pub(crate) trait Wire: Read + Write {
    /// Ends the sending direction; what the peer sends can still be read.
    fn finish(&self) -> io::Result<()>;
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Makes the same call on either kind of socket.
macro_rules! either {
    ($self:expr, $socket:ident => $call:expr) => {
        match $self {
            Socket::Tcp($socket) => $call,
            #[cfg(unix)]
            Socket::Unix($socket) => $call,
        }
    };
}

impl Socket {
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

impl Wire for Socket {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

// Reading and writing need no exclusive access to a socket. So one thread can wait in a read while
// another one ends it by `shutdown`.
impl Read for &Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, socket => { let mut socket = socket; socket.read(buffer) })
    }
}

impl Write for &Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        either!(self, socket => { let mut socket = socket; socket.write(bytes) })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, socket => socket.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
