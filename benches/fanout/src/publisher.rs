//! The connection that publishes, never blocked by its answers.
//!
//! Over HTTP it is one keep-alive connection for all. A number of requests, the window, may wait
//! for their answer (pipelining, RFC 9112, 9.3.2), the same for every server.
//! An event of a channel has a number behind those of the types, and the first type.
//! The bare loop gets records: that number or the type as u16, length as u32, both little-endian, and the data.

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{latency::now, listener::compose};

/// So many bytes of data may be in requests that are not answered, but one request may be always:
/// some servers read no more ahead, or close the connection when they have (`peer-actix.rs`).
pub(crate) const UNANSWERED: usize = 64 << 10;
const READ_BUFFER: usize = 16 << 10;
/// No server takes longer to accept the connection.
const CONNECT: Duration = Duration::from_secs(10);
/// The answer after which records may come.
pub(crate) const SWITCHED: &[u8] = b"HTTP/1.1 101 x\r\n\r\n";
const LOST: &str = "the connection that publishes is lost";

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
    /// How long the data of the next events is.
    pub(crate) bytes: usize,
    types: usize,
    /// By type, and behind the types by channel: the number of the next event.
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
    ) -> Result<Self> {
        let mut socket = connect(address, speech).context("cannot connect to publish")?;
        let poll = Poll::new()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut socket, Token(0), interest)?;
        Ok(Self {
            socket,
            poll,
            events: Events::with_capacity(4),
            speech,
            bytes: 128,
            types,
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

    /// Goes on where another one has ended.
    pub(crate) fn after(self, other: &Self) -> Self {
        Self { next: other.next.clone(), ..self }
    }

    /// Publishes the next event of a type, once fewer than `window` requests, and no more than
    /// [so many](UNANSWERED) bytes, are unanswered.
    pub(crate) fn publish(&mut self, kind: usize, window: usize) -> Result<()> {
        self.publish_as_of(kind, window, None)
    }

    /// The same, for an event that should have been published at this time.
    pub(crate) fn publish_as_of(
        &mut self,
        kind: usize,
        window: usize,
        time: Option<u64>,
    ) -> Result<()> {
        let window = window.min((UNANSWERED / self.bytes).max(1));
        while self.in_flight >= window {
            self.pump(self.deadline)?;
        }
        if kind >= self.next.len() {
            self.next.resize(kind + 1, 0);
        }
        let number = self.next[kind];
        self.next[kind] += 1;
        compose(&mut self.data, kind, number, time.unwrap_or_else(now), self.bytes);
        let length = self.data.len();
        match self.speech {
            Speech::Http => {
                self.in_flight += 1;
                let length = length + "data=".len();
                let to = match kind.checked_sub(self.types) {
                    None => format!("event=t{kind}"),
                    Some(channel) => format!("event=t0&channel=c{}", channel + 1),
                };
                let head = format!(
                    "POST /send?{to} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: \
                     application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\ndata="
                );
                self.unsent.extend_from_slice(head.as_bytes());
            }
            Speech::Records => {
                self.unsent.extend_from_slice(&u16::try_from(kind)?.to_le_bytes());
                self.unsent.extend_from_slice(&u32::try_from(length)?.to_le_bytes());
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
    pub(crate) fn wait(&mut self, until: Instant) -> Result<()> {
        while Instant::now() < until {
            self.pump(until)?;
        }
        Ok(())
    }

    /// Waits until every request is answered.
    pub(crate) fn finish(&mut self) -> Result<()> {
        while self.in_flight > 0 {
            self.pump(self.deadline)?;
        }
        Ok(())
    }

    /// Waits until something can be done or the time is up, and does it.
    fn pump(&mut self, until: Instant) -> Result<()> {
        let now = Instant::now();
        let open = self.in_flight;
        ensure!(now < self.deadline, "time-out; {open} publishes are not answered");
        let patience = until.min(self.deadline).saturating_duration_since(now);
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if !is_passing(&error) => return Err(error).context(LOST),
            _ => {}
        }
        self.read_answers()?;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(error).context(LOST),
            }
        }
        Ok(())
    }

    fn read_answers(&mut self) -> Result<()> {
        loop {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => bail!("the server closed the connection that publishes"),
                Ok(read) => {
                    self.answers.extend_from_slice(&self.buffer[..read]);
                    self.count_answers()?;
                    // If less came than fits, the poll tells when there is more.
                    if read < READ_BUFFER {
                        return Ok(());
                    }
                }
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(error).context(LOST),
            }
        }
    }

    fn count_answers(&mut self) -> Result<()> {
        let mut passed = 0;
        while let Some((status, length)) = answer(&self.answers[passed..])? {
            passed += length;
            let left = self.in_flight.checked_sub(1);
            self.in_flight = left.context("more answers than requests")?;
            self.refused += u64::from(!(200..300).contains(&status));
        }
        self.answers.drain(..passed);
        Ok(())
    }
}

/// The status and length of the first answer, if it is there in whole.
fn answer(bytes: &[u8]) -> Result<Option<(u16, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).context("no answer")?;
    let httparse::Status::Complete(head) = parsed else { return Ok(None) };
    let mut body = 0;
    for header in response.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        ensure!(!is("transfer-encoding"), "an answer to a publish without Content-Length");
        if is("content-length") {
            let length = std::str::from_utf8(header.value)?;
            body = length.trim().parse().with_context(|| format!("a length of {length:?}"))?;
        }
    }
    let length = head + body;
    Ok((length <= bytes.len()).then_some((response.code.unwrap_or(0), length)))
}

fn connect(address: SocketAddr, speech: Speech) -> Result<TcpStream> {
    let mut socket = std::net::TcpStream::connect_timeout(&address, CONNECT)?;
    socket.set_nodelay(true)?;
    if speech == Speech::Records {
        let mut answer = [0; 18];
        socket.set_read_timeout(Some(CONNECT))?;
        socket.write_all(b"POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: raw\r\n\r\n")?;
        socket.read_exact(&mut answer)?;
        let shown = String::from_utf8_lossy(&answer);
        ensure!(answer == *SWITCHED, "no upgrade but {shown:?}");
    }
    socket.set_nonblocking(true)?;
    Ok(TcpStream::from_std(socket))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
