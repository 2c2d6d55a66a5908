//! Where the command listens.

use std::{
    fmt, io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
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

use crate::{systemd::HandedOver, units::count};

/// Connections that may wait to be accepted: enough for all clients to reconnect at once.
const BACKLOG: i32 = 4096;

/// A place to listen at, and whether TLS is to be spoken there, if that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) place: Place,
    pub(crate) is_https: Option<bool>,
}

impl Listen {
    /// Reads a place, perhaps behind `https://` or `http://`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (place, is_https) = match text.split_once("://") {
            Some(("https", rest)) => (rest, Some(true)),
            Some(("http", rest)) => (rest, Some(false)),
            _ => (text, None),
        };
        let place = place.strip_suffix('/').filter(|_| is_https.is_some()).unwrap_or(place);
        Ok(Self { place: Place::parse(place)?, is_https })
    }
}

/// What `--listen` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// All addresses of a host.
    Host(Vec<SocketAddr>),
    /// This port of all interfaces, over IPv4 and IPv6.
    Everywhere(u16),
    #[cfg(unix)]
    Unix(PathBuf),
    /// The sockets that systemd hands over: those with this name, or all that are left.
    Systemd(Option<String>),
}

/// An address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    #[cfg(unix)]
    Unix(PathBuf),
}

/// How often a port is looked for that is free at all addresses of a host.
const PORTS: usize = 16;

impl Place {
    /// Reads `HOST:PORT`, `:PORT`, `unix:PATH`, `systemd` or `systemd:NAME`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        #[cfg(unix)]
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.into()));
        }
        if text == "systemd" {
            return Ok(Self::Systemd(None));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return Ok(Self::Systemd(Some(name.to_owned())));
        }
        let example = "an example: 127.0.0.1:8080, or :8080 for all interfaces";
        if let Some(port) = text.strip_prefix(':') {
            let port = count(port).ok().and_then(|port| u16::try_from(port).ok());
            return port.map(Self::Everywhere).ok_or_else(|| format!("not a port; {example}"));
        }
        let addresses = text.to_socket_addrs().map_err(|error| format!("{error}; {example}"))?;
        let mut known: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if !known.contains(&address) {
                known.push(address);
            }
        }
        if known.is_empty() {
            Err(format!("no such address; {example}"))
        } else {
            Ok(Self::Host(known))
        }
    }

    /// Listens. A Unix-domain socket gets these permissions. `others` are all places, this one too.
    pub(crate) fn listen(
        &self,
        mode: u32,
        others: &[Self],
        handed: &mut HandedOver,
    ) -> io::Result<Vec<Bound>> {
        match self {
            Self::Host(addresses) => listen_host(addresses, others),
            Self::Everywhere(port) => {
                let both = listen_tcp((Ipv6Addr::UNSPECIFIED, *port).into(), Some(false));
                let bound = match both {
                    Err(error) if is_unavailable(&error) => {
                        listen_tcp((Ipv4Addr::UNSPECIFIED, *port).into(), None)?
                    }
                    both => both?,
                };
                Ok(vec![Bound::tcp(bound)?])
            }
            #[cfg(unix)]
            Self::Unix(path) => {
                let listener = listen_unix(path, mode)?;
                let address = Address::Unix(path.clone());
                Ok(vec![Bound {
                    address,
                    listener: Some(listener.into()),
                    is_https: false,
                    removes: true,
                }])
            }
            Self::Systemd(name) => handed.take(name.as_deref()),
        }
    }

    /// Whether it is this port of all interfaces, over IPv4 only.
    fn is_all_of_v4(&self, port: u16) -> bool {
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        matches!(self, Self::Host(addresses) if addresses.contains(&all))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(addresses) => {
                let texts: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
                f.write_str(&texts.join(" and "))
            }
            Self::Everywhere(port) => write!(f, ":{port}"),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(None) => f.write_str("systemd"),
            Self::Systemd(Some(name)) => write!(f, "systemd:{name}"),
        }
    }
}

/// Listens on all addresses of a host that this machine has, at the same port.
fn listen_host(addresses: &[SocketAddr], others: &[Place]) -> io::Result<Vec<Bound>> {
    let mut tries = 1..PORTS;
    loop {
        match listen_each(addresses, others) {
            // The first one was given a free port, which another program has at the next address.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && addresses.iter().all(|address| address.port() == 0)
                    && tries.next().is_some() => {}
            done => return done,
        }
    }
}

