//! The command line, and the log on standard error.

use std::{
    ffi::OsString,
    io::Write,
    net::{SocketAddr, ToSocketAddrs},
};

use lexopt::prelude::*;

pub(crate) const USAGE: &str = "\
Server-Sent Events for browsers and curl

usage: websse [--listen ADDRESS]... [--event NAME]...

  --listen ADDRESS  where to listen, an address or a host name and a port;
                    port 0 is any free one          [127.0.0.1:8080]
  --event NAME      an event type to register; the general type is always there
  --help            this text
  --version         the version

";

/// What there is over HTTP; also the answer at `/`.
pub(crate) const ENDPOINTS: &str = "\
GET  /event    streams events; ?event=NAME chooses a type, again another, * all
               ?replay=N begins with the last N; Last-Event-ID resumes
POST /send     publishes: event, data, id, retry in the query or a form body
GET  /healthz  says ok
";

pub(crate) const EXAMPLE: &str = "
example:
  websse --event news &
  curl -N 'http://127.0.0.1:8080/event?event=news' &
  curl -X POST 'http://127.0.0.1:8080/send?event=news&data=hello'
";

pub(crate) enum Command {
    Help,
    Version,
    Serve(Options),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) events: Vec<String>,
}

pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options { listen: Vec::new(), events: Vec::new() };
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            Short('V') | Long("version") => return Ok(Command::Version),
            Long("listen") => options.listen.extend(resolve(&value(&mut parser)?)?),
            Long("event") => options.events.push(value(&mut parser)?),
            unknown => return Err(unknown.unexpected().to_string()),
        }
    }
    if options.listen.is_empty() {
        options.listen.push(SocketAddr::from(([127, 0, 0, 1], 8080)));
    }
    Ok(Command::Serve(options))
}

fn value(parser: &mut lexopt::Parser) -> Result<String, String> {
    let value = parser.value().map_err(|error| error.to_string())?;
    value.string().map_err(|error| error.to_string())
}

/// The first address of a name: `localhost` may have two, and a port 0 would be another for each.
fn resolve(text: &str) -> Result<Option<SocketAddr>, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("--listen {text}: {error}; an example: 127.0.0.1:8080")
    };
    let mut addresses = text.to_socket_addrs().map_err(|error| wrong(&error))?;
    addresses.next().map(Some).ok_or_else(|| wrong(&"no such address"))
}

/// Writes log lines to standard error.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line =
            format!("websse: {}: {}\n", record.level().as_str().to_lowercase(), record.args());
        // Where standard error is gone there is nobody to tell.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

pub(crate) fn log_to_stderr() {
    log::set_max_level(log::LevelFilter::Info);
    // Fails only where a logger is set already, which nobody else does here.
    let _ = log::set_logger(&Stderr);
}
