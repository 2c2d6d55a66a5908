//! The library inside a program: the life of a [`Server`], what it publishes, and to whom.
//! Subscriptions: `subscriptions.rs`. Listeners, routes and the end of it all: `embedding_http.rs`.

use std::thread;
use std::time::{Duration, Instant};

use support::{Hub, SOON, assert_no_panics, eventually, next_event, running};
use websse::{
    Frame, Message, PublishError, RegisterError, RunError, Server, SubscribeError, TryPublishError,
    event_type::{ALL, GENERAL},
};

#[test]
fn publishing_needs_a_server_that_runs() {
    let server = Server::builder().history_events(0).build();
    server.register_event("a").unwrap();
    let message = || Message::new("x").event("a");
    let refused = |error| Err(TryPublishError::Refused(error));

    assert_eq!(server.publish(message()), Err(PublishError::NotRunning));
    assert_eq!(server.try_publish(message()), refused(PublishError::NotRunning));
    let got = server.subscribe(["a"]).err();
    assert_eq!(got, Some(SubscribeError::NotRunning));

    server.run().unwrap();
    assert!(server.publish(message()).is_ok());
    assert!(server.try_publish(message()).is_ok());

    let report = server.shutdown(SOON);
    assert_eq!((report.undelivered, report.cut_streams), (0, 0));
    assert_eq!(server.publish(message()), Err(PublishError::ShutDown));
    assert_eq!(server.try_publish(message()), refused(PublishError::ShutDown));
    let got = server.subscribe(["a"]).err();
    assert_eq!(got, Some(SubscribeError::ShutDown));
}

#[test]
fn a_server_runs_once() {
    let server = running();
    let got = server.run();
    assert!(matches!(got, Err(RunError::AlreadyRunning)), "second run: {got:?}");
    let mut subscription = server.subscribe([""]).unwrap();
    server.publish(Message::new("still running")).unwrap();
    assert_eq!(next_event(&mut subscription), "data: still running\n\n");
    server.shutdown(SOON);
    let got = server.run();
    assert!(matches!(got, Err(RunError::ShutDown)), "run after shutdown: {got:?}");
}

#[test]
fn shutting_down_twice_or_without_having_run_does_no_harm() {
    let server = Server::builder().history_events(0).build();
    server.shutdown(SOON);
    let server = running();
    for round in 0..2 {
        let report = server.shutdown(SOON);
        assert_eq!((report.undelivered, report.cut_streams), (0, 0), "round {round}");
    }
}

#[test]
fn a_type_that_is_not_registered_is_refused_by_name() {
    let server = running();
    for name in ["nope", "A", "*"] {
        let expected = Err(PublishError::EventNotRegistered(name.to_owned()));
        assert_eq!(server.publish(Message::new("x").event(name)), expected);
    }
    for name in ["nope", "A", "stream-gap"] {
        let expected = Some(SubscribeError::EventNotRegistered(name.to_owned()));
        assert_eq!(server.subscribe(["a", name]).err(), expected);
    }
    assert_eq!(server.stats().subscriptions, 0, "a refused subscription is none");
}

#[test]
fn the_general_type_has_two_names() {
    for (registered, other) in [("", "message"), ("message", "")] {
        let server = Server::builder().history_events(0).build();
        assert!(!server.event_exists(registered) && !server.event_exists(other));
        server.register_event(registered).unwrap();
        assert!(server.event_exists(registered) && server.event_exists(other));
        server.register_event(other).unwrap();
        server.run().unwrap();
        let mut subscription = server.subscribe([registered]).unwrap();
        server.publish(Message::new("x").event(other)).unwrap();
        assert_eq!(next_event(&mut subscription), "data: x\n\n");
    }
}

#[test]
fn the_constants_are_the_names_that_the_server_tells() {
    let server = Server::builder().history_events(0).build();
    assert_eq!(server.register_event(ALL), Err(RegisterError::Reserved(ALL.to_owned())));
    server.register_event(GENERAL).unwrap();
    server.run().unwrap();
    let _all = server.subscribe([ALL]).unwrap();
    assert_eq!(server.event_types(), [GENERAL]);
    assert_eq!(server.subscribers_by_type(), [(ALL.to_owned(), 1), (GENERAL.to_owned(), 0)]);
    assert_eq!(Message::new("x").event_type(), GENERAL);
}

#[test]
fn types_can_be_registered_while_the_server_runs() {
    let server = running();
    assert!(server.event_exists("a") && !server.event_exists("b"));
    let mut all = server.subscribe(["*"]).unwrap();
    server.register_events(["a", "b"]).unwrap();
    assert!(server.event_exists("b"));
    server.publish(Message::new("x").event("b")).unwrap();
    assert_eq!(next_event(&mut all), "event: b\ndata: x\n\n");
}

#[test]
fn of_several_types_none_is_registered_where_one_is_refused() {
    let server = Server::builder().history_events(0).build();
    assert!(server.register_events(["a", "b\nc", "d"]).is_err());
    assert!(!server.event_exists("a") && !server.event_exists("d"));
}
#[test]
fn several_threads_publish_at_once_and_everybody_sees_one_order() {
    let hub = Hub::plain(&["a"]);
    let mut clients = [hub.listen("?event=a"), hub.listen("?event=*")];
    thread::scope(|scope| {
        for publisher in 0..4 {
            let server = &hub.server;
            scope.spawn(move || {
                for number in 0..500 {
                    let data = format!("{publisher} {number}");
                    server.publish(Message::new(data).event("a")).unwrap();
                }
            });
        }
    });
    let seen = clients.each_mut().map(|client| {
        let next = |_| client.event().data.unwrap();
        (0..2000).map(next).collect::<Vec<_>>()
    });
    assert!(seen[0] == seen[1], "two clients saw different orders");
    for publisher in 0..4 {
        let prefix = format!("{publisher} ");
        let own: Vec<_> = seen[0].iter().filter_map(|data| data.strip_prefix(&prefix)).collect();
        let expected: Vec<_> = (0..500).map(|number| number.to_string()).collect();
        assert_eq!(own, expected, "of publisher {publisher}");
    }
}

