//! One connection, from its first byte to its orderly close.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    body::{Decoder, Framing, Share},
    connections::Ticket,
    listener::Accepted,
    request::{self, Fate, Head, Request},
    response::{Body, Refusal, Response, TakeOver},
    router::Routed,
    service::{Service, Turn},
    window::Window,
};
use crate::socket::Socket;

/// What a thread that has the turn reads of a connection before it passes the turn on.
const READ_IN_TURN: usize = 64 * 1024;
/// Responses of pipelined requests are gathered up to this size.
const GATHER: usize = 16 * 1024;
/// How long, and how much, the server reads on after it has closed its side.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;
/// Read time-outs are multiples of this.
const READ_TIMEOUT_STEP: Duration = Duration::from_millis(100);

/// What a thread keeps from one connection to the next.
pub(super) struct Buffers {
    window: Window,
    out: Vec<u8>,
}

impl Buffers {
    pub(super) fn new(head_bytes: usize) -> Self {
        Self { window: Window::new(head_bytes), out: Vec::new() }
    }
}

/// Why a connection ends.
enum End {
    /// Its last response was sent, or nobody is there to be answered.
    Close,
    /// The request is not served; what the client still sends is not read as a request.
    Refuse(Refusal),
    /// Somebody else takes the socket, to send this head and what follows.
    TakeOver(Vec<u8>, TakeOver),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(refusal)
    }
}

impl From<io::Error> for End {
    /// A socket that fails has nobody behind it.
    fn from(_: io::Error) -> Self {
        Self::Close
    }
}

/// Serves a connection until it ends. The turn may be passed on meanwhile.
pub(super) fn serve(service: &Service, turn: &Turn<'_>, accepted: Accepted, buffers: &mut Buffers) {
    let Accepted { socket, peer, spare } = accepted;
    // A thread that has the turn must not block.
    if socket.set_nonblocking(true).is_err() {
        return;
    }
    let Buffers { window, out } = buffers;
    window.clear();
    out.clear();
    let mut connection = Connection {
        service,
        turn,
        socket: Arc::new(socket),
        ticket: None,
        peer,
        spare,
        window,
        out,
        read: 0,
        read_timeout: None,
    };
    match connection.exchange() {
        End::Close => connection.close(None),
        End::Refuse(refusal) => connection.close(Some(&refusal)),
        End::TakeOver(head, take) => connection.hand_over(&head, take),
    }
}

struct Connection<'c> {
    service: &'c Service,
    turn: &'c Turn<'c>,
    socket: Arc<Socket>,
    /// Held once the connection has the thread for itself: the socket blocks from then on.
    ticket: Option<Ticket>,
    peer: Option<SocketAddr>,
    spare: bool,
    /// What was read and not yet used.
    window: &'c mut Window,
    /// What is to be written.
    out: &'c mut Vec<u8>,
    /// Bytes read so far.
    read: usize,
    /// The read time-out that the socket has.
    read_timeout: Option<Duration>,
}

