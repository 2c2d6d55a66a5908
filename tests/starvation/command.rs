//! The command, where its log cannot be written, and what it tells there of descriptors.

use std::{
    fs::File,
    io::{ErrorKind, Write},
    process::Command,
    time::Instant,
};

use support::{
    Client, SOON, eventually,
    process::{Running, Serving},
};

use crate::{get, post};

#[test]
fn a_log_on_a_full_disk_does_not_keep_it_from_serving_and_ending_in_good_order() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    command.args(["--listen", "127.0.0.1:0", "--event", "a", "--stdin", "text"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut hub = Serving::from(Running::with_errors_to(full, &mut command));
    let mut listener = hub.ask(get("/event?event=a"));
    listener.stream_head();
    assert_eq!(hub.ask("nonsense\r\n\r\n").answer().status, 400);
    assert_eq!(hub.ask(post("x")).answer().status, 200);
    assert_eq!(listener.event().data.as_deref(), Some("x"));
    // It would tell of the first line, and of the signal, if it could.
    hub.running.child.stdin.as_mut().unwrap().write_all(b"not UTF-8: \xff\ngood\n").unwrap();
    assert_eq!(listener.event().data.as_deref(), Some("good"));
    hub.running.signal("-TERM");
    listener.assert_stream_ends();
    assert_eq!(hub.running.end().0.code(), Some(0));
}

#[test]
fn a_lack_of_descriptors_is_in_the_log_but_not_for_each_connection() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""]);
    command.args([env!("CARGO_BIN_EXE_websse"), "--listen", "127.0.0.1:0", "--event", "a"]);
    let hub = Serving::from(Running::start(&mut command));
    let mut listeners = Vec::new();
    let mut refused = 0;
    while refused < 5 {
        let mut client = hub.ask(get("/event?event=a"));
        if client.head().status != 200 || client.preamble().0 != "websse" {
            refused += 1;
        } else {
            listeners.push(client);
            assert!(listeners.len() < 40, "expected descriptors to run out");
        }
    }
    drop(listeners);
    let (_, log) = hub.running.terminate();
    assert_eq!(log.matches("websse: warn: no descriptors left").count(), 1, "{log}");
}

/// Whoever has sent half a request keeps a thread.
fn half(hub: &Serving) -> Client {
    hub.ask("GET /event?event=a HTTP/1.1\r\n")
}

/// Whether it has a thread, and was not refused for lack of one.
fn is_held(client: &mut Client) -> bool {
    match client.try_answer(Instant::now() + SOON / 10) {
        Ok(answer) => {
            assert_eq!(answer.status, 503, "{answer:?}");
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            true
        }
    }
}

#[test]
fn a_lack_of_threads_is_in_the_log_but_not_for_each_connection() {
    let mut command = Command::new("sh");
    // Room for two of these stacks, and for what else there is.
    command.args(["-c", "ulimit -v 1400000 && exec \"$0\" \"$@\""]);
    command.args([env!("CARGO_BIN_EXE_websse"), "--listen", "127.0.0.1:0", "--event", "a"]);
    command.args(["--stack-bytes", "512MiB"]);
    let hub = Serving::from(Running::start(&mut command));
    let mut held = Vec::new();
    let mut refused = 0;
    while refused < 5 {
        let mut client = half(&hub);
        if is_held(&mut client) {
            held.push(client);
        } else {
            refused += 1;
        }
        assert!(held.len() < 40, "expected threads to run out");
    }
    assert!(!held.is_empty(), "expected a thread to be had");
    drop(held);
    eventually(SOON, 200, || hub.ask(get("/healthz")).answer().status);
    // As soon as their stacks are free again, a thread is to be had, and tells of it.
    eventually(SOON, true, || is_held(&mut half(&hub)));
    let (_, log) = hub.running.terminate();
    assert_eq!(log.matches("websse: warn: no threads left").count(), 1, "{log}");
}
