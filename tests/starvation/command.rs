//! The command, where its log cannot be written.

use std::{fs::File, io::Write, process::Command};

use crate::{
    Serving,
    common::{SOON, eventually},
    get, post,
};

#[test]
fn a_log_on_a_full_disk_does_not_keep_it_from_serving_and_ending_in_good_order() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    command.args(["--listen", "127.0.0.1:0", "--event", "a", "--stdin", "text"]);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut hub = Serving::start(command.stderr(full));
    let mut listener = hub.ask(get("/event?event=a"));
    listener.stream_head();
    assert_eq!(hub.ask("nonsense\r\n\r\n").answer().status, 400);
    assert_eq!(hub.ask(post("x")).answer().status, 200);
    assert_eq!(listener.event().data.as_deref(), Some("x"));
    // It would tell of the first line, and of the signal, if it could.
    hub.child.stdin.as_mut().unwrap().write_all(b"not UTF-8: \xff\ngood\n").unwrap();
    assert_eq!(listener.event().data.as_deref(), Some("good"));
    let id = hub.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    listener.assert_stream_ends();
    let mut status = None;
    eventually(2 * SOON, true, || {
        status = hub.child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}
