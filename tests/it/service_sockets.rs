//! Sockets that systemd, or a test in its place, hands over to the command.
#![cfg(all(feature = "cli", target_os = "linux"))]
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    process::Command,
};

use support::{Client, SOON, Scratch, eventually, process::Running};

const LISTEN: &str = "GET /event HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The command with a socket of this name, and with these arguments.
fn handed(socket: impl AsFd, name: &str, arguments: &[&str]) -> Running {
    let socket: OwnedFd = socket.as_fd().try_clone_to_owned().unwrap();
    let line = r#"export LISTEN_PID=$$ LISTEN_FDS=1; exec "$0" "$@" 3<&0 0</dev/null"#;
    let mut command = Command::new("sh");
    command.args(["-c", line, env!("CARGO_BIN_EXE_websse")]).args(arguments);
    Running::with_input(socket, command.env("LISTEN_FDNAMES", name))
}

/// A socket for many clients that wait.
fn listening() -> (TcpListener, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1024).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn clients_that_come_back_across_a_restart_are_not_refused() {
    const CLIENTS: usize = 200;
    let (listener, address) = listening();
    let mut hub = handed(&listener, "web", &["--listen", "systemd"]);
    assert_eq!(hub.address(), address);
    let clients = (0..CLIENTS).map(|_| {
        let mut client = Client::ask(address, LISTEN);
        client.stream_head();
        client
    });
    let clients: Vec<_> = clients.collect();
    hub.signal("-TERM");
    // Each comes back as soon as it is cut, when nothing serves it yet.
    let back = clients.into_iter().map(|mut client| {
        client.drain(SOON);
        Client::ask(address, LISTEN)
    });
    let mut back: Vec<_> = back.collect();
    let (status, errors) = hub.end();
    assert_eq!(status.code(), Some(0), "{errors}");
    let _hub = handed(&listener, "web", &["--listen", "systemd:web"]);
    for client in &mut back {
        client.stream_head();
    }
    let post = "POST /send?data=again HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(Client::ask(address, post).answer().status, 200);
    for client in &mut back {
        assert_eq!(client.event().data.as_deref(), Some("again"));
    }
}

#[test]
fn the_file_of_a_unix_socket_stays_when_the_command_ends() {
    let scratch = Scratch::new("handed");
    let path = scratch.0.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let mut hub = handed(&listener, "web", &["--listen", "systemd"]);
    assert_eq!(hub.line(), format!("websse listens on unix:{}", path.display()));
    let mut client = Client::from(UnixStream::connect(&path).unwrap());
    client.send("GET /healthz HTTP/1.1\r\nHost: whatever\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    let (status, errors) = hub.terminate();
    assert_eq!(status.code(), Some(0), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    UnixStream::connect(&path).expect("it waits for the next one");
}

#[test]
fn a_socket_that_cannot_be_taken_is_told() {
    let refused = |mut hub: Running| {
        assert_eq!(hub.line(), "", "it does not listen");
        let (status, errors) = hub.end();
        assert_eq!(status.code(), Some(1));
        errors
    };
    let (listener, _) = listening();
    let (connection, _other) = UnixStream::pair().unwrap();
    let file = fs::File::open("/dev/null").unwrap();
    for (hub, told) in [
        (
            handed(&listener, "a", &["--listen", "systemd:b"]),
            "no such socket; those that are left: a",
        ),
        (handed(&listener, "a:b", &["--listen", "systemd"]), "LISTEN_FDNAMES has 2 names"),
        (handed(&connection, "a", &["--listen", "systemd"]), "Accept=no is needed"),
        (handed(&file, "a", &["--listen", "systemd"]), "fd 3 is not a socket"),
    ] {
        let errors = refused(hub);
        assert!(errors.contains(told), "{errors}");
    }
    let mut alone = Command::new(env!("CARGO_BIN_EXE_websse"));
    let errors = refused(Running::start(alone.args(["--listen", "systemd"])));
    assert!(errors.contains("cannot listen on systemd: "), "{errors}");
    assert!(errors.contains("LISTEN_FDS is not set"), "{errors}");
    let mut idle = handed(&listener, "a", &["--listen", "127.0.0.1:0"]);
    idle.address();
    let (_, errors) = idle.terminate();
    assert!(errors.contains("1 sockets that no --listen systemd takes"), "{errors}");
}

#[test]
#[ignore = "needs systemd-socket-activate"]
fn systemd_hands_over_sockets_by_their_names() {
    let scratch = Scratch::new("activated");
    let path = scratch.0.join("socket");
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--listen", &address.to_string(), "--listen", path.to_str().unwrap()]);
    command.args(["--fdname=web:local", env!("CARGO_BIN_EXE_websse")]);
    command.args(["--listen", "systemd:local", "--listen", "systemd"]);
    let mut hub = Running::start(&mut command);
    // It is started by the first connection.
    let mut connected = None;
    eventually(SOON, true, || {
        connected = TcpStream::connect(address).ok();
        connected.is_some()
    });
    assert_eq!(hub.line(), format!("websse listens on unix:{}", path.display()));
    assert_eq!(hub.address(), address);
    let mut client = Client::from(UnixStream::connect(&path).unwrap());
    client.send("GET /healthz HTTP/1.1\r\nHost: whatever\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    assert_eq!(Client::ask(address, "GET /healthz HTTP/1.0\r\n\r\n").answer().status, 200);
    assert!(hub.terminate().0.success());
}