impl Connection<'_> {
    /// Serves one request after the other; returns why that ends.
    fn exchange(&mut self) -> End {
        let mut first = true;
        loop {
            match self.serve_one(first) {
                Ok(()) => first = false,
                Err(end) => return end,
            }
        }
    }

    fn serve_one(&mut self, first: bool) -> Result<(), End> {
        if !first {
            self.flush()?;
            // Without room to keep the connection alive, a client that asks nothing is told nothing.
            self.pass_turn().map_err(|end| match self.window.data() {
                [] => End::Close,
                _ => end,
            })?;
        }
        let head = self.read_head(first)?;
        let Head { mut request, framing, keep_alive, expects_continue } = head;
        let mut share = self.service.bodies.share();
        if framing != Framing::Length(0) {
            request.set_body(self.read_body(framing, expects_continue, &mut share)?);
        }
        let keep_alive = keep_alive && !self.spare && !self.service.turns.is_stopping();
        let head_only = request.method() == "HEAD";
        let mut response = self.answer(&request)?;
        drop((request, share));
        loop {
            let (head, body) = response.split();
            match body {
                Body::Bytes(body) => {
                    let close = head.closes() || !keep_alive;
                    head.write_head(Some(body.len()), close, self.out);
                    if !head_only {
                        self.out.extend_from_slice(&body);
                    }
                    if close {
                        return Err(End::Close);
                    }
                    if self.out.len() >= GATHER {
                        self.flush()?;
                    }
                    return Ok(());
                }
                Body::Deferred(work) => {
                    self.flush()?;
                    self.pass_turn()?;
                    response = guarded(work);
                }
                Body::TakeOver(take) => {
                    if head_only {
                        head.write_head(None, true, self.out);
                        return Err(End::Close);
                    }
                    self.flush()?;
                    let mut text = Vec::new();
                    head.write_head(None, true, &mut text);
                    return Err(End::TakeOver(text, take));
                }
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Result<Response, End> {
        let service = self.service;
        match service.router.find(request) {
            Routed::Answer(response) => Ok(response),
            Routed::Handler(handler) => {
                if handler.may_block() {
                    self.flush()?;
                    self.pass_turn()?;
                }
                Ok(guarded(|| handler.handle(request)))
            }
        }
    }

    fn read_head(&mut self, first: bool) -> Result<Head, End> {
        let limits = &self.service.limits;
        let start = Instant::now();
        // The first request's time runs from the connection's beginning, that of a later one from
        // its first byte.
        let mut head_deadline = first.then(|| start + limits.head_timeout);
        let mut scanned = 0;
        loop {
            // Some clients send an empty line after a body (RFC 9112, section 2.2).
            while let [b'\r', b'\n', ..] | [b'\n', ..] = self.window.data() {
                self.window.consume(1);
                scanned = 0;
            }
            let data = self.window.data();
            if let Some(end) = request::find_end(data, &mut scanned) {
                let fate = if self.spare { Fate::Close } else { Fate::Open };
                let head = request::parse(&data[..end], limits, self.peer, fate)?;
                self.window.consume(end);
                return Ok(head);
            }
            if let Some(refusal) = request::refuse_unfinished(data, limits) {
                return Err(refusal.into());
            }
            let idle = data.is_empty();
            let deadline = if idle && !first {
                start + limits.idle_timeout
            } else {
                *head_deadline.get_or_insert_with(|| Instant::now() + limits.head_timeout)
            };
            match self.fill(deadline, idle)? {
                Some(0) => return Err(End::Close),
                Some(_) => {}
                None if idle => return Err(End::Close),
                None => {
                    let seconds = limits.head_timeout.as_secs_f32();
                    let reason = format!("the request head was not complete after {seconds} s");
                    return Err(Refusal::new(408, reason).into());
                }
            }
        }
    }

    fn read_body(
        &mut self,
        framing: Framing,
        expects_continue: bool,
        share: &mut Share,
    ) -> Result<Vec<u8>, End> {
        let limits = &self.service.limits;
        let start = Instant::now();
        let mut decoder = Decoder::new(framing);
        let mut body = Vec::new();
        if expects_continue && self.window.data().is_empty() {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        loop {
            let data = self.window.data();
            // What the data can add at most; the budget is asked before memory is.
            share.grow(body.len() + data.len())?;
            let used = decoder.decode(data, &mut body, limits)?;
            self.window.consume(used);
            if decoder.is_done() {
                return Ok(body);
            }
            let expected = match framing {
                Framing::Length(length) => length,
                Framing::Chunked => body.len(),
            };
            match self.fill(start + limits.time_for_body(expected), false)? {
                Some(0) => return Err(End::Close),
                Some(_) => {}
                None => {
                    return Err(Refusal::new(408, "the request body came too slowly").into());
                }
            }
        }
    }

    /// Reads more; 0 is the end of what the client sends, `None` that the deadline has passed.
    /// `idle` says that the client owes nothing.
    fn fill(&mut self, deadline: Instant, idle: bool) -> Result<Option<usize>, End> {
        self.flush()?;
        if self.read >= READ_IN_TURN {
            self.pass_turn()?;
        }
        loop {
            if let Some(ticket) = &self.ticket {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                // Rounded up, so that a wait of the same length needs no call to set it.
                let step = READ_TIMEOUT_STEP.as_millis();
                let rounded = u64::try_from((left.as_millis() / step + 1) * step);
                let timeout = Duration::from_millis(rounded.unwrap_or(u64::MAX));
                if self.read_timeout != Some(timeout) {
                    self.socket.set_read_timeout(timeout)?;
                    self.read_timeout = Some(timeout);
                }
                if idle && !ticket.set_idle(true) {
                    return Err(End::Close);
                }
            }
            let read = (&*self.socket).read(self.window.space());
            if let Some(ticket) = &self.ticket
                && idle
            {
                ticket.set_idle(false);
            }
            match read {
                Ok(length) => {
                    self.window.fill(length);
                    self.read += length;
                    return Ok(Some(length));
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // With the turn it means to pass it on, else that the time is over.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => self.pass_turn()?,
                    _ => return Err(End::Close),
                },
            }
        }
    }

    /// Writes what is gathered; on an error nobody is there to take it.
    fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let deadline = Instant::now() + self.service.limits.write_timeout;
        let mut written = 0;
        while written < self.out.len() {
            if self.ticket.is_some() {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(End::Close);
                }
                self.socket.set_write_timeout(left)?;
            }
            match (&*self.socket).write(&self.out[written..]) {
                Ok(0) => return Err(End::Close),
                Ok(length) => written += length,
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    // A part of a response cannot be followed by another one.
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        self.pass_turn().map_err(|_| End::Close)?;
                    }
                    _ => return Err(End::Close),
                },
            }
        }
        self.out.clear();
        Ok(())
    }

    /// Makes sure that this thread may block: passes the turn on if it has it.
    fn pass_turn(&mut self) -> Result<(), End> {
        if self.ticket.is_some() {
            return Ok(());
        }
        if self.spare {
            return Err(Refusal::new(503, "no descriptors left; try again later").into());
        }
        let ticket = self.service.connections.enter(&self.socket);
        let ticket = ticket.ok_or(Refusal::new(503, "too many connections; try again later"))?;
        let no_thread = |_| Refusal::new(503, "no threads left; try again later");
        self.turn.pass().map_err(no_thread)?;
        self.ticket = Some(ticket);
        self.socket.set_nonblocking(false)?;
        Ok(())
    }

    /// Gives the socket away, non-blocking.
    fn hand_over(self, head: &[u8], take: TakeOver) {
        if self.ticket.is_some() && self.socket.set_nonblocking(true).is_err() {
            return;
        }
        drop(self.ticket);
        // The ticket's was the only other reference.
        if let Some(socket) = Arc::into_inner(self.socket) {
            take(socket, head);
        }
    }

    /// Sends what is left and closes, so that the client gets all of it: if anything unread came
    /// in afterwards, closing at once would destroy what the client has not yet taken.
    fn close(mut self, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal {
            let (head, body) = refusal.response().split();
            if let Body::Bytes(body) = body {
                head.write_head(Some(body.len()), true, self.out);
                self.out.extend_from_slice(&body);
            }
        }
        if self.flush().is_err() || self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let all_was_read = refusal.is_none() && self.window.data().is_empty();
        if !all_was_read {
            // Without a thread to wait in, what has come already is all that can be dropped.
            let may_wait = self.pass_turn().is_ok();
            self.linger(may_wait);
        }
    }

    /// Reads and drops until the client closes.
    fn linger(&mut self, may_wait: bool) {
        let deadline = Instant::now() + LINGER;
        let mut dropped = 0;
        while dropped < LINGER_BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || may_wait && self.socket.set_read_timeout(left).is_err() {
                return;
            }
            self.window.clear();
            match (&*self.socket).read(self.window.space()) {
                Ok(length) if length > 0 => dropped += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// Calls code of the embedding program; a panic there is its client's loss only.
fn guarded(answer: impl FnOnce() -> Response) -> Response {
    // Whatever the closure has half done is the embedding program's own.
    catch_unwind(AssertUnwindSafe(answer))
        .unwrap_or_else(|_| Response::text(500, "the handler failed"))
}
