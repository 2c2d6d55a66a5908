//! Everyone who reads gets everything, whatever the others do.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use websse::Server;

use support::{
    Client,
    crowd::{Crowd, Hub, TARGET, measure, payload},
};

/// A machine that needs longer has another problem.
const PATIENCE: Duration = Duration::from_secs(90);

const SMALL: usize = 128;
const LARGE: usize = 4096;

pub(crate) fn a_thousand_clients_get_a_thousand_events_posted_over_one_connection() {
    const CLIENTS: u32 = 1000;
    const EVENTS: u32 = 1000;
    let mut crowd = Crowd::start();
    let hub = Hub::start(Server::builder());
    let clients = crowd.join(hub.address, TARGET, CLIENTS as usize);

    let started = Instant::now();
    let mut client = Client::connect(hub.address);
    for counter in 0..EVENTS {
        let status = client.post("/send?event=x", &payload::compose(counter, SMALL));
        assert!(matches!(status, Ok(200)), "event {counter}: expected status 200, got {status:?}");
    }
    let posted = started.elapsed();
    let report = crowd.wait_events(&clients, EVENTS.into(), PATIENCE);
    let delivered = started.elapsed();
    report.assert_everyone_has(EVENTS.into(), SMALL as u64);

    drop(client);
    end(hub, &mut crowd, &clients, EVENTS.into(), SMALL);
    let per_second = f64::from(EVENTS) * f64::from(CLIENTS) / delivered.as_secs_f64();
    eprintln!(
        "figure: 1000 clients, 1000 events of 128 bytes posted one by one: posted in {posted:.2?}, \
         delivered in {delivered:.2?}, {per_second:.0} deliveries/s"
    );
}

pub(crate) fn twenty_clients_that_never_read_are_dropped_and_delay_nobody() {
    const STUCK: usize = 20;
    let pressures = measure::tcp_memory_pressures();
    let without = large_events_to_many(0);
    let with = large_events_to_many(STUCK);
    eprintln!(
        "figure: 500 clients, 3000 events of 4 KiB: {without:.2?}; with 20 more that never read: \
         {with:.2?}, ratio {:.2}; the kernel ran short of memory for TCP {} times",
        with.as_secs_f64() / without.as_secs_f64(),
        measure::tcp_memory_pressures().zip(pressures).map_or(0, |(after, before)| after - before)
    );
}

/// Returns how long it took until all who read had everything.
fn large_events_to_many(stuck: usize) -> Duration {
    const READERS: usize = 500;
    const EVENTS: u32 = 3000;
    let mut crowd = Crowd::start();
    let hub = Hub::start(Server::builder());
    let readers = crowd.join(hub.address, TARGET, READERS);
    let stuck_ones = crowd.join(hub.address, TARGET, stuck);
    crowd.stop_reading(&stuck_ones);

    let pressures = measure::tcp_memory_pressures();
    let started = Instant::now();
    hub.publish(0..EVENTS, LARGE);
    let report = crowd.wait_events(&readers, EVENTS.into(), PATIENCE);
    let took = started.elapsed();
    assert_eq!(
        report.missing,
        0,
        "readers without all; {report}; {:?}; the kernel ran short of memory for TCP {:?} times \
         since it started, {pressures:?} before this",
        hub.server.stats(),
        measure::tcp_memory_pressures()
    );
    report.assert_everyone_has(EVENTS.into(), LARGE as u64);

    let disconnected = || {
        let disconnected = hub.server.stats().disconnected;
        let too_slow = disconnected.behind + disconnected.stalled;
        let others = disconnected.closed_by_peer + disconnected.error + disconnected.shutdown;
        (too_slow, others)
    };
    measure::wait_for(
        "clients disconnected because they did not read, and for other reasons",
        Duration::from_secs(20),
        &(stuck as u64, 0),
        disconnected,
    );
    let connected = hub.server.stats().streams;
    assert_eq!(connected, READERS, "all who read should be connected still");
    end(hub, &mut crowd, &readers, EVENTS.into(), LARGE);
    took
}

