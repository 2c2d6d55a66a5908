//! Every wait on a client ends: deadlines for head, body, answer and idleness, and limits on how
//! many may be waited for.

use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use support::{Client, Hub, SOON, eventually, shown};
use websse::Message;
use websse::http::{Limits, Request, Response};

const SHORT: Duration = Duration::from_millis(300);
/// When a deadline of [`SHORT`] must have ended things on a busy machine.
const LATE: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_secs(1);

const POST: &str = "POST /send?event=a&data=x HTTP/1.1\r\nHost: a\r\n\r\n";

fn hub(limits: impl FnOnce(Limits) -> Limits) -> Hub {
    let limits = limits(Limits::default());
    Hub::with(&["", "a", "probe"], |builder| builder, |http| http.limits(limits))
}

/// Sends one byte of `raw` every 20 ms, which never takes longer than `SHORT` for a read, until the
/// server answers or closes: what it sent, and after how long.
#[track_caller]
fn dribble(client: &mut Client, raw: &[u8], started: Instant) -> (String, Duration) {
    for byte in raw {
        let sent = client.try_send([*byte]);
        let next = Instant::now() + Duration::from_millis(20);
        let answered = match client.fill(next) {
            Err(error) => error.kind() != std::io::ErrorKind::TimedOut,
            Ok(_) => true,
        };
        if sent.is_err() || answered {
            let took = started.elapsed();
            return (shown(&client.drain(SOON)), took);
        }
    }
    panic!("expected an end within {} dribbled bytes", raw.len());
}

#[track_caller]
fn assert_timed_out(name: &str, answer: &str, took: Duration) {
    let right = answer.is_empty() || answer.starts_with("HTTP/1.1 408 ");
    assert!(right, "{name}: expected 408 or nothing, got {answer:?}");
    assert!(
        took >= SHORT.mul_f32(0.9) && took < LATE,
        "{name}: expected an end after {SHORT:?}, got it after {took:?}"
    );
}

