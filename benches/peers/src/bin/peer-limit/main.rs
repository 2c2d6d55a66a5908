//! No server, but the limit of what one can do: as little as possible around the system calls.
//!
//! One thread accepts, reads the heads of requests and writes events to every socket, without HTTP
//! after the head. What it sends has the form and the length of what websse sends.
//!
//! Nothing is lost and nobody is disconnected: what a socket does not take waits, shared by all who
//! wait for it, until the socket takes more. When one client is 64 MiB behind, nothing more is read
//! from the publisher, and everybody waits for that client. A client that has left shows when
//! something is written to it.
//!
//! A client that comes back gets the last events of the first type that it missed, in the same write as
//! the head.
//!
//! With TLS each client has a session of rustls, which is written to when it has nothing left to send.
//! Its handshake is on the same thread as all else.
//!
//! `--batch` writes all records that came together, up to 64 KiB, by one call for each client;
//! `--no-batch` makes a call for each event and client.

mod audience;
mod batch;
mod connection;
mod wire;

use std::{
    collections::VecDeque,
    env,
    io::{self, ErrorKind, Write},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, net::TcpListener};
use rustls::ServerConfig;

use crate::{
    audience::Audience,
    batch::{Batch, Input, Records},
    connection::{Connection, Role, Watched},
    wire::Wire,
};

/// What is written at once at most: as in websse.
const BATCH_BYTES: usize = 64 * 1024;
/// How far a client may be behind before the publisher has to wait for it.
const MOST_BEHIND: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;
const LONGEST_HEAD: usize = 16 * 1024;

const LISTENER: Token = Token(usize::MAX);
const TLS_LISTENER: Token = Token(usize::MAX - 1);
const SWITCH: &[u8] = b"HTTP/1.1 101 x\r\n\r\n";
/// As long as websse's.
const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
    Content-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n\
    X-Accel-Buffering: no\r\nConnection: close\r\n\r\n\
    : websse\nretry: 3000\nid: 0000000000000-0\n\n";

fn main() -> io::Result<()> {
    let batch_bytes = match env::args().find(|argument| argument.ends_with("batch")).as_deref() {
        Some("--batch") => BATCH_BYTES,
        Some("--no-batch") => 0,
        _ => return Err(io::Error::other("say --batch or --no-batch")),
    };
    let types = peers::types();
    let listener = peers::listen()?;
    let address = listener.local_addr()?;
    let tls = peers::tls()?;
    let tls_address = tls.as_ref().map(|tls| tls.address);
    let mut listener = TcpListener::from_std(listener);
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut tls = tls.map(|tls| (TcpListener::from_std(tls.listener), Arc::new(tls.config)));
    if let Some((listener, _)) = &mut tls {
        poll.registry().register(listener, TLS_LISTENER, Interest::READABLE)?;
    }
    let limit = Limit {
        poll,
        listener,
        tls,
        // Memory that is not touched costs nothing.
        connections: Vec::with_capacity(16 * 1024),
        free: Vec::new(),
        audience: Audience::new(types),
        publishers: VecDeque::new(),
        awaited: None,
        batch: Batch::new(types, batch_bytes),
        preamble: Rc::new(STREAM.to_vec()),
        input: vec![0; READ_BYTES],
    };
    peers::announce(address, tls_address)?;
    limit.run()
}

struct Limit {
    poll: Poll,
    listener: TcpListener,
    tls: Option<(TcpListener, Arc<ServerConfig>)>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    audience: Audience,
    /// Those that may have something to publish.
    publishers: VecDeque<usize>,
    /// The client that is so far behind that nothing is published.
    awaited: Option<usize>,
    batch: Batch,
    preamble: Rc<Vec<u8>>,
    /// Where reads go first.
    input: Vec<u8>,
}