pub(crate) fn two_of_three_clients_that_do_not_read_do_not_freeze_the_third() {
    // A rule that took the two for a sign of a publisher too fast froze the third for 10 s.
    const PATIENCE_WITH_TWO: Duration = Duration::from_secs(5);
    let without = burst_to_one(None);
    let never = burst_to_one(Some(Stop::BeforeTheBurst));
    let no_more = burst_to_one(Some(Stop::InTheBurst));
    let ratio = |with: Duration| with.as_secs_f64() / without.as_secs_f64();
    eprintln!(
        "figure: 20,000 events of 4 KiB to one client: {without:.2?}; with two more that never \
         read: {never:.2?}, ratio {:.2}; with two more that stop: {no_more:.2?}, ratio {:.2}",
        ratio(never),
        ratio(no_more)
    );
    for with in [never, no_more] {
        assert!(
            with < without + PATIENCE_WITH_TWO,
            "two stuck clients should not freeze the third: expected less than {without:?} + \
             {PATIENCE_WITH_TWO:?}, got {with:?}"
        );
    }
}

/// When two clients stop reading.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stop {
    /// Both fall behind at the same moment.
    BeforeTheBurst,
    /// They were known as readers.
    InTheBurst,
}

/// Publishes without a pause. Once the burst is under way, and the stuck clients are stuck, the
/// time is taken until the one client that reads has 20,000 more events.
fn burst_to_one(stop: Option<Stop>) -> Duration {
    const UNDER_WAY: u64 = 1000;
    const EVENTS: u32 = 20_000;
    let mut crowd = Crowd::start();
    let hub = Arc::new(Hub::start(Server::builder()));
    let reader = crowd.join(hub.address, TARGET, 1);
    let stuck = crowd.join(hub.address, TARGET, stop.map_or(0, |_| 2));
    if stop == Some(Stop::BeforeTheBurst) {
        crowd.stop_reading(&stuck);
    }

    let is_measured = Arc::new(AtomicBool::new(false));
    let publisher = thread::spawn({
        let (hub, is_measured) = (Arc::clone(&hub), Arc::clone(&is_measured));
        move || {
            let mut before = 0;
            while !is_measured.load(Ordering::Relaxed) {
                hub.publish(before..before + 1, LARGE);
                before += 1;
            }
            let all = before + EVENTS;
            hub.publish(before..all, LARGE);
            all
        }
    });
    crowd.wait_events(&reader, UNDER_WAY, PATIENCE).assert_no_trouble();
    if stop == Some(Stop::InTheBurst) {
        crowd.wait_events(&stuck, UNDER_WAY, PATIENCE).assert_no_trouble();
        crowd.stop_reading(&stuck);
    }
    let started = Instant::now();
    is_measured.store(true, Ordering::Relaxed);
    let all = publisher.join().expect("every event is accepted");
    let report = crowd.wait_events(&reader, all.into(), PATIENCE);
    let took = started.elapsed();
    report.assert_everyone_has(all.into(), LARGE as u64);

    let hub = Arc::into_inner(hub).expect("the publisher has ended");
    // Those who are stuck may be connected still, with something on its way that never arrives.
    crowd.close(&stuck);
    measure::wait_for("connected clients", Duration::from_secs(5), &1, || {
        hub.server.stats().streams
    });
    end(hub, &mut crowd, &reader, all.into(), LARGE);
    took
}

/// Shuts the hub down, after which nobody may have got anything more than they had.
#[track_caller]
fn end(hub: Hub, crowd: &mut Crowd, clients: &Range<usize>, events: u64, bytes: usize) {
    hub.end();
    let report = crowd.wait_ended(clients, Duration::from_secs(10));
    report.assert_everyone_has(events, bytes as u64);
}
