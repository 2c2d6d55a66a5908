//! A client that cuts its own connection and comes back with the id of its last complete event.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use support::{Client, Got, SOON, shown, sse::Block};

use super::Run;
use crate::plan::{Plan, Random, TYPES};

/// How often a client that waits looks whether all is over.
const LOOK: Duration = Duration::from_millis(20);

/// How a connection ends.
#[derive(Clone, Copy)]
enum Cut {
    /// In the middle of the request.
    WithinRequest,
    /// Without looking what is still unread.
    Close,
    /// With something unread, which makes it a reset.
    Reset,
    /// With nothing unread.
    Finish,
    /// Its own side only; the server then has to end it.
    Half,
}

/// What a client saw, on all its connections.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    pub(crate) events: u64,
    /// Connections that ended in the middle of a block.
    pub(crate) cut_within: u64,
    pub(crate) resets: u64,
    /// Connections that this client did not end.
    pub(crate) ended: u64,
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    pub(crate) gaps: u64,
    /// What was wrong, in words.
    pub(crate) evidence: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Tally) {
        self.connections += other.connections;
        self.events += other.events;
        self.cut_within += other.cut_within;
        self.resets += other.resets;
        self.ended += other.ended;
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.gaps += other.gaps;
    }
}

pub(crate) struct Listener<'r> {
    number: u64,
    run: &'r Run,
    random: Random,
    /// By the number of the type.
    subscribed: [bool; TYPES.len()],
    query: String,
    last_id: Option<String>,
    /// The event with this number and all before it are here; none before the first preamble.
    position: Option<u64>,
    missing: BTreeSet<u64>,
    tally: Tally,
}

