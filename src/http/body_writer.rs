//! A body that the program writes, part by part.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    sync::mpsc::{Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use super::{Response, response::Body, transport::Transport};

/// How often a program that waits for something else looks whether its client has left.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// The end of a body in chunks (RFC 9112, section 7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Response {
    /// A response whose body `write` writes, part by part, with status 200: lines of JSON, a file, the
    /// rows of a table. For Server-Sent Events there is [`events`](Self::events).
    ///
    /// The head is sent at once. Then `write` runs on the connection's own thread, and may block.
    /// `Ok` ends the body, and the connection is kept for the next request. An error or a panic
    /// closes it with the body incomplete, which is logged (feature `log`), and is an error for the
    /// client as well. A client that cannot take chunks, by HTTP/1.0 or with `Connection: close`,
    /// takes the end of the connection for the end of the body and cannot tell. For HEAD and the
    /// statuses 204 and 304 nothing runs.
    ///
    /// At most [`Limits::streams_of_own`](super::Limits::streams_of_own) such bodies are written at a
    /// time; beyond that the answer is 503.
    ///
    /// ```
    /// use std::io::Write;
    /// use websse::http::{HttpServer, Request, Response};
    ///
    /// let http = HttpServer::new().get("/squares.csv", |_: &Request| {
    ///     Response::stream("text/csv", |out| {
    ///         (1..100).try_for_each(|n| writeln!(out, "{n},{}", n * n))
    ///     })
    /// });
    ///
    /// // Without a server, for a test:
    /// let copy = Response::stream("text/plain", |out| out.send("a file"));
    /// assert_eq!(copy.write_body()?, b"a file");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stream<W>(content_type: &'static str, write: W) -> Self
    where
        W: FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + Send + 'static,
    {
        let head = Self::new(200).header("Content-Type", content_type);
        head.header("X-Accel-Buffering", "no").written(write)
    }

    /// The whole body, as it would be sent without chunks. What the program writes by
    /// [`events`](Self::events) or [`stream`](Self::stream) is written now, to test it without a
    /// server; its client never leaves.
    ///
    /// # Errors
    /// That of the program's closure.
    ///
    /// ```
    /// use websse::{Message, http::Response};
    ///
    /// let response = Response::events(|out| out.send(&Message::new("hello")));
    /// assert_eq!(response.write_body()?, b"data: hello\n\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_body(self) -> io::Result<Vec<u8>> {
        match self.split().1 {
            Body::Written(write) => {
                let mut bytes = Vec::new();
                write.write_to(Target::Memory(&mut bytes), false).map(|_| bytes)
            }
            Body::Bytes(bytes) => Ok(bytes.into_owned()),
            Body::Deferred(work) => work().write_body(),
            Body::TakeOver(_) => Err(ErrorKind::Unsupported.into()),
        }
    }
}

/// Writes a body for [`Response::stream`].
///
/// Each call that sends writes once to the socket, and returns when the kernel has taken
/// everything. That takes at most the [write time-out](super::Limits::write_timeout); then the
/// client is given up. Once a client is gone, every call fails that has to do with it, and the body
/// cannot be completed.
///
/// As an [`io::Write`] it sends each write by itself: put a [`BufWriter`](io::BufWriter) around it
/// for many small ones.
pub struct BodyWriter<'c> {
    line: &'c mut (dyn Line + 'c),
    chunked: bool,
    state: &'c mut State,
}

/// How far a body has come.
#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    /// Its end was sent.
    Complete,
    /// It cannot be completed, for this reason.
    Broken(ErrorKind),
}

/// A connection, as the writer of a body sees it.
pub(super) trait Line {
    /// Where the bytes are gathered that are sent next.
    fn out(&mut self) -> &mut Vec<u8>;
    /// Sends them.
    fn flush(&mut self) -> io::Result<()>;
    /// Waits for this time; true at once when the client leaves, or the connection is ended from
    /// outside.
    fn leaves_within(&mut self, time: Duration) -> bool;
    /// From now on a stop of the server ends it at once.
    fn has_no_end(&mut self);
}

/// Memory in place of a connection.
impl Line for Vec<u8> {
    fn out(&mut self) -> &mut Vec<u8> {
        self
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn leaves_within(&mut self, time: Duration) -> bool {
        thread::sleep(time);
        false
    }

    fn has_no_end(&mut self) {}
}

/// What a body is written to.
pub(super) enum Target<'t, 'c> {
    Connection(&'t mut Transport<'c>),
    Memory(&'t mut Vec<u8>),
}

/// A closure that writes a body. All that writing needs is reached through it alone, so that it
/// costs a program nothing that has no such closure.
pub(crate) struct Writing(Box<Closure>);

type Closure = dyn FnOnce(Target<'_, '_>, bool) -> io::Result<bool> + Send;

impl Writing {
    pub(super) fn new<W>(write: W) -> Self
    where
        W: FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + Send + 'static,
    {
        Self(Box::new(move |target, chunked| {
            let line: &mut dyn Line = match target {
                Target::Connection(transport) => transport,
                Target::Memory(bytes) => bytes,
            };
            let mut state = State::Open;
            let written = write(&mut BodyWriter { line, chunked, state: &mut state });
            if matches!(state, State::Broken(_)) {
                return Ok(false);
            }
            written?;
            if chunked && matches!(state, State::Open) {
                line.out().extend_from_slice(LAST_CHUNK);
            }
            Ok(true)
        }))
    }

