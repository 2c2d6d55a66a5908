//! Binding an address; if that fails, the error says at which address, and what would be right.

use std::{
    error::Error,
    fmt, io,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
};

/// Listens on the first of the addresses that can be had.
///
/// # Errors
/// [`ListenError`], of the last of the addresses, as from `TcpListener::bind`.
pub(super) fn bind(address: impl ToSocketAddrs + fmt::Debug) -> io::Result<TcpListener> {
    let unknown = |error: io::Error| {
        let right = match error.kind() {
            io::ErrorKind::InvalidInput => "give HOST:PORT, for example 127.0.0.1:8080",
            _ => "look for a typo in the host, or give its IP address",
        };
        listen_error(format!("{address:?}"), right, error)
    };
    let mut failed = None;
    for address in address.to_socket_addrs().map_err(unknown)? {
        match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = Some((address, error)),
        }
    }
    Err(match failed {
        Some((address, error)) => {
            let right = what_would_be_right(address, error.kind());
            listen_error(address.to_string(), right, error)
        }
        None => unknown(io::Error::new(io::ErrorKind::InvalidInput, "there is no address")),
    })
}

fn what_would_be_right(address: SocketAddr, kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => {
            "end the program that listens there, or use another port; port 0 is any free one"
        }
        io::ErrorKind::PermissionDenied if (1..1024).contains(&address.port()) => {
            "ports below 1024 need a privilege; use a higher one"
        }
        io::ErrorKind::PermissionDenied => "use another port",
        io::ErrorKind::AddrNotAvailable => {
            "use an address of this machine; 0.0.0.0 and [::] are all of them"
        }
        _ => "",
    }
}

/// An error of the same kind that names the place and what would be right, if anything is known to
/// be.
pub(super) fn listen_error(place: String, right: &'static str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), ListenError { place, right, error })
}

/// Cannot listen.
struct ListenError {
    place: String,
    right: &'static str,
    error: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, right, error } = self;
        write!(f, "cannot listen on {place}: {error}")?;
        if right.is_empty() { Ok(()) } else { write!(f, "; {right}") }
    }
}

/// As an error made from a text: a `main` that returns the error shows it like this.
impl fmt::Debug for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Error for ListenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // Its own text has that of this error.
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_binding_says_where_and_what_would_be_right() {
        let holder = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
        let taken = holder.local_addr().expect("bound above");
        let privileged = SocketAddr::from(([127, 0, 0, 1], 80));
        let refused = io::Error::from_raw_os_error(if cfg!(windows) { 10013 } else { 13 });
        for (error, kind, parts) in [
            (bind(taken).err(), io::ErrorKind::AddrInUse, [&*taken.to_string(), "another port"]),
            // An address for documentation (RFC 5737).
            (
                bind("192.0.2.1:0").err(),
                io::ErrorKind::AddrNotAvailable,
                ["192.0.2.1:0", "0.0.0.0 and [::]"],
            ),
            (bind("nothing").err(), io::ErrorKind::InvalidInput, [r#""nothing""#, "HOST:PORT"]),
            (bind(("a\nb", 80)).err(), io::ErrorKind::Other, [r#"("a\nb", 80)"#, "typo"]),
            (bind(&[][..]).err(), io::ErrorKind::InvalidInput, ["on []", "HOST:PORT"]),
            (
                Some(listen_error(
                    privileged.to_string(),
                    what_would_be_right(privileged, refused.kind()),
                    refused,
                )),
                io::ErrorKind::PermissionDenied,
                ["127.0.0.1:80", "below 1024"],
            ),
        ] {
            let error = error.expect("it cannot be bound");
            let text = error.to_string();
            // The standard library has no stable kind for a host that is not found.
            assert!(error.kind() == kind || kind == io::ErrorKind::Other, "{error:?}");
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
            assert_eq!(format!("{error:?}").matches("cannot listen on").count(), 1, "{error:?}");
        }
    }

    #[test]
    fn the_error_of_the_system_is_told_once() {
        let error = bind("192.0.2.1:0").expect_err("it is for documentation");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert!(error.source().is_none(), "{error:?}");
    }
}
