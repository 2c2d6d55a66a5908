//! A TLS session over a socket (RFC 8446, RFC 5246), as its server.
//!
//! It has no buffer while nothing is under way: what is received is decrypted at once, and a record
//! is encrypted when the socket is to be written to. Records that the socket takes only in part are
//! kept. No other is begun before they are written, so that what waits for a client waits in its
//! mailbox.

use std::{
    cell::RefCell,
    fmt,
    io::{self, ErrorKind, IoSlice, Read, Write},
    mem,
    sync::Arc,
};

use rustls::{
    HandshakeKind, ProtocolVersion,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic},
};

use super::{Certificate, TlsConfig, turns::Turns};

/// The most bytes that one write encrypts: the longest records there are (RFC 8446, section 5.1).
const ENCRYPTED_AT_ONCE: usize = 4 * 16 * 1024;
/// More than what the records of a write have beside its bytes.
const ADDED: usize = 1024;
/// A client that sends this much without a byte of a request is cut off.
const FRUITLESS_LIMIT: usize = 256 * 1024;
/// The first byte of a handshake (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;
/// The alert `internal_error` (RFC 8446, section 6.2) before there are keys.
const INTERNAL_ERROR: &[u8] = b"\x15\x03\x03\x00\x02\x02\x50";
/// For clients that speak HTTP where TLS is spoken.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 35\r\n\r\nthis port speaks TLS; use https://\n";

/// Of the whole process, as its processors are.
static TURNS: Turns = Turns::new();

thread_local! {
    /// What a thread gathers and encrypts with: no session needs memory for it.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// Plaintext that is gathered, and the records made of it.
struct Scratch {
    plain: Vec<u8>,
    records: Vec<u8>,
}

impl Scratch {
    const fn new() -> Self {
        Self { plain: Vec::new(), records: Vec::new() }
    }
}

/// One side of a TLS connection.
pub(crate) struct Session(Box<State>);

struct State {
    connection: UnbufferedServerConnection,
    /// Of the client, once it was asked for.
    certificate: Option<Arc<Certificate>>,
    /// The beginning of a record.
    received: Vec<u8>,
    /// What was decrypted, and how much of it was read.
    plain: Vec<u8>,
    read: usize,
    /// Records, and how much of them was written.
    records: Vec<u8>,
    written: usize,
    /// How much of the plaintext in these records is not yet reported as written.
    owed: usize,
    /// How much was received since the last byte of plaintext.
    fruitless: usize,
    has_greeted: bool,
    /// The client has said that it sends nothing more.
    is_closed: bool,
    /// The client has broken the protocol, and knows by an alert.
    has_failed: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Begins a session, whose handshake is part of the first [`read`](Self::read).
    pub(crate) fn new(config: &TlsConfig) -> io::Result<Self> {
        let connection =
            UnbufferedServerConnection::new(config.current()).map_err(io::Error::other)?;
        Ok(Self(Box::new(State {
            connection,
            certificate: None,
            received: Vec::new(),
            plain: Vec::new(),
            read: 0,
            records: Vec::new(),
            written: 0,
            owed: 0,
            fruitless: 0,
            has_greeted: false,
            is_closed: false,
            has_failed: false,
        })))
    }

    /// Waits while more handshakes have come than can be computed: the others wait in the listener's
    /// backlog.
    pub(crate) fn wait_for_room() {
        TURNS.wait_for_few();
    }

    /// Whether another handshake could be computed beside one that begins now.
    pub(crate) fn another_may_begin() -> bool {
        TURNS.are_two_left()
    }

    /// Whether the server has answered in the handshake.
    pub(crate) fn has_greeted(&self) -> bool {
        self.0.has_greeted
    }

    /// Whether its handshake is not yet done.
    pub(crate) fn is_beginning(&self) -> bool {
        self.0.connection.is_handshaking()
    }

    /// Tells a client that there is no room for a session.
    pub(crate) fn refuse(mut socket: impl Write) {
        // If the socket does not take it, the client sees that the connection ends.
        let _ = socket.write(INTERNAL_ERROR);
    }

    /// The client's certificate, if it was asked for one and sent it.
    pub(crate) fn peer_certificate(&mut self) -> Option<Arc<Certificate>> {
        let State { certificate, connection, .. } = &mut *self.0;
        if certificate.is_none() {
            let first = connection.peer_certificates()?.first()?;
            *certificate = Some(Arc::new(Certificate::new(first)));
        }
        certificate.clone()
    }

    /// Reads from the socket once. 0: the client sends nothing more.
    ///
    /// # Errors
    /// Those of the socket. [`Interrupted`](ErrorKind::Interrupted) if what came has no plaintext.
    /// [`InvalidData`](ErrorKind::InvalidData) if it is not TLS; an alert says so to the client.
    pub(crate) fn read(
        &mut self,
        mut socket: impl Read + Write,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let state = &mut *self.0;
        if state.plain.is_empty() && !state.is_closed {
            // A client in a handshake answers only when it has all of it.
            if state.connection.is_handshaking() {
                state.send_now_or_later(&mut socket)?;
            }
            let length = socket.read(buffer)?;
            if length == 0 {
                return Ok(0);
            }
            state.receive(&mut socket, &buffer[..length])?;
            if state.plain.is_empty() && !state.is_closed {
                return Err(ErrorKind::Interrupted.into());
            }
        }
        Ok(state.take(buffer))
    }

    /// Writes what the socket takes at once. The bytes that are not written must come first in the
    /// next call.
    ///
    /// # Errors
    /// Those of the socket: [`WouldBlock`](ErrorKind::WouldBlock) if it takes nothing.
    pub(crate) fn write(
        &mut self,
        mut socket: impl Write,
        slices: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let state = &mut *self.0;
        if !state.records.is_empty() {
            let before = state.written;
            if let Err(error) = state.send(&mut socket) {
                // The records go out, so the client takes what they contain.
                let progress = (state.written - before).min(state.owed.saturating_sub(1));
                state.owed -= progress;
                return if progress > 0 { Ok(progress) } else { Err(error) };
            }
            if state.owed > 0 {
                return Ok(mem::take(&mut state.owed));
            }
        }
        SCRATCH.with_borrow_mut(|Scratch { plain, records }| {
            let plain = match slices {
                [slice] => &slice[..slice.len().min(ENCRYPTED_AT_ONCE)],
                slices => gather(slices, plain),
            };
            if records.len() < plain.len() + ADDED {
                records.resize(plain.len() + ADDED, 0);
            }
            let length = state.encrypt(records, |write, records| write.encrypt(plain, records))?;
            state.send_new(&mut socket, &records[..length], plain.len())
        })
    }

    /// Tells the client that nothing more comes (`close_notify`; RFC 8446, section 6.1), where the
    /// socket takes it.
    pub(crate) fn finish(&mut self, mut socket: impl Write) {
        let state = &mut *self.0;
        let mut records = vec![0; ADDED];
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method itself is of one lifetime"
        )]
        let closing =
            state.encrypt(&mut records, |write, records| write.queue_close_notify(records));
        // A session that has failed has nothing to tell.
        if let Ok(length) = closing {
            state.records.extend_from_slice(&records[..length]);
            let _ = state.send(&mut socket);
        }
    }
}

