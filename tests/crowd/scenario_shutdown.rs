//! Shutdown delivers what was accepted, and ends in time.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use websse::{Message, PublishError, Server, TryPublishError};

use crate::crowd::{
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
    measure::wait_for("threads after shutdown", Duration::from_secs(5), &threads, || {
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
            Ok(()) => counter += 1,
            Err(refusal) => return (counter, refusal),
        }
    }
}

/// Publishes until the queue is full; returns how many events were accepted.
fn fill_queue(server: &Server, publisher: u8) -> u32 {
    let mut counter = 0;
    measure::wait_until("the publish queue to be full", Duration::from_secs(20), || {
        match server.try_publish(message(Stamp { publisher, counter })) {
            // A queue that was never emptied proves nothing about order.
            Err(TryPublishError::Full(_)) => counter >= 10,
            Ok(()) => {
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
        assert_eq!(
            report.of_publisher[publisher],
            (count, count),
            "every client should have every event accepted from publisher {publisher}; got \
             (least, most) in {report}"
        );
    }
}

pub(crate) fn shutdown_cuts_a_client_that_never_reads_at_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(2);
    const MOST: Duration = Duration::from_secs(3);
    let mut crowd = Crowd::start();
    let threads = measure::own_threads();
    let hub = Hub::start(Server::builder());
    let client = crowd.join(hub.address, TARGET, 1);
    crowd.stop_reading(&client);
    leave_one_behind(&hub);

    let started = Instant::now();
    let report = hub.server.shutdown(DEADLINE);
    let took = started.elapsed();
    assert_eq!(report.cut_streams, 1, "the client that never reads should be cut");
    assert!(took < MOST, "expected shutdown({DEADLINE:?}) within {MOST:?}, it took {took:?}");
    hub.end_http();
    measure::wait_for("threads after shutdown", Duration::from_secs(5), &threads, || {
        measure::own_threads()
    });
    eprintln!("figure: shutdown(2 s) with a client that never reads: {took:.2?}");
}

/// Publishes one event after the other until the client's socket takes no more.
fn leave_one_behind(hub: &Hub) {
    const MOST: u32 = 16_384;
    let mut counter = 0;
    while hub.server.stats().behind == 0 {
        assert!(counter < MOST, "expected a client behind, got {:?}", hub.server.stats());
        hub.publish(counter..counter + 1, BYTES);
        counter += 1;
        measure::wait_until("the queue to be empty", Duration::from_secs(5), || {
            hub.server.stats().queued == 0
        });
    }
}
