//! One connection, from its first byte to its orderly close.

use std::{net::SocketAddr, time::Instant};

use super::{
    beginning,
    body::{Decoder, Share},
    body_writer::{Target, Writing},
    listener::Accepted,
    policy::Grant,
    read_buffer::ReadBuffer,
    refusals::Asked,
    request::{self, Fate, Framing, Head, Request},
    response::{Body, Length, Refusal, Response},
    router::{Hint, Routed},
    service::{Leader, Service},
    slots::WaitingFor,
    transport::{End, Transport},
};
use crate::{
    logs::{self, Level},
    panics::survive,
};

/// Responses to pipelined requests are gathered up to this size.
const GATHER: usize = 16 * 1024;
/// The buffers that a thread reuses for its next connection.
pub(super) struct Buffers {
    read_buffer: ReadBuffer,
    out: Vec<u8>,
}

impl Buffers {
    pub(super) fn new(head_bytes: usize) -> Self {
        Self { read_buffer: ReadBuffer::new(head_bytes), out: Vec::new() }
    }
}

/// Serves a connection until it ends. Meanwhile the thread may pass leadership on.
pub(super) fn serve(
    service: &Service,
    leader: &Leader<'_>,
    accepted: Accepted,
    buffers: &mut Buffers,
) {
    let Accepted { socket, peer, spare } = accepted;
    let Buffers { read_buffer, out } = buffers;
    let Ok(transport) = Transport::new(service, leader, socket, spare, read_buffer, out) else {
        return;
    };
    let mut connection = Connection { service, peer, io: transport, grant: None };
    let secured = service.acceptor.tls().map_or(Ok(()), |tls| connection.io.secure(tls, peer));
    let end = secured.map_or_else(|end| end, |()| connection.exchange());
    let Connection { mut io, grant, .. } = connection;
    match end {
        End::Close => {
            let all_was_read = io.read_buffer.data().is_empty();
            io.close(all_was_read);
        }
        End::Refuse(refusal) => {
            service.rules.refusals.count(refusal.status);
            let policy = &service.rules.policy;
            let of_unread = || policy.grant(request::origin_in(io.read_buffer.data()));
            let grant = grant.unwrap_or_else(of_unread);
            let (head, body) = policy.mark(refusal.response(), &grant).split();
            if let Body::Bytes(body) = body {
                head.write_head(Length::Bytes(body.len()), true, io.out);
                io.out.extend_from_slice(&body);
            }
            let asked = Asked::unread(peer);
            let may_log = asked.is_wanted(refusal.status).then(|| io.let_block());
            match may_log {
                Some(Ok(true)) => asked.log(refusal.status, Some(&refusal.reason)),
                Some(Err(_)) => return,
                Some(Ok(false)) | None => {}
            }
            io.close(false);
        }
        End::TakeOver(head, take) => io.hand_over(&head, take),
    }
}

struct Connection<'c> {
    service: &'c Service,
    peer: Option<SocketAddr>,
    io: Transport<'c>,
    /// What the page that sent the current request may do. `None` until its head was read; what is
    /// in the read buffer then begins with that head.
    grant: Option<Grant>,
}

