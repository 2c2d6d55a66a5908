//! What runs out, and handlers and clients that fail in every way, take nothing from the others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[cfg(feature = "cli")]
mod command;
mod descriptors;
mod panics;
mod poison;
mod threads;

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, ChildStdout, Command, Stdio},
};

use support::Client;
use websse::http::{Handler, Request, Response};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(data: &str) -> String {
    format!("POST /send?event=a&data={data} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A handler that says it never blocks: the thread that accepts runs it before it accepts the next.
struct InTurn<F>(F);

impl<F: Fn(&Request) -> Response + Send + Sync + 'static> Handler for InTurn<F> {
    fn handle(&self, request: &Request) -> Response {
        self.0(request)
    }

    fn may_block(&self) -> bool {
        false
    }
}

/// Set in a process that runs one test, in which it is to do what its name says.
const ALONE: &str = "WEBSSE_TEST_ALONE";

/// Whether the test was started by [`alone`].
fn is_alone() -> bool {
    env::var_os(ALONE).is_some()
}

/// This program by way of `command`, to run a single test in a process of its own.
fn alone<'c>(command: &'c mut Command, test: &str) -> &'c mut Command {
    command.args([test, "--exact", "--nocapture"]).env(ALONE, "yes")
}

/// A process that serves, and does not outlive its test.
struct Serving {
    child: Child,
    /// Kept open, as its output goes there.
    out: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Serving {
    /// Starts a process that prints where it listens.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut serving = Self { child, out, address: SocketAddr::from(([0; 4], 0)) };
        let mut line = String::new();
        while !line.contains("http://") {
            line.clear();
            assert_ne!(serving.out.read_line(&mut line).unwrap(), 0, "expected an address");
        }
        serving.address = line.trim_end().rsplit_once("http://").unwrap().1.parse().unwrap();
        serving
    }

    fn ask(&self, request: impl AsRef<[u8]>) -> Client {
        let mut client = Client::connect(self.address);
        client.send(request);
        client
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended already where the test got to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
