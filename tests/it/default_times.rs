//! The times that hold where a program sets none are as long as the manual says.

use std::thread;
use std::time::{Duration, Instant};

use support::sse::Item;
use support::{Client, Got, Hub, SOON, eventually};
use websse::http::{Limits, Request, Response};

use crate::deadlines::status_of_a_slow_request;

/// Longer than any of these times.
const LONG: Duration = Duration::from_secs(200);

/// A request that is late is answered.
fn is_refused(client: &mut Client) {
    assert_eq!(client.try_answer(Instant::now() + LONG).unwrap().status, 408);
}

fn ends_in_silence(client: &mut Client) {
    client.wait_at_most(LONG);
    assert_eq!(client.read(100), Got::End);
}

fn has_a_heartbeat(client: &mut Client) {
    assert_eq!(client.item_within(LONG), Some(Item::Comment(String::new())));
}

/// Linux rounds a socket's time-out up by as much as an eighth.
#[track_caller]
fn assert_after(name: &str, seconds: u64, took: Duration) {
    let right = Duration::from_secs(seconds);
    let on_time = took >= right.mul_f32(0.99) && took < right.mul_f32(1.125) + SOON / 2;
    assert!(on_time, "{name}: expected the end after {right:?}, got it after {took:?}");
}

#[test]
#[ignore = "takes more than two minutes"]
fn clients_are_waited_for_as_long_as_the_manual_says() {
    let hub = Hub::new(&[""]);
    let post = "POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let answered = || {
        let mut client = hub.ask("POST /send?data=a HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.answer().status, 200);
        client
    };
    let started = Instant::now();
    let rows: [(_, _, _, fn(&mut Client)); 6] = [
        ("an idle connection", 130, answered(), ends_in_silence),
        // At the last look at it before 15 s.
        ("a silent stream", 14, hub.listen(""), has_a_heartbeat),
        ("no request", 10, hub.connect(), ends_in_silence),
        ("half a head", 10, hub.ask("GET /event HTTP/1.1\r\n"), is_refused),
        ("no body", 30, hub.ask(post), is_refused),
        // A second for each 16 KiB.
        ("half a body", 33, hub.ask(format!("{post}{}", "x".repeat(48 << 10))), is_refused),
    ];
    let waits = rows.map(|(name, seconds, mut client, wait)| {
        thread::spawn(move || {
            wait(&mut client);
            assert_after(name, seconds, started.elapsed());
        })
    });
    an_answer_that_is_not_read_is_given_up();
    for wait in waits {
        wait.join().unwrap();
    }
}

fn an_answer_that_is_not_read_is_given_up() {
    let large = |_: &Request| Response::text(200, "x".repeat(64 << 20));
    let limits = Limits::default().connections(1);
    let hub = Hub::with(&["a"], |builder| builder, |http| http.limits(limits).get("/large", large));
    let started = Instant::now();
    let mut stuck = hub.ask("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(stuck.head().status, 200);
    // It takes the one connection that may be waited for.
    eventually(SOON, 503, || status_of_a_slow_request(&hub));
    eventually(4 * SOON, 200, || status_of_a_slow_request(&hub));
    assert_after("an answer that is not read", 10, started.elapsed());
}