impl Limit {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let patience = self.may_publish().then_some(Duration::ZERO);
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    token @ (LISTENER | TLS_LISTENER) => self.accept(token == TLS_LISTENER)?,
                    Token(slot) => self.serve(slot),
                }
            }
            if self.may_publish()
                && let Some(slot) = self.publishers.pop_front()
            {
                self.publish(slot);
            }
        }
    }

    fn may_publish(&self) -> bool {
        !self.publishers.is_empty() && self.awaited.is_none()
    }

    fn accept(&mut self, by_tls: bool) -> io::Result<()> {
        let (listener, config) = match &self.tls {
            Some((listener, config)) if by_tls => (listener, Some(config)),
            _ => (&self.listener, None),
        };
        let mut fresh = Vec::new();
        loop {
            match listener.accept() {
                Ok((socket, _)) => {
                    let wire = Wire::new(socket, config)?;
                    let slot = self.free.pop().unwrap_or_else(|| {
                        self.connections.push(None);
                        self.connections.len() - 1
                    });
                    self.connections[slot] = Some(Connection::new(wire));
                    fresh.push(slot);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
        // Most requests have come by now.
        for slot in fresh {
            self.serve(slot);
        }
        Ok(())
    }

    /// Does what a connection has to do now.
    fn serve(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else { return };
        let done = match &mut connection.role {
            Role::Head(_) => self.read_head(slot),
            Role::Stream(_) => connection.catch_up(),
            Role::Publisher(records) => {
                records.input = Input::Ready;
                if !self.publishers.contains(&slot) {
                    self.publishers.push_back(slot);
                }
                Ok(())
            }
        };
        if done.is_err() {
            self.remove(slot);
        } else if self.awaited == Some(slot) && self.behind(slot) < MOST_BEHIND / 2 {
            self.awaited = None;
        }
    }

    fn behind(&self, slot: usize) -> usize {
        self.connections[slot].as_ref().map_or(0, Connection::behind)
    }

    fn read_head(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        let Role::Head(head) = &mut connection.role else { return Ok(()) };
        let end = loop {
            match connection.wire.read(&mut self.input) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => head.extend_from_slice(&self.input[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return connection.watch(&self.poll, slot, Watched::Input);
                }
                Err(error) => return Err(error),
            }
            if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            if head.len() > LONGEST_HEAD {
                return Err(ErrorKind::InvalidData.into());
            }
        };
        let rest = head.split_off(end);
        let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let line = str::from_utf8(line).map_err(|_| ErrorKind::InvalidData)?;
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match (method, path) {
            ("GET", "/event") => {
                let asked = self.audience.asked(query).ok_or(ErrorKind::InvalidInput)?;
                connection.role = Role::Stream(None);
                let missed = asked.last.map(|last| self.batch.after(last));
                if let Some(missed) = missed {
                    let all = Rc::new([&self.preamble, missed].concat());
                    connection.send(&all, &self.poll, slot)?;
                } else {
                    connection.send(&self.preamble, &self.poll, slot)?;
                }
                self.audience.join(asked, slot);
            }
            ("POST", "/publish") => {
                connection.role = Role::Publisher(Records::new(rest));
                connection.wire.socket().write_all(SWITCH)?;
                connection.watch(&self.poll, slot, Watched::Input)?;
                // What came before it was watched shows in no event.
                self.publishers.push_back(slot);
            }
            _ => return Err(ErrorKind::InvalidInput.into()),
        }
        Ok(())
    }

    /// Publishes one batch, and comes back for the next.
    fn publish(&mut self, slot: usize) {
        let Some(connection) = &mut self.connections[slot] else { return };
        let Role::Publisher(records) = &mut connection.role else { return };
        records.read(connection.wire.socket(), &mut self.input);
        let whole = self.batch.fill(records);
        let input = records.input;
        if whole || input == Input::Ready {
            self.publishers.push_back(slot);
        } else if input == Input::Ended {
            self.remove(slot);
        }
        self.deliver();
    }

    fn deliver(&mut self) {
        let mut gone = Vec::new();
        self.audience.deliver(&self.batch, |slot, bytes| {
            let Some(connection) = &mut self.connections[slot] else { return };
            match connection.send(bytes, &self.poll, slot) {
                Err(_) => gone.push(slot),
                Ok(()) if connection.behind() > MOST_BEHIND => self.awaited = Some(slot),
                Ok(()) => {}
            }
        });
        for slot in gone {
            self.remove(slot);
        }
    }

    fn remove(&mut self, slot: usize) {
        self.connections[slot] = None;
        self.free.push(slot);
        self.audience.leave(slot);
        self.publishers.retain(|&other| other != slot);
        if self.awaited == Some(slot) {
            self.awaited = None;
        }
    }
}
