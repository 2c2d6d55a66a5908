//! Sentinels of the test's own, which look after servers of it.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use redis::{Client, Value, cmd};
use support::{SOON, eventually};

use crate::store::{Store, free_port, program};

/// Their name for the primary.
pub(crate) const MASTER: &str = "mymaster";

pub(crate) struct Sentinels {
    each: Vec<Sentinel>,
    password: Option<&'static str>,
}

struct Sentinel {
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl Sentinels {
    /// So many, of which more than half must agree.
    pub(crate) fn new(count: usize, primary: &Store) -> Self {
        Self::with_password(count, primary, None)
    }

    /// The password is theirs and that of the server.
    pub(crate) fn with_password(
        count: usize,
        primary: &Store,
        password: Option<&'static str>,
    ) -> Self {
        let mut sentinels = Self { each: Vec::new(), password };
        while sentinels.each.len() < count {
            let (port, quorum) = (primary.port, count / 2 + 1);
            let mut lines = vec![
                format!("sentinel monitor {MASTER} 127.0.0.1 {port} {quorum}"),
                format!("sentinel down-after-milliseconds {MASTER} 1000"),
                format!("sentinel failover-timeout {MASTER} 2000"),
            ];
            if let Some(password) = password {
                lines.push(format!("sentinel auth-pass {MASTER} {password}"));
                lines.push(format!("requirepass {password}"));
            }
            sentinels.each.extend(Sentinel::start(&lines.join("\n")));
        }
        for number in 0..count {
            eventually(4 * SOON, true, || sentinels.ask(number, &["PING"]).is_ok());
        }
        eventually(8 * SOON, true, || {
            (0..count).all(|number| {
                let known = sentinels.state(number, "num-other-sentinels");
                known == Some((count - 1).to_string())
            })
        });
        sentinels
    }

    /// Waits until each knows of so many replicas.
    pub(crate) fn know_replicas(&self, replicas: usize) {
        eventually(16 * SOON, true, || {
            let knows = |number| self.state(number, "num-slaves") == Some(replicas.to_string());
            (0..self.each.len()).all(knows)
        });
    }

    /// A primary that comes back is made a replica after four of these periods, of 2 s otherwise.
    pub(crate) fn hurry(&self, period: Duration) {
        let millis = period.as_millis().to_string();
        for number in 0..self.each.len() {
            self.ask(number, &["SENTINEL", "DEBUG", "publish-period", &millis]).unwrap();
            self.ask(number, &["SENTINEL", "DEBUG", "info-period", &millis]).unwrap();
        }
    }

    pub(crate) fn url(&self) -> String {
        let each: Vec<String> =
            self.each.iter().map(|one| format!("127.0.0.1:{}", one.port)).collect();
        let each = each.join(",");
        match self.password {
            Some(password) => {
                let query = format!("sentinel_password={password}");
                format!("redis-sentinel://:{password}@{each}/{MASTER}?{query}")
            }
            None => format!("redis-sentinel://{each}/{MASTER}"),
        }
    }

    pub(crate) fn port(&self, number: usize) -> u16 {
        self.each[number].port
    }

    /// Ends one of them.
    pub(crate) fn kill(&mut self, number: usize) {
        self.each[number].child.kill().unwrap();
        self.each[number].child.wait().unwrap();
    }

    /// What one of them knows of the primary.
    fn state(&self, number: usize, name: &str) -> Option<String> {
        let state = self.ask(number, &["SENTINEL", "MASTER", MASTER]).unwrap();
        let state: Vec<String> = redis::from_redis_value(state).unwrap();
        state.chunks(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone())
    }

    fn ask(&self, number: usize, words: &[&str]) -> redis::RedisResult<Value> {
        let password = self.password.map_or(String::new(), |password| format!(":{password}@"));
        let url = format!("redis://{password}127.0.0.1:{}", self.each[number].port);
        let mut link = Client::open(url)?.get_connection_with_timeout(SOON)?;
        cmd(words[0]).arg(&words[1..]).query(&mut link)
    }
}

impl Sentinel {
    /// `None` if somebody else has taken its port.
    fn start(lines: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("websse-sentinel-{}-{number}", std::process::id());
        let (dir, port) = (env::temp_dir().join(name), free_port());
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("sentinel.conf");
        let place = dir.display();
        fs::write(&file, format!("port {port}\nbind 127.0.0.1\ndir {place}\n{lines}\n")).unwrap();
        let child = Command::new(program())
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut sentinel = Self { dir, port, child };
        let mut has_ended = false;
        eventually(4 * SOON, true, || {
            has_ended = sentinel.child.try_wait().unwrap().is_some();
            has_ended || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        (!has_ended).then_some(sentinel)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
