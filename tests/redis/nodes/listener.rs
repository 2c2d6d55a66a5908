//! A client that hops between the nodes with the id of its last event.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use super::{Event, NONE, Run, parse};

/// How often it looks whether it is to hop.
const LOOK: Duration = Duration::from_millis(100);
/// How long it goes on when it has everything, to see whether something comes twice.
const AFTERWARDS: Duration = Duration::from_millis(500);

pub(crate) struct Listener<'r> {
    run: &'r Run,
    number: u64,
    random: RandomState,
    hops: u64,
    connection: Option<TcpStream>,
    unread: Vec<u8>,
    last_id: String,
    heard: Vec<Heard>,
}

/// An event, or that it was told of a gap.
pub(crate) type Heard = Option<Event>;

impl<'r> Listener<'r> {
    pub(crate) fn new(run: &'r Run, number: u64) -> Self {
        Self {
            run,
            number,
            random: RandomState::new(),
            hops: 0,
            connection: None,
            unread: Vec::new(),
            last_id: String::new(),
            heard: Vec::new(),
        }
    }

    fn below(&self, limit: u64) -> u64 {
        self.random.hash_one((self.number, self.hops, limit)) % limit
    }

    /// Connects for the first time: nothing is to be missed from here on.
    pub(crate) fn connect(&mut self) {
        while self.last_id.is_empty() {
            assert!(Instant::now() < self.run.end, "listener {} got no position", self.number);
            if self.connection.is_none() {
                self.hop();
            }
            self.read();
        }
    }

    /// Listens until it has heard the last event; returns what it heard.
    pub(crate) fn listen(mut self) -> Vec<Heard> {
        let mut leave = Instant::now() + self.patience();
        let mut complete: Option<Instant> = None;
        while Instant::now() < self.run.end {
            let last = self.run.last.load(SeqCst);
            if self.connection.is_none() || last == NONE && Instant::now() >= leave {
                self.hop();
                leave = Instant::now() + self.patience();
            }
            self.read();
            if self.heard.last() == Some(&Some(last)) || complete.is_some() {
                let complete = complete.get_or_insert_with(Instant::now);
                if complete.elapsed() > AFTERWARDS {
                    break;
                }
            }
        }
        self.heard
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(200 + self.below(4000))
    }

    /// Goes to another node, or back to the same one.
    fn hop(&mut self) {
        self.hops += 1;
        self.unread.clear();
        let node = usize::try_from(self.below(self.run.nodes.len() as u64)).unwrap();
        let addr = self.run.nodes[node];
        let head = if self.last_id.is_empty() {
            String::new()
        } else {
            format!("Last-Event-ID: {}\r\n", self.last_id)
        };
        let connected = TcpStream::connect(addr).and_then(|mut connection| {
            connection.set_read_timeout(Some(LOOK))?;
            write!(connection, "GET /event?event=* HTTP/1.1\r\nHost: {addr}\r\n{head}\r\n")?;
            Ok(connection)
        });
        self.connection = connected.ok();
        if self.connection.is_none() {
            thread::sleep(LOOK);
        }
    }

    /// Reads what has come; the connection is gone where it ends.
    fn read(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let mut piece = [0; 8192];
        match connection.read(&mut piece) {
            Ok(count) if count > 0 => {
                self.unread.extend_from_slice(&piece[..count]);
                self.take_blocks();
            }
            Err(error) if is_nothing_yet(&error) => {}
            _ => {
                self.connection = None;
                thread::sleep(LOOK);
            }
        }
    }

    fn take_blocks(&mut self) {
        let unread = std::mem::take(&mut self.unread);
        let mut rest = &unread[..];
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            self.take_block(std::str::from_utf8(&rest[..end]).unwrap());
            rest = &rest[end + 2..];
        }
        self.unread = rest.to_vec();
    }

    fn take_block(&mut self, block: &str) {
        let (mut kind, mut data, mut id) = ("", None, None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("event", value)) => kind = value,
                Some(("data", value)) => data = Some(value),
                Some(("id", value)) => id = Some(value),
                _ => {}
            }
        }
        if kind == "stream-gap" {
            self.heard.push(None);
        } else if let Some(data) = data {
            let event = parse(data).unwrap_or_else(|| panic!("not an event: {block:?}"));
            self.heard.push(Some(event));
        }
        if let Some(id) = id {
            id.clone_into(&mut self.last_id);
        }
    }
}

fn is_nothing_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
