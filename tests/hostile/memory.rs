//! Crowds that want the server's memory.

use std::env;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::id;
use std::time::{Duration, Instant};

use super::process::{Program, memory};
use super::{alone, hub};
use support::{
    Client, Got, Hub, SOON, are_behind_for_a_while, eventually, process::in_a_process_of_its_own,
};
use websse::http::HttpServer;
use websse::{Message, Server};

const MIB: usize = 1 << 20;
/// What a crowd may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// The head of a request to publish `length` bytes in an event of the type `a`.
fn head(length: usize) -> String {
    format!("POST /send?event=a HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn line_feeds_are_refused_before_their_frame_takes_memory() {
    let _alone = alone();
    let program = Program::start(["a"]);
    let raw = [head(MIB).as_bytes(), &vec![b'\n'; MIB]].concat();
    let (before, _) = program.memory();
    for _ in 0..20 {
        let answer = program.ask(&raw).answer();
        assert_eq!(answer.status, 413);
        answer.assert_explained();
    }
    let taken = program.memory().1 - before;
    // The body and the message, each on two threads; as a frame it would be 7 times as large.
    assert!(taken < 9 * MIB, "expected little more for 1 MiB of line feeds, got {taken} bytes");
}

/// As many as there may be at once would take gigabytes otherwise.
#[test]
fn what_is_made_of_a_body_is_not_many_times_as_large() {
    let _alone = alone();
    let nested = format!("{{\"data\":[{}]}}", vec!["{\"\":0}"; 140_000].join(","));
    for (name, body) in [("many messages", "{}\n".repeat(MIB / 3)), ("many maps", nested)] {
        let program = Program::start([]);
        let (before, _) = program.memory();
        let head = head(body.len()).replace("?event=a", "");
        let head = head.replace("Host", "Content-Type: application/x-ndjson\r\nHost");
        let answer = program.ask(head + &body).answer();
        assert!(matches!(answer.status, 200 | 413), "{name}: {answer:?}");
        let taken = program.memory().1 - before;
        eprintln!("figure: hostile: 1 MiB of {name}: {} KiB of memory", taken >> 10);
        assert!(taken < 16 * MIB, "{name} of 1 MiB took {taken} bytes");
    }
}

/// Its answer would be six times as large, and wait for a client that does not read it.
#[test]
fn what_was_sent_is_not_repeated_at_length() {
    let _alone = alone();
    let hub = hub();
    let nonsense = "\x7f".repeat(MIB - 10);
    for (form, status) in [
        (nonsense.clone(), 400),
        (format!("event={nonsense}"), 422),
        (format!("retry={nonsense}"), 422),
        (format!("id={nonsense}"), 422),
    ] {
        let kind = "Content-Type: application/x-www-form-urlencoded";
        let length = form.len();
        let head = format!("POST /send HTTP/1.1\r\nHost: a\r\n{kind}\r\nContent-Length: {length}");
        let answer = hub.ask(format!("{head}\r\n\r\n{form}")).answer();
        assert_eq!(answer.status, status);
        answer.assert_explained();
        let size = answer.body.len();
        assert!(size < 1024, "expected a line about {:?}…, got {size} bytes", &form[..5]);
    }
}

const CROWD: usize = 1000;
/// With its head and its line ends, an event of this size is just small enough.
const BODY: usize = MIB - 200;
/// So many of these bodies are not more than `bodies_bytes`, and one more is.
const FIT: usize = 64;

/// One of a crowd that sends large bodies.
struct Sender {
    socket: TcpStream,
    sent: usize,
    /// 0 for a connection that ended without an answer.
    status: Option<u16>,
}

impl Sender {
    fn connect(program: &Program) -> Self {
        let socket = TcpStream::connect(program.addr).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, sent: 0, status: None }
    }

    /// Sends what the socket takes, unless an answer is there already.
    fn go_on(&mut self, request: &[u8]) {
        let mut answer = [0; 1024];
        let read = self.socket.read(&mut answer);
        let piece = &request[self.sent..request.len().min(self.sent + 64 * 1024)];
        match read {
            Ok(length) => {
                let status = answer[..length].get(9..12).map(<[u8]>::to_vec);
                let status = status.and_then(|digits| String::from_utf8(digits).ok()?.parse().ok());
                self.status = Some(status.unwrap_or(0));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match self.socket.write(piece) {
                    Ok(length) => self.sent += length,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    // The next read tells why.
                    Err(_) => {}
                }
            }
            Err(_) => self.status = Some(0),
        }
    }
}

