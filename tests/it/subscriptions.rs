//! Listening within the program: a [`Subscription`] as frames, as bytes, and into a sink.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use support::{SOON, assert_no_panics, eventually, next_event, running, shown};
use websse::{
    Disconnect, EventId, Frame, Message, RecvTimeoutError, Server, StreamError, Subscription,
};

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
fn comments_do_not_prolong_the_wait_for_an_event() {
    let server = Server::builder().heartbeat(Duration::ZERO).build();
    server.register_event("").unwrap();
    server.run().unwrap();
    let mut subscription = server.subscribe([""]).unwrap();
    let wait = Duration::from_millis(2500);
    let waiting = thread::spawn(move || subscription.next_event(wait));
    // A comment comes each second.
    eventually(2 * SOON, true, || waiting.is_finished());
    assert_eq!(waiting.join().unwrap(), Err(RecvTimeoutError::Timeout));
}

#[test]
fn the_first_block_is_no_event_even_where_it_is_one_to_a_browser() {
    let server = running();
    let mut stream = server.subscription([""]).stream_open(true).open().unwrap();
    server.publish(Message::new("x")).unwrap();
    assert_eq!(stream.next_event(SOON).unwrap().data(), "x");
}

/// Whatever stands in the data, and however its lines end.
#[test]
fn a_frame_tells_what_was_published() {
    let server = Server::new();
    server.register_events(["", "a", "data: b"]).unwrap();
    server.run().unwrap();
    let mut all = server.subscribe(["*"]).unwrap();
    let first = all.recv_timeout(SOON).unwrap();
    assert!(!first.is_event());
    assert_eq!((first.event(), first.data().as_str()), ("message", ""));
    let (run, number) = first.id().unwrap().split_once('-').unwrap();
    assert_eq!(number, "0");

    let id = |text| Some(EventId::new(text).unwrap());
    for (number, (kind, data, own, seen)) in [
        ("", "", None, ""),
        ("message", "plain", id("7"), "plain"),
        ("a", " two\r\nlines\rand\n\nmore\n", None, " two\nlines\nand\n\nmore\n"),
        (
            "data: b",
            "event: a\ndata: x\nid: 9\n: no",
            id("id: 8"),
            "event: a\ndata: x\nid: 9\n: no",
        ),
        ("a", "é\u{feff}\u{2028}", None, "é\u{feff}\u{2028}"),
    ]
    .into_iter()
    .enumerate()
    {
        let message = Message::new(data).event(kind).retry(SOON);
        let expected = own
            .as_ref()
            .map_or_else(|| format!("{run}-{}", number + 1), |own| own.as_str().to_owned());
        server.publish(own.into_iter().fold(message, Message::id)).unwrap();
        let frame = all.next_event(SOON).unwrap();
        let kind = if kind.is_empty() { "message" } else { kind };
        assert_eq!((frame.event(), frame.data().as_str()), (kind, seen));
        assert_eq!(frame.id(), Some(expected.as_str()), "{seen:?}");
    }
}

#[test]
fn a_subscription_can_be_read_as_bytes() {
    let server = running();
    let mut frames = server.subscribe(["a"]).unwrap();
    let mut bytes = server.subscribe(["a"]).unwrap().into_reader();
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
        match bytes.read(&mut piece).unwrap() {
            0 => break,
            count => got.extend_from_slice(&piece[..count]),
        }
    }
    assert!(got == expected, "expected {}, got {}", shown(&expected), shown(&got));
    assert_eq!(bytes.get_ref().end_reason(), Some(Disconnect::Shutdown));

    let mut sunk = Sink::default();
    assert_eq!(streamed.stream_to(&mut sunk).unwrap(), Disconnect::Shutdown);
    assert!(sunk.bytes == expected, "expected {}, got {}", shown(&expected), shown(&sunk.bytes));
    assert_eq!(sunk.unflushed, 0, "bytes not flushed");
}

/// Where `Read` is in scope, as here, `by_ref` and `take` would not compile if a subscription were both.
#[test]
fn a_subscription_is_an_iterator_and_its_reader_reads_what_is_left() {
    let server = running();
    let mut frames = server.subscribe(["a"]).unwrap();
    for data in ["one", "two", "three"] {
        server.publish(Message::new(data).event("a")).unwrap();
    }
    server.shutdown(SOON);
    let first: Vec<_> = frames.by_ref().filter(Frame::is_event).take(1).collect();
    assert_eq!(first[0].data(), "one");
    let mut reader = frames.into_reader();
    assert_eq!(reader.read(&mut []).unwrap(), 0, "there is no room");
    assert_eq!(reader.get_ref().end_reason(), None, "it was not the end");
    let mut begin = String::new();
    reader.by_ref().take(19).read_to_string(&mut begin).unwrap();
    assert_eq!(begin, "event: a\ndata: two\n");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("event: a\ndata: three\n"), "got {rest:?}");
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
fn a_subscription_that_is_not_read_is_ended_and_slows_nobody() {
    let server = running();
    let mut stuck = server.subscribe(["a"]).unwrap();
    let mut read = server.subscribe(["a"]).unwrap();
    let started = Instant::now();
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            for number in 0..8000 {
                let expected = format!("event: a\ndata: {number:01000}\n\n");
                assert_eq!(next_event(&mut read), expected);
            }
        });
        for number in 0..8000 {
            server.publish(Message::new(format!("{number:01000}")).event("a")).unwrap();
        }
        reader.join().unwrap();
    });
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "expected nobody to wait, got {took:?}");
    // It is given a moment, in case it goes on to read.
    eventually(SOON, 1, || server.stats().disconnected.behind);
    // What waited for it may have been freed.
    bytes_of_frames(&mut stuck);
    assert_eq!(stuck.end_reason(), Some(Disconnect::Behind));
    assert_no_panics();
}

/// It would come back behind the last event it has seen, and never hear of those in the gap.
#[test]
fn a_subscription_that_is_cut_off_while_it_reads_sees_no_gap_before_its_end() {
    let mut cut_off = 0;
    for round in 0..100 {
        // So little that even a quick reader is cut off most of the time.
        let server = Server::builder().history_events(0).mailboxes_bytes(32 << 10).build();
        server.register_event("a").unwrap();
        server.run().unwrap();
        let mut subscription = server.subscribe(["a"]).unwrap();
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let events = subscription.by_ref().filter(Frame::is_event);
                for (number, frame) in events.enumerate() {
                    let expected = format!("event: a\ndata: {number}\n\n");
                    assert_eq!(
                        shown(frame.as_bytes()),
                        shown(expected.as_bytes()),
                        "round {round}"
                    );
                }
                subscription.end_reason()
            });
            for number in 0..20_000 {
                server.publish(Message::new(number.to_string()).event("a")).unwrap();
            }
            server.shutdown(SOON);
            cut_off += usize::from(reader.join().unwrap() == Some(Disconnect::Behind));
        });
    }
    assert!(cut_off > 0, "nobody was cut off: the test says nothing");
}
