//! What processes use, as `/proc` tells it: this one, and the command in one of its own.

use std::net::SocketAddr;
use std::process::{self, Command};
use std::time::Duration;

pub(crate) use support::measure::memory;
use support::measure::{descriptors, own_threads_named, threads};
use support::{Client, Hub, SOON, eventually, process::Serving};

/// Threads that wait for something to do end within seconds.
const CALM: Duration = Duration::from_secs(20);

/// What is held while nobody is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Of the library.
    threads: usize,
    descriptors: usize,
    /// In the registry.
    streams: usize,
}

impl Level {
    /// What a hub in this process holds, to be asked before its first client comes.
    #[track_caller]
    pub(crate) fn of_the_hub(hub: &Hub) -> Self {
        // Threads take their names when they begin to run: the broadcaster and the one that accepts.
        eventually(SOON, 2, || Self::now(hub).threads);
        Self::now(hub)
    }

    fn now(hub: &Hub) -> Self {
        Self {
            threads: own_threads_named("websse").len(),
            descriptors: descriptors(process::id()),
            streams: hub.server.stats().streams,
        }
    }

    /// Waits until no more is held than then.
    #[track_caller]
    pub(crate) fn assert_again(self, hub: &Hub) {
        eventually(CALM, self, || Self::now(hub));
    }
}

/// The command with its default limits; ended when dropped.
pub(crate) struct Program {
    serving: Serving,
    pub(crate) addr: SocketAddr,
}

impl Program {
    pub(crate) fn start<'e>(events: impl IntoIterator<Item = &'e str>) -> Self {
        Self::start_with(events, |_| ())
    }

    pub(crate) fn start_with<'e>(
        events: impl IntoIterator<Item = &'e str>,
        more: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        command.args(["--listen", "127.0.0.1:0", "--allow-host", "a"]);
        events.into_iter().for_each(|event| {
            command.args(["--event", event]);
        });
        more(&mut command);
        let serving = Serving::start(&mut command);
        Self { addr: serving.address, serving }
    }

    pub(crate) fn connect(&self) -> Client {
        self.serving.connect()
    }

    pub(crate) fn ask(&self, raw: impl AsRef<[u8]>) -> Client {
        self.serving.ask(raw)
    }

    pub(crate) fn memory(&self) -> (usize, usize) {
        memory(self.serving.pid())
    }

    /// Threads and descriptors.
    pub(crate) fn holds(&self) -> (usize, usize) {
        let pid = self.serving.pid();
        (threads(pid), descriptors(pid))
    }

    /// Waits until it holds as many threads and descriptors.
    #[track_caller]
    pub(crate) fn assert_holds_again(&self, before: (usize, usize)) {
        eventually(CALM, before, || self.holds());
    }
}
