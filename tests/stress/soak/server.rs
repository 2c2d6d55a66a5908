//! The process that has the server: starts it, publishes, and shuts it down, as its leader says.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::plan::TYPES;
use crate::source::{LAST, PUBLISHERS, Source};
use support::{Hub, assert_no_panics};

/// What large events have beside others.
pub(crate) const BULK_BYTES: usize = 8 * 1024;
/// The publisher whose events come in bursts, beside [`LAST`], whose events come one by one.
const BURSTS: usize = 1;
/// Events per second of each of them.
const RATE: u64 = 1000;
/// How often they look whether something is due.
const PACE: Duration = Duration::from_millis(1);
/// Less than what the leader waits for.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// A server, and those who publish on threads of their own until it is calm.
struct Running {
    hub: Arc<Hub>,
    source: Arc<Source>,
    is_calm: Arc<AtomicBool>,
    publishers: [Option<JoinHandle<u64>>; PUBLISHERS],
}

/// Runs until the leader, at the other end of `control`, goes.
pub(crate) fn run(control: &str) {
    let control = TcpStream::connect(control).unwrap();
    let mut answers = control.try_clone().unwrap();
    let mut running = None;
    for line in BufReader::new(control).lines() {
        let line = line.unwrap();
        let answer = match line.split(' ').collect::<Vec<_>>()[..] {
            ["greet"] => "ready".to_owned(),
            ["begin", seed] => {
                let new = Running::begin(seed.parse().unwrap());
                running.insert(new).hub.addr().to_string()
            }
            ["publish"] => running.as_mut().unwrap().begin_to_publish(),
            ["calm"] => running.as_mut().unwrap().calm(),
            ["streams"] => {
                let stats = running.as_ref().unwrap().hub.server.stats();
                format!("{} {:?}", stats.streams, stats.disconnected)
            }
            ["shut", "down"] => running.take().unwrap().shut_down(),
            _ => panic!("no such order: {line}"),
        };
        writeln!(answers, "{answer}").unwrap();
    }
    assert_no_panics();
}

impl Running {
    fn begin(seed: u64) -> Running {
        let limits = |builder: websse::Builder| {
            builder
                .mailbox_bytes(256 * 1024)
                .history_events(1 << 20)
                .history_bytes(8 << 20)
                .stall_timeout(Duration::from_secs(3))
                .heartbeat(Duration::from_secs(1))
        };
        Running {
            hub: Arc::new(Hub::with(&TYPES, limits, |http| http)),
            source: Arc::new(Source::new(seed, BULK_BYTES)),
            is_calm: Arc::default(),
            publishers: Default::default(),
        }
    }

    fn begin_to_publish(&mut self) -> String {
        self.publishers[LAST] = Some(self.publish(LAST, 1));
        self.publishers[BURSTS] = Some(self.publish(BURSTS, RATE));
        "publishing".to_owned()
    }

    /// Publishes so many at a time at full speed, as many a second as all publish.
    fn publish(&self, publisher: usize, at_a_time: u64) -> JoinHandle<u64> {
        let (hub, source) = (Arc::clone(&self.hub), Arc::clone(&self.source));
        let is_calm = Arc::clone(&self.is_calm);
        thread::spawn(move || {
            let (begin, mut number) = (Instant::now(), 0);
            while !is_calm.load(Ordering::SeqCst) {
                let due = u64::try_from(begin.elapsed().as_millis()).unwrap() * RATE / 1000;
                while number + at_a_time <= due {
                    for _ in 0..at_a_time {
                        number += 1;
                        hub.publish(source.message(publisher, number));
                    }
                }
                // The pace of the publisher.
                thread::sleep(PACE);
            }
            number
        })
    }

    /// How many events each publisher of this process has published, the others none.
    fn calm(&mut self) -> String {
        self.is_calm.store(true, Ordering::SeqCst);
        let mut numbers = self
            .publishers
            .each_mut()
            .map(|publisher| publisher.take().map_or(0, |publisher| publisher.join().unwrap()));
        let Running { hub, source, .. } = self;
        source.to_the_end(&mut numbers[LAST], |number| hub.publish(source.message(LAST, number)));
        numbers.map(|number| number.to_string()).join(" ")
    }

    fn shut_down(self) -> String {
        let hub = Arc::into_inner(self.hub).unwrap();
        let report = hub.server.shutdown(SHUTDOWN);
        let running = hub.http.shutdown(SHUTDOWN);
        drop(hub);
        format!("{} {} {running}", report.undelivered, report.cut_streams)
    }
}
