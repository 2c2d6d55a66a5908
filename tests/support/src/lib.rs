//! What the tests have in common. They are about real sockets and processes, wait on conditions
//! instead of sleeping, and fail with what was expected and what came.
//!
//! | file | owns |
//! |---|---|
//! | `hub.rs` | [`Hub`], a server with its handlers on a free port |
//! | `client.rs` | [`Client`], strict and blocking: sends what it is told, sees every byte, has deadlines |
//! | `answer.rs` | [`Answer`], a response |
//! | `chunks.rs` | [`Chunks`](chunks::Chunks), a body in chunks |
//! | `sse.rs` | the parser of event streams, stricter than a browser's |
//! | `resume.rs` | clients that come back, and what they are told |
//! | `table.rs` | requests that have to be refused, or accepted, one a row |
//! | `process.rs` | programs that run beside a test, and tests in a process of their own |
//! | `measure.rs` | threads, descriptors, memory and processor time of a process |
//! | `panics.rs` | notices when a thread of the library panics |
//! | `random.rs` | choices that look random, and are the same for the same seed |
//! | `authority.rs` | certificates, and clients that trust those who issue them |
//! | `tls.rs` | TLS between hubs and clients, where it is wanted; `no_tls.rs`: never |
//! | `crowd/` | thousands of clients on one thread of a process of their own |

#![allow(clippy::unwrap_used)]

use std::{
    env,
    fmt::Debug,
    fs,
    io::{self, ErrorKind},
    path::PathBuf,
    process::id,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

mod answer;
#[cfg(feature = "tls")]
pub mod authority;
pub mod chunks;
mod client;
pub mod crowd;
mod hub;
pub mod measure;
pub mod panics;
pub mod process;
pub mod random;
pub mod resume;
pub mod sse;
pub mod table;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;

pub use answer::Answer;
pub use client::{Client, Got};
pub use hub::{Hub, are_behind_for_a_while, next_event, running};
pub use panics::{assert_no_panics, watch_for_panics};

/// How long anything that must happen at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits until `got()` equals `expected`; fails with the last value otherwise.
#[allow(clippy::needless_pass_by_value)] // callers read better
#[track_caller]
pub fn eventually<T: PartialEq + Debug>(
    deadline: Duration,
    expected: T,
    mut got: impl FnMut() -> T,
) {
    let end = Instant::now() + deadline;
    loop {
        let last = got();
        if last == expected {
            return;
        }
        assert!(Instant::now() < end, "expected {expected:?} within {deadline:?}, got {last:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Bytes as a failing test shows them.
pub fn shown(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(600)].escape_ascii().to_string();
    if bytes.len() > 600 { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}

/// Whether a read with a time-out has only come to its end.
pub fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Tells threads that go on beside a test to end, also when the test fails.
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A directory that goes with its test.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("websse-{}-{name}", id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
