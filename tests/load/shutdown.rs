//! Shutdown delivers what was accepted, and ends in time.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use websse::{Message, PublishError, Server, TryPublishError};

use support::are_behind_for_a_while;
use support::crowd::{
    Crowd, EVENT, Hub, Report, TARGET, measure,
    payload::{self, Stamp},
};

const BYTES: usize = 1024;

pub(crate) fn shutdown_delivers_every_accepted_event_while_four_publishers_race_with_it() {
    const CLIENTS: usize = 1000;
    const PUBLISHERS: u8 = 4;
    const DEADLINE: Duration = Duration::from_secs(20);
    let mut crowd = Crowd::start();
    let threads = measure::own_threads();
    let hub = Hub::start(Server::builder().publish_queue(256));
    let clients = crowd.join(hub.address, TARGET, CLIENTS);

    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let server = Arc::clone(&hub.server);
            thread::spawn(move || publish_until_refused(&server, publisher))
        })
        .collect();
    let own = fill_queue(&hub.server, PUBLISHERS);

    let started = Instant::now();
    let report = hub.server.shutdown(DEADLINE);
    let took = started.elapsed();
    let mut accepted: Vec<u64> = Vec::new();
    for publisher in publishers {
        let (count, refusal) = publisher.join().expect("it does not panic");
        assert_eq!(refusal, PublishError::ShutDown, "why a publisher was refused in the end");
        accepted.push(count.into());
    }
    accepted.push(own.into());

    assert!(took < DEADLINE, "expected shutdown within {DEADLINE:?}, it took {took:?}");
    assert_eq!(
        (report.undelivered, report.cut_streams),
        (0, 0),
        "shutdown should deliver all and cut nobody; got (undelivered, cut streams)"
    );
    let seen = crowd.wait_ended(&clients, Duration::from_secs(10));
    assert_each_publisher_was_heard(&seen, &accepted);

    let again = hub.server.shutdown(DEADLINE);
    assert_eq!((again.undelivered, again.cut_streams), (0, 0), "a second shutdown does nothing");
    hub.end_http();
    measure::wait_for_at_most("threads after shutdown", Duration::from_secs(5), &threads, || {
        measure::own_threads()
    });
    eprintln!(
        "figure: shutdown with 1000 streams, a full queue and 4 publishers: {took:.2?}, accepted \
         from each {accepted:?}"
    );
}

/// Returns how many events were accepted, and why the next was not.
fn publish_until_refused(server: &Server, publisher: u8) -> (u32, PublishError) {
    let mut counter = 0;
    loop {
        match server.publish(message(Stamp { publisher, counter })) {
            Ok(_) => counter += 1,
            Err(refusal) => return (counter, refusal),
        }
    }
}

/// Publishes until many events are on their way and the queue is full; returns how many of these
/// were accepted.
fn fill_queue(server: &Server, publisher: u8) -> u32 {
    const TAKEN: u64 = 1000;
    let mut counter = 0;
    measure::wait_until("the publish queue to be full", Duration::from_secs(20), || {
        match server.try_publish(message(Stamp { publisher, counter })) {
            // A queue that was never emptied proves nothing about order.
            Err(TryPublishError::Full(_)) => server.stats().published >= TAKEN,
            Ok(_) => {
                counter += 1;
                false
            }
            Err(error) => panic!("expected to be accepted, or a full queue; got {error}"),
        }
    });
    counter
}

fn message(stamp: Stamp) -> Message {
    Message::new(payload::compose_for(stamp, BYTES)).event(EVENT)
}

#[track_caller]
fn assert_each_publisher_was_heard(report: &Report, accepted: &[u64]) {
    report.assert_no_trouble();
    assert_eq!(report.first_counter, 0, "everyone was there from the beginning: {report}");
    for (publisher, &count) in accepted.iter().enumerate() {
        // The last one may never have found room.
        assert_eq!(
            report.of_publisher.get(publisher).copied().unwrap_or_default(),
            (count, count),
            "every client should have every event accepted from publisher {publisher}; got \
             (least, most) in {report}"
        );
    }
}

pub(crate) fn shutdown_waits_for_clients_that_are_behind_and_read_again() {
    const CLIENTS: usize = 10;
    const DEADLINE: Duration = Duration::from_secs(20);
    let mut crowd = Crowd::start();
    let hub = Hub::start(Server::builder());
    let clients = crowd.join(hub.address, TARGET, CLIENTS);
    crowd.stop_reading(&clients);
    let published = leave_behind(&hub, CLIENTS);

    let report = thread::scope(|scope| {
        let shutdown = scope.spawn(|| hub.server.shutdown(DEADLINE));
        measure::wait_until("publishers to be refused", Duration::from_secs(5), || {
            let late = hub.server.try_publish(Message::new("late"));
            matches!(late, Err(TryPublishError::Refused(PublishError::ShutDown)))
        });
        crowd.read(&clients);
        shutdown.join().expect("it does not panic")
    });
    assert_eq!(
        (report.undelivered, report.cut_streams),
        (0, 0),
        "clients that read again should get all; got (undelivered, cut streams)"
    );
    let seen = crowd.wait_ended(&clients, Duration::from_secs(10));
    seen.assert_everyone_has(published.into(), BYTES as u64);
    assert_eq!((seen.missing, seen.ended), (0, CLIENTS as u64), "(missing, ended) in {seen}");
    hub.end_http();
}

pub(crate) fn shutdown_cuts_a_client_that_never_reads_at_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(2);
    const MOST: Duration = Duration::from_secs(3);
    let mut crowd = Crowd::start();
    let threads = measure::own_threads();
    let hub = Hub::start(Server::builder());
    let client = crowd.join(hub.address, TARGET, 1);
    crowd.stop_reading(&client);
    leave_behind(&hub, 1);

    let started = Instant::now();
    let report = hub.server.shutdown(DEADLINE);
    let took = started.elapsed();
    assert_eq!(report.cut_streams, 1, "the client that never reads should be cut");
    assert!(took < MOST, "expected shutdown({DEADLINE:?}) within {MOST:?}, it took {took:?}");
    hub.end_http();
    measure::wait_for_at_most("threads after shutdown", Duration::from_secs(5), &threads, || {
        measure::own_threads()
    });
    eprintln!("figure: shutdown(2 s) with a client that never reads: {took:.2?}");
}

/// Publishes a few events at a time until the sockets of so many clients take no more; returns how
/// many events that were.
fn leave_behind(hub: &Hub, clients: usize) -> u32 {
    const MOST: u32 = 16_384;
    const AT_A_TIME: u32 = 8;
    /// Less than half of what a client may be behind, or publishers would have to wait.
    const IN_A_ROW: u32 = 384;
    let mut counter = 0;
    let mut in_a_row = 0;
    while in_a_row < IN_A_ROW || !are_behind_for_a_while(&hub.server, clients) {
        assert!(counter < MOST, "expected {clients} behind, got {:?}", hub.server.stats());
        hub.publish(counter..counter + AT_A_TIME, BYTES);
        counter += AT_A_TIME;
        measure::wait_until("the queue to be empty", Duration::from_secs(5), || {
            hub.server.stats().queued == 0
        });
        in_a_row = if are_behind(&hub.server, clients) { in_a_row + AT_A_TIME } else { 0 };
    }
    counter
}

fn are_behind(server: &Server, clients: usize) -> bool {
    server.stats().behind == clients
}
