//! What the threads of a listener do: lead, accept, serve.

use std::{
    fmt,
    io::ErrorKind,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    connection::{Buffers, serve},
    service::{Leader, Service},
};
use crate::{
    logs::{self, Level},
    panics::survive,
};

/// The pauses after consecutive errors of `accept`: the first one and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A wait that is shorter is no wait.
const AT_ONCE: Duration = Duration::from_millis(20);
/// An error of `accept` is logged at most once in this time.
const WARNED: Duration = Duration::from_secs(10);

/// What each thread of a service does.
pub(super) fn work(service: &Arc<Service>) {
    let mut buffers = Buffers::new(service.rules.limits.head_bytes);
    while service.leadership.wait() {
        if !accept_while_leading(service, &mut buffers) {
            service.leadership.end();
            return;
        }
    }
}

/// Accepts and serves until leadership is passed on; false if all threads must stop.
fn accept_while_leading(service: &Arc<Service>, buffers: &mut Buffers) -> bool {
    let leader = Leader::new(service);
    let mut pause = FIRST_PAUSE;
    while leader.leads() {
        if service.leadership.is_stopping() {
            return false;
        }
        let since = Instant::now();
        let accepted = service.acceptor.accept();
        // What comes to a shared socket is a client's, not a sign to stop.
        let is_sign = !service.acceptor.is_shared() || accepted.is_err();
        if is_sign && service.leadership.is_stopping() {
            return false;
        }
        let accepted = match accepted {
            Ok(accepted) => accepted,
            // Nothing came to a shared socket. If that took no time, another process has changed how
            // the socket waits.
            Err(error) if error.kind() == ErrorKind::WouldBlock && since.elapsed() > AT_ONCE => {
                continue;
            }
            Err(error) => {
                service.leadership.pause(Instant::now() + pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
                warn(service, &leader, format_args!("cannot accept connections: {error}"));
                continue;
            }
        };
        pause = FIRST_PAUSE;
        let spare = accepted.spare;
        if spare {
            service.connections.relieve();
        }
        // If a bug in this crate panics, it costs the connection, not the leadership.
        let _ = survive(|| serve(service, &leader, accepted, buffers));
        if spare {
            service.acceptor.restore_reserve();
            warn(service, &leader, format_args!("no descriptors left; connections are refused"));
        }
    }
    true
}

/// Logs trouble with accepting, which can occur again and again. A logger is code of the
/// embedding program, so leadership is passed on first.
fn warn(service: &Service, leader: &Leader<'_>, trouble: fmt::Arguments<'_>) {
    if !logs::enabled(Level::Warn) {
        return;
    }
    let now = Instant::now();
    let is_new = |last: Instant| now.saturating_duration_since(last) >= WARNED;
    let before = {
        let mut warned = service.warned.lock();
        if !warned.is_none_or(is_new) {
            return;
        }
        // Set before leadership is passed on, since the next leader may have the same trouble.
        warned.replace(now)
    };
    if leader.pass().is_ok() {
        logs::write(Level::Warn, trouble);
    } else {
        *service.warned.lock() = before;
    }
}
