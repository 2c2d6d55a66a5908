//! The leader's side of the process that has the server.

use std::env;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{self, Command, Stdio};
use std::time::Duration;

use crate::source::{Numbers, PUBLISHERS};
use support::measure;

/// Where the child finds its leader.
pub(crate) const CONTROL: &str = "WEBSSE_SOAK_CONTROL";
/// Threads of connections end after some seconds without work.
const LEVELS: Duration = Duration::from_secs(30);
/// An answer of the child takes no longer.
const ANSWER: Duration = Duration::from_secs(60);

/// What the child uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Bytes of memory.
    pub(crate) resident: usize,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Level { threads, descriptors, resident } = self;
        write!(f, "{threads} threads, {descriptors} descriptors, {} KiB", resident / 1024)
    }
}

/// Killed and waited for when dropped.
pub(crate) struct Child {
    process: process::Child,
    control: BufReader<TcpStream>,
}

impl Child {
    /// This program once more, which finds by the environment that it is to be the server.
    pub(crate) fn start() -> Child {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let process = Command::new(env::current_exe().unwrap())
            .args(["--exact", super::NAME, "--ignored", "--nocapture"])
            .env(CONTROL, listener.local_addr().unwrap().to_string())
            // Or threads that are gone leave freed memory in arenas of their own, more each time.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (control, _) = listener.accept().unwrap();
        control.set_read_timeout(Some(ANSWER)).unwrap();
        let mut child = Child { process, control: BufReader::new(control) };
        // From here on it opens nothing by itself.
        assert_eq!(child.ask("greet"), "ready");
        child
    }

    #[track_caller]
    fn ask(&mut self, question: &str) -> String {
        let mut answer = String::new();
        let sent = writeln!(self.control.get_mut(), "{question}");
        let read = sent.and_then(|()| self.control.read_line(&mut answer));
        match read {
            Ok(1..) => answer.trim_end().to_owned(),
            other => panic!("{question}: got {other:?}; child: {:?}", self.process.try_wait()),
        }
    }

    /// Starts a server.
    #[track_caller]
    pub(crate) fn begin(&mut self, seed: u64) -> SocketAddr {
        self.ask(&format!("begin {seed}")).parse().unwrap()
    }

    /// Begins to publish.
    #[track_caller]
    pub(crate) fn publish(&mut self) {
        assert_eq!(self.ask("publish"), "publishing");
    }

    /// Ends the publishing; returns how many events there were.
    #[track_caller]
    pub(crate) fn calm(&mut self) -> Numbers {
        let answer = self.ask("calm");
        let numbers: Vec<u64> = answer.split(' ').map(|number| number.parse().unwrap()).collect();
        <[u64; PUBLISHERS]>::try_from(numbers).unwrap()
    }

    /// Streams that are registered, and why others have gone.
    #[track_caller]
    pub(crate) fn streams(&mut self) -> (usize, String) {
        let answer = self.ask("streams");
        let (streams, disconnected) = answer.split_once(' ').unwrap();
        (streams.parse().unwrap(), disconnected.to_owned())
    }

    /// Shuts the server down, which has to take nothing from anybody.
    #[track_caller]
    pub(crate) fn shut_down(&mut self) {
        let undelivered_cut_running = self.ask("shut down");
        assert_eq!(undelivered_cut_running, "0 0 0", "what a shutdown left undone");
    }

    pub(crate) fn level(&self) -> Level {
        let pid = self.process.id();
        let (threads, descriptors) = (measure::threads(pid), measure::descriptors(pid));
        Level { threads, descriptors, resident: measure::memory(pid).0 }
    }

    /// Waits until threads and descriptors are those of this level.
    #[track_caller]
    pub(crate) fn wait_for_counts(&self, when: &str, expected: &Level) {
        let expected = (expected.threads, expected.descriptors);
        let what = format!("(threads, descriptors) {when}");
        measure::wait_for(&what, LEVELS, &expected, || {
            let level = self.level();
            (level.threads, level.descriptors)
        });
    }

    /// It ends by itself, and well.
    pub(crate) fn end(mut self) {
        self.control.get_ref().shutdown(Shutdown::Both).unwrap();
        let mut status = None;
        measure::wait_until("the server's process to end", ANSWER, || {
            status = self.process.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "the server's process ended with {status:?}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
