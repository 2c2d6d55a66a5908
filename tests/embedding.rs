//! The library inside a program: the life of a [`Server`], what it publishes and to whom, and
//! subscriptions. Listeners, routes and the end of it all: `embedding_http.rs`.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use common::{Hub, SOON, eventually, shown};
use websse::{
    Disconnect, Message, PublishError, RecvTimeoutError, RunError, Server, StreamError,
    SubscribeError, Subscription, TryPublishError,
};

/// A server that runs, with the general type and `a`.
fn running() -> Server {
    let server = Server::new();
    server.register_events(["", "a"]).unwrap();
    server.run().unwrap();
    server
}

#[test]
fn publishing_needs_a_server_that_runs() {
    let server = Server::new();
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
    let server = Server::new();
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
        let server = Server::new();
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
    let server = Server::new();
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

    let expected: Vec<_> = (0..100)
        .map(|number| match number % 2 {
            0 => format!("data: {number}\n\n"),
            _ => format!("event: a\ndata: {number}\n\n"),
        })
        .collect();
    for number in 0..100 {
        let event = ["", "a"][number % 2];
        let message = Message::new(number.to_string()).event(event);
        server.publish(message).unwrap();
    }
    server.shutdown(SOON);
    let got: Vec<_> = subscription.by_ref_iter().collect();
    assert_eq!(got, expected);
    assert_eq!(subscription.recv_timeout(SOON), Err(RecvTimeoutError::Ended));
    assert_eq!(subscription.end_reason(), Some(Disconnect::Shutdown));
}

#[test]
fn a_subscription_can_be_read_as_bytes() {
    let server = running();
    let mut frames = server.subscribe(["a"]).unwrap();
    let mut bytes = server.subscribe(["a"]).unwrap();
    let sink = server.subscribe(["a"]).unwrap();
    for number in 0..20 {
        let data = number.to_string().repeat(10_000);
        server.publish(Message::new(data).event("a")).unwrap();
    }
    server.shutdown(SOON);
    let expected = Iterator::fold(&mut frames, Vec::new(), |mut bytes, frame| {
        bytes.extend_from_slice(frame.as_bytes());
        bytes
    });
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
    let mut sink = sink;
    assert_eq!(sink.stream_to(&mut sunk).unwrap(), Disconnect::Shutdown);
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
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.unflushed += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.unflushed = 0;
        Ok(())
    }
}
