//! Kills at any moment.

use std::{thread, time::Duration};

use support::Scratch;

use crate::trial::{Trial, number, under_load};

/// With the seed in `WEBSSE_SEED`, and as many kills as `WEBSSE_KILLS` says.
fn is_killed(name: &str, flags: &'static [&'static str]) {
    let scratch = Scratch::new(name);
    let trial = Trial::new(scratch.0.join("history"), flags);
    let heard = under_load(&trial, |mut running, random| {
        for _ in 0..number("WEBSSE_KILLS", 8) {
            // Any moment will do: nothing is waited for.
            thread::sleep(Duration::from_millis(50 + random.below(400) as u64));
            running.child.kill().unwrap();
            running.child.wait().unwrap();
            running = trial.start();
        }
        running
    });
    trial.check(&heard);
}

#[test]
fn what_is_acknowledged_survives_kills() {
    is_killed("durable-killed", &[]);
}

#[test]
fn what_is_acknowledged_survives_kills_though_it_is_not_on_the_disk() {
    is_killed("durable-killed-lazily", &["--history-commit", "1s"]);
}
