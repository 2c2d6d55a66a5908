//! With a socket that stays open while the command restarts, as with systemd's socket activation.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Command,
    time::Instant,
};

use support::{Client, SOON, Scratch, process::Running};

use crate::trial::post;

const CLIENTS: usize = 1000;

/// The command with this socket.
fn handed(socket: &TcpListener, directory: &Path) -> Running {
    let socket: OwnedFd = socket.as_fd().try_clone_to_owned().unwrap();
    let line = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 0</dev/null"#;
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_websse"), "--listen", "systemd"]);
    command.arg("--history-dir").arg(directory);
    Running::with_input(socket, command.env("LISTEN_FDNAMES", "web"))
}

/// A client that comes back, and what it has heard.
struct Returning {
    stream: Client,
    last: String,
    heard: Vec<String>,
}

impl Returning {
    fn ask(address: SocketAddr, last: &str) -> Client {
        let mut client = Client::try_connect(address).unwrap();
        let request =
            format!("GET /event HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n");
        client.try_send(request).unwrap();
        client
    }

    fn new(address: SocketAddr, last: &str) -> Self {
        let stream = Self::ask(address, last);
        Self { stream, last: last.to_owned(), heard: Vec::new() }
    }

    /// Hears events until there are so many, or the stream ends.
    fn hear(&mut self, until: usize) {
        let end = Instant::now() + SOON;
        loop {
            while let Some(block) = self.stream.block() {
                self.last = block.id.unwrap_or(self.last.clone());
                assert_ne!(block.event.as_deref(), Some("stream-gap"));
                self.heard.extend(block.data.filter(|_| block.event.is_none()));
            }
            if self.heard.len() >= until || !matches!(self.stream.fill(end), Ok(1..)) {
                return;
            }
        }
    }
}

#[test]
fn a_restart_refuses_no_connection_and_loses_no_event() {
    rlimit::increase_nofile_limit(4096).unwrap();
    let scratch = Scratch::new("durable-activated");
    let directory = scratch.0.join("history");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(4096).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();

    let mut running = handed(&listener, &directory);
    assert_eq!(running.address(), address);
    let (_, first) = post(address, "first").unwrap();
    let mut clients: Vec<Returning> =
        (0..CLIENTS).map(|_| Returning::new(address, &first)).collect();
    let mut published = Vec::new();
    let publish = |published: &mut Vec<String>| {
        let data = format!("event {}", published.len());
        assert_eq!(post(address, &data).unwrap().0, 200);
        published.push(data);
    };
    for is_killed in [false, true, false] {
        (0..20).for_each(|_| publish(&mut published));
        if is_killed {
            running.child.kill().unwrap();
            running.child.wait().unwrap();
        } else {
            running.terminate();
        }
        // Each comes back when nothing serves it yet, from wherever it was.
        for client in &mut clients {
            client.hear(usize::MAX);
            client.stream = Returning::ask(address, &client.last);
        }
        running = handed(&listener, &directory);
        (0..5).for_each(|_| publish(&mut published));
    }
    for client in &mut clients {
        client.hear(published.len());
        assert_eq!(client.heard, published);
    }
    drop(running);
}
