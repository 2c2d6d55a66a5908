//! Handshakes of TLS that do not go on, or are none; and what clients may send within a session.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::alone;
use super::process::{Level, Program};
use support::authority::{Authority, BOTH, rustls};
use support::random::Random;
use support::{Client, Got, Hub, SOON, Scratch, StopOnDrop, eventually};
use websse::{Builder, Message};

/// More than may hold a thread.
const CROWD: usize = 2000;
const ATTACK: Duration = Duration::from_secs(12);
const LISTEN: &str = "GET /event?event=a HTTP/1.1\r\nHost: localhost\r\n\r\n";

struct Server {
    hub: Hub,
    authority: Authority,
    config: Arc<rustls::ClientConfig>,
    _files: Scratch,
}

impl Server {
    fn new(name: &str) -> Self {
        let files = Scratch::new(name);
        let authority = Authority::new("tests");
        let tls = authority.issue(&["localhost"]).server(&files.0);
        // Those that take nothing are given up soon.
        let builder = |builder: Builder| builder.stall_timeout(Duration::from_secs(1));
        let hub = Hub::over_tls(&["a"], builder, |http| http, tls);
        let config = Arc::new(authority.client(&BOTH, None));
        Self { hub, authority, config, _files: files }
    }

    #[track_caller]
    fn listen(&self) -> Client {
        let mut client = Client::connect(self.hub.addr()).secured(&self.config, "localhost");
        client.send(LISTEN);
        client.stream_head();
        client
    }
}

