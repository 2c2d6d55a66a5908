//! What processes use, as `/proc` tells it: this one, and the command in one of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use support::{Client, Hub, SOON, eventually};

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
        let names = entries("/proc/self/task").into_iter().filter_map(|task| {
            // It may have ended by now.
            fs::read_to_string(format!("/proc/self/task/{task}/comm")).ok()
        });
        Self {
            threads: names.filter(|name| name.starts_with("websse")).count(),
            descriptors: entries("/proc/self/fd").len(),
            streams: hub.server.stats().streams,
        }
    }

    /// Waits until no more is held than then.
    #[track_caller]
    pub(crate) fn assert_again(self, hub: &Hub) {
        eventually(CALM, self, || Self::now(hub));
    }
}

fn entries(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Bytes of a process' memory that are resident, and the most that ever were.
pub(crate) fn memory(process: u32) -> (usize, usize) {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap()
    };
    (kib("VmRSS:") << 10, kib("VmHWM:") << 10)
}

/// The command with its default limits; ended when dropped.
pub(crate) struct Program {
    child: Child,
    /// Open, so that it can go on printing.
    _stdout: BufReader<ChildStdout>,
    pub(crate) addr: SocketAddr,
}

impl Program {
    pub(crate) fn start<'e>(events: impl IntoIterator<Item = &'e str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        command.args(["--listen", "127.0.0.1:0", "--allow-host", "a"]);
        events.into_iter().for_each(|event| {
            command.args(["--event", event]);
        });
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let addr = line.trim_end().rsplit_once("http://").unwrap().1.parse().unwrap();
        Self { child, _stdout: stdout, addr }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    pub(crate) fn ask(&self, raw: impl AsRef<[u8]>) -> Client {
        let mut client = self.connect();
        client.send(raw);
        client
    }

    pub(crate) fn memory(&self) -> (usize, usize) {
        memory(self.child.id())
    }

    /// Threads and descriptors.
    pub(crate) fn holds(&self) -> (usize, usize) {
        let count = |what| entries(&format!("/proc/{}/{what}", self.child.id())).len();
        (count("task"), count("fd"))
    }

    /// Waits until it holds as many threads and descriptors.
    #[track_caller]
    pub(crate) fn assert_holds_again(&self, before: (usize, usize)) {
        eventually(CALM, before, || self.holds());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
