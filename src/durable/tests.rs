//! Tests of the log with a broadcaster that takes nothing.

use std::{env, fs, process, thread};

use super::*;
use crate::broadcast::{broadcaster::Broadcaster, options::Options, shared};

/// How long something may take.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_disk_has_in_time_what_the_broadcaster_does_not_take() {
    let path = env::temp_dir().join(format!("websse-waiting-{}", process::id()));
    let often = Commit::Every(Duration::from_secs(2));
    let config = DurableConfig::new(&path).commit(often);
    let options = Options { log: Some(Arc::new(config)), ..Options::default() };
    let shared = shared::Shared::new(options);
    shared.register_types(&[""]).expect("it is a name");
    // It has the other end of the steps, and does not run.
    let mut broadcaster = Broadcaster::new(&shared, false);
    shared.open_log(&mut broadcaster).expect("there is room");
    let log = shared.log().expect("it is open");
    let durable = || {
        let mut stats = Stats::default();
        log.add_to(&mut stats);
        stats.durable.expect("there is one")
    };
    thread::scope(|scope| {
        let publisher = scope.spawn(|| (0..4000).all(|_| log.append(&[Message::new("x")]).is_ok()));
        let end = Instant::now() + SOON;
        // The first is of the header.
        while durable().flushes < 2 && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        let in_time = durable();
        // It waits until then.
        log.stop(Instant::now());
        assert!(in_time.flushes >= 2, "{in_time:?}");
        assert!(!publisher.join().expect("it ends"), "the broadcaster takes steps");
    });
    drop((shared, broadcaster));
    fs::remove_dir_all(path).expect("it is there");
}
