//! The sockets that systemd listens on for the command (`sd_listen_fds(3)`).

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::{
    env, io,
    os::unix::net::SocketAddr,
    path::{Path, PathBuf},
    process,
};

use listenfd::ListenFd;
use socket2::SockRef;
use websse::http::Listener;

use crate::listen::{Address, Bound};

/// More sockets than any unit has.
const MOST: usize = 1000;

/// The sockets that were handed over to this process, as far as none has taken them.
#[derive(Default)]
pub(crate) struct HandedOver {
    sockets: Option<ListenFd>,
    /// The names of the sockets; `None` for each that was taken.
    names: Vec<Option<String>>,
    /// Why there are none.
    lack: String,
}

impl HandedOver {
    /// Takes those that the environment tells of, and removes them from it.
    pub(crate) fn of_environment() -> Self {
        let names = read(|name| env::var(name).ok(), process::id());
        match names {
            Ok(names) => Self {
                sockets: Some(ListenFd::from_env()),
                names: names.into_iter().map(Some).collect(),
                lack: String::new(),
            },
            Err(lack) => Self { lack, ..Self::default() },
        }
    }

    /// How many are left.
    pub(crate) fn len(&self) -> usize {
        self.names.iter().flatten().count()
    }

    /// Takes those with a name, or all.
    pub(crate) fn take(&mut self, name: Option<&str>) -> io::Result<Vec<Bound>> {
        let Some(sockets) = &mut self.sockets else {
            return Err(io::Error::other(self.lack.clone()));
        };
        let mut taken = Vec::new();
        for (number, own) in self.names.iter_mut().enumerate() {
            if own.as_deref().is_some_and(|own| name.is_none_or(|name| name == own)) {
                *own = None;
                taken.push(take_one(sockets, number)?);
            }
        }
        if taken.is_empty() {
            let left: Vec<_> = self.names.iter().flatten().map(String::as_str).collect();
            let left = if left.is_empty() { "none".to_owned() } else { left.join(", ") };
            let text = format!("systemd handed over no such socket; those that are left: {left}");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        Ok(taken)
    }
}

/// The names of the sockets, or why there are none.
fn read(environment: impl Fn(&str) -> Option<String>, process: u32) -> Result<Vec<String>, String> {
    let Some(count) = environment("LISTEN_FDS") else {
        return Err("systemd handed over no socket: LISTEN_FDS is not set".to_owned());
    };
    let pid = environment("LISTEN_PID").unwrap_or_default();
    if pid != process.to_string() {
        return Err(format!(
            "the sockets are for another process: LISTEN_PID is {pid:?}, and this is {process}"
        ));
    }
    let number = count.parse().ok().filter(|number| (1..=MOST).contains(number));
    let number = number.ok_or_else(|| format!("LISTEN_FDS is {count:?}, not 1 to {MOST}"))?;
    // Without names, each has this one (sd_listen_fds_with_names(3)).
    let names = match environment("LISTEN_FDNAMES") {
        Some(names) => names.split(':').map(str::to_owned).collect(),
        None => vec!["unknown".to_owned(); number],
    };
    if names.len() == number {
        Ok(names)
    } else {
        Err(format!("LISTEN_FDS is {number}, but LISTEN_FDNAMES has {} names", names.len()))
    }
}

/// Takes a socket, of whichever family. It stays open when this process ends.
fn take_one(sockets: &mut ListenFd, number: usize) -> io::Result<Bound> {
    let gone = || io::Error::other("it was taken already");
    let (listener, address) = if let Ok(listener) = sockets.take_tcp_listener(number) {
        let listener = listener.ok_or_else(gone)?;
        check(&SockRef::from(&listener))?;
        let address = Address::Tcp(listener.local_addr()?);
        (Listener::from(listener), address)
    } else {
        let listener = sockets.take_unix_listener(number)?.ok_or_else(gone)?;
        check(&SockRef::from(&listener))?;
        let address = listener.local_addr()?;
        (Listener::from(listener), Address::Unix(shown(&address)))
    };
    Ok(Bound { address, listener: Some(listener.shared()), is_https: false, removes: false })
}

/// The path of a Unix-domain socket, or `@` and its abstract name.
fn shown(address: &SocketAddr) -> PathBuf {
    #[cfg(target_os = "linux")]
    if let Some(name) = address.as_abstract_name() {
        return format!("@{}", String::from_utf8_lossy(name)).into();
    }
    address.as_pathname().unwrap_or(Path::new("")).to_owned()
}

/// Whether connections can be accepted from it: with `Accept=yes` systemd hands over a connection.
fn check(socket: &SockRef<'_>) -> io::Result<()> {
    if cfg!(target_os = "linux") && !is_listener(socket)? {
        return Err(io::Error::other(
            "it is a connection, no listening socket; Accept=no is needed",
        ));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn is_listener(socket: &SockRef<'_>) -> io::Result<bool> {
    socket.is_listener()
}

#[cfg(not(target_os = "linux"))]
fn is_listener(_: &SockRef<'_>) -> io::Result<bool> {
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_taken_by_the_process_that_they_are_for() {
        let names = |variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            read(|name| find(name).map(|(_, value)| (*value).to_owned()), 7)
        };
        let (pid, two) = (("LISTEN_PID", "7"), ("LISTEN_FDS", "2"));
        assert_eq!(names(&[pid, two]), Ok(vec!["unknown".to_owned(); 2]));
        let with_names = names(&[pid, two, ("LISTEN_FDNAMES", "a:b")]);
        assert_eq!(with_names, Ok(vec!["a".to_owned(), "b".to_owned()]));
        for (variables, told) in [
            (&[pid][..], "LISTEN_FDS is not set"),
            (&[two], "LISTEN_PID is \"\", and this is 7"),
            (&[two, ("LISTEN_PID", "8")], "LISTEN_PID is \"8\", and this is 7"),
            (&[pid, ("LISTEN_FDS", "0")], "LISTEN_FDS is \"0\", not 1"),
            (&[pid, ("LISTEN_FDS", "4294967295")], "not 1"),
            (&[pid, ("LISTEN_FDS", "two")], "not 1"),
            (&[pid, two, ("LISTEN_FDNAMES", "a")], "LISTEN_FDNAMES has 1 names"),
        ] {
            let error = names(variables).expect_err(told);
            assert!(error.contains(told), "{error}");
        }
    }
}
