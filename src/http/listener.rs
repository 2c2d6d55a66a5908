//! A listening socket. Accepts connections, whatever goes wrong.

#[cfg(feature = "socket2")]
use std::time::Duration;
use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
};
#[cfg(unix)]
use std::{
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use parking_lot::Mutex;

use crate::{socket::RawSocket, tls::TlsConfig};

/// A connection is given up if the peer's machine has shown no sign of life for this long.
#[cfg(all(feature = "socket2", target_os = "linux"))]
const LIFELESS: Duration = Duration::from_secs(30);
/// How long `accept` waits at a time where others listen on the same socket.
#[cfg(all(unix, feature = "socket2"))]
const PART: Duration = Duration::from_millis(200);
/// After the first time without traffic the peer's machine is asked for a sign of life, then again
/// after each second time.
#[cfg(feature = "socket2")]
const QUIET: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(5));

/// A listening socket, TCP or Unix-domain, for [`HttpServer::serve`](super::HttpServer::serve). It
/// is made from the standard library's listeners by `into`.
///
/// ```
/// use std::net::TcpListener;
/// use websse::http::{HttpServer, Listener};
///
/// let listeners: Vec<Listener> = vec![TcpListener::bind("127.0.0.1:0")?.into()];
/// let http = listeners.into_iter().try_fold(HttpServer::new(), HttpServer::serve)?;
/// # drop(http);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    is_shared: bool,
    tls: Option<TlsConfig>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self { kind: Kind::Tcp(listener), is_shared: false, tls: None }
    }
}

#[cfg(unix)]
impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self { kind: Kind::Unix(listener), is_shared: false, tls: None }
    }
}

impl Listener {
    /// For a socket that another process listens on too, such as systemd (socket activation): when
    /// the server ends, the socket stays open, and clients that connect then wait for the next
    /// process. Those that it has accepted may still send their first request until the deadline of
    /// [`shutdown`](super::HttpServer::shutdown): it waits for each of them, until the deadline where
    /// one sends nothing, and up to 0.2 s longer than with a socket of its own where none is waited
    /// for.
    ///
    /// To look whether it must end, the server sets a time-out of 0.2 s for receiving
    /// (`SO_RCVTIMEO`) on the socket, which all that share it have from then on, and which stays when
    /// the server ends: `accept` then returns `WouldBlock` now and then. If another process makes the
    /// socket non-blocking, connections are still accepted, up to 0.5 s later.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use websse::http::{HttpServer, Listener};
    ///
    /// let kept = TcpListener::bind("127.0.0.1:0")?;
    /// let http = HttpServer::new().serve(Listener::from(kept.try_clone()?).shared())?;
    /// drop(http);
    /// let waits = TcpStream::connect(kept.local_addr()?)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(all(unix, feature = "socket2"))]
    #[must_use]
    pub fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// Speaks TLS with every client: HTTPS.
    #[cfg(feature = "tls")]
    pub(super) fn with_tls(self, config: TlsConfig) -> Self {
        Self { tls: Some(config), ..self }
    }

    fn try_clone(&self) -> io::Result<Self> {
        let kind = match &self.kind {
            Kind::Tcp(listener) => Kind::Tcp(listener.try_clone()?),
            #[cfg(unix)]
            Kind::Unix(listener) => Kind::Unix(listener.try_clone()?),
        };
        Ok(Self { kind, is_shared: self.is_shared, tls: None })
    }

    /// Lets `accept` return now and then: nothing else ends it without ending the listening of the
    /// others.
    #[cfg(all(unix, feature = "socket2"))]
    fn wait_in_parts(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Tcp(listener) => socket2::SockRef::from(listener).set_read_timeout(Some(PART)),
            Kind::Unix(listener) => socket2::SockRef::from(listener).set_read_timeout(Some(PART)),
        }
    }

    fn accept(&self) -> io::Result<(RawSocket, Option<SocketAddr>)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (socket, peer) = listener.accept()?;
                Ok((RawSocket::Tcp(socket), Some(peer)))
            }
            #[cfg(unix)]
            Kind::Unix(listener) => Ok((RawSocket::Unix(listener.accept()?.0), None)),
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Kind::Unix(_) => None,
        }
    }

    /// Where it listens, for people.
    pub(super) fn place(&self) -> String {
        match &self.kind {
            Kind::Tcp(listener) => {
                listener.local_addr().map_or("a TCP socket".into(), |address| address.to_string())
            }
            #[cfg(unix)]
            Kind::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                // On one line, whatever it contains.
                let shown = |path: &Path| format!("unix:{}", path.to_string_lossy().escape_debug());
                path.map_or("a Unix-domain socket".into(), shown)
            }
        }
    }

    /// A second handle of the socket, to end the listening with.
    #[cfg(unix)]
    fn closer(&self) -> io::Result<RawSocket> {
        Ok(match &self.kind {
            Kind::Tcp(listener) => {
                let socket = TcpStream::from(OwnedFd::from(listener.try_clone()?));
                // Events must be written at once; waiting for more to fill a packet would delay
                // them. On Linux the accepted connections inherit the option.
                socket.set_nodelay(true)?;
                #[cfg(feature = "socket2")]
                notice_dead_peers(&socket)?;
                RawSocket::Tcp(socket)
            }
            Kind::Unix(listener) => {
                RawSocket::Unix(UnixStream::from(OwnedFd::from(listener.try_clone()?)))
            }
        })
    }
}

