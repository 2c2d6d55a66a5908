//! A server under test, as a child process.
//!
//! It is started as `COMMAND --types N`, binds a free port of 127.0.0.1, prints
//! `listening 127.0.0.1:PORT`, and ends when its standard input does. The event types are `t0` to
//! `t<N-1>`. `GET /event?event=t0&event=t3` streams; `POST /send?event=t0` with the form
//! `data=PAYLOAD` publishes over a connection that stays open.
//!
//! A peer whose name begins with `limit` is no server but a bare loop that writes: it takes
//! publishes as records over an upgraded connection (`publisher.rs`).

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use super::{hub, processes};

/// Within this time a server listens, and ends when its input does.
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Websse,
    /// The same over a Redis of its own.
    Node,
    Limit,
    Other,
    /// A loop in this process that parses requests and answers them: what a publish over HTTP
    /// costs where nothing is published.
    Echo,
}

/// A server that takes part.
#[derive(Clone, Debug)]
pub(crate) struct Entrant {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// It takes part in this scenario only.
    pub(crate) only: Option<String>,
    command: Vec<String>,
}

impl Entrant {
    /// This very program as a `websse` server.
    pub(crate) fn websse() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let program = program.to_str().ok_or("the program's path is not UTF-8")?.to_owned();
        let command = vec![program, hub::ARGUMENT.to_owned()];
        Ok(Self { name: "websse".to_owned(), kind: Kind::Websse, only: None, command })
    }

    /// The same as a node over Redis, for each of its policies.
    #[cfg(feature = "redis")]
    pub(crate) fn nodes() -> Result<Vec<Self>, String> {
        let node = |policy: &&str| {
            let mut node = Self::websse()?;
            node.command.extend([hub::REDIS, policy].map(str::to_owned));
            Ok(Self { name: format!("redis, {policy}"), kind: Kind::Node, ..node })
        };
        super::store::POLICIES.iter().map(node).collect()
    }

    /// Of `NAME=COMMAND` or `NAME@SCENARIO=COMMAND`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').unwrap_or_default();
        let (name, only) =
            name.split_once('@').map_or((name, None), |(name, only)| (name, Some(only)));
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if name.is_empty() || command.is_empty() {
            return Err(format!("--peer {text}: expected NAME=COMMAND"));
        }
        let kind = if name.starts_with("limit") { Kind::Limit } else { Kind::Other };
        Ok(Self { name: name.to_owned(), kind, only: only.map(str::to_owned), command })
    }

    pub(crate) fn echo() -> Self {
        Self {
            name: "(httparse echo)".to_owned(),
            kind: Kind::Echo,
            only: None,
            command: Vec::new(),
        }
    }
}

/// Ended, by its process id and with its descendants, when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) fn start(entrant: &Entrant, types: usize) -> Result<Self, String> {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot start: {error}");
        let (program, arguments) = entrant.command.split_first().ok_or("no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--types", &types.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| cannot(&error))?;
        let output = child.stdout.take();
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on it is ended in any case.
        let mut peer = Self { child, kind: entrant.kind, address: unknown };
        peer.address = first_line(output.ok_or("no output")?)
            .and_then(|line| {
                let address = line.trim().strip_prefix("listening ").unwrap_or("").parse();
                address.map_err(|_| format!("expected `listening ADDRESS`, got {line:?}"))
            })
            .map_err(|error| cannot(&error))?;
        Ok(peer)
    }

    /// Its process and their descendants, as of now.
    pub(crate) fn family(&self) -> Vec<u32> {
        processes::family(self.child.id())
    }

    /// Whether its own process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let family = self.family();
        drop(self.child.stdin.take());
        let deadline = Instant::now() + END;
        let runs = || family.iter().any(|pid| processes::is_running(*pid));
        while runs() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if runs() {
            eprintln!("fanout: processes {family:?} do not end with their input; they are ended");
            if let Err(error) = processes::kill(&family) {
                eprintln!("fanout: {error}");
            }
        }
        // Both fail only if it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line; the rest is read and dropped, so that the child never waits.
fn first_line(output: impl Read + Send + 'static) -> Result<String, String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        let read = output.read_line(&mut line).map(|_| line).map_err(|error| error.to_string());
        // Nobody waits any more if it came too late.
        let _ = sender.send(read);
        // It ends with the child.
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    lines.recv_timeout(START).map_err(|_| format!("it does not listen within {START:?}"))?
}