fn client_of(config: &Arc<rustls::ClientConfig>) -> rustls::ClientConnection {
    let name = "localhost".try_into().unwrap();
    rustls::ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// What a client is about to send.
fn flight(client: &mut rustls::ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// A client that has sent its first flight, and what its second one is.
fn half_way(server: &Server, config: &Arc<rustls::ClientConfig>) -> (TcpStream, Vec<u8>) {
    let mut socket = TcpStream::connect(server.hub.addr()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut client = client_of(config);
    socket.write_all(&flight(&mut client)).unwrap();
    while !client.wants_write() {
        assert!(client.read_tls(&mut socket).unwrap() > 0);
        client.process_new_packets().unwrap();
    }
    (socket, flight(&mut client))
}

#[test]
fn a_handshake_that_is_cut_anywhere_leaves_nothing_behind() {
    let _alone = alone();
    let server = Server::new("tls-cut");
    let before = Level::of_the_hub(&server.hub);
    for version in BOTH {
        let config = Arc::new(server.authority.client(&[version], None));
        let hello = flight(&mut client_of(&config));
        for cut in 0..hello.len() {
            let mut socket = TcpStream::connect(server.hub.addr()).unwrap();
            socket.write_all(&hello[..cut]).unwrap();
        }
        let length = half_way(&server, &config).1.len();
        for cut in 0..=length {
            let (mut socket, second) = half_way(&server, &config);
            socket.write_all(&second[..cut]).unwrap();
        }
    }
    before.assert_again(&server.hub);
    server.listen();
}

#[test]
fn what_is_no_handshake_is_ended_at_once_and_costs_nothing() {
    let _alone = alone();
    let server = Server::new("tls-junk");
    let before = Level::of_the_hub(&server.hub);
    let hello = flight(&mut client_of(&server.config));
    let mut random = Random::new(7, 0);
    for number in 0..600 {
        let mut bytes: Vec<u8> = match number % 3 {
            // A record of any type and length, with noise in it.
            0 => {
                let length = random.below(17_000);
                let kind = 0x14 + u8::try_from(random.below(6)).unwrap();
                let [high, low] = u16::try_from(length).unwrap().to_be_bytes();
                let noise = (0..length).map(|_| random.below(256).to_le_bytes()[0]);
                [kind, 3, 3, high, low].into_iter().chain(noise).collect()
            }
            // A hello with a wrong byte.
            1 => {
                let mut bytes = hello.clone();
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
                bytes
            }
            _ => (0..random.below(2000)).map(|_| random.below(256).to_le_bytes()[0]).collect(),
        };
        // What it may still wait for never comes.
        bytes.extend_from_slice(&hello[..random.below(9)]);
        let mut client = Client::connect(server.hub.addr());
        // It may be ended before all is sent.
        let _ = client.try_send(&bytes);
        client.half_close();
        client.drain(SOON);
    }
    before.assert_again(&server.hub);
    server.listen();
}

/// Each second a byte of a hello over each connection; whichever the server ends is replaced.
fn dribble(program: &Program, hello: &[u8], stop: &AtomicBool) {
    let begin = || {
        let socket = TcpStream::connect(program.addr).unwrap();
        socket.set_nonblocking(true).unwrap();
        (socket, 0)
    };
    let mut crowd: Vec<(TcpStream, usize)> = (0..CROWD).map(|_| begin()).collect();
    let mut replaced = 0;
    while !stop.load(Relaxed) {
        let next = Instant::now() + Duration::from_secs(1);
        for one in &mut crowd {
            let (socket, sent) = one;
            let ended = match socket.read(&mut [0; 1024]) {
                Ok(_) => true,
                Err(error) => error.kind() != ErrorKind::WouldBlock,
            };
            if ended || socket.write_all(&hello[*sent..=*sent]).is_err() {
                *one = begin();
                replaced += 1;
            } else {
                *sent = (*sent + 1).min(hello.len() - 1);
            }
        }
        while !stop.load(Relaxed) && Instant::now() < next {
            thread::sleep(Duration::from_millis(5));
        }
    }
    eprintln!("figure: hostile: {CROWD} handshakes by a byte a second, {replaced} replaced");
}

#[test]
fn two_thousand_slow_handshakes_keep_nobody_out() {
    let _alone = alone();
    let _: u64 = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let files = Scratch::new("tls-slow");
    let authority = Authority::new("tests");
    let [chain, key] = authority.issue(&["localhost"]).write_to(&files.0);
    let program = Program::start_with(["a"], |command| {
        command.arg("--tls-cert").arg(&chain).arg("--tls-key").arg(&key);
    });
    let config = Arc::new(authority.client(&BOTH, None));
    let hello = flight(&mut client_of(&config));
    let held = program.holds();
    let listen = || {
        let started = Instant::now();
        let mut client = Client::try_connect_tls(program.addr, &config, "localhost").unwrap();
        client.send(LISTEN);
        client.stream_head();
        (client, started.elapsed())
    };
    let stop = AtomicBool::new(false);
    let (mut streams, mut times) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        scope.spawn(|| dribble(&program, &hello, &stop));
        eventually(SOON, true, || program.holds().0 >= 1000);
        let end = Instant::now() + ATTACK;
        while Instant::now() < end {
            let (client, time) = listen();
            streams.push(client);
            times.push(time);
            thread::sleep(Duration::from_millis(50));
        }
    });
    times.sort();
    eprintln!(
        "figure: hostile: meanwhile {} clients had their heads after {:.1?}, the last after {:.1?}",
        times.len(),
        times[times.len() / 2],
        times[times.len() - 1]
    );
    drop(streams);
    program.assert_holds_again(held);
}

#[test]
fn new_keys_in_the_middle_of_a_stream_change_nothing_and_a_flood_of_them_ends_it() {
    let _alone = alone();
    let server = Server::new("tls-keys");
    let mut client = server.listen();
    for number in 0..20 {
        client.tls().refresh_traffic_keys().unwrap();
        client.send("");
        server.hub.publish(Message::new(number.to_string()).event("a"));
        assert_eq!(client.event().data, Some(number.to_string()));
    }
    let mut other = server.listen();
    // The server may end it before all are sent.
    let _ = (0..100_000).try_for_each(|_| {
        client.tls().refresh_traffic_keys().unwrap();
        client.try_send("")
    });
    server.hub.publish(Message::new("on").event("a"));
    assert_eq!(other.event().data.as_deref(), Some("on"));
    eventually(SOON, 1, || server.hub.server.stats().streams);
}

/// Records go out in parts, and each byte once.
#[test]
fn a_client_that_takes_little_at_a_time_gets_every_byte_once_and_a_good_end() {
    let _alone = alone();
    let server = Server::new("tls-narrow");
    let address = server.hub.addr();
    let narrow = Client::try_connect_narrow(address, 2048).unwrap();
    let mut client = narrow.secured(&server.config, "localhost");
    client.send(LISTEN);
    client.stream_head();
    let data = |number: usize| format!("{number} {}", "0123456789".repeat(9_000 + number));
    for number in 0..10 {
        server.hub.publish(Message::new(data(number)).event("a"));
    }
    eventually(SOON, true, || server.hub.server.stats().behind > 0);
    let mut small = 0;
    for number in 0..10 {
        // A piece that is no record, then the rest.
        while small < 200 && client.read(1 + small) != Got::End {
            small += 1;
        }
        assert!(client.event().data.as_deref() == Some(&data(number)), "event {number}");
    }
    server.hub.publish(Message::new(data(11)).event("a"));
    thread::scope(|scope| {
        scope.spawn(|| server.hub.server.shutdown(SOON));
        assert!(client.event().data.as_deref() == Some(&data(11)), "before the end");
        client.assert_stream_ends();
    });
}

/// What is left of a client that says goodbye while its stream goes on.
#[test]
fn a_client_that_closes_its_side_is_gone_and_is_told_goodbye() {
    let _alone = alone();
    let server = Server::new("tls-goodbye");
    let mut client = server.listen();
    client.half_close();
    client.assert_stream_ends();
    eventually(SOON, 0, || server.hub.server.stats().streams);
}

/// Not even the tickets of its session, which come before the head.
#[test]
fn clients_that_never_read_are_given_up_and_hold_up_nobody() {
    let _alone = alone();
    let server = Server::new("tls-deaf");
    let before = Level::of_the_hub(&server.hub);
    let deaf: Vec<TcpStream> = (0..50)
        .map(|number| {
            let config = Arc::new(server.authority.client(&[BOTH[number % 2]], None));
            let narrow = Client::try_connect_narrow(server.hub.addr(), 2048).unwrap();
            let mut client = narrow.secured(&config, "localhost");
            client.send(LISTEN);
            client.socket()
        })
        .collect();
    eventually(SOON, deaf.len(), || server.hub.server.stats().streams);
    let mut client = server.listen();
    let text = "x".repeat(64 << 10);
    let mut number = 0;
    while server.hub.server.stats().streams > 1 {
        server.hub.publish(Message::new(format!("{number} {text}")).event("a"));
        let data = client.event().data.unwrap();
        assert!(data.starts_with(&format!("{number} ")), "{number}");
        number += 1;
        assert!(number < 4000, "they take nothing, and stay");
        thread::sleep(Duration::from_millis(5));
    }
    drop((client, deaf));
    before.assert_again(&server.hub);
}
