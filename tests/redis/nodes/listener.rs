//! A client that hops between the nodes with the id of its last event.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use support::{Client, Got};

use super::{Event, NONE, Run, parse, publisher_of};

/// How often it looks whether it is to hop.
const LOOK: Duration = Duration::from_millis(100);
/// How long it goes on when it has everything, to see whether something comes twice.
const AFTERWARDS: Duration = Duration::from_millis(500);

pub(crate) struct Listener<'r> {
    run: &'r Run,
    number: u64,
    random: RandomState,
    hops: u64,
    connection: Option<Client>,
    last_id: String,
    heard: Vec<Heard>,
    /// Of each publisher, the event that comes next.
    next: HashMap<u64, Event>,
    /// How much was heard before this connection.
    before: usize,
    /// It was told of a gap as it came back, before what it was then sent.
    is_told: bool,
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
            last_id: String::new(),
            heard: Vec::new(),
            next: HashMap::new(),
            before: 0,
            is_told: false,
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
        (self.before, self.is_told) = (self.heard.len(), false);
        let node = usize::try_from(self.below(self.run.nodes.len() as u64)).unwrap();
        let addr = self.run.nodes[node];
        let head = if self.last_id.is_empty() {
            String::new()
        } else {
            format!("Last-Event-ID: {}\r\n", self.last_id)
        };
        let connected = Client::try_connect(addr).and_then(|mut client| {
            client.wait_at_most(LOOK);
            client
                .try_send(format!("GET /event?event=* HTTP/1.1\r\nHost: {addr}\r\n{head}\r\n"))?;
            Ok(client)
        });
        self.connection = connected.ok();
        if self.connection.is_none() {
            thread::sleep(LOOK);
        }
    }

    /// Reads what has come; the connection is gone where it ends.
    fn read(&mut self) {
        let Some(client) = &mut self.connection else { return };
        let got = client.read(8192);
        while let Some(block) = client.block() {
            if block.event.as_deref() == Some("stream-gap") {
                self.is_told |= self.heard.len() == self.before;
                self.heard.push(None);
            } else if let Some(data) = block.data {
                let event = parse(&data).unwrap_or_else(|| panic!("not an event: {data:?}"));
                let next = self.next.insert(publisher_of(event), event + 1);
                if self.is_told && next.is_some_and(|next| next < event) {
                    // The gap is somewhere in what it missed: here.
                    self.heard.push(None);
                }
                self.heard.push(Some(event));
            }
            if let Some(id) = block.id {
                self.last_id = id;
            }
        }
        if got == Got::End {
            self.connection = None;
            thread::sleep(LOOK);
        }
    }
}