/// An accepted connection.
pub(super) struct Accepted {
    pub(super) socket: RawSocket,
    pub(super) peer: Option<SocketAddr>,
    /// It took the last descriptor, and must be answered and closed at once.
    pub(super) spare: bool,
}

/// A listener in use.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: Listener,
    /// Ends the listening: on Linux it makes `accept` return, for TCP and Unix-domain sockets.
    #[cfg(unix)]
    closer: RawSocket,
    /// A descriptor to give up when there is no other, so that a client can still be answered. Only
    /// the accepting thread uses it.
    reserve: Mutex<Option<Listener>>,
}

impl Acceptor {
    pub(super) fn new(listener: Listener) -> io::Result<Self> {
        match &listener.kind {
            Kind::Tcp(listener) => listener.set_nonblocking(false)?,
            #[cfg(unix)]
            Kind::Unix(listener) => listener.set_nonblocking(false)?,
        }
        #[cfg(all(unix, feature = "socket2"))]
        if listener.is_shared {
            listener.wait_in_parts()?;
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

    /// Whether TLS is spoken, and how.
    pub(super) fn tls(&self) -> Option<&TlsConfig> {
        self.listener.tls.as_ref()
    }

    /// Whether other processes listen on the socket too.
    pub(super) fn is_shared(&self) -> bool {
        self.listener.is_shared
    }

    /// Waits for a connection; on a shared socket only for a while.
    ///
    /// # Errors
    /// Errors of the listener or the machine. A connection that was gone before it could be
    /// accepted is skipped. `WouldBlock`: none has come to a shared socket for a while.
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
            // Another thread took the descriptor that was given up; try to get one back.
            *reserve = self.listener.try_clone().ok();
            return Err(error);
        }
        let connection = self.listener.accept();
        // While `accept` waited, other descriptors may have been closed. Then this connection is
        // like any other.
        *reserve = self.listener.try_clone().ok();
        let spare = reserve.is_none();
        drop(reserve);
        let (socket, peer) = connection?;
        Ok(accepted(socket, peer, spare))
    }

    /// Gets the reserve back after a spare connection was closed.
    pub(super) fn restore_reserve(&self) {
        let mut reserve = self.reserve.lock();
        if reserve.is_none() {
            *reserve = self.listener.try_clone().ok();
        }
    }

    /// Makes a blocked `accept` return, and later calls fail. On a shared socket `accept` returns by
    /// itself.
    pub(super) fn close(&self) {
        if self.is_shared() {
            return;
        }
        #[cfg(unix)]
        let closed = self.closer.shutdown(Shutdown::Both).is_ok();
        #[cfg(not(unix))]
        let closed = false;
        // On other systems a connection does it: the thread that accepts it sees that it must stop.
        // An error means that nothing listens any more.
        if (!closed || !cfg!(target_os = "linux"))
            && let Some(address) = self.local_addr()
        {
            drop(TcpStream::connect(address));
        }
    }
}

fn accepted(socket: RawSocket, peer: Option<SocketAddr>, spare: bool) -> Accepted {
    // On Linux connections inherit the listener's option. A socket that fails here also fails at
    // its first read.
    #[cfg(not(target_os = "linux"))]
    match &socket {
        RawSocket::Tcp(socket) => {
            let _ = socket.set_nodelay(true);
            #[cfg(feature = "socket2")]
            let _ = notice_dead_peers(socket);
        }
        #[cfg(unix)]
        RawSocket::Unix(_) => {}
    }
    Accepted { socket, peer, spare }
}

/// Notices a peer that vanished without a word, because its power or its network failed: about 30 s
/// after the first byte that it does not acknowledge. If nothing is to be sent, the kernel asks it
/// for a sign of life; otherwise it counts the time that data stays unacknowledged (RFC 5482).
#[cfg(feature = "socket2")]
fn notice_dead_peers(socket: &TcpStream) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    socket.set_tcp_keepalive(
        &socket2::TcpKeepalive::new().with_time(QUIET.0).with_interval(QUIET.1),
    )?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(LIFELESS))?;
    Ok(())
}

/// EMFILE and ENFILE, for which the standard library has no `ErrorKind`. The numbers are the same
/// on every Unix; 10024 is WSAEMFILE on Windows.
fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 10_024))
}

/// The client or its network gave up before the connection was accepted (accept(2)).
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(all(test, target_os = "linux", feature = "socket2"))]
mod tests {
    use super::*;

    #[test]
    fn an_accepted_connection_notices_a_dead_peer() -> io::Result<()> {
        let acceptor = Acceptor::new(TcpListener::bind("127.0.0.1:0")?.into())?;
        let address = acceptor.local_addr().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let _client = TcpStream::connect(address)?;
        let RawSocket::Tcp(socket) = acceptor.accept()?.socket else {
            panic!("the listener is TCP");
        };
        let socket = socket2::SockRef::from(&socket);
        assert!(socket.keepalive()?);
        assert_eq!((socket.tcp_keepalive_time()?, socket.tcp_keepalive_interval()?), QUIET);
        assert_eq!(socket.tcp_user_timeout()?, Some(LIFELESS));
        Ok(())
    }
}
