//! One client delays nobody: while some flood, dribble, stall or block, others come one after
//! another and have the head of their stream at once.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use support::{Client, Hub, SOON, StopOnDrop};
use websse::Builder;
use websse::http::{Request, Response};

/// While trouble is made: when to end it, and how to say that it has begun.
struct Course<'a> {
    stop: &'a AtomicBool,
    begun: Sender<()>,
}

impl Course<'_> {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn begun(&self) {
        // Nobody listens after the first time.
        let _ = self.begun.send(());
    }
}

type Trouble = fn(&Hub, &Course<'_>);

/// How long each of 50 clients, one after another, waits for the head of its stream.
fn waits_of_newcomers(hub: &Hub) -> Vec<Duration> {
    let newcomer = |_| {
        let started = Instant::now();
        let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.head().status, 200);
        started.elapsed()
    };
    (0..50).map(newcomer).collect()
}

#[track_caller]
fn assert_nobody_waits(name: &str, builder: impl FnOnce(Builder) -> Builder, troubles: &[Trouble]) {
    let (release, released) = bounded::<()>(0);
    let block = move |_: &Request| {
        // Ends when the test drops the other side.
        let _ = released.recv();
        Response::text(200, "released")
    };
    let hub = Hub::with(&["", "a"], builder, |http| http.get("/block", block));
    let stop = AtomicBool::new(false);
    let mut waits = thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        // Dropped before the trouble is waited for, whose clients may hang on it.
        let _release = release;
        for trouble in troubles {
            let (begun, has_begun) = channel();
            let course = Course { stop: &stop, begun };
            let hub = &hub;
            scope.spawn(move || trouble(hub, &course));
            has_begun.recv_timeout(SOON).unwrap();
        }
        waits_of_newcomers(&hub)
    });
    // On a machine that does other things too, one or two of them may lose the processor for a
    // while; a server that lets them wait for somebody makes all of them wait, or one for seconds.
    waits.sort();
    let prompt = waits[waits.len() - 3] < Duration::from_millis(100);
    let none_stuck = waits[waits.len() - 1] < Duration::from_secs(1);
    assert!(
        prompt && none_stuck,
        "{name}: expected heads within 100 ms, got a median of {:?} and at worst {:?}",
        waits[waits.len() / 2],
        &waits[waits.len() - 5..]
    );
}

/// Pipelines requests, 100,000 or more, without waiting for an answer; all of them are answered.
fn flood(hub: &Hub, course: &Course<'_>, request: &str, answer: &[u8]) {
    // Large pieces, the first of them at once, so that the server always finds the next request.
    let batch = request.repeat(2000);
    let client = hub.ask(&batch);
    let (mut from, mut to) = (client.socket(), client);
    thread::scope(|scope| {
        let answered = scope.spawn(move || {
            let mut answered = 0;
            let mut bytes = Vec::new();
            let mut piece = [0; 16 << 10];
            loop {
                let count = from.read(&mut piece).unwrap();
                if count == 0 {
                    return answered;
                }
                bytes.extend_from_slice(&piece[..count]);
                answered += bytes.windows(answer.len()).filter(|line| *line == answer).count();
                course.begun();
                // A line cut in two by the end of the piece is looked at again.
                bytes.drain(..bytes.len().saturating_sub(answer.len() - 1));
            }
        });
        let mut sent = 2000;
        while sent < 100_000 || course.goes_on() {
            to.send(&batch);
            sent += 2000;
        }
        to.half_close();
        assert_eq!(answered.join().unwrap(), sent, "answers to {sent} requests");
    });
}

fn publish_much(hub: &Hub, course: &Course<'_>) {
    let post = "POST /send?event=a&data=x HTTP/1.1\r\nHost: a\r\n\r\n";
    flood(hub, course, post, b"HTTP/1.1 200 OK\r\n");
}

