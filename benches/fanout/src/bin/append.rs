//! How much one node can append to a shared log, and what that costs Redis:
//! `cargo run --release --manifest-path benches/fanout/Cargo.toml --features redis --bin append`. Starts
//! a redis-server of its own for each setting; all on one machine, so that its processes share the
//! processors.

#[path = "../store.rs"]
mod store;

use std::{
    thread,
    time::{Duration, Instant},
};

use redis::{InfoDict, cmd};
use store::{POLICIES, Store};
use websse::{Message, Server, redis::RedisConfig};

/// How long it lasts, by how many publishers, with how many messages at a time.
const BURST: Duration = Duration::from_secs(3);
const PUBLISHERS: usize = 8;
const SETTINGS: [usize; 2] = [1, 100];

fn main() {
    println!("128 bytes of data, {PUBLISHERS} threads that publish");
    for policy in POLICIES {
        for at_a_time in SETTINGS {
            burst(policy, at_a_time);
        }
    }
}

/// Seconds that Redis has worked.
fn worked(store: &Store) -> f64 {
    let info: InfoDict = cmd("INFO").arg("cpu").query(&mut store.connect().unwrap()).unwrap();
    ["used_cpu_user", "used_cpu_sys"].map(|name| info.get::<f64>(name).unwrap()).iter().sum()
}

/// How many events per second many publishers get acknowledged, and what Redis does for each.
fn burst(policy: &str, at_a_time: usize) {
    let store = Store::start(policy).unwrap();
    let server = Server::builder().redis(RedisConfig::new(&store.url).unwrap()).build();
    server.register_event("").unwrap();
    server.run().unwrap();
    let mut listener = server.subscribe([""]).unwrap();
    let before = worked(&store);
    let start = Instant::now();
    let accepted: usize = thread::scope(|scope| {
        let publish = || {
            let messages = vec![Message::new("x".repeat(128)); at_a_time];
            let mut accepted = 0;
            while start.elapsed() < BURST {
                server.publish_all(&messages).unwrap();
                accepted += at_a_time;
            }
            accepted
        };
        let publishers: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
        scope.spawn(|| {
            while start.elapsed() < BURST {
                // Whether there is one or not: the node is to deliver what it can.
                let _ = listener.recv_timeout(Duration::from_millis(100));
            }
        });
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).sum()
    });
    let seconds = start.elapsed().as_secs_f64();
    let worked = worked(&store) - before;
    let mut link = store.connect().unwrap();
    let length: u32 = cmd("XLEN").arg("websse").query(&mut link).unwrap();
    let memory = cmd("MEMORY").arg("USAGE").arg("websse").arg("SAMPLES").arg(0).query(&mut link);
    let memory: u32 = memory.unwrap();
    let accepted = f64::from(u32::try_from(accepted).unwrap());
    println!(
        "appendfsync {policy:>8}, {at_a_time:>3} at a time: {:>7.0} events/s accepted; \
         Redis: {:>4.1} us of CPU and {:.0} bytes of memory each",
        accepted / seconds,
        worked / accepted * 1e6,
        f64::from(memory) / f64::from(length),
    );
}
