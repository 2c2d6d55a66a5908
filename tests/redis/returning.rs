//! Clients that come back, and what may be in their way.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use socket2::{Domain, Socket, Type};

use super::*;

/// As many as are served out of Redis at a time.
const PLACES: usize = 256;

/// Comes back to this node with this id, over a socket that takes little.
fn narrow(node: &Hub, id: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.connect(&node.addr().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    write!(stream, "GET /event HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {id}\r\n\r\n").unwrap();
    stream.set_nonblocking(true).unwrap();
    stream
}

/// Reads a little of each, again and again.
fn sip(streams: &[TcpStream], is_over: &AtomicBool) {
    while !is_over.load(SeqCst) {
        for mut stream in streams {
            match stream.read(&mut [0; 256]) {
                // The end of one is not that of the others.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "needs redis-server"]
fn clients_that_read_slowly_keep_nobody_from_coming_back() {
    const EVENTS: usize = 2500;
    let store = Store::durable();
    let node = node_with(&store, |builder| builder.history_events(4));
    let mut client = node.listen("");
    let messages: Vec<_> =
        (0..EVENTS).map(|event| Message::new(format!("{event:04096}"))).collect();
    node.server.publish_all(&messages).unwrap();
    let first = client.event().id.unwrap();
    let slow: Vec<TcpStream> = (0..PLACES).map(|_| narrow(&node, &first)).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _beside = StopOnDrop(&is_over);
        scope.spawn(|| sip(&slow, &is_over));
        eventually(BACK, PLACES, || node.server.stats().redis.unwrap().returning);
        let (mut id, mut heard) = (first.clone(), Vec::new());
        let end = Instant::now() + BACK;
        while heard.len() < EVENTS - 1 {
            assert!(Instant::now() < end, "only {} events came", heard.len());
            // As a browser does it.
            let mut client =
                node.ask(format!("GET /event HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {id}\r\n\r\n"));
            assert_eq!(client.head().status, 200);
            while heard.len() < EVENTS - 1
                && let Some(item) = client.item_within(BACK)
            {
                if let Item::Block(Block { data: Some(data), id: Some(new), .. }) = item {
                    heard.push(data.parse::<usize>().unwrap());
                    id = new;
                }
            }
        }
        assert!(heard.into_iter().eq(1..EVENTS), "it was not all, or not in order");
    });
}

/// What a flood appends at a time.
const FLOOD_STEP: usize = 256;

/// Appends events of a type that nobody knows as fast as it goes, until it need not go on or is
/// refused.
pub(crate) fn flood(store: &Store, mut goes_on: impl FnMut() -> bool) {
    let mut unknown = redis::pipe();
    for _ in 0..FLOOD_STEP {
        unknown.cmd("XADD").arg("websse").arg("*").arg("event").arg("unknown");
        unknown.arg("data").arg("x").ignore();
    }
    let mut link = store.connect().unwrap();
    while goes_on() && unknown.exec(&mut link).is_ok() {}
}

#[test]
#[ignore = "needs redis-server"]
fn types_that_a_node_does_not_know_hold_nobody_up() {
    /// So it always has more to read, but less than a second of it on a busy machine.
    const AHEAD: u64 = 4096;
    let unknown_types = |node: &Hub| node.server.stats().redis.unwrap().unknown_types;
    // As fast as it can be.
    let store = Store::with(&[]);
    let node = node_with(&store, |builder| builder.history_events(4));
    let mut client = node.listen("");
    node.publish(Message::new("1"));
    let first = client.event().id.unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _beside = StopOnDrop(&is_over);
        scope.spawn(|| {
            let mut appended = 0;
            flood(&store, || {
                // Redis may append faster than the node reads, and that would hold up everybody.
                while unknown_types(&node) + AHEAD < appended && !is_over.load(SeqCst) {
                    thread::yield_now();
                }
                appended += FLOOD_STEP as u64;
                !is_over.load(SeqCst)
            });
        });
        // On a busy machine the flood takes its time.
        eventually(6 * SOON, true, || unknown_types(&node) > 10_000);
        // There was never an event of the one, and one of the other.
        let mut clients = ["?event=a", "?event=*", ""].map(|query| back(&node, query, &first));
        eventually(6 * SOON, 0, || node.server.stats().redis.unwrap().returning);
        node.publish(Message::new("a").event("a"));
        node.publish(Message::new("2"));
        for (client, expected) in clients.iter_mut().zip([&["a"][..], &["a", "2"], &["2"]]) {
            assert_eq!(data(client, expected.len()), expected);
        }
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_client_is_told_how_far_it_was_served_also_where_nothing_was_for_it() {
    let store = Store::durable();
    let node = node_with(&store, |builder| builder.history_events(4));
    let mut client = node.listen("?event=a");
    for event in 0..10 {
        node.publish(Message::new(event.to_string()).event("a"));
    }
    node.publish(Message::new("own").event("a").id(EventId::new("own").unwrap()));
    (0..20).for_each(|event| node.publish(Message::new(event.to_string())));
    let first = client.event().id.unwrap();
    let mut client = back(&node, "?event=a", &first);
    let mut heard = Vec::new();
    let position = loop {
        match client.item_within(SOON) {
            Some(Item::Block(Block { data: Some(data), .. })) => heard.push(data),
            Some(Item::Block(Block { id: Some(id), .. })) => break id,
            other => panic!("{other:?} after {heard:?}"),
        }
    };
    let expected: Vec<String> = (1..10).map(|event| event.to_string()).collect();
    assert_eq!(heard[..9], expected);
    assert_eq!(heard[9..], ["own"]);
    let firefox = "User-Agent: Mozilla/5.0\r\n";
    let open = "event: stream-open\ndata: {}\n";
    for (fields, begin, end) in [("", "", ""), (firefox, open, "\n")] {
        let fields = format!("{fields}Connection: close\r\nLast-Event-ID: {first}\r\n");
        let request = format!("GET /event?event=a HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut client = node.ask(request);
        let first_block =
            format!("\r\n\r\n: websse\n{begin}retry: 3000\nid: {first}\n{end}event: a\n");
        let last_block = format!("data: own\nid: own\n\n{begin}id: {position}\n{end}");
        let mut text = String::new();
        while !text.ends_with(&last_block) {
            text += std::str::from_utf8(&client.piece()).unwrap();
            assert!(text.len() < 4096, "{text}");
        }
        assert!(text.contains(&first_block), "{text}");
    }
    // Cut off here it goes on here, though no event has this id.
    let mut client = back(&node, "?event=a", &position);
    node.publish(Message::new("end").event("a"));
    assert_eq!(data(&mut client, 1), ["end"]);
}

#[test]
#[ignore = "needs redis-server"]
fn an_id_of_a_time_far_away_is_as_good_as_others() {
    let store = Store::durable();
    let (one, two) = (node(&store), node(&store));
    let mut client = one.listen("");
    // Somebody took microseconds for milliseconds.
    store.run("XADD websse 1795903915043000-0 data 1");
    one.publish(Message::new("2"));
    let first = client.event().id.unwrap();
    assert_eq!(data(&mut client, 1), ["2"]);
    two.publish(Message::new("3"));
    assert_eq!(data(&mut back(&two, "", &first), 2), ["2", "3"]);
    assert_eq!(two.server.stats().gaps, 0);
}
