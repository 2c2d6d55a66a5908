//! Clients that cut their connections at any moment and come back at once: in the end each has
//! everything exactly once and in order.
//!
//! `WEBSSE_CHAOS_SECONDS` says for how long (10).

mod client;
mod proxy;

use std::net::{SocketAddr, TcpListener};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crate::plan::{Plan, TYPES};
use crate::{alone, number, seed};
use client::{Listener, Tally};
use support::{Hub, SOON, eventually};

/// Client threads do little.
const STACK: usize = 128 * 1024;
/// Events per second.
const RATE: u64 = 1000;
/// How long all that is not chaos may take, on a busy machine.
const CALM: Duration = Duration::from_secs(60);

/// What the threads of one test share.
struct Run {
    plan: Plan,
    /// Where clients connect.
    addr: SocketAddr,
    /// How many events were published, once that is certain; 0 before. From then on nobody cuts.
    published: AtomicU64,
    /// The proxy takes no more.
    over: AtomicBool,
    /// A thread that is not done by now fails.
    end: Instant,
}

impl Run {
    fn published(&self) -> Option<u64> {
        Some(self.published.load(Ordering::Acquire)).filter(|&published| published > 0)
    }

    fn is_calm(&self) -> bool {
        self.published().is_some()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire) || Instant::now() >= self.end
    }
}

#[test]
fn clients_that_cut_their_connections_and_come_back_get_everything_once_and_in_order() {
    chaos("clients that cut", 200, false);
}

#[test]
fn clients_behind_a_bad_proxy_get_everything_once_and_in_order() {
    chaos("a proxy that cuts", 40, true);
}

fn chaos(name: &str, clients: u64, through_proxy: bool) {
    let _alone = alone();
    let seconds = Duration::from_secs(number("WEBSSE_CHAOS_SECONDS").unwrap_or(10));
    let seed = seed();

    // Whoever comes back at once, even if the machine makes it late, finds everything kept.
    let keep = |builder: websse::Builder| {
        builder.history_events(1 << 20).history_bytes(1 << 30).history_all_bytes(1 << 30)
    };
    let hub = Hub::with(&TYPES, keep, |http| http);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let run = Run {
        plan: Plan { seed },
        addr: if through_proxy { listener.local_addr().unwrap() } else { hub.addr() },
        published: AtomicU64::new(0),
        over: AtomicBool::new(false),
        end: Instant::now() + seconds + CALM,
    };
    let tallies = thread::scope(|scope| {
        let _proxy = through_proxy.then(|| proxy::begin(scope, listener, hub.addr(), &run));
        let threads: Vec<_> = (0..clients).map(|number| client(scope, number, &run)).collect();
        publish(&hub, &run, seconds);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|p| resume_unwind(p)))
            .collect()
    });
    report(name, &hub, &run, tallies);
    // Whatever became of a connection, nothing of it is left.
    eventually(SOON, 0, || hub.server.stats().streams);
}

fn client<'s>(
    scope: &'s Scope<'s, '_>,
    number: u64,
    run: &'s Run,
) -> thread::ScopedJoinHandle<'s, Tally> {
    thread::Builder::new()
        .name(format!("client {number}"))
        .stack_size(STACK)
        .spawn_scoped(scope, move || Listener::new(number, run).listen_to_the_end())
        .unwrap()
}

/// Publishes at the rate; when it is late, all that is due at once.
fn publish(hub: &Hub, run: &Run, seconds: Duration) {
    let begin = Instant::now();
    let mut number = 0;
    while begin.elapsed() < seconds {
        let due = u64::try_from(begin.elapsed().as_millis()).unwrap() * RATE / 1000;
        while number < due {
            number += 1;
            hub.publish(run.plan.message(number));
        }
        thread::sleep(Duration::from_millis(1));
    }
    run.published.store(number, Ordering::Release);
}

fn report(name: &str, hub: &Hub, run: &Run, tallies: Vec<Tally>) {
    let clients = tallies.len();
    let (mut sum, mut wrong) = (Tally::default(), Vec::new());
    for tally in tallies {
        sum.add(&tally);
        wrong.extend(tally.evidence);
    }
    let published = run.published().unwrap();
    let disconnected = hub.server.stats().disconnected;
    let Tally { connections, events, cut_within, resets, ended, lost, repeated, reordered, .. } =
        sum;
    eprintln!(
        "figure: chaos, {name}: {clients} clients, {published} events published, {} reconnects \
         ({cut_within} within a block, {resets} by RST, {ended} ended by the other side), {events} \
         events received: {lost} lost, {repeated} repeated, {reordered} out of order, {} gaps; \
         {disconnected:?}; WEBSSE_STRESS_SEED={}",
        connections - clients as u64,
        sum.gaps,
        run.plan.seed
    );
    let shown = wrong.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "expected nothing wrong, got {}:\n{shown}", wrong.len());
    assert_eq!((lost, repeated, reordered, sum.gaps), (0, 0, 0, 0));
    assert!(connections > 2 * clients as u64, "expected chaos, got {connections} connections");
}
