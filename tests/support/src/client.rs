//! A client that sends exactly what it is told, sees every byte, and reads with deadlines.

use std::{
    io::{self, ErrorKind, Read, Write},
    mem::{MaybeUninit, take},
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};

use crate::{
    SOON,
    answer::Answer,
    chunks::Chunks,
    is_nothing_yet, shown,
    sse::{Block, Item, Parser},
    tls::Session,
};

/// What a single read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    Bytes(usize),
    Nothing,
    /// The other side has ended the connection, in order or not.
    End,
}

/// A connection that sends exactly what it is told and reads with deadlines.
pub struct Client {
    socket: Socket,
    pub(crate) session: Option<Session>,
    /// Read from the socket, not yet looked at; the body of a stream goes on to `parser`.
    unread: Vec<u8>,
    /// The head of a stream was taken.
    is_stream: bool,
    /// Set while a body comes in chunks: what is unread is their data.
    chunks: Option<Chunks>,
    parser: Parser,
    was_reset: bool,
}

/// Over any socket that is connected.
impl<S: Into<Socket>> From<S> for Client {
    fn from(socket: S) -> Client {
        let socket = socket.into();
        socket.set_write_timeout(Some(SOON)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let (unread, parser) = (Vec::new(), Parser::default());
        Client {
            socket,
            session: None,
            unread,
            is_stream: false,
            chunks: None,
            parser,
            was_reset: false,
        }
    }
}

impl Client {
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Client {
        Client::try_connect(addr).unwrap()
    }

    pub fn try_connect(addr: SocketAddr) -> io::Result<Client> {
        let socket = TcpStream::connect_timeout(&addr, SOON)?;
        socket.set_nodelay(true)?;
        Ok(Client { session: Session::to(addr), ..Client::from(socket) })
    }

    /// One whose socket takes no more than so many bytes that it does not read, or some more.
    pub fn try_connect_narrow(addr: SocketAddr, buffer: usize) -> io::Result<Client> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_recv_buffer_size(buffer)?;
        socket.connect_timeout(&addr.into(), SOON)?;
        socket.set_tcp_nodelay(true)?;
        Ok(Client { session: Session::to(addr), ..Client::from(socket) })
    }

