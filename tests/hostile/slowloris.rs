//! Connections that take places and give nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::alone;
use super::process::Program;
use super::table::answers;
use support::{Client, Hub, SOON, StopOnDrop, eventually};
use websse::http::Limits;

/// Twice as many as may hold a thread.
const CROWD: usize = 2000;
/// `Limits::connections`.
const PLACES: usize = 1024;
const ATTACK: Duration = Duration::from_secs(15);

/// What each of the crowd sends at first. Then it sends a byte each second, for ever.
const BEGINNINGS: [&str; 4] = [
    "",
    "GET /event HTTP/1.1\r\nHost: a\r\nX: ",
    "POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n",
    "POST /send HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;",
];

/// Holds so many connections and sends a byte over each of them every second; whichever the server
/// ends is replaced by the next byte's time.
fn dribble(program: &Program, stop: &AtomicBool) {
    let begin = |number: usize| {
        let mut socket = TcpStream::connect(program.addr).unwrap();
        socket.write_all(BEGINNINGS[number % BEGINNINGS.len()].as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(begin).collect();
    let mut replaced = 0;
    while !stop.load(Relaxed) {
        let next = Instant::now() + Duration::from_secs(1);
        for (number, socket) in crowd.iter_mut().enumerate() {
            let ended = match socket.read(&mut [0; 1024]) {
                Ok(_) => true,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if ended || socket.write_all(b"x").is_err() {
                *socket = begin(number);
                replaced += 1;
            }
        }
        while !stop.load(Relaxed) && Instant::now() < next {
            thread::sleep(Duration::from_millis(5));
        }
    }
    eprintln!("figure: hostile: {CROWD} connections by a byte a second, {replaced} replaced");
}

fn listen(program: &Program) -> Client {
    let mut client = program.ask("GET /event?event=a HTTP/1.1\r\nHost: a\r\n\r\n");
    client.stream_head();
    client
}

const FIRST_PART: &str = "GET / HTTP/1.1\r\nHost: a\r\n";
const SECOND_PART: &str = "Connection: close\r\n\r\n";

/// The status of a request that comes in two parts, so that it takes a place while the second is
/// waited for; 0 where the connection ends instead.
fn status_in_two_parts(mut client: Client) -> u16 {
    client.send(FIRST_PART);
    if client.fill(Instant::now() + Duration::from_millis(20)).is_err() {
        // It may have had to give way just now.
        let _ = client.try_send(SECOND_PART);
    }
    let answers = answers(&client.drain(SOON)).unwrap();
    answers.first().map_or(0, |answer| answer.status)
}

#[test]
fn two_thousand_slow_connections_keep_nobody_out_and_hold_up_no_event() {
    let _alone = alone();
    let _: u64 = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let program = Program::start(["a"]);
    let (held, (resident, _)) = (program.holds(), program.memory());
    let mut streams: Vec<Client> = (0..10).map(|_| listen(&program)).collect();
    let stop = AtomicBool::new(false);
    let (mut number, mut slowest, mut threads) = (0, Duration::ZERO, 0);
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| dribble(&program, &stop));
        eventually(SOON, true, || program.holds().0 >= PLACES);
        let end = Instant::now() + ATTACK;
        while Instant::now() < end {
            let started = Instant::now();
            let post = format!("POST /send?event=a&data={number} HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(program.ask(post).answer().status, 200);
            for client in &mut streams {
                assert_eq!(client.event().data, Some(number.to_string()));
            }
            slowest = slowest.max(started.elapsed());
            number += 1;
            streams.push(listen(&program));
            eventually(SOON, 200, || status_in_two_parts(program.connect()));
            threads = threads.max(program.holds().0);
            thread::sleep(Duration::from_millis(100));
        }
    });
    let (_, most) = program.memory();
    eprintln!(
        "figure: hostile: meanwhile {number} events to up to {} streams, the slowest after \
         {slowest:.2?}; at most {threads} threads and {} KiB more",
        streams.len(),
        (most - resident) >> 10
    );
    assert!(threads < PLACES * 7 / 4, "{threads} threads for {PLACES} places");
    assert!(most - resident < PLACES * 128 * 1024, "{} bytes", most - resident);
    drop(streams);
    program.assert_holds_again(held);
}

/// A hub with room for so few that it is soon taken.
fn small_hub() -> Hub {
    let limits = Limits::default().connections(FEW);
    Hub::with(&["probe"], |builder| builder, |http| http.limits(limits))
}

const FEW: usize = 20;

/// They were answered, and are only waited for so that the answer is not lost.
#[test]
fn clients_that_were_refused_and_stay_keep_nobody_out() {
    let _alone = alone();
    let hub = small_hub();
    for _ in 0..5 {
        let refused: Vec<Client> = (0..FEW)
            .map(|_| {
                let mut client = hub.ask("what is this?\r\n\r\n");
                assert_eq!(client.answer().status, 400);
                client
            })
            .collect();
        // Nothing is at this path, but it is looked for.
        assert_eq!(status_in_two_parts(hub.connect()), 404, "with {FEW} that were refused");
        drop(refused);
    }
}

#[test]
fn a_client_that_has_only_just_come_does_not_give_way_to_the_next() {
    let _alone = alone();
    let hub = small_hub();
    let half = || hub.ask(FIRST_PART);
    let mut crowd: Vec<Client> = (1..FEW).map(|_| half()).collect();
    // Its request is on its way still.
    let mut newcomer = hub.connect();
    crowd.extend((0..FEW / 2).map(|_| half()));
    // They came later, and are answered later.
    crowd[FEW / 2 - 1].fill(Instant::now() + SOON).unwrap();
    newcomer.send([FIRST_PART, SECOND_PART].concat());
    assert_eq!(newcomer.answer().status, 404);
}

/// They are kept for more than two minutes otherwise.
#[test]
fn any_number_of_idle_connections_keep_nobody_out_and_the_longest_idle_gives_way() {
    let _alone = alone();
    let hub = small_hub();
    let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let started = Instant::now();
    let mut crowd: Vec<Client> = Vec::new();
    let mut regular = hub.connect();
    for _ in 0..10 * FEW {
        crowd.push(hub.ask(ask));
        assert_eq!(crowd.last_mut().unwrap().answer().status, 404);
        // Idle for less long than the others, however often they come.
        regular.send(ask);
        assert_eq!(regular.answer().status, 404);
    }
    assert_eq!(status_in_two_parts(hub.connect()), 404, "with {} that are idle", crowd.len());
    // The first to come have gone, in silence; the last may ask again.
    for client in &mut crowd[..9 * FEW] {
        client.assert_closed();
    }
    let last = crowd.last_mut().unwrap();
    last.send(ask);
    assert_eq!(last.answer().status, 404);
    assert!(started.elapsed() < 4 * SOON, "{:?}", started.elapsed());
}
