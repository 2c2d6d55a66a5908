//! Three nodes over one Redis, while nodes and Redis are killed and cut off: every client has every
//! event that was acknowledged exactly once, in the one order, wherever it hops.
//!
//! `WEBSSE_NODES_SECONDS` says for how long events are published (30).

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

#[path = "redis_nodes/listener.rs"]
mod listener;
#[path = "redis_nodes/node.rs"]
mod node;
#[allow(dead_code)]
#[path = "redis/proxy.rs"]
mod proxy;
#[path = "redis_nodes/publisher.rs"]
mod publisher;
#[allow(dead_code)]
#[path = "redis/store.rs"]
mod store;

use std::{
    collections::HashSet,
    env,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use listener::Listener;
use node::Node;
use proxy::{Proxy, Way};
use publisher::{Outcomes, Publisher};
use redis::Value;
use store::Store;

const LISTENERS: u64 = 300;
const PUBLISHERS: u64 = 25;
/// Events per second, of all publishers.
const RATE: u64 = 1000;
/// Threads that wait most of the time.
const STACK: usize = 128 * 1024;
/// How long it may take on a busy machine until all have everything.
const CALM: Duration = Duration::from_secs(60);

/// What the threads share.
struct Run {
    nodes: Vec<SocketAddr>,
    /// How many events there are, once that is certain; 0 before. From then on nobody hops.
    published: AtomicUsize,
    /// A thread that is not done by now fails.
    end: Instant,
}

/// An event by its publisher and number, as it stands in its data.
type Event = u32;

fn event(publisher: u64, number: u64) -> Event {
    assert!(number < 1_000_000);
    u32::try_from(publisher * 1_000_000 + number).unwrap()
}

fn parse(data: &str) -> Option<Event> {
    let (publisher, number) = data.split_once(' ')?;
    Some(event(publisher.parse().ok()?, number.parse().ok()?))
}

#[test]
#[ignore = "needs redis-server"]
fn whatever_dies_everybody_hears_what_was_acknowledged_once_and_in_order() {
    let seconds = env::var("WEBSSE_NODES_SECONDS").map_or(30, |text| text.parse().unwrap());
    let mut store = Store::durable();
    let proxy = Proxy::new(store.port);
    let mut nodes: Vec<Node> = (0..3).map(|_| Node::start(&proxy.url())).collect();
    let run = Run {
        nodes: nodes.iter().map(|node| node.addr).collect(),
        published: AtomicUsize::new(0),
        end: Instant::now() + Duration::from_secs(seconds) + CALM,
    };
    let (outcomes, published, heard, gaps) = thread::scope(|scope| {
        let named = |name: String| thread::Builder::new().name(name).stack_size(STACK);
        let listeners: Vec<_> = (0..LISTENERS)
            .map(|number| {
                let mut listener = Listener::new(&run, number);
                listener.connect();
                named(format!("listener-{number}"))
                    .spawn_scoped(scope, move || listener.listen())
                    .unwrap()
            })
            .collect();
        let start = Instant::now();
        let stop = start + Duration::from_secs(seconds);
        let publishers: Vec<_> = (0..PUBLISHERS)
            .map(|number| {
                let publisher = Publisher::new(&run, number, RATE / PUBLISHERS);
                named(format!("publisher-{number}"))
                    .spawn_scoped(scope, move || publisher.publish(stop))
                    .unwrap()
            })
            .collect();
        trouble(start, seconds, &mut nodes, &mut store, &proxy);
        let mut outcomes = Outcomes::default();
        for publisher in publishers {
            outcomes.add(publisher.join().unwrap());
        }
        let published = in_redis(&store);
        run.published.store(published.len(), SeqCst);
        let mut gaps = 0;
        let heard: Vec<Vec<Event>> = listeners
            .into_iter()
            .map(|listener| {
                let (events, told) = listener.join().unwrap();
                gaps += told;
                events
            })
            .collect();
        eprintln!(
            "{} acknowledged, {} refused, {} open, {} in the stream; {} gaps told",
            outcomes.acknowledged.len(),
            outcomes.refused.len(),
            outcomes.open.len(),
            published.len(),
            gaps
        );
        (outcomes, published, heard, gaps)
    });
    let distinct: HashSet<Event> = published.iter().copied().collect();
    assert_eq!(distinct.len(), published.len(), "events twice in the stream");
    for event in &outcomes.acknowledged {
        assert!(distinct.contains(event), "event {event} was acknowledged and is lost");
    }
    for event in &outcomes.refused {
        assert!(!distinct.contains(event), "event {event} was refused and is published");
    }
    for publisher in 0..PUBLISHERS {
        let own = published.iter().filter(|event| u64::from(**event) / 1_000_000 == publisher);
        assert!(own.is_sorted(), "the order of publisher {publisher} is not kept");
    }
    for (number, events) in heard.iter().enumerate() {
        if *events != published {
            let at = events.iter().zip(&published).position(|(one, other)| one != other);
            let at = at.unwrap_or(events.len().min(published.len()));
            let around = |events: &[Event]| {
                events[at.saturating_sub(2).min(events.len())..(at + 3).min(events.len())].to_vec()
            };
            panic!(
                "listener {number} heard {} events of {}; at {at} {:?} instead of {:?}",
                events.len(),
                published.len(),
                around(events),
                around(&published),
            );
        }
    }
    assert_eq!(gaps, 0, "nothing was lost, and yet gaps were told");
    assert!(outcomes.acknowledged.len() > 1000, "hardly anything was published");
}

/// What happens meanwhile, each at its share of the time.
fn trouble(start: Instant, seconds: u64, nodes: &mut [Node], store: &mut Store, proxy: &Proxy) {
    let at = |percent: u64| {
        let time = start + Duration::from_millis(seconds * 10 * percent);
        thread::sleep(time.saturating_duration_since(Instant::now()));
    };
    for (number, percent) in [10, 22, 34].into_iter().enumerate() {
        at(percent);
        nodes[number].kill();
        at(percent + 5);
        nodes[number].restart();
    }
    at(50);
    store.kill();
    at(56);
    store.start();
    at(68);
    proxy.set(Way::Silent);
    thread::sleep(Duration::from_secs(5));
    proxy.set(Way::Open);
    at(93);
    nodes[0].kill();
    nodes[0].restart();
}

/// All events in the order of the stream.
fn in_redis(store: &Store) -> Vec<Event> {
    let Value::Array(entries) = store.run("XRANGE websse - +") else {
        panic!("not the entries of a stream")
    };
    let data = |entry: Value| {
        let mut parts =
            redis::from_redis_value::<(String, Vec<String>)>(entry).unwrap().1.into_iter();
        parts.by_ref().find(|name| name == "data").unwrap();
        parse(&parts.next().unwrap()).unwrap()
    };
    entries.into_iter().map(data).collect()
}