#[test]
fn the_figures_tell_who_listens_and_what_was_delivered() {
    let hub = Hub::plain(&["", "a"]);
    assert_eq!(hub.server.stats().streams, 0);
    let mut both = [hub.listen(""), hub.listen("?event=*")];
    assert_eq!(hub.server.stats().streams, 2);
    for data in ["0", "1", "2"] {
        hub.publish(Message::new(data));
    }
    hub.publish(Message::new("3").event("a"));
    for client in &mut both {
        client.event();
    }
    let figures = || {
        let stats = hub.server.stats();
        (stats.published, stats.deliveries, stats.queued)
    };
    eventually(SOON, (4, 7, 0), figures);

    drop(both);
    eventually(SOON, 0, || hub.server.stats().streams);
    let ended = || {
        let ended = hub.server.stats().disconnected;
        // A close with unread bytes is a reset, which is an error to the other side.
        ended.closed_by_peer + ended.error
    };
    eventually(SOON, 2, ended);
}

#[test]
fn shutting_down_delivers_what_was_accepted_and_ends_every_stream() {
    let hub = Hub::plain(&[""]);
    let mut clients = [hub.listen(""), hub.listen("?event=*")];
    for number in 0..2000 {
        hub.publish(Message::new(number.to_string()));
    }
    let report = hub.server.shutdown(SOON);
    assert_eq!((report.undelivered, report.cut_streams), (0, 0));
    for client in &mut clients {
        for number in 0..2000 {
            assert_eq!(client.event().data, Some(number.to_string()));
        }
        client.assert_stream_ends();
    }
    assert_eq!(hub.server.stats().streams, 0);
    assert_eq!(hub.server.stats().disconnected.shutdown, 2);
}
/// Whatever it sent after its request is read over, and does not hide its end.
#[test]
fn a_client_that_talked_and_left_is_gone_within_two_seconds() {
    let hub = Hub::new(&[""]);
    let mut client = hub.listen("");
    client.send("x".repeat(40 << 10));
    drop(client);
    let left = Instant::now();
    eventually(Duration::from_secs(30), 0, || hub.server.stats().streams);
    let took = left.elapsed();
    assert!(took < Duration::from_secs(2), "expected it gone within 2 s, got that after {took:?}");
}

#[test]
fn what_was_accepted_is_delivered_though_the_shutdown_comes_in_between() {
    for round in 0..20 {
        let builder = Server::builder().history_events(0);
        let server = builder.publish_queue([4, 1024][round % 2]).build();
        server.register_event("a").unwrap();
        server.run().unwrap();
        let subscription = server.subscribe(["a"]).unwrap();
        let publish_until_refused = |publisher: usize| {
            let mut accepted = Vec::new();
            loop {
                let data = format!("{publisher} {}", accepted.len());
                match server.publish(Message::new(data.as_str()).event("a")) {
                    Ok(_) => accepted.push(format!("event: a\ndata: {data}\n\n")),
                    Err(PublishError::ShutDown) => return accepted,
                    Err(error) => panic!("expected ShutDown at last, got {error:?}"),
                }
                thread::sleep(Duration::from_micros(50)); // no faster than it is read
            }
        };
        let (mut accepted, mut got) = thread::scope(|scope| {
            let text = |frame: Frame| String::from_utf8(frame.as_bytes().to_vec()).unwrap();
            let events = subscription.filter(Frame::is_event).map(text);
            let reader = scope.spawn(|| events.collect::<Vec<_>>());
            let publishers = [0, 1, 2].map(|publisher| {
                let publish_until_refused = &publish_until_refused;
                scope.spawn(move || publish_until_refused(publisher))
            });
            eventually(SOON, true, || server.stats().published > 0);
            thread::sleep(Duration::from_millis(5)); // anywhere among the publishes
            assert_eq!(server.shutdown(SOON).undelivered, 0);
            let accepted = publishers.map(|publisher| publisher.join().unwrap());
            (accepted.concat(), reader.join().unwrap())
        });
        assert!(!accepted.is_empty(), "nothing was accepted: the test says nothing");
        accepted.sort();
        got.sort();
        assert_eq!(got, accepted, "round {round}");
    }
}

#[test]
fn shutting_down_while_streams_leave_ends_the_rest() {
    for leaver in 0..3 {
        let hub = Hub::plain(&["a"]);
        let mut stay: Vec<_> = (0..3).map(|_| hub.listen("?event=a")).collect();
        drop(stay.remove(leaver));
        eventually(SOON, 2, || hub.server.stats().streams);
        thread::scope(|scope| {
            for mut client in stay {
                scope.spawn(move || client.assert_stream_ends());
            }
            let report = hub.server.shutdown(SOON);
            assert_eq!((report.undelivered, report.cut_streams), (0, 0), "{leaver} left");
        });
        assert_no_panics();
    }
}