impl State {
    /// Takes bytes from the socket, and answers what the protocol wants answered.
    fn receive(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        let is_first = self.fruitless == 0 && self.connection.is_handshaking();
        if is_first && bytes[0] != HANDSHAKE && bytes[0].is_ascii_uppercase() {
            let _ = socket.write(PLAIN_HTTP);
            return Err(invalid("the client speaks plain HTTP"));
        }
        self.fruitless += bytes.len();
        if self.fruitless > FRUITLESS_LIMIT {
            return Err(invalid("the client sends records without a request"));
        }
        self.received.extend_from_slice(bytes);
        let turn = self.costs_much().then(|| TURNS.take());
        let advanced = self.advance(|_| Ok(0));
        drop(turn);
        self.send_now_or_later(socket)?;
        advanced?;
        if !self.plain.is_empty() {
            self.fruitless = 0;
        }
        Ok(())
    }

    /// Whether what comes next in the handshake is an exchange of keys or a signature. TLS 1.3 has
    /// both in the answer to the hello (RFC 8446, section 2), unless that asks for another hello.
    fn costs_much(&self) -> bool {
        let is_answered = match self.connection.handshake_kind() {
            Some(HandshakeKind::Full | HandshakeKind::Resumed) => {
                self.connection.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            }
            _ => false,
        };
        self.connection.is_handshaking() && !is_answered
    }

    /// Hands out plaintext.
    fn take(&mut self, buffer: &mut [u8]) -> usize {
        let left = &self.plain[self.read..];
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.read += length;
        if self.read == self.plain.len() {
            (self.plain, self.read) = (Vec::new(), 0);
        }
        length
    }

