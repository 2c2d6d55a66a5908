//! The library inside a program: the life of a [`Server`], what it publishes and to whom, and
//! subscriptions. Listeners, routes and the end of it all: `embedding_http.rs`.

#![allow(clippy::unwrap_used)]

mod common;

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use common::{Hub, SOON, assert_no_panics, eventually, shown, watch_for_panics};
use websse::{
    Disconnect, Message, PublishError, RecvTimeoutError, RunError, Server, StreamError,
    SubscribeError, Subscription, TryPublishError,
};

/// A server that runs, with the general type and `a`.
fn running() -> Server {
    watch_for_panics();
    let server = Server::builder().history_events(0).build();
    server.register_events(["", "a"]).unwrap();
    server.run().unwrap();
    server
}

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
    assert_eq!(server.publish(message()), Ok(()));
    assert_eq!(server.try_publish(message()), Ok(()));

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

/// The next frame that is an event, as text.
#[track_caller]
fn next_event(subscription: &mut Subscription) -> String {
    loop {
        let frame = subscription.recv_timeout(SOON).unwrap();
        if frame.is_event() {
            return String::from_utf8(frame.as_bytes().to_vec()).unwrap();
        }
    }
}

/// All frames up to the end.
fn bytes_of_frames(subscription: &mut Subscription) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in subscription {
        bytes.extend_from_slice(frame.as_bytes());
    }
    bytes
}

#[test]
fn a_subscription_gets_a_comment_then_events_in_order_then_the_end() {
    let server = running();
    let mut subscription = server.subscribe(["", "a"]).unwrap();
    let first = subscription.recv_timeout(SOON).unwrap();
    assert!(!first.is_event(), "first frame: {first:?}");
    assert!(first.as_bytes().starts_with(b":"), "first frame: {first:?}");

    let silence = Duration::from_millis(50);
    let started = Instant::now();
    assert_eq!(subscription.recv_timeout(silence), Err(RecvTimeoutError::Timeout));
    assert!(started.elapsed() >= silence);
    assert_eq!(subscription.end_reason(), None);

    let mut expected = String::new();
    for number in 0..100 {
        let (event, field) = [("", ""), ("a", "event: a\n")][number % 2];
        server.publish(Message::new(number.to_string()).event(event)).unwrap();
        write!(expected, "{field}data: {number}\n\n").unwrap();
    }
    server.shutdown(SOON);
    assert_eq!(String::from_utf8(bytes_of_frames(&mut subscription)).unwrap(), expected);
    assert_eq!(subscription.recv_timeout(SOON), Err(RecvTimeoutError::Ended(Disconnect::Shutdown)));
    assert_eq!(subscription.end_reason(), Some(Disconnect::Shutdown));
}

#[test]
fn a_subscription_can_be_read_as_bytes() {
    let server = running();
    let mut frames = server.subscribe(["a"]).unwrap();
    let mut bytes = server.subscribe(["a"]).unwrap();
    let mut streamed = server.subscribe(["a"]).unwrap();
    for number in 0..20 {
        let data = number.to_string().repeat(10_000);
        server.publish(Message::new(data).event("a")).unwrap();
    }
    server.shutdown(SOON);
    let expected = bytes_of_frames(&mut frames);
    assert!(expected.len() > 200_000, "expected all events, got {}", shown(&expected));

    // In pieces that are no multiple of anything.
    let mut got = Vec::new();
    let mut piece = [0; 777];
    loop {
        match Read::read(&mut bytes, &mut piece).unwrap() {
            0 => break,
            count => got.extend_from_slice(&piece[..count]),
        }
    }
    assert!(got == expected, "expected {}, got {}", shown(&expected), shown(&got));
    assert_eq!(bytes.end_reason(), Some(Disconnect::Shutdown));

    let mut sunk = Sink::default();
    assert_eq!(streamed.stream_to(&mut sunk).unwrap(), Disconnect::Shutdown);
    assert!(sunk.bytes == expected, "expected {}, got {}", shown(&expected), shown(&sunk.bytes));
    assert_eq!(sunk.unflushed, 0, "bytes not flushed");
}

/// Takes what it is written, and counts what was not flushed after it.
#[derive(Default)]
struct Sink {
    bytes: Vec<u8>,
    unflushed: usize,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.unflushed += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unflushed = 0;
        Ok(())
    }
}

/// A sink like a buffer that nobody empties.
struct Unflushable(io::ErrorKind);

impl Write for Unflushable {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn streaming_to_what_cannot_flush_is_an_error() {
    let server = running();
    let mut subscription = server.subscribe(["a"]).unwrap();
    let got = subscription.stream_to(Unflushable(io::ErrorKind::Unsupported));
    assert!(matches!(got, Err(StreamError::StreamingNotSupported(_))), "got {got:?}");
    let mut subscription = server.subscribe(["a"]).unwrap();
    let got = subscription.stream_to(Unflushable(io::ErrorKind::BrokenPipe));
    assert!(matches!(got, Err(StreamError::Io(_))), "got {got:?}");
}

#[test]
fn a_dropped_subscription_is_gone() {
    let server = running();
    let first = server.subscribe(["a"]).unwrap();
    let second = server.subscribe(["*"]).unwrap();
    assert_eq!(server.stats().subscriptions, 2);
    drop(first);
    eventually(SOON, 1, || server.stats().subscriptions);
    drop(second);
    eventually(SOON, 0, || server.stats().subscriptions);
    server.publish(Message::new("to nobody").event("a")).unwrap();
}

#[test]
fn a_subscription_ends_with_its_server() {
    let server = running();
    let mut subscription = server.subscribe(["a"]).unwrap();
    let waiting = thread::spawn(move || {
        bytes_of_frames(&mut subscription);
        subscription.end_reason()
    });
    drop(server);
    assert_eq!(waiting.join().unwrap(), Some(Disconnect::Shutdown));
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
    let ended = hub.server.stats().disconnected;
    // A close with unread bytes is a reset, which is an error to the other side.
    assert_eq!(ended.closed_by_peer + ended.error, 2, "{ended:?}");
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

/// The places of clients that have left are empty when the others end.
#[test]
fn shutting_down_after_some_have_left_ends_the_rest() {
    for (name, deadline) in [("in time", SOON), ("at once", Duration::ZERO)] {
        for leaver in 0..3 {
            let server = running();
            let mut stay: Vec<_> = (0..3).map(|_| server.subscribe(["a"]).unwrap()).collect();
            drop(stay.remove(leaver));
            eventually(SOON, 2, || server.stats().subscriptions);
            // So that the broadcaster has seen it too.
            eventually(SOON, 1, || server.stats().disconnected.closed_by_peer);
            server.shutdown(deadline);
            for subscription in &mut stay {
                bytes_of_frames(subscription);
                let got = subscription.end_reason();
                assert_eq!(got, Some(Disconnect::Shutdown), "{name}, {leaver} left");
            }
            assert_eq!(server.stats().subscriptions, 0, "{name}, {leaver} left");
            assert_no_panics();
        }
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