    /// A client that has sent `raw` on a connection of its own.
    #[track_caller]
    pub fn ask(addr: SocketAddr, raw: impl AsRef<[u8]>) -> Client {
        let mut client = Client::connect(addr);
        client.send(raw);
        client
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    /// For a server that may have closed by now.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match &mut self.session {
            None => self.socket.write_all(bytes.as_ref()),
            Some(session) => session.write_all(&self.socket, bytes.as_ref()),
        }
    }

    /// Posts a text over this connection, which goes on; returns the status of the answer.
    pub fn post(&mut self, target: &str, text: &str) -> io::Result<u16> {
        let length = text.len();
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: hub\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{text}"
        );
        self.try_send(request)?;
        Ok(self.try_answer(Instant::now() + 2 * SOON)?.status)
    }

    /// A second handle, for a thread that writes while this one reads.
    pub fn socket(&self) -> TcpStream {
        self.socket.try_clone().unwrap().into()
    }

    /// No more will be sent; answers can still be read. The server may have ended it by now.
    pub fn half_close(&mut self) {
        let finished = self.session.as_mut().map_or(Ok(()), |it| it.finish(&self.socket));
        match finished.and_then(|()| self.socket.shutdown(Shutdown::Write)) {
            Err(error) if is_end(&error) => {}
            done => done.unwrap(),
        }
    }

    /// How long [`read`](Client::read) waits.
    pub fn wait_at_most(&self, time: Duration) {
        self.socket.set_read_timeout(Some(time)).unwrap();
    }

    /// From now on [`read`](Client::read) does not wait.
    pub fn wait_no_more(&self) {
        self.socket.set_nonblocking(true).unwrap();
    }

    /// Waits until something is unread, which makes its close a reset; false where nothing comes.
    pub fn has_something_unread(&self) -> bool {
        matches!(self.socket.peek(&mut [MaybeUninit::uninit()]), Ok(1))
    }

    /// Reads once, at most so many bytes.
    pub fn read(&mut self, most: usize) -> Got {
        match self.receive(most) {
            Ok(0) => Got::End,
            Ok(count) => Got::Bytes(count),
            Err(error) if is_nothing_yet(&error) => Got::Nothing,
            Err(_) => {
                self.was_reset = true;
                Got::End
            }
        }
    }

    fn receive(&mut self, most: usize) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let most = most.min(piece.len());
        let count = match &mut self.session {
            None => self.socket.read(&mut piece[..most])?,
            Some(session) => session.read(&self.socket, &mut piece[..most])?,
        };
        self.take_in(&piece[..count]);
        Ok(count)
    }

    fn take_in(&mut self, bytes: &[u8]) {
        let Some(chunks) = &mut self.chunks else { return self.unread.extend_from_slice(bytes) };
        let unread = &mut self.unread;
        let mut add = |data: &[u8]| {
            unread.extend_from_slice(data);
            Ok(())
        };
        chunks
            .decode(bytes, &mut add)
            .unwrap_or_else(|error| panic!("{error}: {:?}", shown(bytes)));
    }

    /// Takes a head from what is unread, if all of it is there.
    #[track_caller]
    fn take_head(&mut self) -> Option<Answer> {
        let head = Answer::take_head(&mut self.unread)?;
        if head.field("transfer-encoding").is_some() {
            self.chunks = Some(Chunks::default());
            let behind = take(&mut self.unread);
            self.take_in(&behind);
        }
        Some(head)
    }

    /// Whether a chunk has begun to come, and not ended.
    fn is_within_a_chunk(&self) -> bool {
        self.chunks.as_ref().is_some_and(|chunks| !chunks.is_at_rest())
    }

    /// Reads what there is, waiting for the first byte until `end`: 0 is the end of the
    /// connection, [`ErrorKind::TimedOut`] means nothing came.
    pub fn fill(&mut self, end: Instant) -> io::Result<usize> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.receive(usize::MAX) {
                Err(error) if is_nothing_yet(&error) => {}
                received => return received,
            }
        }
    }

    /// Like [`fill`](Client::fill), when more has to come.
    fn need(&mut self, end: Instant, expected: &str) -> io::Result<()> {
        let (kind, got) = match self.fill(end) {
            Ok(1..) => return Ok(()),
            Ok(_) => (ErrorKind::UnexpectedEof, "the end".to_owned()),
            Err(error) => (error.kind(), error.to_string()),
        };
        let unread = shown(&self.unread);
        let text = format!("expected {expected}, got {got}; unread before it: {unread:?}");
        Err(io::Error::new(kind, text))
    }

    /// Everything read and not yet looked at; waits for at least one byte.
    #[track_caller]
    pub fn piece(&mut self) -> Vec<u8> {
        if self.unread.is_empty() {
            self.need(Instant::now() + SOON, "more of the body").unwrap();
        }
        take(&mut self.unread)
    }

    /// The next response's head; its lines must end in CRLF.
    #[track_caller]
    pub fn head(&mut self) -> Answer {
        self.try_head(Instant::now() + SOON).unwrap()
    }

    pub fn try_head(&mut self, end: Instant) -> io::Result<Answer> {
        loop {
            if let Some(head) = self.take_head() {
                self.is_stream = head.is_stream();
                return Ok(head);
            }
            self.need(end, "a response's head")?;
        }
    }

    /// The next response with its body: by its `Content-Length`, else up to the connection's end.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer(Instant::now() + SOON).unwrap()
    }

    pub fn try_answer(&mut self, end: Instant) -> io::Result<Answer> {
        let head = self.try_head(end)?;
        self.with_body(head, end)
    }

    /// The same, but without the body of a stream, which is what follows.
    #[track_caller]
    pub fn answer_or_stream(&mut self) -> Answer {
        let end = Instant::now() + SOON;
        let head = self.head();
        if head.is_stream() { head } else { self.with_body(head, end).unwrap() }
    }

    fn with_body(&mut self, mut answer: Answer, end: Instant) -> io::Result<Answer> {
        let Some(size) = answer.body_size() else {
            answer.body = self.rest(end)?;
            return Ok(answer);
        };
        while self.unread.len() < size {
            self.need(end, "the whole body of a response")?;
        }
        answer.take_body(&mut self.unread, size);
        Ok(answer)
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

    /// Whatever still comes until the connection ends in order.
    pub fn rest(&mut self, end: Instant) -> io::Result<Vec<u8>> {
        while self.fill(end)? > 0 {}
        Ok(take(&mut self.unread))
    }

    /// Whatever still comes until the connection ends, with or without a reset.
    #[track_caller]
    pub fn drain(&mut self, deadline: Duration) -> Vec<u8> {
        match self.rest(Instant::now() + deadline) {
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                let unread = shown(&self.unread);
                panic!("expected the connection to end within {deadline:?}, got {unread:?}");
            }
            rest => rest.unwrap_or_else(|_| take(&mut self.unread)),
        }
    }

    /// The next item of an event stream; `None` at its end, which must be orderly and not within
    /// a block.
    #[track_caller]
    pub fn item_within(&mut self, deadline: Duration) -> Option<Item> {
        let end = Instant::now() + deadline;
        loop {
            self.parser.feed(&take(&mut self.unread));
            if let Some(item) = self.parser.item() {
                return Some(item);
            }
            match self.fill(end) {
                Ok(1..) => {}
                Ok(_) => {
                    let half = shown(self.parser.rest());
                    assert!(half.is_empty(), "the stream ends within a block: {half:?}");
                    assert!(!self.is_within_a_chunk(), "the stream ends within a chunk");
                    return None;
                }
                Err(error) => {
                    let half = shown(self.parser.rest());
                    panic!("expected the next of a stream, got {error} after {half:?}");
                }
            }
        }
    }

    /// Whether the head of a stream is here, or was.
    #[track_caller]
    pub fn has_head(&mut self) -> bool {
        if !self.is_stream
            && let Some(head) = self.take_head()
        {
            head.assert_stream();
            self.is_stream = true;
        }
        self.is_stream
    }

    /// The next block that is here whole; comments before it are passed over.
    #[track_caller]
    pub fn block(&mut self) -> Option<Block> {
        if self.has_head() {
            self.parser.feed(&take(&mut self.unread));
        }
        loop {
            match self.parser.item()? {
                Item::Block(block) => return Some(block),
                Item::Comment(_) => {}
            }
        }
    }

    /// Whether the beginning of a block is here, and not its end.
    pub fn is_within_a_block(&self) -> bool {
        !self.parser.rest().is_empty() || self.is_within_a_chunk()
    }

    /// Whether it ended, if it has, with a reset or in the middle of a block.
    pub fn was_broken_off(&self) -> bool {
        self.was_reset || self.is_within_a_block()
    }

    /// The comment and the `retry` with which every stream begins that is not a browser's.
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
        head.assert_stream();
        self.preamble();
        head
    }

    /// The next event that a client would dispatch; comments and positions before it are passed over.
    #[track_caller]
    pub fn event(&mut self) -> Block {
        self.event_within(SOON)
    }

    /// The same, if it may take longer.
    #[track_caller]
    pub fn event_within(&mut self, deadline: Duration) -> Block {
        loop {
            match self.item_within(deadline) {
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

/// Whether the other side has ended the connection.
fn is_end(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected)
}
