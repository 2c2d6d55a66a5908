//! Publishes over HTTP, at whichever node answers, and never the same event twice.

use std::{
    io,
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant},
};

use support::Client;

use super::{Event, Run, event, node::TYPES};

/// What became of events.
#[derive(Default)]
pub(crate) struct Outcomes {
    pub(crate) acknowledged: Vec<Event>,
    /// They are not published.
    pub(crate) refused: Vec<Event>,
    /// They may be published or not.
    pub(crate) open: Vec<Event>,
}

impl Outcomes {
    pub(crate) fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.refused.extend(other.refused);
        self.open.extend(other.open);
    }
}

pub(crate) struct Publisher<'r> {
    run: &'r Run,
    number: u64,
    rate: u64,
    /// Which node it turns to.
    node: usize,
    connection: Option<Client>,
}

impl<'r> Publisher<'r> {
    pub(crate) fn new(run: &'r Run, number: u64, rate: u64) -> Self {
        let node = usize::try_from(number).unwrap() % run.nodes.len();
        Self { run, number, rate, node, connection: None }
    }

    pub(crate) fn publish(mut self, stop: Instant) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let pause = Duration::from_secs(1) / u32::try_from(self.rate).unwrap();
        let mut next = Instant::now();
        for number in 0.. {
            thread::sleep(next.saturating_duration_since(Instant::now()));
            next += pause;
            if Instant::now() >= stop || self.run.is_over.load(SeqCst) {
                break;
            }
            let event = event(self.number, number);
            match self.send(number) {
                Some(Ok(200)) => outcomes.acknowledged.push(event),
                // Without a node it was not even sent.
                Some(Ok(503)) | None => outcomes.refused.push(event),
                Some(Ok(504) | Err(_)) => outcomes.open.push(event),
                Some(Ok(status)) => panic!("status {status}"),
            }
        }
        outcomes
    }

    /// The status of the answer; `None` where there is no node to send it to.
    fn send(&mut self, number: u64) -> Option<io::Result<u16>> {
        let addr = self.run.nodes[self.node];
        if self.connection.is_none() {
            self.connection = Client::try_connect(addr).ok();
        }
        let Some(mut connection) = self.connection.take() else {
            self.node = (self.node + 1) % self.run.nodes.len();
            return None;
        };
        let kind = ["", TYPES[0], TYPES[1]][usize::try_from(number % 3).unwrap()];
        let request = format!(
            "POST /send?event={kind}&data={}+{number} HTTP/1.1\r\nHost: {addr}\r\n\r\n",
            self.number
        );
        let end = Instant::now() + Duration::from_secs(20);
        let answer = connection.try_send(request).and_then(|()| connection.try_answer(end));
        if answer.is_ok() {
            self.connection = Some(connection);
        }
        Some(answer.map(|answer| answer.status))
    }
}
