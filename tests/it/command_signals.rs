//! Signals to the command: the end of its terminal, and files that are read again.
#![cfg(all(feature = "cli", unix))]
use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    process::{ChildStderr, Command},
    thread,
};

use support::{Client, SOON, Scratch, eventually, process::Running};

use crate::command_access::{ask, on_loopback};

#[test]
fn tokens_are_read_again_at_a_hangup_and_stay_where_that_fails() {
    let scratch = Scratch::new("tokens-again");
    let path = scratch.0.join("tokens");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("old\n");
    let variables = [("WEBSSE_SUBSCRIBE_TOKEN", "given")];
    let arguments = ["--subscribe-token-file", path.to_str().unwrap()];
    let (hub, address) = on_loopback(&arguments, &variables);
    let status = |token: &str| {
        ask(address, "GET /stats", &format!("Authorization: Bearer {token}\r\n")).status
    };
    assert_eq!(["given", "old", "new"].map(status), [200, 200, 401]);
    write("# Of June.\nnew\nnwes=new2\n");
    assert_eq!(["given", "old", "new"].map(status), [200, 200, 401], "not before");
    hub.signal("-HUP");
    eventually(SOON, 200, || status("new"));
    assert_eq!(["given", "old", "new"].map(status), [200, 401, 200]);
    let mut errors = Log::of(hub);
    write("newer\nnot good\n");
    errors.after_hangup("line 2: a token is made of");
    write("# None.\n");
    errors.after_hangup("there is no token in it; its tokens stay as they were");
    fs::remove_file(&path).unwrap();
    errors.after_hangup("No such file");
    assert_eq!(["given", "old", "new", "newer"].map(status), [200, 401, 200, 401]);
    assert!(errors.read.contains("warn: --subscribe-token-file"), "{}", errors.read);
    assert!(!errors.read.contains("not good"), "{}", errors.read);
    assert!(errors.hub.terminate().0.success());
}

#[test]
fn a_hangup_with_no_file_to_read_again_only_is_a_line() {
    let (hub, address) = on_loopback(&[], &[]);
    let mut errors = Log::of(hub);
    errors.after_hangup("no file with tokens or keys");
    errors.after_hangup("no file with tokens or keys");
    assert_eq!(ask(address, "GET /healthz", "").status, 200);
    assert!(errors.hub.terminate().0.success());
}

#[test]
fn a_file_that_hangs_when_it_is_read_again_does_not_keep_it_from_ending() {
    let scratch = Scratch::new("tokens-hang");
    let path = scratch.0.join("tokens");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let once = {
        let path = path.clone();
        thread::spawn(move || fs::write(path, "secret\n"))
    };
    let (hub, address) = on_loopback(&["--publish-token-file", path.to_str().unwrap()], &[]);
    once.join().unwrap().unwrap();
    hub.signal("-HUP");
    hub.signal("-HUP");
    assert_eq!(ask(address, "POST /send?data=x", "Authorization: Bearer secret\r\n").status, 200);
    assert!(hub.terminate().0.success());
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_is_closed_ends_it_in_good_order() {
    let scratch = Scratch::new("terminal");
    let errors = scratch.0.join("errors");
    let websse = format!(
        "exec {} --listen 127.0.0.1:0 2>{}",
        env!("CARGO_BIN_EXE_websse"),
        errors.display()
    );
    // Its session has a terminal of its own, which goes with this program.
    let mut script = Command::new("script");
    let mut terminal = Running::start(script.args(["-qec", &websse, "/dev/null"]));
    let address = terminal.address();
    let mut listener = Client::connect(address);
    listener.send("GET /event HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.stream_head();
    assert_eq!(ask(address, "POST /send?data=last", "").status, 200);
    terminal.child.kill().unwrap();
    assert_eq!(listener.event().data.as_deref(), Some("last"));
    listener.drain(SOON);
    let told = "websse: info: the terminal is gone, shutting down\n";
    eventually(SOON, true, || fs::read_to_string(&errors).unwrap() == told);
    eventually(SOON, true, || TcpStream::connect(address).is_err());
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_only_shows_errors_ends_it_too() {
    let scratch = Scratch::new("terminal-errors");
    let output = scratch.0.join("output");
    let websse = format!(
        "exec {} --listen 127.0.0.1:0 </dev/null >{}",
        env!("CARGO_BIN_EXE_websse"),
        output.display()
    );
    let mut script = Command::new("script");
    let mut terminal = Running::start(script.args(["-qec", &websse, "/dev/null"]));
    let address = || -> Option<SocketAddr> {
        let text = fs::read_to_string(&output).ok()?;
        text.lines().next()?.rsplit_once("//")?.1.parse().ok()
    };
    eventually(SOON, true, || address().is_some());
    let address = address().unwrap();
    eventually(SOON, true, || TcpStream::connect(address).is_ok());
    terminal.child.kill().unwrap();
    eventually(SOON, true, || TcpStream::connect(address).is_err());
}

/// The standard error of a command.
pub(crate) struct Log {
    pub(crate) hub: Running,
    errors: BufReader<ChildStderr>,
    pub(crate) read: String,
}

impl Log {
    pub(crate) fn of(mut hub: Running) -> Self {
        let errors = BufReader::new(hub.child.stderr.take().unwrap());
        Self { hub, errors, read: String::new() }
    }

    /// Sends a hangup, and waits for a line that has a text.
    pub(crate) fn after_hangup(&mut self, text: &str) {
        self.hub.signal("-HUP");
        loop {
            let start = self.read.len();
            assert_ne!(self.errors.read_line(&mut self.read).unwrap(), 0, "{}", self.read);
            if self.read[start..].contains(text) {
                return;
            }
        }
    }
}
