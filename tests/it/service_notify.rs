//! What the command tells a service manager, in whose place a test is.
#![cfg(all(feature = "cli", target_os = "linux"))]
use std::{
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::{Command, id},
};

use support::{Client, SOON, Scratch, process::Running};

fn next(manager: &UnixDatagram) -> String {
    let mut told = [0; 128];
    let length = manager.recv(&mut told).expect("the command tells something");
    String::from_utf8(told[..length].to_vec()).unwrap()
}

fn started(socket: &str, variables: &[(&str, &str)]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    command.args(["--listen", "127.0.0.1:0"]).env("NOTIFY_SOCKET", socket);
    Running::start(command.envs(variables.iter().copied()))
}

#[test]
fn the_service_manager_is_told_when_it_listens_works_and_ends() {
    let scratch = Scratch::new("notify");
    let path = scratch.0.join("socket");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let mut hub = started(path.to_str().unwrap(), &[("WATCHDOG_USEC", "20000")]);
    assert_eq!(next(&manager), "READY=1");
    let address = hub.address();
    // It stays until the command has waited for it, much longer than the watchdog's period.
    let mut listener = Client::connect(address);
    listener.send("GET /event HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.stream_head();
    for _ in 0..3 {
        assert_eq!(next(&manager), "WATCHDOG=1");
    }
    hub.signal("-TERM");
    let ended = std::iter::repeat_with(|| next(&manager)).find(|told| told != "WATCHDOG=1");
    assert_eq!(ended.as_deref(), Some("STOPPING=1"));
    let (status, errors) = hub.end();
    assert!(status.success() && errors.lines().count() == 1, "{errors}");
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 128]).is_err(), "nothing more is told");
}

#[test]
fn a_service_manager_may_have_an_abstract_name_and_watch_another_process() {
    let name = format!("websse-notify-{}", id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_read_timeout(Some(SOON)).unwrap();
    let variables = [("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")];
    let mut hub = started(&format!("@{name}"), &variables);
    hub.address();
    let (status, errors) = hub.terminate();
    assert!(status.success() && errors.lines().count() == 1, "{errors}");
    assert_eq!([(); 2].map(|()| next(&manager)), ["READY=1", "STOPPING=1"]);
}

#[test]
fn a_service_manager_that_is_gone_is_only_a_warning() {
    let mut hub = started("/nothing/here", &[]);
    hub.address();
    let (status, errors) = hub.terminate();
    assert!(status.success(), "{errors}");
    assert!(errors.contains("cannot tell the service manager READY=1"), "{errors}");
}
