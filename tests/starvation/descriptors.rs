//! No descriptor is left, for those who publish over HTTP. The others:
//! `tests/load/descriptors.rs`.

use std::{
    env,
    io::{self, Read},
    process::Command,
};

use support::{
    Hub, SOON, eventually,
    process::{Serving, alone, is_alone},
};

use crate::{get, post};

#[test]
fn with_no_descriptor_left_what_is_published_still_reaches_every_stream() {
    if is_alone() {
        return serve();
    }
    let itself =
        "descriptors::with_no_descriptor_left_what_is_published_still_reaches_every_stream";
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    let hub = Serving::start(alone(&mut command, itself));
    let mut listeners = Vec::new();
    loop {
        let mut client = hub.ask(get("/event?event=a"));
        if client.head().status != 200 || client.preamble().0 != "websse" {
            break;
        }
        listeners.push(client);
        assert!(listeners.len() < 40, "expected descriptors to run out");
    }
    assert!(listeners.len() > 20, "expected more than {} streams", listeners.len());
    for number in 0..20 {
        let data = number.to_string();
        // Refused where it is accepted before its request is there: it cannot be waited for.
        eventually(4 * SOON, 200, || hub.ask(post(&data)).answer().status);
        for listener in &mut listeners {
            assert_eq!(listener.event().data.as_ref(), Some(&data));
        }
    }
}

/// Serves until nobody is there to tell it anything.
#[allow(clippy::print_stdout)]
fn serve() {
    let hub = Hub::new(&["a"]);
    println!("http://{}", hub.addr());
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// A browser that comes back, a proxy with a pool, and anybody who means harm keep connections.
#[test]
fn connections_that_are_only_kept_keep_no_stream_out() {
    if is_alone() {
        return serve();
    }
    let itself = "descriptors::connections_that_are_only_kept_keep_no_stream_out";
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""]).arg(env::current_exe().unwrap());
    let hub = Serving::start(alone(&mut command, itself));
    let mut idle = Vec::new();
    // Once no descriptor is left, the server keeps none of them.
    loop {
        let mut client = hub.ask(post("x"));
        let answer = client.answer();
        if answer.field("connection") == Some("close") {
            break;
        }
        assert_eq!(answer.status, 200);
        idle.push(client);
        assert!(idle.len() < 40, "expected descriptors to run out");
    }
    assert!(idle.len() > 20, "expected more than {} connections", idle.len());
    for _ in 0..10 {
        let mut listener = None;
        eventually(2 * SOON, "websse".to_owned(), || {
            let client = listener.insert(hub.ask(get("/event?event=a")));
            if client.head().status == 200 { client.preamble().0 } else { String::new() }
        });
        // Refused where it is accepted before its request is there: it cannot be waited for.
        eventually(4 * SOON, 200, || hub.ask(post("heard")).answer().status);
        assert_eq!(listener.unwrap().event().data.as_deref(), Some("heard"));
    }
}
