//! A small host: what the manual recommends for it, in an address space that has no room for more.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use support::{
    Client, SOON, eventually,
    measure::memory,
    process::{Running, Serving},
};

use crate::get;

const KIB: usize = 1024;
const STREAMS: usize = 100;
/// What all limits together may take beside the idle process: the memory that it touches, and the
/// addresses that it asks for. These are more by the stacks, of which a page or two is touched. The
/// idle process is not looked at, as it is larger by far if it is built for tests.
const MOST: usize = 1024 * KIB;
const MOST_ADDRESSES: usize = 4096 * KIB;

/// As in the manual.
const FLAGS: [(&str, &str); 13] = [
    ("--max-streams", "100"),
    ("--max-frame-bytes", "16KiB"),
    ("--publish-queue", "64"),
    ("--publish-queue-bytes", "128KiB"),
    ("--mailbox-bytes", "16KiB"),
    ("--mailboxes-bytes", "128KiB"),
    ("--history-bytes", "32KiB"),
    ("--history-all-bytes", "128KiB"),
    ("--connections", "16"),
    ("--stack-bytes", "128KiB"),
    ("--head-bytes", "4KiB"),
    ("--body-bytes", "16KiB"),
    ("--bodies-bytes", "64KiB"),
];

/// The command in an address space of so many KiB.
fn start(addresses: &str) -> Serving {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {addresses} && exec \"$0\" \"$@\"")]);
    command.args([env!("CARGO_BIN_EXE_websse"), "--listen", "127.0.0.1:0", "--event", "a"]);
    for (flag, value) in FLAGS {
        command.args([flag, value]);
    }
    // Without it, glibc reserves 64 MiB of addresses for each of some threads.
    Serving::from(Running::start(command.env("MALLOC_ARENA_MAX", "1")))
}

fn addresses(hub: &Serving) -> usize {
    let pages = fs::read_to_string(format!("/proc/{}/statm", hub.pid())).unwrap();
    let pages: usize = pages.split(' ').next().unwrap().parse().unwrap();
    pages * 4 * KIB
}

/// A POST of so many bytes.
fn post(bytes: usize) -> String {
    let head = format!("POST /send?event=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {bytes}");
    format!("{head}\r\nContent-Type: text/plain\r\n\r\n{}", "x".repeat(bytes))
}

#[test]
fn a_hundred_streams_on_a_small_host_take_no_more_than_the_manual_says() {
    let hub = start("unlimited");
    assert_eq!(hub.ask(get("/healthz")).answer().status, 200);
    let idle = addresses(&hub);
    drop(hub);
    let hub = start(&((idle + MOST_ADDRESSES) / KIB).to_string());
    assert_eq!(hub.ask(get("/healthz")).answer().status, 200);
    let resident = memory(hub.pid()).0;
    let mut listeners: Vec<Client> = (0..STREAMS)
        .map(|_| {
            let mut client = hub.ask(get("/event?event=a"));
            client.stream_head();
            client
        })
        .collect();
    // Half of them read nothing until the end. As many bodies and heads wait as may.
    let half = post(12 * KIB);
    let _held: Vec<Client> = (0..8).map(|_| hub.ask(&half[..6 * KIB])).collect();
    let mut publisher = hub.connect();
    let end = Instant::now() + 12 * SOON;
    let mut accepted = 0;
    while accepted < 600 {
        publisher.send(post(12 * KIB));
        let status = publisher.answer().status;
        assert!(status == 200 || status == 503, "{status}");
        accepted += usize::from(status == 200);
        assert!(Instant::now() < end, "only {accepted} were accepted");
        for client in &mut listeners[STREAMS / 2..] {
            let _ = client.fill(Instant::now() + Duration::from_micros(1));
        }
    }
    let taken = memory(hub.pid()).1.saturating_sub(resident);
    eprintln!(
        "idle {} KiB resident of {} KiB of addresses; {} KiB and {} KiB more in the end",
        resident / KIB,
        idle / KIB,
        taken / KIB,
        addresses(&hub).saturating_sub(idle) / KIB,
    );
    assert!(taken <= MOST, "{taken} bytes more are resident");
    // It still serves, and has room for others.
    drop(listeners);
    eventually(SOON, true, || {
        let mut client = hub.ask(get("/event?event=a&replay=1"));
        client.head().status == 200
    });
    assert!(hub.running.terminate().0.success());
}