    /// Runs the program's closure, and gathers the last chunk if the body is complete with it.
    /// `Ok(false)`: the client has gone or was given up, whatever the program makes of it. An error
    /// is the program's.
    pub(super) fn write_to(self, target: Target<'_, '_>, chunked: bool) -> io::Result<bool> {
        self.0(target, chunked)
    }
}

impl BodyWriter<'_> {
    /// Sends a part of the body; nothing if it is empty.
    ///
    /// # Errors
    /// [`TimedOut`](ErrorKind::TimedOut) if the client has not taken it in the
    /// [write time-out](super::Limits::write_timeout); otherwise the client has gone, for example
    /// [`BrokenPipe`](ErrorKind::BrokenPipe). [`InvalidInput`](ErrorKind::InvalidInput) after the
    /// [last](Self::send_last) part.
    pub fn send(&mut self, part: impl AsRef<[u8]>) -> io::Result<()> {
        self.write_part(part.as_ref(), State::Open)
    }

    /// Sends the last part together with the end of the body, in one write: a client that waits for
    /// the end is not kept waiting. Otherwise the end is sent when the closure returns.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_last(&mut self, part: impl AsRef<[u8]>) -> io::Result<()> {
        self.write_part(part.as_ref(), State::Complete)
    }

    fn write_part(&mut self, part: &[u8], then: State) -> io::Result<()> {
        match *self.state {
            State::Open => {}
            State::Complete => {
                return Err(io::Error::new(ErrorKind::InvalidInput, "the body has ended"));
            }
            State::Broken(kind) => return Err(kind.into()),
        }
        let out = self.line.out();
        if self.chunked && !part.is_empty() {
            write!(out, "{:x}\r\n", part.len())?;
            out.extend_from_slice(part);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(part);
        }
        if self.chunked && matches!(then, State::Complete) {
            out.extend_from_slice(LAST_CHUNK);
        }
        let sent = self.line.flush();
        *self.state = sent.as_ref().map_or_else(|error| State::Broken(error.kind()), |()| then);
        sent
    }

    /// Whether the client has left, which costs no wait: it has closed the connection, or its sending
    /// side. What it sends meanwhile is its next request, and no leaving. Also true once
    /// [`HttpServer::shutdown`](super::HttpServer::shutdown) has cut the connection, at its deadline
    /// or [before](Self::has_no_end).
    pub fn is_gone(&mut self) -> bool {
        self.wait(Duration::ZERO).is_err()
    }

    /// Sleeps for this time, unless the client leaves.
    ///
    /// # Errors
    /// At once when the client [is gone](Self::is_gone).
    pub fn wait(&mut self, time: Duration) -> io::Result<()> {
        if let State::Broken(kind) = *self.state {
            return Err(kind.into());
        }
        if self.line.leaves_within(time) {
            *self.state = State::Broken(ErrorKind::BrokenPipe);
            return Err(ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// Takes the next item from a channel of your program; `None` when its senders are gone.
    ///
    /// # Errors
    /// When the client [is gone](Self::is_gone), within 0.1 s.
    ///
    /// ```
    /// use std::{sync::mpsc, thread};
    /// use websse::http::Response;
    ///
    /// let response = Response::stream("application/x-ndjson", |out| {
    ///     let (sender, results) = mpsc::channel();
    ///     thread::spawn(move || (1..=3).try_for_each(|n| sender.send(format!("{{\"n\":{n}}}\n"))));
    ///     while let Some(line) = out.recv(&results)? {
    ///         out.send(line)?;
    ///     }
    ///     Ok(())
    /// });
    /// # assert_eq!(response.write_body()?.len(), 24);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv<T>(&mut self, from: &Receiver<T>) -> io::Result<Option<T>> {
        loop {
            match self.recv_for(from, LOOK)? {
                Err(RecvTimeoutError::Timeout) => {}
                received => return Ok(received.ok()),
            }
        }
    }

    /// Takes from a channel, for at most this time.
    pub(super) fn recv_for<T>(
        &mut self,
        from: &Receiver<T>,
        time: Duration,
    ) -> io::Result<Result<T, RecvTimeoutError>> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match from.recv_timeout(left.min(LOOK)) {
                Err(RecvTimeoutError::Timeout) => self.wait(Duration::ZERO)?,
                received => return Ok(received),
            }
            if left <= LOOK {
                return Ok(Err(RecvTimeoutError::Timeout));
            }
        }
    }

    /// Says that this body has no end of its own: it [is gone](Self::is_gone) as soon as a
    /// [shutdown](super::HttpServer::shutdown) begins. Otherwise the shutdown lets your program
    /// complete the body until its deadline, and cuts the connection then.
    pub fn has_no_end(&mut self) {
        self.line.has_no_end();
    }

    /// Another writer of the same body.
    pub(super) fn reborrow(&mut self) -> BodyWriter<'_> {
        BodyWriter { line: &mut *self.line, chunked: self.chunked, state: &mut *self.state }
    }
}

impl Write for BodyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for BodyWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyWriter").field("state", &self.state).finish_non_exhaustive()
    }
}
