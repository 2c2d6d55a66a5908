//! The crowd itself: a check that notices nothing proves nothing.

use std::{
    io::Write,
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use support::crowd::{
    Crowd, Report, TARGET,
    parser::{Names, Parser, Seen},
    payload::{self, Stamp},
};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// What a parser sees of a response that comes in pieces of this size, and whether the response
/// may end there.
fn seen(response: &str, piece: usize) -> Result<(Vec<Seen>, bool), String> {
    let names = Names::of_target("/event?event=x");
    let mut parser = Parser::new();
    let mut all = Vec::new();
    for bytes in response.as_bytes().chunks(piece) {
        parser.feed(bytes, &names, &mut |seen| {
            all.push(seen);
            Ok(())
        })?;
    }
    Ok((all, parser.is_at_rest()))
}

pub(crate) fn the_crowd_reads_a_stream_in_pieces_of_any_size() {
    let blocks = [
        ": hello\nretry: 3000\nid: a-0\n".to_owned(),
        format!("event: x\ndata: {}\nid: a-1\n\n", payload::compose(0, 40)),
        ":\n".to_owned(),
        format!(
            "event: x\ndata: {}\nretry: 7\n\n",
            payload::compose_for(Stamp { publisher: 3, counter: 1_234_567 }, 0)
        ),
    ];
    let chunks = blocks.each_ref().map(|block| format!("{:x}\r\n{block}\r\n", block.len()));
    let chunked = HEAD.replace("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n");
    let event =
        |publisher, counter, bytes| Seen::Event { stamp: Stamp { publisher, counter }, bytes };
    let expected = [
        Seen::Head { status: 200 },
        Seen::Comment,
        event(0, 0, 40),
        Seen::Comment,
        event(3, 1_234_567, 10),
    ];
    for stream in [HEAD.to_owned() + &blocks.concat(), chunked + &chunks.concat()] {
        for piece in 1..=stream.len() {
            let (all, is_at_rest) = seen(&stream, piece).expect("a stream in good order");
            assert_eq!(all, expected, "in pieces of {piece} bytes");
            assert!(is_at_rest, "in pieces of {piece} bytes");
        }
    }
}

pub(crate) fn the_crowd_notices_what_should_not_come() {
    let data = payload::compose(5, 32);
    let other = data.replace('f', "g");
    for (body, reason) in [
        (format!("data: {data}\n\n"), "without its name"),
        (format!("event: y\ndata: {data}\n\n"), "nobody asked for"),
        ("event: stream-gap\ndata: \n\n".into(), "nobody asked for"),
        ("event: x\n\n".into(), "without data"),
        (format!("event: x\ndata: {other}\n\n"), "nobody sent"),
        (format!("event: x\ndata: {data}e\n\n"), "nobody sent"),
        (format!("event: x\ndata: {data}\r\n\n"), "nobody sent"),
        (format!("event: x\ndata: {data}\ndata: {data}\n\n"), "out of order"),
        (format!("data: {data}\nevent: x\n\n"), "out of order"),
        (format!("event: x\nid: 1\ndata: {data}\n\n"), "out of order"),
        (format!("event: x\n: beat\ndata: {data}\n\n"), "between fields"),
        (format!("event: x\ndata: {data}\n\n\n"), "ends no event"),
        (":\n\n".into(), "ends no event"),
        ("retry: 1\n\n".into(), "ends no event"),
        ("event:x\n\n".into(), "no field"),
        (": a\rb\n\n".into(), "a CR"),
        ("retry: soon\n\n".into(), "no time"),
    ] {
        let response = format!("{HEAD}{body}");
        for piece in [1, 7, response.len()] {
            match seen(&response, piece) {
                Err(fault) if fault.contains(reason) => {}
                other => panic!("{body:?}: expected a fault {reason:?}, got {other:?}"),
            }
        }
    }
    for (head, reason) in [
        ("HTTP/1.0 200 OK\r\n\r\n", "no status line"),
        ("HTTP/1.1 200 OK\nA: b\r\n", "no CRLF"),
        ("HTTP/1.1 200 OK\r\nA b\r\n", "no header field"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 3\r\n\r\n:\n:\n",
            "more bytes",
        ),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 1\r\n\r\nab", "more bytes"),
    ] {
        match seen(head, head.len()) {
            Err(fault) if fault.contains(reason) => {}
            other => panic!("{head:?}: expected a fault {reason:?}, got {other:?}"),
        }
    }
    for (end, may_end) in [
        ("", true),
        (": a comment\n", true),
        ("retry: 1\nid: a-1\n", true),
        (": half", false),
        ("retry: 1", false),
        ("event: x\nda", false),
        ("event: x\n", false),
    ] {
        let is_whole = seen(&format!("{HEAD}{end}"), 9).expect("in good order so far").1;
        assert_eq!(is_whole, may_end, "whether a stream may end after {end:?}");
    }
}

pub(crate) fn the_crowd_notices_lost_repeated_and_broken_off_events() {
    let event = |counter| format!("event: x\ndata: {}\n\n", payload::compose(counter, 64));
    let lost = hear(&[event(0), event(2)]);
    assert!(lost.faulty == 1 && lost.trouble.contains("expected 1, got 2"), "{lost}");
    let again = hear(&[event(0), event(1), event(1)]);
    assert!(again.faulty == 1 && again.trouble.contains("expected 2, got 1"), "{again}");
    let late = hear(&[event(7), event(8)]);
    assert_eq!((late.ended, late.events, late.first_counter), (1, 2, 7), "{late}");
    let broken_off = hear(&[event(0), event(1)[..40].to_owned()]);
    assert_eq!((broken_off.cut, broken_off.events), (1, 1), "{broken_off}");
    let in_order = hear(&[event(0), event(1), event(2)]);
    in_order.assert_everyone_has(3, 64);
    assert_eq!((in_order.missing, in_order.ended), (0, 1), "{in_order}");
}

/// What a crowd of one reports of a stream of these pieces, until it ends.
fn hear(pieces: &[String]) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").expect("port 0 is always free");
    let address = listener.local_addr().expect("bound above");
    let mut crowd = Crowd::start();
    let clients = crowd.connect(address, TARGET, 1, 1);
    let (mut socket, _): (TcpStream, _) = listener.accept().expect("the crowd connects");
    // The request stays unread until the crowd has seen the end, or closing would reset it.
    for piece in [HEAD.to_owned()].iter().chain(pieces) {
        // The crowd may have left already because of a fault.
        let _ = socket.write_all(piece.as_bytes());
    }
    let _ = socket.shutdown(Shutdown::Write);
    crowd.wait_ended(&clients, Duration::from_secs(10))
}
