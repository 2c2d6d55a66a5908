//! Thousands of listeners that come and go while several threads publish at full speed, and
//! listeners so slow that the server lets go of them: nobody misses anything.
//!
//! `WEBSSE_STRESS_SEED` repeats the random choices of a run, whose seed is printed with the figures.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

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

fn seed() -> u64 {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = env::var("WEBSSE_STRESS_SEED").ok().map(|text| text.parse().unwrap());
    let seed = seed.unwrap_or(u64::from(clock.subsec_nanos()));
    eprintln!("stress: WEBSSE_STRESS_SEED={seed}");
    seed
}
