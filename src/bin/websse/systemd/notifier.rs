//! What the command tells a service manager: that it listens, works and ends (`sd_notify(3)`).

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::{
    env, io,
    os::unix::net::{SocketAddr, UnixDatagram},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use log::warn;
use websse::Server;

/// How long a service manager that does not read holds the command up, and how long the broadcaster
/// may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells the service manager, if there is one.
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it waits to be told that the command works.
    watchdog: Option<Duration>,
    /// The watchdog is not told any more.
    is_stopping: Arc<AtomicBool>,
}

impl Notifier {
    /// For the service manager that the environment names.
    pub(crate) fn of_environment() -> Self {
        let to = env::var("NOTIFY_SOCKET").ok().and_then(|name| {
            let opened = open(&name);
            opened.map_err(|error| warn!("cannot use NOTIFY_SOCKET {name:?}: {error}")).ok()
        });
        let watchdog = period(|name| env::var(name).ok(), process::id());
        Self { to, watchdog, is_stopping: Arc::default() }
    }

    /// Sends a state, such as `READY=1`.
    pub(crate) fn send(&self, state: &str) {
        if let Some((socket, address)) = &self.to
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            warn!("cannot tell the service manager {state}: {error}");
        }
    }

    /// Says that the command ends, which is no matter for the watchdog.
    pub(crate) fn stop(&self) {
        self.is_stopping.store(true, Relaxed);
        self.send("STOPPING=1");
    }

    /// Tells in half of each of the watchdog's periods that the command works, as long as its
    /// broadcaster does: a restart would mend nothing else, such as Redis that is away or publishers
    /// that wait for slow clients. The thread ends when the command [stops](Self::stop).
    pub(crate) fn watch(&self, server: Arc<Server>) {
        let (Some(period), Some((socket, address))) = (self.watchdog, &self.to) else {
            return;
        };
        let Ok(socket) = socket.try_clone() else {
            return warn!("no descriptor is left for the watchdog");
        };
        let is_stopping = Arc::clone(&self.is_stopping);
        let own = Self { to: Some((socket, address.clone())), watchdog: None, is_stopping };
        let thread = thread::Builder::new().name("websse-watchdog".to_owned());
        let started = thread.spawn(move || {
            loop {
                let is_alive = server.is_alive(PATIENCE);
                // Looked at behind the answer: a server that is shut down answers no.
                if own.is_stopping.load(Relaxed) {
                    return;
                }
                own.send_if(is_alive);
                thread::sleep(period / 2);
            }
        });
        if let Err(error) = started {
            warn!("no thread for the watchdog: {error}");
        }
    }

    /// Says that the command works, if it does.
    fn send_if(&self, is_alive: bool) {
        if is_alive {
            self.send("WATCHDOG=1");
        } else {
            warn!("the watchdog is not told that all is well: the broadcaster does not answer");
        }
    }
}

/// A socket, and the address that `NOTIFY_SOCKET` has: a path, or `@` and an abstract name.
fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok((socket, address))
}

/// The watchdog's period, if it watches this process (`sd_watchdog_enabled(3)`).
fn period(environment: impl Fn(&str) -> Option<String>, process: u32) -> Option<Duration> {
    let is_own = environment("WATCHDOG_PID").is_none_or(|pid| pid == process.to_string());
    let micros = environment("WATCHDOG_USEC")?.parse().ok().filter(|micros| *micros > 0)?;
    is_own.then(|| Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_for_one_process() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("WATCHDOG_USEC", "500")], Some(500)),
            (&[("WATCHDOG_USEC", "500"), ("WATCHDOG_PID", "7")], Some(500)),
            (&[("WATCHDOG_USEC", "500"), ("WATCHDOG_PID", "8")], None),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "soon")], None),
        ] {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            let period = period(|name| find(name).map(|(_, value)| (*value).to_owned()), 7);
            assert_eq!(period, expected.map(Duration::from_micros), "{variables:?}");
        }
    }

    #[test]
    fn the_watchdog_is_told_only_while_all_is_well() -> io::Result<()> {
        let path = env::temp_dir().join(format!("websse-{}-watchdog", process::id()));
        let manager = UnixDatagram::bind(&path)?;
        let to = open(path.to_str().expect("it is text"))?;
        let notifier = Notifier { to: Some(to), watchdog: None, is_stopping: Arc::default() };
        notifier.send_if(false);
        notifier.send_if(true);
        manager.set_nonblocking(true)?;
        let mut told = [0; 64];
        let length = manager.recv(&mut told)?;
        assert_eq!(&told[..length], b"WATCHDOG=1");
        assert!(manager.recv(&mut told).is_err(), "nothing more");
        std::fs::remove_file(&path)?;
        Ok(())
    }
}
