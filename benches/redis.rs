//! What a shared log costs: `cargo bench --features redis --bench redis`. Starts a redis-server of its
//! own for each setting; all on one machine, so that its processes share the processors.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use redis::{Client, InfoDict, cmd};
use websse::{Message, Server, Subscription, redis::RedisConfig};

/// Events of each kind for a latency, at 20 per second.
const SINGLE: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);
/// How long a burst lasts, by how many publishers, with how many messages at a time.
const BURST: Duration = Duration::from_secs(3);
const PUBLISHERS: usize = 8;
const AT_A_TIME: usize = 100;

struct Redis {
    dir: PathBuf,
    url: String,
    child: Child,
}

impl Redis {
    fn start(options: &[&str]) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let dir = env::temp_dir().join(format!("websse-bench-{port}"));
        fs::create_dir_all(&dir).unwrap();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"])
            .arg(&dir)
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { dir, url: format!("redis://127.0.0.1:{port}"), child };
        let end = Instant::now() + Duration::from_secs(5);
        while redis.link().is_err() {
            assert!(Instant::now() < end, "redis-server does not start");
            thread::sleep(Duration::from_millis(10));
        }
        redis
    }

    fn link(&self) -> redis::RedisResult<redis::Connection> {
        Client::open(&*self.url)?.get_connection()
    }

    /// Seconds that it has worked.
    fn worked(&self) -> f64 {
        let info: InfoDict = cmd("INFO").arg("cpu").query(&mut self.link().unwrap()).unwrap();
        ["used_cpu_user", "used_cpu_sys"].map(|name| info.get::<f64>(name).unwrap()).iter().sum()
    }

    fn config(&self) -> RedisConfig {
        RedisConfig::new(&self.url).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn node(redis: Option<&Redis>) -> Server {
    let builder = Server::builder();
    let server = match redis {
        Some(redis) => builder.redis(redis.config()),
        None => builder,
    }
    .build();
    server.register_event("").unwrap();
    server.run().unwrap();
    server
}

fn main() {
    // `cargo test` runs benchmarks too, and wants none of it.
    if !env::args().any(|argument| argument == "--bench") {
        return;
    }
    let settings: [(&str, &[&str]); 3] = [
        ("no", &["--appendonly", "no"]),
        ("everysec", &["--appendonly", "yes", "--appendfsync", "everysec"]),
        ("always", &["--appendonly", "yes", "--appendfsync", "always"]),
    ];
    println!("128 bytes of data; appendfsync: latency at 20 events/s, then a burst");
    for (name, options) in settings {
        let redis = Redis::start(options);
        latency(name, &redis);
        burst(&redis);
    }
}

/// From the call until a listener of the same program has it, beside a node by itself.
fn latency(name: &str, redis: &Redis) {
    let servers = [node(None), node(Some(redis))];
    let mut listeners = servers.each_ref().map(|server| server.subscribe([""]).unwrap());
    let mut times = [Vec::new(), Vec::new()];
    let text = "x".repeat(128);
    for _ in 0..SINGLE {
        for ((server, listener), times) in servers.iter().zip(&mut listeners).zip(&mut times) {
            let start = Instant::now();
            server.publish(Message::new(&*text)).unwrap();
            next(listener);
            times.push(start.elapsed());
            thread::sleep(PAUSE);
        }
    }
    let [alone, shared] = times.map(|mut times| {
        times.sort_unstable();
        [times.len() / 2, times.len() * 99 / 100].map(|at| times[at].as_secs_f64() * 1000.0)
    });
    println!(
        "{name:>9}: alone p50 {:.3} ms, p99 {:.3}; shared p50 {:.3}, p99 {:.3}; added p50 {:.3}",
        alone[0],
        alone[1],
        shared[0],
        shared[1],
        shared[0] - alone[0],
    );
}

fn next(listener: &mut Subscription) {
    listener.find(websse::Frame::is_event).unwrap();
}

/// How many events per second many publishers get acknowledged, and what Redis does for each.
fn burst(redis: &Redis) {
    let server = node(Some(redis));
    let mut listener = server.subscribe([""]).unwrap();
    let worked = redis.worked();
    let start = Instant::now();
    let accepted: usize = thread::scope(|scope| {
        let publish = || {
            let messages = vec![Message::new("x".repeat(128)); AT_A_TIME];
            let mut accepted = 0;
            while start.elapsed() < BURST {
                server.publish_all(&messages).unwrap();
                accepted += AT_A_TIME;
            }
            accepted
        };
        let publishers: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
        scope.spawn(|| {
            while start.elapsed() < BURST {
                let _ = listener.recv_timeout(Duration::from_millis(100));
            }
        });
        publishers.into_iter().map(|publisher| publisher.join().unwrap()).sum()
    });
    let seconds = start.elapsed().as_secs_f64();
    let worked = redis.worked() - worked;
    let mut link = redis.link().unwrap();
    let length: u32 = cmd("XLEN").arg("websse").query(&mut link).unwrap();
    let memory = cmd("MEMORY").arg("USAGE").arg("websse").arg("SAMPLES").arg(0).query(&mut link);
    let memory: u32 = memory.unwrap();
    let accepted = u32::try_from(accepted).unwrap();
    println!(
        "{:>9}  burst {:.0} events/s accepted; Redis: {:.1} us of CPU and {:.0} bytes of memory each",
        "",
        f64::from(accepted) / seconds,
        worked / f64::from(accepted) * 1e6,
        f64::from(memory) / f64::from(length),
    );
}
