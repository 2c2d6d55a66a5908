//! A peer whose network vanishes, in a network namespace of the test's own: no packet of it, not
//! even the end of its connection, ever arrives.
//!
//! Needs Linux, root, and the commands `unshare` and `ip`; takes a minute.

#![cfg(all(target_os = "linux", feature = "socket2"))]
use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

use websse::Message;

use support::{
    Hub, eventually,
    process::{alone, assert_passes, is_alone},
};

/// The test, as the program knows it.
const NAME: &str = "dead_peers::a_peer_that_vanished_is_noticed_whether_events_flow_or_not";

#[test]
#[ignore = "needs root, `unshare` and `ip`, and a minute"]
fn a_peer_that_vanished_is_noticed_whether_events_flow_or_not() {
    if is_alone() {
        return lose_three_peers();
    }
    let mut inside = Command::new("unshare");
    inside.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" --ignored \"$@\""]);
    assert_passes(alone(inside.arg(env::current_exe().unwrap()), NAME));
}

fn lose_three_peers() {
    let silent = Duration::from_secs(3600);
    let busy = Hub::with(&["a"], |builder| builder.heartbeat(silent), |http| http);
    let idle = Hub::with(&["a"], |builder| builder.heartbeat(silent), |http| http);
    let usual = Hub::new(&["a"]);
    let hubs = [&busy, &idle, &usual];
    let clients = hubs.map(|hub| hub.listen("?event=a"));
    let down = Command::new("ip").args(["link", "set", "lo", "down"]).status().unwrap();
    assert!(down.success());
    let start = Instant::now();
    drop(clients);

    let mut noticed = [None; 3];
    let mut published = Duration::ZERO;
    eventually(Duration::from_secs(60), [0; 3], || {
        let now = start.elapsed();
        if now >= published {
            busy.publish(Message::new("anybody there?").event("a"));
            published += Duration::from_millis(100);
        }
        let left = hubs.map(|hub| hub.server.stats().streams);
        for (noticed, left) in noticed.iter_mut().zip(left) {
            *noticed = noticed.or((left == 0).then_some(now));
        }
        left
    });
    let [busy, idle, usual] = noticed.map(Option::unwrap);
    eprintln!(
        "figure: noticed after {busy:.1?} with events, {idle:.1?} with nothing, {usual:.1?} with \
         heartbeats"
    );
    // Earlier, it was not the silence that ended the stream.
    for (after, most) in [(busy, 45), (idle, 45), (usual, 50)] {
        assert!((Duration::from_secs(14)..Duration::from_secs(most)).contains(&after), "{after:?}");
    }
}