/// Goes round until each has sent all of this or is answered, and no more than `unanswered` are
/// not answered.
#[track_caller]
fn push(crowd: &mut [Sender], request: &[u8], unanswered: usize) {
    let end = Instant::now() + LONG;
    loop {
        let waiting = crowd.iter_mut().filter(|sender| sender.status.is_none());
        waiting.for_each(|sender| sender.go_on(request));
        let left = crowd.iter().filter(|sender| sender.status.is_none());
        let (sent, left) = left.fold((true, 0), |(sent, left), sender| {
            (sent && sender.sent == request.len(), left + 1)
        });
        if sent && left <= unanswered {
            return;
        }
        assert!(Instant::now() < end, "expected at most {unanswered} unanswered, got {left}");
    }
}

#[test]
fn of_a_thousand_large_bodies_at_once_as_many_are_taken_as_there_is_room_for() {
    let _alone = alone();
    let _: u64 = rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let program = Program::start(["a"]);
    let (before, held) = (program.memory().0, program.holds());
    let request = [head(BODY).as_bytes(), &vec![b'x'; BODY]].concat();
    let mut left = Vec::new();
    for _ in 0..3 {
        let mut crowd: Vec<Sender> = (0..CROWD).map(|_| Sender::connect(&program)).collect();
        // All but the last byte, so that none is done before the others.
        push(&mut crowd, &request[..request.len() - 1], FIT);
        let (while_held, _) = program.memory();
        push(&mut crowd, &request, 0);
        let count = |status| crowd.iter().filter(|sender| sender.status == Some(status)).count();
        let (taken, told) = (count(200), count(503));
        drop(crowd);
        program.assert_holds_again(held);
        let (after, most) = program.memory();
        left.push(after);
        eprintln!(
            "figure: hostile: 1000 bodies of 1 MiB at once: {taken} taken, {told} told to come \
             back; resident before {} KiB, while bodies are held {} KiB, at most {} KiB, after \
             {} KiB",
            before >> 10,
            while_held >> 10,
            most >> 10,
            after >> 10
        );
        // Two that come to the limit at the same moment may both be refused.
        assert!((FIT / 2..=FIT).contains(&taken), "expected {FIT} taken, got {taken}");
        // Who goes on sending for more than a second may lose its answer.
        assert!(told > CROWD / 2, "expected 503 for the others, got it for {told} only");
        // All that the README allows for bodies, queue, history and mailboxes.
        assert!(most < 400 * MIB, "{most} bytes were resident");
    }
    // The allocator keeps some for the next time; the bodies twice would be more.
    assert!(left[2] < left[0] + FIT * MIB, "left behind each time: {left:?}");
}

const TYPES: u64 = 100;
/// With its id and what a place costs, 1024 of these are just less than 1 MiB.
const EVENT: usize = 900;

fn event(number: u64) -> Message {
    Message::new(format!("{number:>EVENT$}")).event(format!("t{}", number % TYPES))
}

#[test]
fn a_thousand_clients_that_replay_all_there_is_share_it() {
    let _alone = alone();
    let name = "memory::a_thousand_clients_that_replay_all_there_is_share_it";
    in_a_process_of_its_own(name, || {
        let _: u64 = rlimit::increase_nofile_limit(u64::MAX).unwrap();
        // Nobody is to be dropped for not reading while the others come.
        let server = Server::builder().stall_timeout(LONG).build();
        server.register_events((0..TYPES).map(|number| format!("t{number}"))).unwrap();
        server.run().unwrap();
        let path = env::temp_dir().join(format!("websse-hostile-{}", id()));
        let listener = UnixListener::bind(&path).unwrap();
        let http = HttpServer::new().get("/event", server.event_stream_handler());
        let http = http.serve(listener).unwrap();
        replay_to_a_crowd(&server, || UnixStream::connect(&path).unwrap());
        std::fs::remove_file(path).unwrap();
        http.shutdown(SOON);
    });
}

