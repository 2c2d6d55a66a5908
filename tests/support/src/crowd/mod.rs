//! A crowd of thousands of clients in a process of its own, and the hub they listen to.
//!
//! The crowd shares no code with the library: it has its own parser, strict where a browser is
//! lenient, and checks for every client that each event came once and in order. It is a child
//! process, so that its sockets, memory and processor time are not those of the hub.
//!
//! | file | owns |
//! |---|---|
//! | `payload.rs` | the data of an event: who published it, which one it is, how long |
//! | `parser.rs` | bytes to response head, comments and events |
//! | `ear.rs` | what a client makes of what it reads: the parser, or another target's own ear |
//! | `client.rs` | one client: its socket, its state, what it saw |
//! | `tls.rs` | the TLS of one client, with the feature `tls` |
//! | `protocol.rs` | what the leader asks for, a line each |
//! | `report.rs` | the answer: what the clients saw, a line as well |
//! | `event_loop.rs` | the crowd's process: one thread, one poll, one read buffer |
//! | `line_child.rs` | a child process that answers each line with a line |
//! | `handle.rs` | [`Crowd`], the leader's side |
//! | `hub.rs` | [`Hub`] in this process, [`HubProcess`] in one of its own |

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod client;
mod ear;
mod event_loop;
mod handle;
mod hub;
mod line_child;
pub mod parser;
pub mod payload;
mod protocol;
mod report;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;

pub use self::{
    client::Tally,
    ear::Ear,
    event_loop::run as run_crowd,
    handle::Crowd,
    hub::{EVENT, Hub, HubProcess, TARGET},
    protocol::{Security, Tls},
    report::Report,
};

use std::{process::ExitCode, time::Duration};

pub use crate::measure;
use crate::watch_for_panics;

/// A child process ends after this time, whatever happens.
const LIFETIME: Duration = Duration::from_secs(600);

/// Begins the arguments of a child process that is a crowd, or a hub.
const CROWD: &str = "--as-crowd";
const HUB: &str = "--as-hub";

/// What a target's `main` does first: if this process was started as a crowd or a hub, it is one,
/// and ends with the code returned. In any case the soft limit of descriptors is raised, and
/// panics are watched.
pub fn run_as_child() -> Option<ExitCode> {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        eprintln!("cannot raise the limit of descriptors: {error}");
    }
    watch_for_panics();
    match std::env::args().nth(1)?.as_str() {
        CROWD => Some(event_loop::run::<parser::Parser>()),
        HUB => Some(hub::run()),
        _ => None,
    }
}

/// Descriptors that this process may have open.
pub fn descriptor_limit() -> u64 {
    // Elsewhere than on Unix, they cannot be asked for, only raised.
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0)
}
