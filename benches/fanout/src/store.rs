//! A redis-server with a directory of its own, for as long as it is measured.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use redis::{Client, Connection, RedisResult};

/// When what was appended is on the disk: `no` is never.
pub(crate) const POLICIES: [&str; 3] = ["no", "everysec", "always"];

/// It starts within this time.
const START: Duration = Duration::from_secs(5);

/// Ended by its process id when dropped.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
    pub(crate) url: String,
    child: Child,
}

impl Store {
    pub(crate) fn start(policy: &str) -> Result<Self> {
        // Free again at once.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let dir = env::temp_dir().join(format!("websse-bench-{port}"));
        fs::create_dir_all(&dir)?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"]);
        command.arg(&dir);
        if policy != POLICIES[0] {
            command.args(["--appendonly", "yes", "--appendfsync", policy]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().context("cannot start redis-server")?;
        let store = Self { dir, url: format!("redis://127.0.0.1:{port}"), child };
        let end = Instant::now() + START;
        while let Err(error) = store.connect() {
            if Instant::now() >= end {
                return Err(error).context("cannot start redis-server");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(store)
    }

    pub(crate) fn connect(&self) -> RedisResult<Connection> {
        Client::open(&*self.url)?.get_connection()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Where these fail it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
