//! Accepting connections, whatever goes wrong.

#[cfg(unix)]
use std::os::{
    fd::OwnedFd,
    unix::net::{UnixListener, UnixStream},
};
use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
};

use parking_lot::Mutex;

use crate::socket::Socket;

/// A listening socket, TCP or Unix-domain, that [`HttpServer::serve`](super::HttpServer::serve)
/// takes; made from the standard library's listeners by `into`.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(Kind::Tcp(listener))
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self(Kind::Unix(listener))
    }
}

impl Listener {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(match &self.0 {
            Kind::Tcp(listener) => Kind::Tcp(listener.try_clone()?),
            #[cfg(unix)]
            Kind::Unix(listener) => Kind::Unix(listener.try_clone()?),
        }))
    }

    fn accept(&self) -> io::Result<(Socket, Option<SocketAddr>)> {
        match &self.0 {
            Kind::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok((Socket::Tcp(socket), Some(peer)))
            }
            #[cfg(unix)]
            Kind::Unix(listener) => Ok((Socket::Unix(listener.accept()?.0), None)),
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Kind::Unix(_) => None,
        }
    }

    /// The same socket once more, to end the listening with.
    #[cfg(unix)]
    fn closer(&self) -> io::Result<Socket> {
        Ok(match &self.0 {
            Kind::Tcp(listener) => {
                let socket = TcpStream::from(OwnedFd::from(listener.try_clone()?));
                // Events are written when they happen; waiting for more to fill a packet would
                // delay them. Linux hands the option on to the connections accepted.
                socket.set_nodelay(true)?;
                Socket::Tcp(socket)
            }
            Kind::Unix(listener) => {
                Socket::Unix(UnixStream::from(OwnedFd::from(listener.try_clone()?)))
            }
        })
    }
}

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) socket: Socket,
    pub(super) peer: Option<SocketAddr>,
    /// It was accepted with the last descriptor, and must be answered and closed at once.
    pub(super) spare: bool,
}

/// A listener in use.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Listener,
    /// Ends the listening: `accept` then returns, on Linux for TCP and Unix-domain sockets.
    #[cfg(unix)]
    closer: Socket,
    /// A descriptor to give up when there is no other, so that a client can at least be told.
    /// Touched by the accepting thread only.
    reserve: Mutex<Option<Listener>>,
}

impl Acceptor {
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        match &listener.0 {
            Kind::Tcp(listener) => listener.set_nonblocking(false)?,
            #[cfg(unix)]
            Kind::Unix(listener) => listener.set_nonblocking(false)?,
        }
        Ok(Self {
            #[cfg(unix)]
            closer: listener.closer()?,
            reserve: Mutex::new(Some(listener.try_clone()?)),
            listener,
        })
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// Those that say something about the listener or the machine; a connection that was gone
    /// before it could be accepted is passed over.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        loop {
            match self.listener.accept() {
                Ok((socket, peer)) => return Ok(accepted(socket, peer, false)),
                Err(error) if is_out_of_descriptors(&error) => return self.accept_spare(error),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Accepts with the descriptor in reserve.
    fn accept_spare(&self, error: io::Error) -> io::Result<Accepted> {
        let mut reserve = self.reserve.lock();
        if reserve.take().is_none() {
            // Somebody else took the descriptor that was given up; try to get one back.
            *reserve = self.listener.try_clone().ok();
            return Err(error);
        }
        let connection = self.listener.accept();
        // While it waited others may have closed; then this connection is one like any other.
        *reserve = self.listener.try_clone().ok();
        let spare = reserve.is_none();
        drop(reserve);
        let (socket, peer) = connection?;
        Ok(accepted(socket, peer, spare))
    }

    /// Gets the reserve back once a spare connection is closed.
    pub(super) fn restore_reserve(&self) {
        let mut reserve = self.reserve.lock();
        if reserve.is_none() {
            *reserve = self.listener.try_clone().ok();
        }
    }

    /// Makes a blocked `accept` return, and those after it fail.
    pub(super) fn close(&self) {
        #[cfg(unix)]
        let closed = self.closer.shutdown(Shutdown::Both).is_ok();
        #[cfg(not(unix))]
        let closed = false;
        // Elsewhere a connection does it: the thread that accepts it sees that it is to stop. A
        // failure means that nobody listens any more.
        if (!closed || !cfg!(target_os = "linux"))
            && let Some(address) = self.local_addr()
        {
            drop(TcpStream::connect(address));
        }
    }
}

fn accepted(socket: Socket, peer: Option<SocketAddr>, spare: bool) -> Accepted {
    // Linux hands the listener's option on. A socket that fails here fails at its first read too.
    #[cfg(not(target_os = "linux"))]
    if let Socket::Tcp(socket) = &socket {
        let _ = socket.set_nodelay(true);
    }
    Accepted { socket, peer, spare }
}

/// EMFILE and ENFILE, which have no kind of their own in the standard library; the numbers are the
/// same on every Unix, and Windows' WSAEMFILE is 10024.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 10_024))
}

/// The client gave up before its connection was accepted, or its network did (accept(2)).
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
