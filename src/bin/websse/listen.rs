//! Where the command listens.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
};
#[cfg(unix)]
use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};
use websse::http::Listener;

/// Connections that may wait to be accepted: enough for all clients to reconnect at once.
const BACKLOG: i32 = 4096;

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

impl Address {
    /// Reads `HOST:PORT` or `unix:PATH`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        #[cfg(unix)]
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        let wrong = |error: &dyn fmt::Display| format!("{error}; an example: 127.0.0.1:8080");
        let mut addresses = text.to_socket_addrs().map_err(|error| wrong(&error))?;
        // The first one only: `localhost` may have two, and port 0 would be a different port for
        // each.
        addresses.next().map(Self::Tcp).ok_or_else(|| wrong(&"no such address"))
    }

    /// Listens; a Unix-domain socket gets these permissions.
    pub(crate) fn listen(&self, mode: u32) -> io::Result<Bound> {
        match self {
            Self::Tcp(address) => {
                let listener = listen_tcp(*address)?;
                let address = Self::Tcp(listener.local_addr()?);
                Ok(Bound { address, listener: Some(listener.into()) })
            }
            #[cfg(unix)]
            Self::Unix(path) => {
                let listener = listen_unix(path, mode)?;
                Ok(Bound { address: self.clone(), listener: Some(listener.into()) })
            }
        }
    }

    /// Whether only programs on this machine can connect.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            #[cfg(unix)]
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address that is listened on. Dropping it removes the file of a Unix-domain socket.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) address: Address,
    /// Taken by the server.
    pub(crate) listener: Option<Listener>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Address::Unix(path) = &self.address
            && let Err(error) = fs::remove_file(path)
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait until the last connections time out. On Windows the option would let
    // two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Makes the socket where nobody else can reach it, sets its permissions and moves it to its path.
/// It replaces a socket that a killed program has left there.
#[cfg(unix)]
fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
        // Connecting to an ordinary file is refused too, and the file may be precious.
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file, no socket"));
        }
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there"));
            }
            // A killed program left it: nothing listens there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error),
        },
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let folder = PathBuf::from(name);
    fs::create_dir(&folder)?;
    let listener = make_in(&folder, path, mode);
    fs::remove_dir_all(&folder)?;
    listener
}

#[cfg(unix)]
fn make_in(folder: &Path, path: &Path, mode: u32) -> io::Result<UnixListener> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let nascent = folder.join("s");
    socket.bind(&socket2::SockAddr::unix(&nascent)?)?;
    socket.listen(BACKLOG)?;
    fs::set_permissions(&nascent, fs::Permissions::from_mode(mode))?;
    fs::rename(&nascent, path)?;
    Ok(socket.into())
}