/// Nothing in it ever waits, not even for the publish queue.
fn ask_much(hub: &Hub, course: &Course<'_>) {
    let get = "GET /nope HTTP/1.1\r\nHost: a\r\n\r\n";
    flood(hub, course, get, b"HTTP/1.1 404 Not Found\r\n");
}

/// Sends what `begin` says, then `piece` again and again with `nap` between, on a new connection
/// whenever the server ends one.
fn trickle(hub: &Hub, course: &Course<'_>, begin: &str, piece: &str, nap: Duration) {
    while course.goes_on() {
        let mut client = hub.ask(begin);
        course.begun();
        while course.goes_on() && client.try_send(piece).is_ok() {
            let woken = Instant::now() + nap;
            while course.goes_on() && Instant::now() < woken {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn dribble_a_head(hub: &Hub, course: &Course<'_>) {
    let begin = "GET /event HTTP/1.1\r\nHost: a\r\nX: ";
    trickle(hub, course, begin, "x", Duration::from_millis(20));
}

fn dribble_a_body(hub: &Hub, course: &Course<'_>) {
    let begin = "POST /send?event=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    trickle(hub, course, begin, "x", Duration::from_secs(1));
}

fn send_on_after_an_error(hub: &Hub, course: &Course<'_>) {
    let begin = "POST /send?event=a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
    trickle(hub, course, begin, &"x".repeat(1000), Duration::from_millis(5));
}

/// Reads its refusals byte by byte, and leaves when it has read one.
fn read_an_error_slowly(hub: &Hub, course: &Course<'_>) {
    while course.goes_on() {
        let client = hub.ask("what is this?\r\n\r\n");
        course.begun();
        let mut socket = client.socket();
        while course.goes_on() && matches!(socket.read(&mut [0]), Ok(1)) {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn block_in_a_route(hub: &Hub, course: &Course<'_>) {
    let _blocked: Vec<Client> =
        (0..8).map(|_| hub.ask("GET /block HTTP/1.1\r\nHost: a\r\n\r\n")).collect();
    course.begun();
    while course.goes_on() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Connects and says nothing, many times.
fn connect_and_wait(hub: &Hub, course: &Course<'_>) {
    let _silent: Vec<Client> = (0..100).map(|_| hub.connect()).collect();
    course.begun();
    while course.goes_on() {
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn nobody_waits_for_nobody() {
    // What the machine can do: if this fails, the others say nothing.
    assert_nobody_waits("nothing", |builder| builder, &[]);
}

pub(crate) fn nobody_waits_for_a_client_that_pipelines() {
    assert_nobody_waits("publishes", |builder| builder, &[publish_much]);
    assert_nobody_waits("asks", |builder| builder, &[ask_much, ask_much]);
}

pub(crate) fn nobody_waits_for_a_publish_that_blocks() {
    let tiny = |builder: Builder| builder.publish_queue(1);
    assert_nobody_waits("floods into a full queue", tiny, &[publish_much, publish_much]);
}

pub(crate) fn nobody_waits_for_a_client_that_sends_slowly() {
    assert_nobody_waits("a head", |builder| builder, &[dribble_a_head]);
    assert_nobody_waits("a body", |builder| builder, &[dribble_a_body]);
    assert_nobody_waits("nothing at all", |builder| builder, &[connect_and_wait]);
}

pub(crate) fn nobody_waits_for_a_client_that_takes_its_error_slowly() {
    assert_nobody_waits("reads slowly", |builder| builder, &[read_an_error_slowly]);
    assert_nobody_waits("sends on", |builder| builder, &[send_on_after_an_error]);
}

pub(crate) fn nobody_waits_for_a_route_that_blocks() {
    assert_nobody_waits("blocked routes", |builder| builder, &[block_in_a_route]);
}

pub(crate) fn nobody_waits_for_all_of_them_together() {
    let all: [Trouble; 7] = [
        dribble_a_head,
        dribble_a_body,
        send_on_after_an_error,
        read_an_error_slowly,
        block_in_a_route,
        connect_and_wait,
        publish_much,
    ];
    assert_nobody_waits("all", |builder| builder, &all);
}
