//! Ten minutes of all that a server meets at once, with a full shutdown and a new start every so
//! often: who comes back misses nothing, and the server's process ends each round with the threads,
//! descriptors and memory of the first.
//!
//! It is ignored, since it runs for so long; `cargo test --test stress soak -- --ignored --nocapture` runs
//! it. `WEBSSE_SOAK_SECONDS` says for how long (600).
//!
//! The server is in a process of its own, this same program, so that its figures are its own.

#![cfg(target_os = "linux")]

mod child;
mod junk;
mod listener;
mod round;
mod server;

use std::env;
use std::time::{Duration, Instant};

use child::{Child, Level};
use listener::Listener;
use round::Figures;

use crate::{alone, number, seed};

/// How long there is load between two starts of the server; less in a short soak.
const ROUND: Duration = Duration::from_secs(20);
/// By how much more memory than after the first round counts as the same: one block that is in use
/// keeps the allocator from giving back all that was freed below it. In ten minutes it is less than
/// 512 bytes for each connection.
const SLACK: usize = 24 << 20;

/// The test, as the program knows it.
const NAME: &str =
    "soak::a_server_under_all_kinds_of_load_is_after_each_restart_what_it_was_after_the_first";

#[test]
#[ignore = "runs for WEBSSE_SOAK_SECONDS, default 600"]
fn a_server_under_all_kinds_of_load_is_after_each_restart_what_it_was_after_the_first() {
    if let Some(control) = env::var_os(child::CONTROL) {
        return server::run(control.to_str().unwrap());
    }
    let _alone = alone();
    let time = Duration::from_secs(number("WEBSSE_SOAK_SECONDS").unwrap_or(600));
    let seed = seed();

    let begin = Instant::now();
    let mut child = Child::start();
    let mut listeners = Listener::crowd(seed);
    let figures = Figures::default();
    let mut first = None;
    while begin.elapsed() < time {
        let length = ROUND.min(time / 4);
        let levels = round::run(&mut child, seed, length, begin, &mut listeners, &figures);
        let first = *first.get_or_insert(levels);
        assert_memory("with nobody connected", levels.running, first.running);
        assert_memory("after a shutdown", levels.ended, first.ended);
    }
    eprintln!(
        "figure: soak of {:.1?}: {figures}; first {first:?}, now {}",
        begin.elapsed(),
        child.level()
    );
    figures.assert_load();
    child.end();
}

#[track_caller]
fn assert_memory(when: &str, now: Level, first: Level) {
    assert!(
        now.resident <= first.resident + SLACK,
        "memory {when}: expected that of the first round and at most {SLACK} bytes more, {first}; \
         got {now}"
    );
}
