//! Two thousand channels that come and go, while listeners are cut off and come back.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use support::{Got, Hub, SOON, StopOnDrop, eventually, sse::Block};
use websse::{Message, http::HttpServer};

use super::{alone, seed};
use crate::{
    connection::{open, wait_for_head},
    plan::Random,
};

const CHANNELS: usize = 2000;
const LISTENERS: u64 = 24;
const PUBLISHERS: usize = 2;
/// How long it goes on.
const TIME: Duration = Duration::from_secs(4);

/// Whether the history has room for all that somebody may come back to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Room {
    Much,
    Little,
}

struct Run {
    hub: Hub,
    room: Room,
    is_over: AtomicBool,
    events: AtomicU64,
    gaps: AtomicU64,
}

/// A few are busy.
fn channel(random: &mut Random) -> usize {
    if random.one_in(2) { random.below(8) } else { random.below(CHANNELS) }
}

fn run(room: Room) -> Run {
    let _alone = alone();
    support::watch_for_panics();
    let seed = seed();
    let builder = websse::Server::builder();
    let server = match room {
        Room::Much => builder.history_events(100_000).build(),
        Room::Little => builder.max_channels(CHANNELS + 400).history_all_bytes(100_000).build(),
    };
    server.register_events(["a", "b", "probe"]).unwrap();
    server.run().unwrap();
    let http = HttpServer::new()
        .get("/event", server.event_stream_handler().client_channels())
        .bind("127.0.0.1:0")
        .unwrap();
    let hub = Hub { server, http };
    let [events, gaps] = Default::default();
    let run = Run { hub, room, is_over: AtomicBool::new(false), events, gaps };
    thread::scope(|scope| {
        let _beside = StopOnDrop(&run.is_over);
        let run = &run;
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || run.publish(publisher, Random::new(seed, publisher as u64)));
        }
        let listeners: Vec<_> = (0..LISTENERS)
            .map(|listener| scope.spawn(move || run.listen(Random::new(seed, 100 + listener))))
            .collect();
        thread::sleep(TIME);
        run.is_over.store(true, SeqCst);
        for listener in listeners {
            listener.join().unwrap();
        }
    });
    run
}

impl Run {
    /// Each channel has one publisher, which counts its events.
    fn publish(&self, publisher: usize, mut random: Random) {
        let mut numbers = vec![0; CHANNELS];
        while !self.is_over.load(SeqCst) {
            let channel = channel(&mut random) / PUBLISHERS * PUBLISHERS + publisher;
            numbers[channel] += 1;
            let message = Message::new(format!("{channel} {}", numbers[channel]));
            let message = message.event(["a", "b"][random.below(2)]);
            self.hub.publish(message.channel(channel.to_string()));
            if random.one_in(20) {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Listens to some channels, is cut off, comes back; then to others.
    fn listen(&self, mut random: Random) {
        while !self.is_over.load(SeqCst) {
            let names: Vec<usize> = (0..=random.below(3)).map(|_| channel(&mut random)).collect();
            let mut last: HashMap<usize, Option<u64>> =
                names.iter().map(|&name| (name, None)).collect();
            let mut id = String::new();
            for _ in 0..=random.below(6) {
                if self.room == Room::Little && random.one_in(4) {
                    // Longer than the history reaches back.
                    thread::sleep(Duration::from_millis(100));
                }
                self.visit(&names, &mut id, &mut last, &mut random);
            }
        }
    }

    fn visit(
        &self,
        names: &[usize],
        id: &mut String,
        last: &mut HashMap<usize, Option<u64>>,
        random: &mut Random,
    ) {
        let mut query = format!("?event=*&stream-open=1&last_event_id={id}");
        for name in names {
            write!(query, "&channel={name}").unwrap();
        }
        let request = format!("GET /event{query} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = open(self.hub.addr(), &request, false);
        assert!(wait_for_head(&mut client), "the server is there");
        let end = Instant::now() + Duration::from_millis(random.below(150) as u64);
        // It is cut off anywhere, often in the middle of an event.
        while Instant::now() < end && client.read(1 + random.below(4000)) != Got::End {
            while let Some(block) = client.block() {
                self.check(block, id, last);
            }
        }
    }

    fn check(&self, block: Block, id: &mut String, last: &mut HashMap<usize, Option<u64>>) {
        let Block { event, data, id: new, .. } = block;
        if event.as_deref() == Some("stream-gap") {
            assert!(self.room == Room::Little, "there is room for all: {data:?} after {id}");
            self.gaps.fetch_add(1, SeqCst);
            for number in last.values_mut() {
                *number = None;
            }
            return;
        }
        if event.as_deref() != Some("stream-open") {
            let data = data.unwrap();
            let (channel, number) = data.split_once(' ').unwrap();
            let (channel, number) = (channel.parse().unwrap(), number.parse::<u64>().unwrap());
            let before = last.get_mut(&channel).expect("it is for this client").replace(number);
            assert!(before.is_none_or(|before| number == before + 1), "{number} after {before:?}");
            self.events.fetch_add(1, SeqCst);
        }
        if let Some(new) = new {
            *id = new;
        }
    }
}

#[test]
fn channels_come_and_go_and_nobody_misses_anything_or_is_told_so_in_vain() {
    let run = run(Room::Much);
    let (events, gaps) = (run.events.load(SeqCst), run.gaps.load(SeqCst));
    assert!(events > 1000 && gaps == 0, "{events} events, {gaps} gaps");
    eventually(SOON, 0, || run.hub.server.stats().streams);
}

#[test]
fn where_channels_are_forgotten_nobody_misses_anything_without_being_told() {
    let run = run(Room::Little);
    let (events, gaps) = (run.events.load(SeqCst), run.gaps.load(SeqCst));
    assert!(events > 1000 && gaps > 0, "{events} events, {gaps} gaps");
    eventually(SOON, 0, || run.hub.server.stats().streams);
    // What is left is what 100 kB hold.
    eventually(SOON, true, || run.hub.server.stats().channels < 400);
}