    /// Goes on with what was received. Once the client can be written to, and there is nothing to
    /// read, `write` makes records; returns how many bytes it made.
    fn advance(
        &mut self,
        mut write: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        if self.has_failed {
            return Err(invalid("the session has failed"));
        }
        let mut failed = None;
        let advanced = loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut self.received);
            let done = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| invalid(&error.to_string()))?;
                        self.plain.extend_from_slice(record.payload);
                    }
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let start = self.records.len();
                    let needed = match data.encode(&mut []) {
                        Err(EncodeError::InsufficientSize(size)) => size.required_size,
                        Ok(_) | Err(EncodeError::AlreadyEncoded) => 0,
                    };
                    self.records.resize(start + needed, 0);
                    data.encode(&mut self.records[start..]).map_err(io::Error::other)?;
                    self.has_greeted = true;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.is_closed = true;
                    None
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) if failed.is_none() => {
                    Some(write(&mut traffic).map_err(io::Error::other))
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Some(Ok(0)),
                Ok(_) => Some(Err(invalid("the client sends what it was not asked for"))),
                // The alert about it is the next to be encoded.
                Err(error) if failed.is_none() => {
                    failed = Some(invalid(&error.to_string()));
                    None
                }
                Err(_) => Some(Ok(0)),
            };
            self.received.drain(..discard);
            if let Some(done) = done {
                break done;
            }
            // What the client sent behind an error is not looked at.
            if failed.is_some() && !self.connection.wants_write() {
                break Ok(0);
            }
        };
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        self.has_failed = failed.is_some();
        failed.map_or(advanced, Err)
    }

    /// Makes records; those that the protocol wants sent come first.
    fn encrypt(
        &mut self,
        records: &mut Vec<u8>,
        mut make: impl FnMut(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        loop {
            let mut needed = 0;
            let length = self.advance(|traffic| match make(traffic, records) {
                Err(EncryptError::InsufficientSize(size)) => {
                    needed = size.required_size;
                    Ok(0)
                }
                other => other,
            })?;
            if needed <= records.len() {
                return if length > 0 { Ok(length) } else { Err(ErrorKind::NotConnected.into()) };
            }
            records.resize(needed, 0);
        }
    }

    /// Sends records of so much plaintext, and keeps what the socket does not take. Returns how much
    /// of the plaintext counts as written.
    fn send_new(
        &mut self,
        socket: &mut impl Write,
        records: &[u8],
        plain: usize,
    ) -> io::Result<usize> {
        if !self.records.is_empty() {
            // What the protocol wants sent came up just now.
            self.records.extend_from_slice(records);
            let sent = self.send(socket);
            return self.owe(sent, plain);
        }
        let mut written = 0;
        let sent = write_once(socket, records, &mut written);
        if written < records.len() {
            self.records.extend_from_slice(&records[written..]);
        }
        self.owe(sent, plain)
    }

    /// How much of the plaintext counts as written. If it is not all, one byte does, so that the caller
    /// comes with the others again. A last byte by itself is the end of something that it has begun.
    fn owe(&mut self, sent: io::Result<()>, plain: usize) -> io::Result<usize> {
        match sent {
            Ok(()) => Ok(plain),
            Err(error) if is_for_later(&error) => {
                let counts = usize::from(plain > 1);
                self.owed = plain - counts;
                if counts > 0 { Ok(counts) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the records that are left. What the socket does not take now comes before the next one.
    fn send_now_or_later(&mut self, socket: &mut impl Write) -> io::Result<()> {
        self.send(socket).or_else(|error| if is_for_later(&error) { Ok(()) } else { Err(error) })
    }

    /// Sends the records that are left.
    fn send(&mut self, socket: &mut impl Write) -> io::Result<()> {
        if !self.records.is_empty() {
            write_once(socket, &self.records, &mut self.written)?;
        }
        (self.records, self.written) = (Vec::new(), 0);
        Ok(())
    }
}

/// Writes the bytes from `written` on, once: a caller that waits looks at its deadline in between.
///
/// # Errors
/// Those of the socket; [`WouldBlock`](ErrorKind::WouldBlock) if it took only a part.
fn write_once(socket: &mut impl Write, bytes: &[u8], written: &mut usize) -> io::Result<()> {
    loop {
        match socket.write(&bytes[*written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(length) => *written += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        return if *written < bytes.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) };
    }
}

/// The first bytes of these slices, in one piece.
fn gather<'s>(slices: &[IoSlice<'_>], plain: &'s mut Vec<u8>) -> &'s [u8] {
    plain.clear();
    for slice in slices {
        let room = ENCRYPTED_AT_ONCE - plain.len();
        plain.extend_from_slice(&slice[..slice.len().min(room)]);
    }
    plain
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text.to_owned())
}
