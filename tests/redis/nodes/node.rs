//! A node: the command in a process of its own.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Command, Stdio},
};

use support::process::Running;

pub(crate) struct Node {
    pub(crate) addr: SocketAddr,
    redis: String,
    running: Running,
}

/// Its event types, but for the general one.
pub(crate) const TYPES: [&str; 2] = ["a", "b"];

impl Node {
    pub(crate) fn start(redis: &str) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        Self { addr, redis: redis.to_owned(), running: spawn(addr, redis) }
    }

    /// Ends it by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.running.child.kill().unwrap();
        self.running.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.running = spawn(self.addr, &self.redis);
    }
}

fn spawn(addr: SocketAddr, redis: &str) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    command.args(["--listen", &addr.to_string(), "--event", TYPES[0], "--event", TYPES[1]]);
    let mut running = Running::with_errors_to(Stdio::null(), command.env("WEBSSE_REDIS", redis));
    assert_eq!(running.address(), addr);
    running
}
