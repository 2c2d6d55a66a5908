//! A server under test, as a child process.
//!
//! It is started as `COMMAND --types N`, binds a free port of 127.0.0.1, prints
//! `listening 127.0.0.1:PORT`, and ends when its standard input does. The event types are `t0` to
//! `t<N-1>`. `GET /event?event=t0&event=t3` streams; `POST /send?event=t0` with the form
//! `data=PAYLOAD` publishes over a connection that stays open.
//!
//! For scenarios with channels, `&channel=c7` beside `event=t0` names one, also in several pairs of a
//! stream's query; an empty name is the common channel, whose events are those that name none. A
//! client that comes back says `&last_event_id=ID`, and gets what it missed of `t0`.
//!
//! `GET /own?messages=N&pause=MS` streams to this client alone (`own.rs`).
//!
//! A peer whose name begins with `limit` is no server but a bare loop that writes: it takes
//! publishes as records over an upgraded connection (`publisher.rs`). A server that takes them, too, at
//! another port, prints `listening 127.0.0.1:PORT records 127.0.0.1:PORT`.
//!
//! With `--tls-cert FILE --tls-key FILE` it speaks TLS at one more port, and prints
//! `tls 127.0.0.1:PORT` behind that. Clients connect there, and publishes are as they always are.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{hub, own, processes};

/// Within this time a server listens, and ends when its input does.
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Websse,
    /// The same, with publishes that come as those of the bare loop do.
    Records,
    /// The same without TLS, where all others have it.
    Unprotected,
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
    only: Option<String>,
    /// It takes no part in these.
    without: Vec<String>,
    command: Vec<String>,
    speaks_tls: bool,
}

impl Entrant {
    fn new(name: &str, kind: Kind, command: &[&str]) -> Self {
        let command = command.iter().map(ToString::to_string).collect();
        Self {
            name: name.to_owned(),
            kind,
            only: None,
            without: Vec::new(),
            command,
            speaks_tls: false,
        }
    }

    /// Whether it takes part in a scenario, as far as the command line says.
    pub(crate) fn is_for(&self, scenario: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == scenario)
            && self.without.iter().all(|without| without != scenario)
    }

    /// Whether it is another build of `websse`, perhaps from before there were channels.
    pub(crate) fn is_another_build(&self) -> bool {
        self.kind == Kind::Other && self.command.iter().any(|word| word == hub::ARGUMENT)
    }

    /// The same, started again with what it had, if it has that.
    pub(crate) fn again(&self) -> Option<Self> {
        let mut again = self.clone();
        again.command.push(hub::AGAIN.to_owned());
        self.command.iter().any(|word| word == hub::RESTARTS).then_some(again)
    }

    /// Those that take part always: this very program as a `websse` server, and as a node over
    /// Redis for each of its policies.
    pub(crate) fn always() -> Result<Vec<Self>> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the program's path is not UTF-8")?;
        let entrants = [
            Self::new("websse", Kind::Websse, &[program, hub::ARGUMENT]),
            Self::new("websse, no TLS", Kind::Unprotected, &[program, hub::ARGUMENT]),
            Self::new("websse, records", Kind::Records, &[program, hub::ARGUMENT, hub::RECORDS]),
        ];
        let entrants = entrants.into_iter();
        #[cfg(feature = "redis")]
        let entrants = entrants.chain(super::store::POLICIES.iter().map(|policy| {
            let command = [program, hub::ARGUMENT, hub::REDIS, policy];
            Self::new(&format!("redis, {policy}"), Kind::Node, &command)
        }));
        Ok(entrants.collect())
    }

    /// Of `NAME=COMMAND`, `NAME@SCENARIO=COMMAND` or `NAME@-SCENARIO=COMMAND`, the
    /// latter with several by `@-ONE,-OTHER`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, command) = text.split_once('=').unwrap_or_default();
        let (name, scenario) = name.split_once('@').unwrap_or((name, ""));
        let command: Vec<&str> = command.split_whitespace().collect();
        ensure!(!name.is_empty() && !command.is_empty(), "expected NAME=COMMAND");
        let kind = if name.starts_with("limit") { Kind::Limit } else { Kind::Other };
        let mut entrant = Self::new(name, kind, &command);
        if let Some(without) = scenario.strip_prefix('-') {
            entrant.without = without.split(",-").map(str::to_owned).collect();
        } else if !scenario.is_empty() {
            entrant.only = Some(scenario.to_owned());
        }
        Ok(entrant)
    }

    /// The limit of what can be done with a thread for each connection.
    pub(crate) fn bare_loop() -> Result<Self> {
        let program = std::env::current_exe()?;
        let program = program.to_str().context("the program's path is not UTF-8")?;
        Ok(Self::new("limit", Kind::Limit, &[program, own::BARE]))
    }

    /// The same server, whose clients speak TLS, with a certificate and its key.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(mut self, certificate: &super::certificate::Certificate) -> Self {
        let [chain, key] =
            [certificate.chain(), certificate.key()].map(|file| file.display().to_string());
        self.command.extend([hub::CHAIN.to_owned(), chain, hub::KEY.to_owned(), key]);
        self.speaks_tls = true;
        self
    }

    pub(crate) fn echo() -> Self {
        Self::new("(httparse echo)", Kind::Echo, &[])
    }
}

/// Ended, by its process id and with its descendants, when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    pub(crate) speaks_tls: bool,
    /// Where publishes go over HTTP.
    pub(crate) http: SocketAddr,
    /// Where publishes go as records; `None` if they go over HTTP.
    pub(crate) records: Option<SocketAddr>,
}

impl Peer {
    pub(crate) fn start(entrant: &Entrant, types: usize) -> Result<Self> {
        let (program, arguments) = entrant.command.split_first().context("no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .args(["--types", &types.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start")?;
        let output = child.stdout.take();
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on it is ended in any case.
        let speaks_tls = entrant.speaks_tls;
        let mut peer = Self { child, address: unknown, speaks_tls, http: unknown, records: None };
        let line = first_line(output.context("no output")?).context("cannot start")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let (pairs, []) = words.as_chunks::<2>() else {
            bail!("cannot start: expected `listening ADDRESS`, got {line:?}");
        };
        let address = |of: &str| {
            let pair = pairs.iter().find(|[name, _]| *name == of);
            pair.map(|[_, address]| address.parse()).transpose().context("cannot start: no address")
        };
        peer.http = address("listening")?
            .with_context(|| format!("cannot start: expected `listening ADDRESS`, got {line:?}"))?;
        peer.records = address("records")?;
        peer.address = if speaks_tls {
            address("tls")?.context("cannot start: it does not speak TLS")?
        } else {
            peer.http
        };
        if entrant.kind == Kind::Limit {
            peer.records = Some(peer.http);
        }
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
        self.end();
    }
}

impl Peer {
    /// Ends it, if it has not ended.
    pub(crate) fn end(&mut self) {
        let family = self.family();
        drop(self.child.stdin.take());
        let deadline = Instant::now() + END;
        let runs = || family.iter().any(|pid| processes::is_running(*pid));
        while runs() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if runs() {
            eprintln!("fanout: processes {family:?} do not end with their input; they are ended");
            processes::kill(&family);
        }
        // Both fail only if it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line; the rest is read and dropped, so that the child never waits.
fn first_line(output: impl Read + Send + 'static) -> Result<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = String::new();
        // Nobody waits any more if it came too late.
        let _ = sender.send(output.read_line(&mut line).map(|_| line));
        // It ends with the child.
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    let line = lines.recv_timeout(START);
    Ok(line.with_context(|| format!("it does not listen within {START:?}"))??)
}