#[test]
fn a_head_must_come_whole_before_its_deadline() {
    let hub = hub(|limits| limits.head_timeout(SHORT));
    let slow = format!("GET /event HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(500));
    let mut dribbler = hub.connect();
    let (answer, took) = dribble(&mut dribbler, slow.as_bytes(), Instant::now());
    assert_timed_out("dribbled", &answer, took);

    let started = Instant::now();
    let mut stalled = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n");
    let answer = shown(&stalled.drain(SOON));
    assert_timed_out("stalled", &answer, started.elapsed());
    hub.assert_still_serves();
}

#[test]
fn the_head_of_a_later_request_has_the_same_deadline() {
    let hub = hub(|limits| limits.head_timeout(SHORT));
    let mut client = hub.ask(POST);
    assert_eq!(client.answer().status, 200);
    let slow = format!("{}{}", &POST[..POST.len() - 2], "X".repeat(500));
    let (answer, took) = dribble(&mut client, slow.as_bytes(), Instant::now());
    assert_timed_out("second head", &answer, took);
}

#[test]
fn empty_lines_before_a_request_buy_no_time() {
    let hub = hub(|limits| limits.head_timeout(SHORT).idle_timeout(SHORT));
    let nothing = "\r\n".repeat(250);
    let mut first = hub.connect();
    let (answer, took) = dribble(&mut first, nothing.as_bytes(), Instant::now());
    assert_timed_out("first", &answer, took);
    let mut later = hub.ask(POST);
    assert_eq!(later.answer().status, 200);
    let (answer, took) = dribble(&mut later, nothing.as_bytes(), Instant::now());
    assert_timed_out("later", &answer, took);
}

#[test]
fn a_body_must_come_whole_before_its_deadline() {
    let hub = hub(|limits| limits.body_timeout(SHORT));
    for (name, rest, piece) in [
        ("length", "Content-Length: 1000\r\n\r\n", "x"),
        ("chunks", "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("an extension", "Transfer-Encoding: chunked\r\n\r\n5;", "x"),
        ("trailers", "Transfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n"),
    ] {
        let raw = format!("POST /send?event=a HTTP/1.1\r\nHost: a\r\n{rest}");
        let mut client = hub.ask(raw);
        let slow = piece.repeat(900 / piece.len());
        let (answer, took) = dribble(&mut client, slow.as_bytes(), Instant::now());
        assert_timed_out(name, &answer, took);
    }
    hub.assert_still_serves();
}

#[test]
fn a_large_body_has_more_time_in_which_it_may_come() {
    // 16 KiB/s more for its size: 32 KiB have about 2 s on top.
    let hub = hub(|limits| limits.body_timeout(SHORT));
    let size = 32 << 10;
    let raw = format!("POST /send?event=a HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    let mut client = hub.ask(raw);
    for piece in "x".repeat(size).as_bytes().chunks(size / 8) {
        client.send(piece);
        thread::sleep(SHORT / 4); // slower in all than the deadline without its size
    }
    assert_eq!(client.answer().status, 200);
}

/// What it announces gives it no time, only what has come.
#[test]
fn a_large_body_has_the_time_of_what_has_come_and_no_more() {
    let hub = hub(|limits| limits.body_timeout(SHORT));
    let head = "POST /send?event=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    let a_second = 16 << 10;
    for (name, begin, least) in [("nothing", 0, SHORT), ("a part", a_second, SHORT + SECOND)] {
        let started = Instant::now();
        let mut client = hub.ask(format!("{head}{}", "x".repeat(begin)));
        let (answer, took) = dribble(&mut client, &[b'x'; 500], started);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{name}: {answer:?}");
        let right = took >= least.mul_f32(0.9) && took < least + LATE;
        assert!(right, "{name}: expected an end after {least:?}, got it after {took:?}");
    }
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let hub = hub(|limits| limits.idle_timeout(SHORT));
    let mut client = hub.ask(POST);
    assert_eq!(client.answer().status, 200);
    let answered = Instant::now();
    client.assert_closed();
    let took = answered.elapsed();
    assert!(
        took >= SHORT.mul_f32(0.9) && took < LATE,
        "expected the end after {SHORT:?}, got it after {took:?}"
    );
}

#[test]
fn a_connection_on_which_nothing_comes_is_closed() {
    let hub = hub(|limits| limits.idle_timeout(SHORT).head_timeout(SHORT));
    let started = Instant::now();
    let answer = shown(&hub.connect().drain(SOON));
    assert_timed_out("nothing", &answer, started.elapsed());
}

#[test]
fn a_stream_has_no_deadline() {
    let hub = hub(|limits| {
        limits.head_timeout(SHORT).body_timeout(SHORT).write_timeout(SHORT).idle_timeout(SHORT)
    });
    let mut client = hub.listen("?event=a");
    // As long as another connection takes to be closed for its idleness, and once more.
    for _ in 0..2 {
        let mut idle = hub.ask(POST);
        assert_eq!(idle.answer().status, 200);
        assert_eq!(client.event().data.as_deref(), Some("x"));
        idle.assert_closed();
    }
    hub.publish(Message::new("still here").event("a"));
    assert_eq!(client.event().data.as_deref(), Some("still here"));
}

#[test]
fn a_client_that_does_not_read_its_answer_is_given_up() {
    let large = |_: &Request| Response::text(200, "x".repeat(64 << 20));
    let limits = Limits::default().write_timeout(SHORT).connections(1);
    let hub =
        Hub::over_tcp(&["a"], |builder| builder, |http| http.limits(limits).get("/large", large));
    let mut stuck = hub.ask("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    // Its head is there, so the answer is being written.
    assert_eq!(stuck.head().status, 200);
    // The one connection that may be waited for is taken, and then it is free.
    eventually(SOON, 503, || status_of_a_slow_request(&hub));
    eventually(SOON, 200, || status_of_a_slow_request(&hub));
    let got = stuck.drain(SOON).len();
    assert!(got < 64 << 20, "expected a part of the answer, got all {got} bytes");
}

/// That each part of it is taken in time is not enough.
#[test]
fn an_answer_must_be_taken_whole_before_its_deadline() {
    let size = 64 << 20;
    let large = move |_: &Request| Response::text(200, "x".repeat(size));
    let limits = Limits::default().write_timeout(SHORT);
    let hub =
        Hub::over_tcp(&["a"], |builder| builder, |http| http.limits(limits).get("/large", large));
    let mut slow = hub.ask("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(slow.head().status, 200);
    let end = Instant::now() + LATE;
    let mut got = 0;
    while Instant::now() < end {
        got += slow.piece().len();
        thread::sleep(Duration::from_millis(20)); // a slow reader; nothing waits for this
    }
    got += slow.drain(SOON).len();
    assert!(got < size, "expected a part of the answer, got all {got} bytes");
}

const HALF: &str = "POST /send?event=a&data=x HTTP/1.1\r\n";

/// What is answered to a request for whose second half the server has to wait.
#[track_caller]
pub(crate) fn status_of_a_slow_request(hub: &Hub) -> u16 {
    let mut client = hub.ask(HALF);
    // A server that has no thread for it says so at once; on a busy machine that takes a moment.
    if client.fill(Instant::now() + SOON / 20).is_err() {
        client.send("Host: a\r\n\r\n");
    }
    client.answer().status
}

#[test]
fn a_client_that_reads_its_answer_slowly_gets_all_of_it() {
    let size = 4 << 20;
    let large = move |_: &Request| Response::text(200, "x".repeat(size - 1) + "\n");
    let hub = Hub::with(&["a"], |builder| builder, |http| http.get("/large", large));
    let mut client = hub.ask("GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().field("content-length"), Some(size.to_string().as_str()));
    let mut got = 0;
    while got < size {
        got += client.piece().len();
        thread::sleep(Duration::from_micros(200)); // a slow reader; nothing waits for this
    }
    assert_eq!(got, size);
}

/// A hub with a route that is busy until the returned sender is dropped.
fn hub_with_a_busy_route(connections: usize) -> (Hub, Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let busy = move |_: &Request| {
        // Ends when the sender is gone.
        let _ = released.lock().unwrap().recv();
        Response::text(200, "done")
    };
    let limits = Limits::default().connections(connections);
    let hub = Hub::over_tcp(
        &["", "a", "probe"],
        |builder| builder,
        |http| http.limits(limits).get("/busy", busy),
    );
    (hub, release)
}

const BUSY: &str = "GET /busy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[track_caller]
fn assert_told_to_come_back(client: &mut Client) {
    let answer = client.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    let after = answer.field("retry-after").unwrap_or_default();
    let seconds: u32 = after.parse().unwrap_or_else(|_| panic!("Retry-After: {answer:?}"));
    assert!(seconds > 0, "Retry-After: {answer:?}");
    answer.assert_explained();
    client.assert_closed();
}

#[test]
fn more_connections_than_can_be_worked_on_are_told_to_come_back() {
    let (hub, release) = hub_with_a_busy_route(3);
    let mut busy: Vec<Client> = (0..3).map(|_| hub.ask(BUSY)).collect();
    // Those came first, and are accepted first; so there is no room for this one.
    assert_told_to_come_back(&mut hub.ask(HALF));
    drop(release);
    for client in &mut busy {
        assert_eq!(client.answer().status, 200);
        client.assert_closed();
    }
    eventually(SOON, 200, || status_of_a_slow_request(&hub));
    hub.assert_still_serves();
}

/// So clients that send a request byte by byte, or none, cannot keep others out.
#[test]
fn where_there_is_no_room_one_that_waits_for_its_client_gives_way() {
    let hub = hub(|limits| limits.connections(3));
    let slow: Vec<Client> = (0..3).map(|_| hub.ask(HALF)).collect();
    eventually(SOON, 200, || status_of_a_slow_request(&hub));
    let mut gave_way = 0;
    for mut client in slow {
        // Who had to give way has been answered, and may have been left already.
        let _ = client.try_send("Host: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        let status = client.answer().status;
        assert!(matches!(status, 200 | 503), "{status}");
        gave_way += usize::from(status == 503);
    }
    assert!(gave_way > 0, "somebody has to");
    hub.assert_still_serves();
}

#[test]
fn a_connection_without_a_request_gives_way_in_silence() {
    let limits = Limits::default().connections(1);
    let events = ["", "a", "probe"];
    let hub = Hub::over_tcp(&events, |builder| builder, |http| http.limits(limits));
    let mut idle = hub.ask(POST);
    assert_eq!(idle.answer().status, 200);
    // As soon as the server waits for its next request.
    eventually(SOON, 200, || status_of_a_slow_request(&hub));
    idle.assert_closed();
}

/// Whatever comes on an idle connection would be taken for the answer to the next request.
#[test]
fn a_client_that_was_answered_is_not_told_what_it_did_not_ask() {
    let (hub, release) = hub_with_a_busy_route(1);
    let _busy = hub.ask(BUSY);
    // As soon as that has the only thread.
    let mut answered = hub.ask(POST);
    eventually(SOON, 200, || {
        answered = hub.ask(POST);
        answered.answer().status
    });
    // There is no thread to keep it alive with.
    answered.assert_closed();
    drop(release);
}

#[test]
fn streams_do_not_count_as_connections() {
    let hub = hub(|limits| limits.connections(4));
    let mut streams: Vec<Client> = (0..20).map(|_| hub.listen("?event=a")).collect();
    assert_eq!(hub.ask(POST).answer().status, 200);
    for client in &mut streams {
        assert_eq!(client.event().data.as_deref(), Some("x"));
    }
}

#[test]
fn more_bytes_of_bodies_than_allowed_are_told_to_come_back() {
    let hub = hub(|limits| limits.bodies_bytes(1000));
    let head = "POST /send?event=a HTTP/1.1\r\nHost: a\r\nContent-Length: 800\r\n\r\n";
    let mut first = hub.ask(format!("{head}{}", "x".repeat(799)));
    let another = || hub.ask(format!("{head}{}", "x".repeat(800)));
    // Once the first has its room.
    eventually(SOON, 503, || another().answer().status);
    for _ in 0..3 {
        let mut second = another();
        let answer = second.answer();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.field("retry-after").is_some(), "{answer:?}");
        answer.assert_explained();
        second.assert_closed();
    }
    first.send("x");
    assert_eq!(first.answer().status, 200);
    assert_eq!(another().answer().status, 200, "room again");
}

/// A little more than the request is read over, much more is not.
#[test]
fn a_client_that_keeps_talking_to_its_stream_is_disconnected() {
    let hub = hub(|limits| limits);
    let mut client = hub.listen("?event=a");
    client.send("x".repeat(1000));
    hub.publish(Message::new("still here").event("a"));
    assert_eq!(client.event().data.as_deref(), Some("still here"));
    client.send("x".repeat(200 << 10));
    // At most 4 KiB of it are read each second.
    eventually(Duration::from_secs(30), 0, || hub.server.stats().streams);
}

#[test]
fn more_streams_than_allowed_are_refused_for_now_and_not_for_good() {
    let hub = Hub::with(&["", "a"], |builder| builder.max_streams(2), |http| http);
    let get = "GET /event HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut first = hub.listen("");
    let second = hub.listen("");

    let mut refused = hub.ask(get);
    let head = refused.head();
    // Any other status or type would make a browser give up.
    assert_eq!(head.line, "HTTP/1.1 200 OK");
    head.assert_stream();
    let (reason, block) = refused.preamble();
    assert!(!reason.trim().is_empty(), "expected a reason in the comment");
    assert!(block.retry > Some(0), "expected a time to wait, got {block:?}");
    refused.assert_stream_ends();

    hub.publish(Message::new("x"));
    assert_eq!(first.event().data.as_deref(), Some("x"));
    drop(second);
    eventually(SOON, 1, || hub.server.stats().streams);
    let mut third = hub.listen("");
    hub.publish(Message::new("y"));
    assert_eq!(third.event().data.as_deref(), Some("y"));
}

#[test]
fn refused_streams_are_told_to_come_back_at_different_times() {
    let hub = Hub::with(&[""], |builder| builder.max_streams(1), |http| http);
    let _first = hub.listen("");
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let mut refused = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
            refused.head();
            refused.preamble().1.retry
        })
        .collect();
    times.sort();
    times.dedup();
    assert!(times.len() > 1, "expected different times, got only {times:?}");
}

/// As `shutdown` takes it: who wants to wait for ever says `Duration::MAX`.
#[test]
fn a_deadline_beyond_what_a_clock_can_hold_is_none() {
    let never = Duration::MAX;
    let limits = Limits::default().head_timeout(never).body_timeout(never);
    let limits = limits.write_timeout(never).idle_timeout(never);
    let hub = Hub::with(
        &["", "probe"],
        |builder| builder.heartbeat(never).stall_timeout(never).retry(never),
        |http| http.limits(limits),
    );
    // In pieces, so that each of them has to be waited for.
    let mut client = hub.connect();
    let raw = "POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx";
    for byte in raw.bytes().chain(raw.bytes()) {
        client.send([byte]);
        thread::yield_now();
    }
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.answer().status, 200);
    hub.assert_still_serves();
}
