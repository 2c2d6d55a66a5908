//! The connection that publishes, never blocked by its answers.
//!
//! Over HTTP it is one keep-alive connection for all. A number of requests, the window, may wait
//! for their answer (pipelining, RFC 9112, 9.3.2), the same for every server.
//! The bare loop gets records: type as u16, length as u32, both little-endian, and the data.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{latency::now, listener::compose};

/// So many bytes of data may be in requests that are not answered, but one request may be always:
/// some servers read no more ahead, or close the connection when they have (`peer-actix.rs`).
pub(crate) const UNANSWERED: usize = 64 << 10;
const READ_BUFFER: usize = 16 << 10;
/// No server takes longer to accept the connection.
const CONNECT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Http,
    Records,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Publisher {
    socket: TcpStream,
    poll: Poll,
    events: Events,
    speech: Speech,
    bytes: usize,
    /// By type: the number of the next event.
    next: Vec<u32>,
    /// What the socket did not take yet.
    unsent: Vec<u8>,
    data: Vec<u8>,
    buffer: Vec<u8>,
    /// What came and is not a whole answer yet.
    answers: Vec<u8>,
    in_flight: usize,
    pub(crate) refused: u64,
    deadline: Instant,
}

impl Publisher {
    /// Connects. After the deadline everything fails.
    pub(crate) fn connect(
        address: SocketAddr,
        speech: Speech,
        types: usize,
        deadline: Instant,
    ) -> Result<Self, String> {
        let cannot = |error: io::Error| format!("cannot connect to publish: {error}");
        let mut socket = std::net::TcpStream::connect_timeout(&address, CONNECT).map_err(cannot)?;
        socket.set_nodelay(true).map_err(cannot)?;
        if speech == Speech::Records {
            upgrade(&mut socket).map_err(cannot)?;
        }
        socket.set_nonblocking(true).map_err(cannot)?;
        let mut socket = TcpStream::from_std(socket);
        let poll = Poll::new().map_err(cannot)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(0), interest).map_err(cannot)?;
        Ok(Self {
            socket,
            poll,
            events: Events::with_capacity(4),
            speech,
            bytes: 128,
            next: vec![0; types],
            unsent: Vec::new(),
            data: Vec::new(),
            buffer: vec![0; READ_BUFFER],
            answers: Vec::new(),
            in_flight: 0,
            refused: 0,
            deadline,
        })
    }

    /// The data of events is so long from now on.
    pub(crate) fn set_bytes(&mut self, bytes: usize) {
        self.bytes = bytes;
    }

    /// Publishes the next event of a type, once fewer than `window` requests, and no more than
    /// [so many](UNANSWERED) bytes, are unanswered.
    pub(crate) fn publish(&mut self, kind: usize, window: usize) -> Result<(), String> {
        self.publish_as_of(kind, window, None)
    }

    /// The same, for an event that should have been published at this time.
    pub(crate) fn publish_as_of(
        &mut self,
        kind: usize,
        window: usize,
        time: Option<u64>,
    ) -> Result<(), String> {
        let window = window.min((UNANSWERED / self.bytes).max(1));
        while self.in_flight >= window {
            self.pump(self.deadline)?;
        }
        let number = self.next[kind];
        self.next[kind] += 1;
        compose(&mut self.data, kind, number, time.unwrap_or_else(now), self.bytes);
        let length = self.data.len();
        match self.speech {
            Speech::Http => {
                self.in_flight += 1;
                let length = length + "data=".len();
                let head = format!(
                    "POST /send?event=t{kind} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: \
                     application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\ndata="
                );
                self.unsent.extend_from_slice(head.as_bytes());
            }
            Speech::Records => {
                let kind = u16::try_from(kind).map_err(|error| error.to_string())?;
                let length = u32::try_from(length).map_err(|error| error.to_string())?;
                self.unsent.extend_from_slice(&kind.to_le_bytes());
                self.unsent.extend_from_slice(&length.to_le_bytes());
            }
        }
        self.unsent.extend_from_slice(&self.data);
        self.flush()?;
        while !self.unsent.is_empty() {
            self.pump(self.deadline)?;
        }
        Ok(())
    }

    /// Takes answers until this time.
    pub(crate) fn wait(&mut self, until: Instant) -> Result<(), String> {
        while Instant::now() < until {
            self.pump(until)?;
        }
        Ok(())
    }

    /// Waits until every request is answered.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        while self.in_flight > 0 {
            self.pump(self.deadline)?;
        }
        Ok(())
    }

    /// Waits until something can be done or the time is up, and does it.
    fn pump(&mut self, until: Instant) -> Result<(), String> {
        let now = Instant::now();
        if now >= self.deadline {
            return Err(format!("time-out; {} publishes are not answered", self.in_flight));
        }
        let patience = until.min(self.deadline).saturating_duration_since(now);
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(lost(&error)),
            _ => {}
        }
        self.read_answers()?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), String> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(lost(&error)),
            }
        }
        Ok(())
    }

    fn read_answers(&mut self) -> Result<(), String> {
        loop {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err("the server closed the connection that publishes".into()),
                Ok(read) => {
                    self.answers.extend_from_slice(&self.buffer[..read]);
                    self.count_answers()?;
                    // If less came than fits, the poll tells when there is more.
                    if read < READ_BUFFER {
                        return Ok(());
                    }
                }
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(lost(&error)),
            }
        }
    }

    fn count_answers(&mut self) -> Result<(), String> {
        let mut passed = 0;
        while let Some((status, length)) = answer(&self.answers[passed..])? {
            passed += length;
            self.in_flight = self.in_flight.checked_sub(1).ok_or("more answers than requests")?;
            self.refused += u64::from(!(200..300).contains(&status));
        }
        self.answers.drain(..passed);
        Ok(())
    }
}

/// The status and length of the first answer, if it is there in whole.
fn answer(bytes: &[u8]) -> Result<Option<(u16, usize)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|error| format!("no answer: {error}"))?;
    let httparse::Status::Complete(head) = parsed else { return Ok(None) };
    let mut body = 0;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("an answer to a publish without Content-Length".into());
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = std::str::from_utf8(header.value).map_err(|error| error.to_string())?;
            body = length.trim().parse().map_err(|_| format!("a length of {length:?}"))?;
        }
    }
    let length = head + body;
    Ok((length <= bytes.len()).then_some((response.code.unwrap_or(0), length)))
}

fn upgrade(socket: &mut std::net::TcpStream) -> io::Result<()> {
    let expected = b"HTTP/1.1 101 x\r\n\r\n";
    let mut answer = [0; 18];
    socket.set_read_timeout(Some(CONNECT))?;
    socket.write_all(b"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: raw\r\n\r\n")?;
    socket.read_exact(&mut answer)?;
    if &answer == expected {
        return Ok(());
    }
    Err(io::Error::other(format!("no upgrade but {:?}", String::from_utf8_lossy(&answer))))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn lost(error: &io::Error) -> String {
    format!("the connection that publishes is lost: {error}")
}