/// Sockets of one machine whose buffers are small: what TCP would keep for each of a thousand
/// clients is more than some machines have.
fn replay_to_a_crowd(server: &Server, connect: impl Fn() -> UnixStream) {
    let (empty, _) = memory(id());
    let published = TYPES * 1024;
    (1..=published).for_each(|number| drop(server.publish(event(number)).unwrap()));
    eventually(LONG, published, || server.stats().published);
    let (full, most) = memory(id());
    let history = full - empty;
    assert!(most - empty < 96 * MIB, "expected a history of 64 MiB, got {} bytes", most - empty);

    let replay = || {
        let mut client = Client::from(connect());
        client.wait_at_most(LONG);
        client.send("GET /event?event=*&replay=1000000 HTTP/1.1\r\nHost: a\r\n\r\n");
        // From its first byte on it needs no thread any more.
        assert_eq!(client.read(1), Got::Bytes(1));
        client
    };
    let crowd: Vec<Client> = (0..CROWD).map(|_| replay()).collect();
    eventually(LONG, CROWD, || server.stats().behind);
    let (replaying, _) = memory(id());
    let each = replaying.saturating_sub(full) / CROWD;
    // A slice of the history is 64 KiB.
    assert!(each < 16 * 1024, "expected the events to be shared, got {each} bytes for each client");

    eprintln!(
        "figure: hostile: replays to {CROWD} clients at once: resident {} KiB for the history, \
         {each} bytes more for each client",
        history >> 10
    );
    let mut crowd = crowd.into_iter();
    for client in crowd.by_ref().take(2) {
        let events = published - read_to(published, client);
        let bytes = usize::try_from(events).unwrap() * EVENT;
        assert!((32 * MIB..64 * MIB).contains(&bytes), "expected the whole history, got {bytes}");
    }
    drop(crowd);
    eventually(LONG, 0, || server.stats().streams);
}

/// Reads all that is replayed, each event the next one after the one before, up to this one;
/// returns the one before the first.
fn read_to(last: u64, mut client: Client) -> u64 {
    client.head().assert_stream();
    client.preamble();
    let mut next = || {
        let event = client.event_within(LONG);
        let data = event.data.unwrap();
        let number: u64 = data.trim_ascii_start().parse().unwrap();
        assert_eq!(data.len(), EVENT);
        assert_eq!(event.event, Some(format!("t{}", number % TYPES)));
        number
    };
    let first = next();
    for expected in first + 1..=last {
        assert_eq!(next(), expected);
    }
    first - 1
}

/// What they wait for is in the history all the same.
#[test]
fn clients_that_ask_for_a_replay_and_do_not_read_it_leave_the_others_their_room() {
    const STUCK: usize = 20;
    let _alone = alone();
    let hub = Hub::with(
        &["live", "0", "1", "2", "3", "4", "5", "6", "7"],
        |builder| builder.mailboxes_bytes(16 * MIB).stall_timeout(LONG),
        |http| http,
    );
    for event in 0..8 {
        hub.publish(Message::new("x".repeat(BODY)).event(event.to_string()));
    }
    let types = "event=0&event=1&event=2&event=3&event=4&event=5&event=6&event=7";
    let get = format!("GET /event?{types}&replay=8 HTTP/1.1\r\nHost: a\r\n\r\n");
    let stuck: Vec<Client> = (0..STUCK).map(|_| hub.ask(&get)).collect();
    eventually(LONG, STUCK, || hub.server.stats().behind);
    // A client that is not quick just now, and far from its budget.
    let mut slow = hub.listen("?event=live");
    let mut published = 0;
    let mut publish = || {
        hub.publish(Message::new(format!("{published:>60000}")).event("live"));
        published += 1;
        eventually(LONG, 8 + published, || hub.server.stats().published);
    };
    while !are_behind_for_a_while(&hub.server, STUCK + 1) {
        publish();
    }
    (0..5).for_each(|_| publish());
    assert_eq!(hub.server.stats().disconnected.behind, 0, "clients dropped for want of memory");
    for number in 0..published {
        assert_eq!(slow.event().data.unwrap().trim_ascii_start(), number.to_string());
    }
    drop(stuck);
}