impl<'r> Listener<'r> {
    pub(crate) fn new(number: u64, run: &'r Run) -> Listener<'r> {
        let mut random = Random::new(!run.plan.seed, number);
        let set = 1 + random.below((1 << TYPES.len()) - 1);
        let subscribed: [bool; TYPES.len()] = std::array::from_fn(|kind| set >> kind & 1 == 1);
        let mut query = String::new();
        for kind in (0..TYPES.len()).filter(|&kind| subscribed[kind]) {
            write!(query, "&event={}", TYPES[kind]).unwrap();
        }
        if subscribed == [true; TYPES.len()] {
            "&event=*".clone_into(&mut query);
        }
        Listener {
            number,
            run,
            random,
            subscribed,
            query,
            last_id: None,
            position: None,
            missing: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    /// Connects again and again, most often at once, until the last event is here.
    pub(crate) fn listen_to_the_end(mut self) -> Tally {
        while !self.has_everything() {
            self.assert_in_time();
            if let Ok(client) = Client::try_connect(self.run.addr) {
                self.tally.connections += 1;
                self.listen(client);
                if self.random.one_in(12) && !self.run.is_calm() {
                    // A tunnel: what it misses is more than one slice of the history.
                    thread::sleep(Duration::from_millis(self.random.below(400) as u64));
                }
            } else {
                // No port left, or the backlog is full: both pass.
                thread::sleep(LOOK);
            }
        }
        self.tally.lost = self.missing.len() as u64;
        self.tally
    }

    fn has_everything(&self) -> bool {
        match (self.position, self.run.published()) {
            (Some(position), Some(published)) => self.next_after(position) > published,
            _ => false,
        }
    }

    /// The next event that it subscribes to.
    fn next_after(&self, position: u64) -> u64 {
        (position + 1..u64::MAX)
            .find(|&number| self.subscribed[self.run.plan.kind(number)])
            .unwrap()
    }

    #[track_caller]
    fn assert_in_time(&self) {
        assert!(
            Instant::now() < self.run.end,
            "expected client {} ({}) to get everything in time, it is at {:?} of {:?}, last id {:?}",
            self.number,
            self.query,
            self.position,
            self.run.published(),
            self.last_id
        );
    }

    /// One connection, from its request to its end.
    fn listen(&mut self, mut client: Client) {
        let cut = match self.random.below(40) {
            0 | 1 => Cut::WithinRequest,
            2..14 => Cut::Close,
            14..26 => Cut::Reset,
            26..39 => Cut::Finish,
            _ => Cut::Half,
        };
        // Some are cut in the head or the preamble already.
        let longest = if self.random.one_in(8) { 300 } else { 60_000 };
        let life_bytes = self.random.below(longest);
        let life = Duration::from_millis(self.random.below(400) as u64);
        let begin = Instant::now();

        client.wait_at_most(LOOK);
        let request = self.request();
        if matches!(cut, Cut::WithinRequest) && !self.run.is_calm() {
            let part = self.random.below(request.len());
            let _ = client.try_send(&request[..part]);
            return;
        }
        if client.try_send(&request).is_err() {
            return;
        }
        let mut read = 0;
        while !self.has_everything() {
            self.assert_in_time();
            let mut most = 1 + self.random.below(4096);
            if !self.run.is_calm() {
                most = most.min(life_bytes.saturating_sub(read));
                if most == 0 || begin.elapsed() >= life {
                    self.cut(cut, &mut client);
                    break;
                }
            }
            match client.read(most) {
                Got::Bytes(count) => {
                    read += count;
                    self.take(&mut client);
                }
                Got::Nothing => {}
                Got::End => {
                    self.tally.ended += 1;
                    break;
                }
            }
        }
        self.tally.cut_within += u64::from(client.is_within_a_block());
    }

    /// With the id in the header or, sometimes, in the query.
    fn request(&mut self) -> Vec<u8> {
        let Listener { query, last_id, .. } = self;
        match last_id {
            None => format!("GET /event?{query} HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some(id) if self.random.one_in(4) => {
                let id = id.replace(' ', "%20");
                format!("GET /event?last_event_id={id}{query} HTTP/1.1\r\nHost: a\r\n\r\n")
            }
            Some(id) => {
                format!("GET /event?{query} HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {id}\r\n\r\n")
            }
        }
        .into_bytes()
    }

    fn cut(&mut self, cut: Cut, client: &mut Client) {
        match cut {
            Cut::WithinRequest | Cut::Close => {}
            Cut::Reset => self.tally.resets += u64::from(client.has_something_unread()),
            Cut::Finish => {
                client.wait_no_more();
                while let Got::Bytes(_) = client.read(4096) {
                    self.take(client);
                }
            }
            Cut::Half => {
                client.half_close();
                let end = Instant::now() + SOON;
                while client.read(4096) != Got::End {
                    self.take(client);
                    if Instant::now() >= end {
                        return self.wrong("the end of a half-closed stream did not come");
                    }
                }
            }
        }
    }

    fn take(&mut self, client: &mut Client) {
        while let Some(block) = client.block() {
            self.take_block(block);
        }
    }

    fn take_block(&mut self, block: Block) {
        if block.data.is_none() {
            self.begin_at(block);
        } else if block.event.as_deref() == Some("stream-gap") {
            self.tally.gaps += 1;
            self.wrong(&format!("a gap, {:?}", block.data));
        } else {
            self.take_event(block);
        }
    }

    /// The preamble has the position that the client came with, or its first one.
    fn begin_at(&mut self, block: Block) {
        // Where a read ends behind its first line, the second comes as a block of its own.
        let Some(id) = &block.id else { return };
        let Some(number) = id.rsplit_once('-').and_then(|(_, number)| number.parse().ok()) else {
            return self.wrong(&format!("a preamble without a position: {block:?}"));
        };
        if self.position.is_some_and(|position| position != number) {
            self.wrong(&format!("a preamble with another position: {block:?}"));
        }
        self.position.get_or_insert(number);
        self.last_id = block.id;
    }

    fn take_event(&mut self, block: Block) {
        let Some(position) = self.position else {
            return self.wrong(&format!("an event before the preamble: {block:?}"));
        };
        self.tally.events += 1;
        let data = block.data.unwrap();
        let number = data.lines().next().and_then(|line| line.parse().ok()).unwrap_or(0);
        let plan = &self.run.plan;
        let event = block.event.as_deref().unwrap_or_default();
        let own_id = Plan::own_id(number);
        let has_id = match (&own_id, &block.id) {
            (Some(own), Some(id)) => own == id,
            (None, Some(id)) => id.ends_with(&format!("-{number}")),
            (_, None) => false,
        };
        if number == 0 || data != plan.data(number) || event != TYPES[plan.kind(number)] || !has_id
        {
            return self.wrong(&format!("not what was published: {:?}", shown(&block.raw)));
        }
        self.last_id = block.id;
        let expected = self.next_after(position);
        if number != expected {
            self.wrong(&format!("event {number} in place of {expected}"));
        }
        if number > position {
            let plan = &self.run.plan;
            let subscribed = &self.subscribed;
            self.missing
                .extend((position + 1..number).filter(|&number| subscribed[plan.kind(number)]));
            self.position = Some(number);
        } else if self.missing.remove(&number) {
            self.tally.reordered += 1;
        } else {
            self.tally.repeated += 1;
        }
    }

    fn wrong(&mut self, what: &str) {
        let Listener { number, query, last_id, position, .. } = self;
        let connection = self.tally.connections;
        self.tally.evidence.push(format!(
            "client {number} ({query}), connection {connection}, at {position:?}, last id \
             {last_id:?}: {what}"
        ));
    }
}
