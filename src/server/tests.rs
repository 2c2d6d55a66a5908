//! Tests of the core's half of a log, with a fake log in memory.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Server, Subscription};
use crate::{
    TryPublishError,
    broadcast::{
        arrival::Arrival,
        inbox::Refused,
        log::{Entry, EntryId, Lack, Log, LogFactory, LogInput, NotAppended, Step},
        stats::{RedisStats, Stats},
    },
    error::{PublishError, SubscribeError},
    message::{Message, subscribed::Subscribed},
    socket::Socket,
};

const LONG: Duration = Duration::from_secs(10);

/// The fake log, as the tests see it.
#[derive(Debug, Default)]
struct Fake {
    opened: OnceLock<Opened>,
    /// Appends at most this many messages.
    room: usize,
}

#[derive(Debug)]
struct Opened {
    input: LogInput,
    newest: Mutex<EntryId>,
    left: Mutex<usize>,
    admitted: Mutex<Vec<Option<String>>>,
    is_stopped: Mutex<bool>,
}

#[derive(Debug)]
struct Handle(Arc<Fake>);

fn entry(number: u64) -> EntryId {
    EntryId { millis: 1_700_000_000_000, number }
}

impl Opened {
    fn give(&self, step: Step) {
        self.input.give(step, LONG).expect("the broadcaster takes steps");
        self.input.wake();
    }

    /// Acts like a reader that has read everything: from now on the node serves clients.
    fn begin(&self, floor: EntryId) {
        self.give(Step::Begin { floor, forgotten: EntryId::ZERO, is_first: true });
        *self.newest.lock() = floor;
        self.input.set_primed();
    }

    fn read(&self, id: EntryId, message: &Message) {
        let event = self.input.encode(message).expect("its type is registered");
        self.give(Step::Events(vec![Entry { id, before: EntryId::ZERO, event }]));
    }

    fn lacks(&self, subscribed: &Arc<Subscribed>, id: EntryId) -> Option<Lack> {
        let answer = self.input.ask(subscribed, &id.to_string(), true);
        answer.expect("the broadcaster answers").err()
    }
}

impl Fake {
    fn opened(&self) -> &Opened {
        self.opened.get().expect("the server runs")
    }
}

impl LogFactory for Handle {
    fn open(&self, input: LogInput) -> io::Result<Arc<dyn Log>> {
        let opened = Opened {
            input,
            newest: Mutex::default(),
            left: Mutex::new(self.0.room),
            admitted: Mutex::default(),
            is_stopped: Mutex::default(),
        };
        self.0.opened.set(opened).expect("it is opened once");
        Ok(Arc::new(Self(Arc::clone(&self.0))))
    }
}

impl Log for Handle {
    fn append(&self, messages: &[Message]) -> Result<Vec<EntryId>, NotAppended> {
        let append = |(index, message)| {
            self.try_append(message).map_err(|_| NotAppended {
                index,
                unknown: 0,
                error: PublishError::RedisUnavailable("it is full".to_owned()),
            })
        };
        messages.iter().enumerate().map(append).collect()
    }

    fn try_append(&self, message: &Message) -> Result<EntryId, Refused> {
        let opened = self.0.opened();
        let mut left = opened.left.lock();
        *left = left.checked_sub(1).ok_or(Refused::Full)?;
        let mut newest = opened.newest.lock();
        newest.number += 1;
        opened.read(*newest, message);
        Ok(*newest)
    }

    fn admit(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
        let opened = self.0.opened();
        opened.admitted.lock().push(arrival.resume.last_event_id.clone());
        opened.input.hand_over(arrival)
    }

    fn is_all_in_history(&self) -> bool {
        false
    }

    fn is_ready(&self, _: Instant) -> Result<String, String> {
        Ok("ok".to_owned())
    }

    fn add_to(&self, stats: &mut Stats) {
        let connected = !*self.0.opened().is_stopped.lock();
        stats.redis = Some(RedisStats { connected, ..RedisStats::default() });
    }

    fn stop(&self, _: Instant) {
        *self.0.opened().is_stopped.lock() = true;
    }
}

/// A server with one event type, `a`, that follows a fake log.
fn server(room: usize) -> (Server, Arc<Fake>) {
    let fake = Arc::new(Fake { room, ..Fake::default() });
    let mut builder = Server::builder();
    builder.options.log = Some(Arc::new(Handle(Arc::clone(&fake))));
    let server = builder.build();
    server.register_event("a").expect("a valid name");
    server.run().expect("it is new");
    (server, fake)
}

