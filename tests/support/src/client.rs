//! A client that sends exactly what it is told, sees every byte, and reads with deadlines.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::sse::{Block, Item, Parser};
use super::{SOON, shown};

/// A response: its head, and its body where it was read.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub line: String,
    /// Names in lower case, in the order they came.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field that comes at most once.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "field {name} came twice: {self:?}");
        first
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// An error is explained in one line of plain text.
    #[track_caller]
    pub fn assert_explained(&self) {
        let kind = self.field("content-type").unwrap_or_default();
        assert!(kind.starts_with("text/plain"), "type of an error: {self:?}");
        let text = self.text();
        let line = text.strip_suffix('\n').unwrap_or(&text);
        assert!(
            !line.trim().is_empty() && !line.contains(['\n', '\r']),
            "expected one line of explanation, got {text:?}"
        );
    }
}

/// A connection that sends exactly what it is told and reads with deadlines.
pub struct Client {
    socket: TcpStream,
    /// Read from the socket, not yet looked at; the body of a stream goes on to `parser`.
    unread: Vec<u8>,
    parser: Parser,
}

impl Client {
    pub fn connect(addr: SocketAddr) -> Client {
        let socket = TcpStream::connect_timeout(&addr, SOON).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_write_timeout(Some(SOON)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Client { socket, unread: Vec::new(), parser: Parser::default() }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// For a server that may have closed by now.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.socket.write_all(bytes.as_ref())
    }

    /// A second handle, for a thread that writes while this one reads.
    pub fn socket(&self) -> TcpStream {
        self.socket.try_clone().unwrap()
    }

    /// No more will be sent; answers can still be read.
    pub fn half_close(&mut self) {
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads what there is, waiting for the first byte until `end`: 0 is the end of the
    /// connection, [`ErrorKind::TimedOut`] means nothing came.
    pub fn fill(&mut self, end: Instant) -> io::Result<usize> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut piece = [0; 16 * 1024];
        loop {
            match self.socket.read(&mut piece) {
                Ok(count) => {
                    self.unread.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Like [`fill`](Client::fill), when more has to come.
    #[track_caller]
    fn need(&mut self, end: Instant, expected: &str) {
        let got = self.fill(end);
        if !matches!(got, Ok(1..)) {
            let got = got.map_or_else(|error| error.to_string(), |_| "the end".to_owned());
            let unread = shown(&self.unread);
            panic!("expected {expected}, got {got}; unread before it: {unread:?}");
        }
    }

    /// Everything read and not yet looked at; waits for at least one byte.
    #[track_caller]
    pub fn piece(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            self.need(Instant::now() + SOON, "more of the body");
        }
        std::mem::take(&mut self.unread)
    }

    /// The next response's head; its lines must end in CRLF.
    #[track_caller]
    pub fn head(&mut self) -> Answer {
        let end = Instant::now() + SOON;
        let at = loop {
            let found = self.unread.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(at) => break at,
                None => self.need(end, "a response's head"),
            }
        };
        let rest = self.unread.split_off(at + 4);
        let head = std::mem::replace(&mut self.unread, rest);
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("expected a status line, got {line:?}"));
        let fields = lines
            .map(|line| {
                let bare = line.contains(['\r', '\n']);
                let (name, value) = line
                    .split_once(": ")
                    .filter(|_| !bare)
                    .unwrap_or_else(|| panic!("expected `name: value`, got {line:?} in {head:?}"));
                (name.to_ascii_lowercase(), value.to_owned())
            })
            .collect();
        Answer { status, line, fields, body: Vec::new() }
    }

    /// The next response with its body: by its `Content-Length`, else up to the connection's end.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let end = Instant::now() + SOON;
        assert_eq!(answer.field("transfer-encoding"), None, "{answer:?}");
        let size = if answer.status < 200 || answer.status == 204 {
            0
        } else if let Some(size) = answer.field("content-length") {
            size.parse().unwrap()
        } else {
            while !matches!(self.fill(end), Ok(0)) {
                assert!(Instant::now() < end, "expected the end of {answer:?}");
            }
            self.unread.len()
        };
        while self.unread.len() < size {
            self.need(end, "the whole body of a response");
        }
        let rest = self.unread.split_off(size);
        answer.body = std::mem::replace(&mut self.unread, rest);
        answer
    }

    /// The server ends the connection in order (not with a reset), and sends nothing more.
    #[track_caller]
    pub fn assert_closed(&mut self) {
        let end = Instant::now() + SOON;
        let got = if self.unread.is_empty() { self.fill(end) } else { Ok(self.unread.len()) };
        let unread = shown(&self.unread);
        assert!(
            matches!(got, Ok(0)),
            "expected the end of the connection, got {got:?}: {unread:?}"
        );
    }

    /// Whatever still comes until the connection ends, with or without a reset.
    #[track_caller]
    pub fn drain(&mut self, deadline: Duration) -> Vec<u8> {
        let end = Instant::now() + deadline;
        loop {
            match self.fill(end) {
                Ok(1..) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    let unread = shown(&self.unread);
                    panic!("expected the connection to end within {deadline:?}, got {unread:?}");
                }
                Ok(0) | Err(_) => return std::mem::take(&mut self.unread),
            }
        }
    }

    /// The next item of an event stream; `None` at its end, which must be orderly and not within
    /// a block.
    #[track_caller]
    pub fn item_within(&mut self, deadline: Duration) -> Option<Item> {
        let end = Instant::now() + deadline;
        loop {
            self.parser.feed(&std::mem::take(&mut self.unread));
            if let Some(item) = self.parser.item() {
                return Some(item);
            }
            match self.fill(end) {
                Ok(1..) => {}
                Ok(_) => {
                    let half = shown(self.parser.rest());
                    assert!(half.is_empty(), "the stream ends within a block: {half:?}");
                    return None;
                }
                Err(error) => {
                    let half = shown(self.parser.rest());
                    panic!("expected the next of a stream, got {error} after {half:?}");
                }
            }
        }
    }

    /// The comment and the `retry` with which every stream begins.
    #[track_caller]
    pub fn preamble(&mut self) -> (String, Block) {
        let comment = match self.item_within(SOON) {
            Some(Item::Comment(comment)) => comment,
            other => panic!("expected a comment first, got {other:?}"),
        };
        match self.item_within(SOON) {
            Some(Item::Block(block)) if block.data.is_none() && block.retry.is_some() => {
                (comment, block)
            }
            other => panic!("expected a retry without data, got {other:?}"),
        }
    }

    /// The head of a stream and its preamble.
    #[track_caller]
    pub fn stream_head(&mut self) -> Answer {
        let head = self.head();
        assert_eq!(head.line, "HTTP/1.1 200 OK", "head of a stream: {head:?}");
        assert_eq!(head.field("content-type"), Some("text/event-stream"), "{head:?}");
        self.preamble();
        head
    }

    /// The next event that a client would dispatch; comments and positions before it are passed over.
    #[track_caller]
    pub fn event(&mut self) -> Block {
        loop {
            match self.item_within(SOON) {
                Some(Item::Block(block)) if block.data.is_some() => return block,
                Some(
                    Item::Comment(_)
                    | Item::Block(Block { id: Some(_), event: None, retry: None, .. }),
                ) => {}
                other => panic!("expected an event, got {other:?}"),
            }
        }
    }

    /// The stream ends in order, and no event comes before its end.
    #[track_caller]
    pub fn assert_stream_ends(&mut self) {
        while let Some(item) = self.item_within(SOON) {
            assert!(
                matches!(item, Item::Comment(_)),
                "expected the end of the stream, got {item:?}"
            );
        }
    }
}
