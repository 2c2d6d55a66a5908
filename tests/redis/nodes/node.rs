//! A node: the command in a process of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use support::{SOON, eventually};

pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    redis: String,
    child: Child,
}

/// Its event types, but for the general one.
pub(crate) const TYPES: [&str; 2] = ["a", "b"];

impl Node {
    pub(crate) fn start(redis: &str) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        Self { addr, redis: redis.to_owned(), child: spawn(addr, redis) }
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.addr, &self.redis);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(addr: SocketAddr, redis: &str) -> Child {
    let child = Command::new(env!("CARGO_BIN_EXE_websse"))
        .args(["--listen", &addr.to_string(), "--event", TYPES[0], "--event", TYPES[1]])
        .env("WEBSSE_REDIS", redis)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually(SOON, true, || TcpStream::connect(addr).is_ok());
    child
}