impl Connection<'_> {
    /// Serves one request after the other; returns why the connection ends.
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
        self.grant = None;
        if !first && self.io.is_leader() {
            // The answer is sent first: passing leadership on takes time.
            self.io.flush()?;
            // If there is no slot for the connection, a client that has sent nothing gets no
            // refusal.
            self.io.pass_leadership().map_err(|end| match self.io.read_buffer.data() {
                [] => End::Close,
                _ => end,
            })?;
        }
        let head = self.read_head(first)?;
        let Head { mut request, framing, keep_alive, expects_continue } = head;
        #[cfg(feature = "tls")]
        if let Some(session) = self.io.session() {
            request.set_secure(session.peer_certificate());
        }
        let policy = &self.service.rules.policy;
        let grant = policy.grant(request.header("origin"));
        self.grant = Some(grant.clone());
        let mut share = self.service.bodies.share();
        if framing != Framing::Length(0) {
            request.set_body(self.read_body(framing, expects_continue, &mut share)?);
        }
        self.io.work();
        let keep_alive = keep_alive && !self.io.spare && !self.service.leadership.is_stopping();
        let head_only = request.method() == "HEAD";
        let chunked = request.takes_chunks();
        let mut response = self.answer(&mut request, &grant)?;
        let asked = response.may_refuse().then(|| Asked::of(&request));
        drop(request);
        loop {
            let (head, body) = response.split();
            match body {
                Body::Bytes(body) => {
                    let head = policy.mark(head, &grant);
                    self.service.rules.refusals.count(head.status());
                    let close = head.closes() || !keep_alive;
                    if head.is_cut() && chunked && !head_only {
                        head.write_head(Length::Chunks, false, self.io.out);
                        let size = format!("{:x}\r\n", body.len());
                        self.io.out.extend_from_slice(size.as_bytes());
                        self.io.out.extend_from_slice(&body);
                        self.io.out.extend_from_slice(b"\r\n");
                    } else {
                        head.write_head(Length::Bytes(body.len()), close, self.io.out);
                        if !head_only && head.may_have_body() {
                            self.io.out.extend_from_slice(&body);
                        }
                    }
                    let asked = asked.filter(|asked| asked.is_wanted(head.status()));
                    if head.refuses()
                        && (asked.is_some() || head.warns().is_some())
                        && self.io.let_block()?
                    {
                        if let Some(asked) = asked {
                            asked.log(head.status(), head.refused());
                        }
                        if let Some(warning) = head.warns() {
                            logs::write(Level::Warn, format_args!("{warning}"));
                        }
                    }
                    if close {
                        return Err(End::Close);
                    }
                    if self.io.out.len() >= GATHER {
                        self.io.flush()?;
                    }
                    return Ok(());
                }
                Body::Deferred(work) => {
                    self.io.flush()?;
                    self.io.pass_leadership()?;
                    // The body's share stays counted: it stands for what waits in this work.
                    response = guarded(work).with_fields_of(head);
                }
                Body::Written(write) => {
                    let rules = &self.service.rules;
                    let Some(_open) = rules.streams_of_own.enter(rules.limits.streams_of_own)
                    else {
                        let text = "too many streams are being written; try again later";
                        response = Response::text(503, text).header("Retry-After", "1");
                        continue;
                    };
                    let head = policy.mark(head, &grant);
                    // The request's body is gone, and its share may be another's.
                    drop(share);
                    let write = (!head_only && head.may_have_body()).then_some(write);
                    return self.write_body(&head, write, chunked, keep_alive, asked.as_ref());
                }
                Body::TakeOver(take) => {
                    let head = policy.mark(head, &grant);
                    let length = if chunked { Length::Chunks } else { Length::Connection };
                    if head_only {
                        head.write_head(length, true, self.io.out);
                        return Err(End::Close);
                    }
                    self.io.flush()?;
                    let mut text = Vec::new();
                    head.write_head(length, !chunked, &mut text);
                    return Err(End::TakeOver(text, take));
                }
            }
        }
    }

    /// Sends the head at once, and lets the program write the body, on this thread. Without `write`
    /// there is only the head.
    fn write_body(
        &mut self,
        head: &Response,
        write: Option<Writing>,
        chunked: bool,
        keep_alive: bool,
        asked: Option<&Asked>,
    ) -> Result<(), End> {
        self.service.rules.refusals.count(head.status());
        let length = match chunked {
            _ if !head.may_have_body() => Length::Bytes(0),
            true => Length::Chunks,
            false => Length::Connection,
        };
        let mut written = Some(Ok(true));
        if let Some(write) = write {
            self.io.flush()?;
            self.io.pass_leadership()?;
            head.write_head(length, !keep_alive, self.io.out);
            self.io.flush()?;
            // The client has its first bytes, and does not wait for this.
            self.io.keep_reserve();
            // Most clients send nothing until the body has ended.
            self.io.read_buffer.release();
            written = survive(|| write.write_to(Target::Connection(&mut self.io), chunked));
        } else {
            head.write_head(length, !keep_alive, self.io.out);
        }
        match (written, asked) {
            (Some(Ok(true)), _) if keep_alive => return Ok(()),
            (Some(Ok(true)), _) | (_, None) => {}
            (Some(Ok(false)), Some(asked)) => asked.log_break(Level::Debug, &"the client has left"),
            (Some(Err(error)), Some(asked)) => asked.log_break(Level::Warn, &error),
            (None, Some(asked)) => asked.log_break(Level::Error, &"the program panicked"),
        }
        Err(End::Close)
    }

    fn answer(&mut self, request: &mut Request, grant: &Grant) -> Result<Response, End> {
        let rules = &self.service.rules;
        let routed = rules.router.find(request);
        let request = &*request;
        let any_host = matches!(&routed, Routed::Handler(handler) if handler.answers_any_host());
        let allow = match &routed {
            Routed::Answer(answer) => answer.header_value("allow"),
            Routed::Handler(_) => None,
        };
        if let Some(response) = rules.policy.answer(request, grant, any_host, allow) {
            return Ok(response);
        }
        match routed {
            Routed::Answer(response) => Ok(response),
            Routed::Handler(handler) => {
                if handler.may_block(Hint) {
                    self.io.flush()?;
                    self.io.pass_leadership()?;
                }
                Ok(guarded(|| handler.handle(request)))
            }
        }
    }

    fn read_head(&mut self, first: bool) -> Result<Head, End> {
        let limits = &self.service.rules.limits;
        let start = Instant::now();
        // The time for the first request runs from the start of the connection, for a later one
        // from its first byte.
        let mut head_deadline = first.then(|| start + limits.head_timeout);
        let mut scanned = 0;
        let mut empty_lines = 0_usize;
        let mut refused = None;
        loop {
            // Some clients send an empty line after a body (RFC 9112, section 2.2).
            while let [b'\r', b'\n', ..] = self.io.read_buffer.data() {
                self.io.read_buffer.consume(2);
                scanned = 0;
                empty_lines = empty_lines.saturating_add(1);
            }
            let data = self.io.read_buffer.data();
            if let Some(refusal) = beginning::refuse(data, empty_lines, limits) {
                return Err(refusal.into());
            }
            if let Some(end) = request::find_end(data, &mut scanned) {
                let fate = if self.io.spare { Fate::Close } else { Fate::Open };
                let head = request::parse(&data[..end], limits, self.peer, fate)?;
                self.io.read_buffer.consume(end);
                return Ok(head);
            }
            if let Some(refusal) = request::refuse_unfinished(data, limits) {
                // What follows may name the page, without which its browser would hide the answer.
                let may_name_page = self.service.rules.policy.looks_at_origins()
                    && data.len() < limits.head_bytes
                    && request::origin_in(data).is_none();
                if !may_name_page {
                    return Err(refusal.into());
                }
                refused = Some(refusal);
            }
            let idle = data.is_empty();
            let deadline = if idle && !first {
                start + limits.idle_timeout
            } else {
                *head_deadline.get_or_insert_with(|| Instant::now() + limits.head_timeout)
            };
            let what = match (idle, first) {
                (true, true) => {
                    WaitingFor::FirstRequest { since: start, greeted: self.io.has_greeted() }
                }
                (true, false) => WaitingFor::AnotherRequest { since: start },
                (false, _) => WaitingFor::TheRest,
            };
            match self.io.fill(deadline, what)? {
                Some(0) => return Err(refused.map_or(End::Close, End::Refuse)),
                Some(_) => {}
                None if idle => return Err(End::Close),
                None if refused.is_some() => return Err(refused.map_or(End::Close, End::Refuse)),
                None => {
                    let time = limits.head_timeout;
                    let reason = format!("the request head was not complete after {time:?}");
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
        let limits = &self.service.rules.limits;
        let start = Instant::now();
        let mut decoder = Decoder::new(framing);
        let mut body = Vec::new();
        if expects_continue && self.io.read_buffer.data().is_empty() {
            self.io.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        loop {
            let data = self.io.read_buffer.data();
            // The most that this data can add; the budget is asked before memory is allocated.
            share.grow(body.len() + data.len())?;
            let used = decoder.decode(data, &mut body, limits)?;
            self.io.read_buffer.consume(used);
            if decoder.is_done() {
                return Ok(body);
            }
            // Only bytes that have arrived extend the time: a client that sends nothing does not
            // get the time for the body that it announced.
            match self.io.fill(start + limits.time_for_body(body.len()), WaitingFor::TheRest)? {
                Some(0) => return Err(End::Close),
                Some(_) => {}
                None => {
                    return Err(Refusal::new(408, "the request body came too slowly").into());
                }
            }
        }
    }
}

/// Calls code of the embedding program; if it panics, only its own client gets an error.
fn guarded(answer: impl FnOnce() -> Response) -> Response {
    survive(answer).unwrap_or_else(|| Response::text(500, "the handler failed"))
}
