//! Crowds that come and go, are too slow, are cut off, or come back at once, while much is published:
//! nobody misses anything, and nothing is left behind. One test at a time.
//!
//! | module | what goes on |
//! |---|---|
//! | `channels` | channels come and go, and their listeners are cut off |
//! | `registrations` | thousands come and go while several threads publish at full speed |
//! | `slow` | listeners so slow that the server lets go of them |
//! | `returning` | a thousand come back at the same moment |
//! | `chaos` | connections are cut at any byte, for `WEBSSE_CHAOS_SECONDS` (10) |
//! | `soak` | all of it with restarts, for `WEBSSE_SOAK_SECONDS` (600): ignored, as it takes long |
//!
//! `WEBSSE_STRESS_SEED` repeats the random choices of a run, whose seed is printed.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod channels;
mod chaos;
mod check;
mod connection;
mod level;
mod limit;
mod plan;
mod registrations;
mod returning;
mod slow;
mod soak;
mod source;

use std::env;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// No test takes longer, on a busy machine too.
const LONGEST: Duration = Duration::from_secs(240);

/// Two at a time would slow each other down, and count each other's descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number in a variable.
fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = number("WEBSSE_STRESS_SEED").unwrap_or(u64::from(clock.subsec_nanos()));
    eprintln!("stress: WEBSSE_STRESS_SEED={seed}");
    seed
}
