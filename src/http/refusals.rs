//! Refused requests: their number by status, and a line for the log.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use parking_lot::Mutex;

use super::request::Request;
use crate::{
    logs::{self, Level},
    quoted::Quoted,
};

/// Counts the answers of an [`HttpServer`](super::HttpServer) with a status of 400 or more, for all
/// its listeners together. Clones share the counts.
///
/// ```
/// let http = websse::http::HttpServer::new();
/// let refusals = http.refusals();
/// assert_eq!(refusals.counts().get(&404), None, "nobody asked for what is not there");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<Vec<(u16, u64)>>>);

impl Refusals {
    /// Answers since the start, by status; a status that has not occurred is missing.
    pub fn counts(&self) -> BTreeMap<u16, u64> {
        self.0.lock().iter().copied().collect()
    }

    pub(super) fn count(&self, status: u16) {
        if status >= 400 {
            let mut counts = self.0.lock();
            match counts.iter_mut().find(|(known, _)| *known == status) {
                Some((_, count)) => *count += 1,
                None => counts.push((status, 1)),
            }
        }
    }
}

/// A request as the log names it: without its query, which may contain a token. It is made only if
/// the log is enabled.
pub(super) struct Asked(Option<String>);

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        let wanted = logs::enabled(Level::Error).then_some(request);
        Self(wanted.map(|request| {
            let (method, path) = (request.method(), Quoted(request.path()));
            format!("{method:.16} {path}{}", From(request.peer()))
        }))
    }

    /// A request that could not be read.
    pub(super) fn unread(peer: Option<SocketAddr>) -> Self {
        Self(logs::enabled(Level::Error).then(|| format!("a malformed request{}", From(peer))))
    }

    pub(super) fn is_wanted(&self, status: u16) -> bool {
        self.0.is_some() && logs::enabled(level_of(status))
    }

    /// Logs how the request was refused. The logger is code of the embedding program.
    pub(super) fn log(&self, status: u16, reason: Option<&str>) {
        let Some(asked) = &self.0 else { return };
        let level = level_of(status);
        match reason {
            Some(reason) => {
                logs::write(level, format_args!("{asked}: {status}, {}", Quoted(reason)));
            }
            None => logs::write(level, format_args!("{asked}: {status}")),
        }
    }

    /// Logs why an answer ended before it was complete.
    pub(super) fn log_break(&self, level: Level, reason: &dyn fmt::Display) {
        let Some(asked) = self.0.as_ref().filter(|_| logs::enabled(level)) else { return };
        let reason = reason.to_string();
        logs::write(level, format_args!("{asked}: the answer broke off, {}", Quoted(&reason)));
    }
}

/// Logs why a client has no TLS session. Strangers look at each port, so it is for debugging.
pub(super) fn log_handshake(peer: Option<SocketAddr>, error: &dyn fmt::Display) {
    if logs::enabled(Level::Debug) {
        let error = error.to_string();
        logs::write(
            Level::Debug,
            format_args!("a handshake{} failed: {}", From(peer), Quoted(&error)),
        );
    }
}

fn level_of(status: u16) -> Level {
    match status {
        500 => Level::Error,
        // The version is the client's fault: any stranger could fill the log with warnings.
        505 => Level::Info,
        501.. => Level::Warn,
        _ => Level::Info,
    }
}

/// The peer of a request, if it has an address.
struct From(Option<SocketAddr>);

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |peer| write!(f, " from {peer}"))
    }
}
