//! What a subscription tells is what stands on the wire: for every history and every id that a
//! listener comes back with, its events are those which an independent parser finds in the bytes of
//! a socket that came with the same.

use std::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use websse::{EventId, Message, Subscription};

use support::resume::{publish_all, request};
use support::{Hub, SOON, shown};

use crate::independent::{self, Reader};

/// Event types, and the one that tells a listener that it has everything.
const TYPES: [&str; 4] = ["", "a", "data: b", END];
const END: &str = "end";

/// An event to publish.
#[derive(Clone, Debug)]
struct Told {
    kind: &'static str,
    data: &'static str,
    /// Its publisher's own.
    id: Option<&'static str>,
    retry: Option<u64>,
}

impl Told {
    fn message(&self) -> Message {
        let mut message = Message::new(self.data).event(self.kind);
        if let Some(id) = self.id {
            message = message.id(EventId::new(id).unwrap());
        }
        if let Some(retry) = self.retry {
            message = message.retry(Duration::from_millis(retry));
        }
        message
    }
}

fn told() -> impl Strategy<Value = Told> {
    let kind = prop::sample::select(TYPES[..3].to_vec());
    let data = prop::sample::select(vec![
        "",
        "x",
        " x",
        ":",
        ": x",
        ":x",
        " :",
        "\n",
        "\r\n\r",
        "data: x",
        "id: 9\nevent: a\n\nretry: 1",
        "event: stream-gap",
        "é\u{feff}\u{2028}",
        ":\n\n",
        "\n:",
    ]);
    let id = option::of(prop::sample::select(vec!["x-1", "x-2", ": x", "data"]));
    (kind, data, id, option::of(0..5000_u64)).prop_map(|(kind, data, id, retry)| Told {
        kind,
        data,
        id,
        retry,
    })
}

#[derive(Clone, Debug)]
struct Case {
    /// So many events of each type.
    kept: usize,
    /// What the listeners listen to; nothing is all.
    types: Vec<&'static str>,
    /// What was published before they came.
    past: Vec<Told>,
    /// What is published when they have everything.
    live: Vec<Told>,
}

fn case() -> impl Strategy<Value = Case> {
    let types = btree_set(prop::sample::select(TYPES[..3].to_vec()), 0..3);
    (0..5_usize, types, vec(told(), 0..12), vec(told(), 0..4)).prop_map(
        |(kept, types, past, live)| Case { kept, types: Vec::from_iter(types), past, live },
    )
}

/// Where a listener begins.
#[derive(Clone, Debug)]
enum Begin {
    /// With so many of the last events.
    Last(usize),
    After(String),
}

/// A subscription and a socket that began alike.
struct Pair {
    from: Begin,
    subscription: Subscription,
    /// The last id of its frames.
    last_id: String,
    socket: Reader,
}

impl Pair {
    fn new(hub: &Hub, types: &[&str], from: Begin) -> Pair {
        let types = if types.is_empty() { vec!["*"] } else { [types, &[END]].concat() };
        let builder = hub.server.subscription(&types);
        let (builder, replay, header) = match &from {
            Begin::Last(count) => (builder.replay(*count), *count, None),
            Begin::After(id) => {
                (builder.last_event_id(id), 0, Some(format!("Last-Event-ID: {id}")))
            }
        };
        let names: Vec<String> = types.iter().map(|name| name.replace(' ', "%20")).collect();
        let query = format!("?event={}&replay={replay}", names.join("&event="));
        let lines: Vec<&[u8]> = header.iter().map(String::as_bytes).collect();
        let mut client = hub.ask(request(&query, &lines));
        assert_eq!(client.head().status, 200);
        let (subscription, socket) = (builder.open().unwrap(), Reader::new(client));
        Pair { from, subscription, last_id: String::new(), socket }
    }

    /// Both get the same events, up to the one that ends them.
    fn check(&mut self) -> Result<(), TestCaseError> {
        let (mut bytes, mut events) = (Vec::new(), Vec::new());
        let mut is_over = false;
        while !is_over {
            let frame = self.subscription.recv_timeout(SOON).unwrap();
            bytes.extend_from_slice(frame.as_bytes());
            if let Some(id) = frame.id() {
                id.clone_into(&mut self.last_id);
            }
            let seen = (frame.event().to_owned(), frame.data(), self.last_id.clone());
            let blocks = frame.as_bytes().windows(2).filter(|two| two == b"\n\n").count();
            let dispatched = independent::events(frame.as_bytes()).len();
            // Only events have an end of their own.
            let expected = [usize::from(frame.is_event()); 2];
            prop_assert_eq!([blocks, dispatched], expected, "{}", shown(frame.as_bytes()));
            is_over = frame.event() == END;
            events.extend(frame.is_event().then_some(seen));
        }
        for event in events {
            let read = self.socket.event();
            prop_assert_eq!(event, (read.event, read.data, read.id), "{:?}", &self.from);
        }
        let wire = self.socket.taken();
        prop_assert!(bytes == wire, "{:?}: {}, not {}", &self.from, shown(&bytes), shown(&wire));
        Ok(())
    }
}

/// Every beginning there is after these events: with each id that was given, and with ids that say
/// nothing here.
fn beginnings(all: &mut Subscription, events: usize) -> Vec<Begin> {
    let mut ids: Vec<String> = (0..=events)
        .filter_map(|_| all.recv_timeout(SOON).unwrap().id().map(str::to_owned))
        .collect();
    if let Some((run, _)) = ids.first().and_then(|id| id.split_once('-')) {
        ids.push(format!("{run}-{}", events + 1));
    }
    ids.sort();
    ids.dedup();
    ids.extend(["0123456789abc-1", "of nobody", "\"\\"].map(str::to_owned));
    ids.push("x".repeat(EventId::MAX_BYTES + 1));
    let last = [0, 1, 3, usize::MAX].map(Begin::Last);
    last.into_iter().chain(ids.into_iter().map(Begin::After)).collect()
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let hub = Hub::with(&TYPES, |builder| builder.history_events(case.kept), |http| http);
    let messages = |told: &[Told]| told.iter().map(Told::message).collect::<Vec<_>>();
    let mut all = hub.server.subscribe(["*"]).unwrap();
    publish_all(&hub, messages(&case.past));
    let beginnings = beginnings(&mut all, case.past.len());
    let mut pairs: Vec<Pair> =
        beginnings.into_iter().map(|from| Pair::new(&hub, &case.types, from)).collect();
    for told in [&[][..], &case.live] {
        publish_all(&hub, [messages(told), vec![Message::new("").event(END)]].concat());
        pairs.iter_mut().try_for_each(Pair::check)?;
    }
    Ok(())
}

#[test]
fn a_subscription_has_the_events_that_a_parser_finds_on_the_wire() {
    let config =
        Config { cases: 40, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(&case(), |case| check(&case)) {
        panic!("{error}");
    }
}
