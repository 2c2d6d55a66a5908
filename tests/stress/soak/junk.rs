//! Requests that nobody should send.

use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::round::{Stage, add};
use crate::plan::Random;
use support::{Client, SOON};

/// Between two requests of one sender.
const PAUSE: Duration = Duration::from_millis(10);

/// What becomes of a request.
enum Expected {
    /// An answer with this status.
    Status(u16),
    /// A stream, and in it a gap first.
    Gap,
    /// The server ends the connection, whatever it says before.
    End,
    /// Nothing, since the client leaves at once.
    Left,
}

use Expected::{End, Gap, Left, Status};

const HEAD: &str = " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";

fn request(random: &mut Random) -> (Vec<u8>, Expected) {
    let ask = |line: &str, rest: &str| format!("{line}{HEAD}{rest}").into_bytes();
    match random.below(18) {
        0 => (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), Status(400)),
        1 => (b"GET /event HTTP/1.1\r\n\r\n".to_vec(), Status(400)),
        2 => (b"GET /event HTTP/1.1\nHost: a\n\n".to_vec(), Status(400)),
        3 => (ask("GET /nowhere", "\r\n"), Status(404)),
        4 => (ask("POST /event", "\r\n"), Status(405)),
        5 => (ask("GET /event?event=nobody", "\r\n"), Status(400)),
        6 => (ask("GET /event?event=a&replay=-1", "\r\n"), Status(400)),
        7 => (ask("POST /send?event=nobody&data=x", "\r\n"), Status(422)),
        8 => (ask("POST /send?event=a&data=%ff", "\r\n"), Status(400)),
        9 => (ask("POST /send?event=a&retry=soon", "\r\n"), Status(422)),
        10 => (ask("GET /event", &format!("X: {}\r\n\r\n", "x".repeat(20_000))), Status(431)),
        11 => (ask("POST /send", "Content-Length: 100000000\r\n\r\nx"), Status(413)),
        12 => {
            let both = "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
            (ask("POST /send", both), Status(400))
        }
        13 => {
            let mut noise: Vec<u8> =
                (0..random.below(4000)).map(|_| random.next().to_le_bytes()[0]).collect();
            noise.extend_from_slice(b"\r\n\r\n");
            (noise, End)
        }
        14 => (ask("GET /event?event=rare", "Last-Event-ID: nobody's\r\n\r\n"), Gap),
        // Much more than a listener may send.
        15 => ([ask("GET /event?event=rare", "\r\n"), vec![b'x'; 100_000]].concat(), End),
        16 => {
            let mut half = ask("POST /send?event=a", "Content-Length: 9\r\n\r\nhalf");
            half.truncate(random.below(half.len()));
            (half, Left)
        }
        _ => (ask("GET /event?event=*", "\r\n"), Left),
    }
}

/// Sends junk until the round is over.
pub(crate) fn send(stage: &Stage<'_>, number: u64) {
    let _guard = stage.limit.guard();
    let mut random = Random::new(stage.seed, 1000 + number);
    while !stage.is_to_stop() {
        let (raw, expected) = request(&mut random);
        if let Err(error) = one(stage.addr, &raw, &expected) {
            panic!("{}: {error}", raw[..raw.len().min(200)].escape_ascii());
        }
        add(&stage.figures.junk, 1);
        thread::sleep(PAUSE);
    }
}

fn one(addr: SocketAddr, raw: &[u8], expected: &Expected) -> io::Result<()> {
    let mut client = Client::try_connect(addr)?;
    let sent = client.try_send(raw);
    let end = Instant::now() + SOON * 2;
    match *expected {
        Status(expected) => {
            sent?;
            let status = client.try_head(end)?.status;
            if status != expected {
                return Err(io::Error::other(format!("{status} in place of {expected}")));
            }
        }
        Gap => {
            sent?;
            client.try_head(end)?;
            client.preamble();
            let event = client.event_within(SOON * 2).event;
            let is_gap = event.as_deref() == Some("stream-gap");
            let wrong = || io::Error::other(format!("{event:?} in place of a gap"));
            return is_gap.then_some(()).ok_or_else(wrong);
        }
        // It may be cut off in the middle of what it sends.
        End => {}
        Left => return sent,
    }
    match client.rest(end) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
        // By a reset, too.
        _ => Ok(()),
    }
}