fn listen_each(addresses: &[SocketAddr], others: &[Place]) -> io::Result<Vec<Bound>> {
    let mut bound: Vec<Bound> = Vec::new();
    let mut missing = None;
    for address in addresses {
        let mut address = *address;
        if let Some(Bound { address: Address::Tcp(first), .. }) = bound.first() {
            address.set_port(first.port());
        }
        // Over IPv6 "all interfaces" includes IPv4, unless that is asked for beside it.
        let is_all = address.is_ipv6() && address.ip().is_unspecified();
        let port = address.port();
        let v6_only = is_all && others.iter().any(|other| other.is_all_of_v4(port));
        match listen_tcp(address, v6_only.then_some(true)) {
            Ok(listener) => bound.push(Bound::tcp(listener)?),
            // A host may have addresses of a family that this machine does not use.
            Err(error) if is_unavailable(&error) => missing = Some((address, error)),
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some((_, error)) if bound.is_empty() => return Err(error),
        Some((address, error)) => log::warn!("does not listen on {address}: {error}"),
        None => {}
    }
    Ok(bound)
}

/// Whether this machine has no such address, or does not use its family.
fn is_unavailable(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own; the numbers are Linux's, and those of BSD and macOS.
    let family = if cfg!(target_os = "linux") { 97 } else { 47 };
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(family)
}

impl Address {
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

/// A listener with its address.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) address: Address,
    /// Taken by the server.
    pub(crate) listener: Option<Listener>,
    /// Whether TLS is spoken there.
    pub(crate) is_https: bool,
    /// Whether dropping it removes the file of a Unix-domain socket.
    pub(crate) removes: bool,
}

impl Bound {
    /// The scheme of its URLs.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    fn tcp(listener: TcpListener) -> io::Result<Self> {
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self { address, listener: Some(listener.into()), is_https: false, removes: false })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let (true, Address::Unix(path)) = (self.removes, &self.address)
            && let Err(error) = fs::remove_file(path)
        {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// `v6_only`: whether an IPv6 socket takes no IPv4; `None` is the system's default.
fn listen_tcp(address: SocketAddr, v6_only: Option<bool>) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait until the last connections time out. On Windows the option would let
    // two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if let Some(v6_only) = v6_only {
        socket.set_only_v6(v6_only)?;
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_of_a_host_are_listened_on_at_one_port() -> io::Result<()> {
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let place = Place::Host(addresses.map(|ip: std::net::IpAddr| (ip, 0).into()).to_vec());
        let mut none = HandedOver::default();
        let bound = place.listen(0, std::slice::from_ref(&place), &mut none)?;
        assert!(bound.iter().all(|one| one.address.is_local()));
        let [Address::Tcp(first), Address::Tcp(second)] = [&bound[0].address, &bound[1].address]
        else {
            panic!("{bound:?}");
        };
        assert_eq!((first.port(), bound.len()), (second.port(), 2));
        assert_eq!([first.ip(), second.ip()], addresses);
        Ok(())
    }

    #[test]
    fn an_address_that_the_machine_does_not_have_is_left_out_if_there_is_another() {
        // For documentation (RFC 5737, RFC 3849).
        let [v4, v6] = ["192.0.2.1:0", "[2001:db8::1]:0"].map(|text| text.parse().expect("good"));
        let own = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen = |addresses: &[SocketAddr]| {
            Place::Host(addresses.to_vec()).listen(0, &[], &mut HandedOver::default())
        };
        for addresses in [[v6, own], [own, v4]] {
            assert_eq!(listen(&addresses).map(|bound| bound.len()).ok(), Some(1), "{addresses:?}");
        }
        assert!(listen(&[v4, v6]).is_err());
    }

    #[test]
    fn a_port_alone_is_all_interfaces() {
        assert_eq!(Place::parse(":8080"), Ok(Place::Everywhere(8080)));
        for text in [":", ":x", ":+5", ":65536", "8080", "", "nowhere.invalid:80"] {
            let error = Place::parse(text).expect_err(text);
            assert!(error.contains(":8080 for all interfaces"), "{text}: {error}");
        }
    }
}