fn message(data: &str) -> Message {
    Message::new(data).event("a")
}

#[test]
fn what_is_published_comes_back_out_of_the_log_with_the_ids_of_its_entries() {
    let (server, fake) = server(3);
    fake.opened().begin(entry(10));
    let mut listener = server.subscribe(["a"]).expect("it runs");
    server.publish_all(&[message("1"), message("2")]).expect("there is room");
    server.try_publish(message("3")).expect("there is room");
    for (data, number) in [("1", 11), ("2", 12), ("3", 13)] {
        let event = listener.next_event(LONG).expect("it was published");
        assert_eq!((&*event.data(), event.id()), (data, Some(&*entry(number).to_string())));
    }
    assert!(matches!(server.try_publish(message("4")), Err(TryPublishError::Full(_))));
    let refused = server.publish_all(&[message("4")]).expect_err("the log is full");
    assert_eq!(refused.index, 0);
    assert!(server.stats().redis.is_some_and(|log| log.connected));
    server.shutdown(LONG);
    assert!(*fake.opened().is_stopped.lock());
}

#[test]
fn clients_go_by_the_log_until_it_has_begun_and_when_they_come_back() {
    let (server, fake) = server(1);
    drop(server.subscribe(["a"]).expect("the log hands it over"));
    fake.opened().begin(entry(0));
    drop(server.subscribe(["a"]).expect("it runs"));
    let id = entry(0).to_string();
    drop(server.subscription(["a"]).last_event_id(&*id).open().expect("it runs"));
    assert_eq!(*fake.opened().admitted.lock(), [None, Some(id)]);
}

#[test]
fn the_broadcaster_says_how_far_the_history_reaches_back() {
    let (server, fake) = server(9);
    let opened = fake.opened();
    opened.begin(entry(10));
    server.publish(message("11")).expect("there is room");
    let a = Arc::new(Subscribed::of_types(&[0]));
    assert_eq!(opened.lacks(&a, entry(10)), None);
    assert_eq!(opened.lacks(&a, entry(11)), None);
    assert_eq!(opened.lacks(&a, entry(9)), Some(Lack::Older(entry(9))));
    assert_eq!(opened.lacks(&a, entry(12)), Some(Lack::Ahead(entry(12))));
    opened.give(Step::Reach(entry(12)));
    assert_eq!(opened.lacks(&a, entry(12)), None, "asked after a step, answered after it");
    server.shutdown(LONG);
    assert!(opened.input.ask(&a, "x", true).is_none(), "nobody answers any more");
}

#[test]
fn a_listener_that_misses_what_the_log_forgot_is_told_of_a_gap() {
    let (server, fake) = server(1);
    fake.opened().begin(entry(10));
    server.publish(message("11")).expect("there is room");
    let id = entry(3).to_string();
    let mut listener = server.subscription(["a"]).last_event_id(id).open().expect("it runs");
    let bytes = |listener: &mut Subscription| {
        String::from_utf8_lossy(listener.recv_timeout(LONG).expect("there is more").as_bytes())
            .into_owned()
    };
    let mut text = bytes(&mut listener);
    while !text.contains("data: 11\n") {
        text += &bytes(&mut listener);
    }
    let gap = text.find("event: stream-gap\n").expect("a gap is told");
    assert!(gap < text.find("data: 11\n").expect("seen above"), "{text}");
    fake.opened().give(Step::Gap { at: entry(20), told: false });
    assert!(bytes(&mut listener).contains("event: stream-gap\n"), "to all that listen");
}

#[test]
fn a_first_listener_finds_all_that_the_log_began_with() {
    for _ in 0..30 {
        let (server, fake) = server(0);
        let opened = fake.opened();
        let primed = |number: u64| {
            let event = opened.input.encode(&message(&number.to_string())).expect("registered");
            Step::Prime(vec![Entry { id: entry(number), before: EntryId::ZERO, event }])
        };
        opened.give(Step::Begin { floor: entry(0), forgotten: EntryId::ZERO, is_first: true });
        (1..=40).for_each(|number| opened.give(primed(number)));
        opened.input.set_primed();
        let mut listener = server.subscription(["a"]).replay(1).open().expect("it runs");
        let last = listener.next_event(LONG).expect("it was kept");
        assert_eq!(last.data(), "40");
    }
}
