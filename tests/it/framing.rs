//! How a stream is put on the wire for each kind of client: chunks, the first block, heartbeats.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use support::resume::{first, parts, publish};
use support::sse::Item;
use support::{Client, Got, Hub, SOON, shown};
use websse::http::HttpServer;
use websse::{Builder, Message};

const FIREFOX: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101\r\n";

/// A client that asks for a stream with these header fields.
fn ask(hub: &Hub, query: &str, fields: &str) -> Client {
    hub.ask(format!("GET /event{query} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

/// The next of a stream's body, at least as long as what is expected of it. Nothing is decoded.
fn body_like(client: &mut Client, expected: &str) -> String {
    let mut bytes = Vec::new();
    loop {
        bytes.extend(client.piece());
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
        if head > 0 && bytes.len() - head >= expected.len() {
            return String::from_utf8(bytes.split_off(head)).unwrap();
        }
    }
}

fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// What a client is sent that asks for a stream by this request line and these header fields, up to
/// and with the end of an event. Nothing is decoded.
fn raw(hub: &Hub, line: &str, fields: &str) -> String {
    let mut client = hub.ask(format!("{line}\r\nHost: a\r\n{fields}\r\n"));
    let mut bytes = client.piece();
    hub.publish(Message::new("x"));
    while !bytes.windows(9).any(|nine| nine == b"data: x\n\n") {
        bytes.extend(client.piece());
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn each_block_is_a_chunk_for_those_who_take_chunks() {
    let hub = Hub::plain(&[""]);
    let get = "GET /event HTTP/1.1";
    let (head, body) = raw(&hub, get, "").split_once("\r\n\r\n").map(own).unwrap();
    assert!(head.contains("\r\nTransfer-Encoding: chunked") && !head.contains("Connection"));
    assert_eq!(body, "15\r\n: websse\nretry: 3000\n\r\n9\r\ndata: x\n\n\r\n");
    let plain = ": websse\nretry: 3000\ndata: x\n\n";
    for (line, fields) in [
        (get, "Connection: close\r\n"),
        (get, "Connection: x, Close\r\n"),
        ("GET /event HTTP/1.0", ""),
        ("GET /event HTTP/1.0", "Connection: keep-alive\r\n"),
    ] {
        let (head, body) = raw(&hub, line, fields).split_once("\r\n\r\n").map(own).unwrap();
        assert!(head.ends_with("\r\nConnection: close") && !head.contains("Transfer"), "{head}");
        assert_eq!(body, plain, "{line} {fields}");
    }
}

fn own((head, body): (&str, &str)) -> (String, String) {
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_stream_is_cut_without_the_last_chunk() {
    let hub = Hub::plain(&[""]);
    let mut client = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut bytes = client.piece();
    hub.publish(Message::new("x"));
    hub.server.shutdown(SOON);
    bytes.extend(client.rest(Instant::now() + SOON).unwrap());
    assert!(bytes.ends_with(b"\r\n9\r\ndata: x\n\n\r\n"), "{}", shown(&bytes));
    // So is a refusal for now.
    let mut refused = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\n\r\n");
    let bytes = refused.rest(Instant::now() + SOON).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("\r\nTransfer-Encoding: chunked\r\n"), "{text}");
    assert!(text.ends_with("\n\r\n") && !text.contains("\r\n0\r\n"), "{text}");
}

#[test]
fn a_browser_is_told_its_position_by_an_event_and_others_by_lines() {
    let hub = Hub::plain(&[""]);
    let (lines, event) = (
        ": websse\nretry: 3000\ndata: x\n\n",
        ": websse\nevent: stream-open\ndata: {}\nretry: 3000\n\ndata: x\n\n",
    );
    for (query, fields, expected) in [
        ("", "", lines),
        ("", "User-Agent: curl/8\r\n", lines),
        ("", "User-Agent: node\r\nSec-Fetch-Mode: cors\r\n", lines),
        ("", "User-Agent: reader (like Mozilla/5.0)\r\n", lines),
        ("", FIREFOX, event),
        ("?stream-open=1", "", event),
        ("?stream-open=0", FIREFOX, lines),
    ] {
        let close = format!("{fields}Connection: close\r\n");
        let text = raw(&hub, &format!("GET /event{query} HTTP/1.1"), &close);
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1, expected, "{query} {fields}");
    }
    for (embedder, query, fields, expected) in [
        (true, "", "", event),
        (true, "?stream-open=0", "", lines),
        (false, "?stream-open=1", "", event),
        (false, "", FIREFOX, lines),
    ] {
        let server = support::running();
        let http =
            HttpServer::new().get("/event", server.event_stream_handler().stream_open(embedder));
        let http = http.bind("127.0.0.1:0").unwrap();
        let hub = Hub { server, http };
        let close = format!("{fields}Connection: close\r\n");
        let text = raw(&hub, &format!("GET /event{query} HTTP/1.1"), &close);
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body, expected, "{embedder} {query} {fields}");
    }
    for bad in ["stream-open=2", "stream-open=", "heartbeat=0", "heartbeat=1s", "heartbeat="] {
        let answer = hub.ask(format!("GET /event?{bad} HTTP/1.1\r\nHost: a\r\n\r\n")).answer();
        assert_eq!(answer.status, 400, "{bad}");
        answer.assert_explained();
    }
}

#[test]
fn a_client_may_ask_for_a_heartbeat_earlier() {
    let hub = Hub::plain(&[""]);
    let mut quick = hub.listen("?heartbeat=1");
    let mut usual = hub.listen("");
    for _ in 0..2 {
        assert_eq!(quick.item_within(SOON), Some(Item::Comment(String::new())));
    }
    usual.wait_at_most(Duration::from_millis(1));
    assert_eq!(usual.read(100), Got::Nothing, "its heartbeat comes after 15 s");
}

#[test]
fn a_client_that_comes_back_is_told_time_and_position_before_what_it_missed() {
    let hub = Hub::new(&[""]);
    let position = first(&hub, "").position.unwrap();
    let run = parts(&position).0;
    publish(&hub, &[("", "1"), ("", "2")]);
    let event = |number: u32| format!("data: {number}\nid: {run}-{number}\n\n");
    for (fields, begin, end) in [("", "", ""), (FIREFOX, "event: stream-open\ndata: {}\n", "\n")] {
        let block = |id: &str| format!(": websse\n{begin}retry: 3000\nid: {id}\n{end}");
        let expected = [block(&position), event(1), event(2)].map(|block| chunk(&block)).concat();
        let mut back = ask(&hub, "", &format!("{fields}Last-Event-ID: {position}\r\n"));
        assert_eq!(body_like(&mut back, &expected), expected);

        let data = format!("{{\"requested\":\"x\",\"oldest\":\"{run}-1\"}}");
        let gap = format!("event: stream-gap\ndata: {data}\n\n");
        let expected = [block(&position), gap, event(1), event(2)].concat();
        let fields = format!("{fields}Connection: close\r\nLast-Event-ID: x\r\n");
        let mut stranger = ask(&hub, "", &fields);
        assert_eq!(body_like(&mut stranger, &expected), expected);
    }
}

/// Two writes would come in two pieces now and then.
#[test]
fn the_head_and_the_first_block_come_in_one_piece() {
    let hub = Hub::new(&[""]);
    for round in 0..25 {
        for fields in ["", FIREFOX, "Connection: close\r\n", "Last-Event-ID: x\r\n"] {
            let piece = String::from_utf8(ask(&hub, "", fields).piece()).unwrap();
            let body = piece.split_once("\r\n\r\n").unwrap().1;
            let is_whole = body.contains("\nretry: 3000\nid: ");
            assert!(is_whole, "round {round}, {fields:?}: {piece:?}");
        }
    }
}

#[test]
fn a_heartbeat_is_a_colon_on_a_line_of_its_own() {
    let options =
        |builder: Builder| builder.history_events(0).heartbeat(Duration::from_millis(100));
    let hub = Hub::with(&[""], options, |http| http);
    let lines = ": websse\nretry: 3000\n";
    let event = ": websse\nevent: stream-open\ndata: {}\nretry: 3000\n\n";
    for (query, fields, expected) in [
        ("", "", chunk(lines) + &chunk(":\n").repeat(2)),
        ("", FIREFOX, chunk(event) + &chunk(":\n").repeat(2)),
        ("", "Connection: close\r\n", format!("{lines}:\n:\n")),
        // It comes no later for a client that asks so.
        ("?heartbeat=3600", "", chunk(lines) + &chunk(":\n").repeat(2)),
    ] {
        let mut client = ask(&hub, query, fields);
        assert_eq!(body_like(&mut client, &expected), expected, "{query} {fields}");
    }
}

#[test]
fn a_farewell_is_an_event_to_a_browser_and_a_line_to_others() {
    let options =
        |builder: Builder| builder.history_events(0).reconnect_spread(Duration::from_secs(10));
    let hub = Hub::with(&[""], options, |http| http);
    let event = (FIREFOX, "event: stream-open\ndata: {}\n", "\n");
    let clients = [("", "", ""), event].map(|(fields, begin, end)| {
        let mut client = ask(&hub, "", fields);
        client.piece();
        (client, begin, end)
    });
    hub.server.shutdown(SOON);
    for (mut client, begin, end) in clients {
        let bytes = client.rest(Instant::now() + SOON).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let retry = text.split_once("retry: ").and_then(|(_, rest)| rest.split_once('\n'));
        let retry: u64 = retry.unwrap_or_else(|| panic!("{text:?}")).0.parse().unwrap();
        assert!(retry <= 10_000, "{text:?}");
        assert_eq!(text, chunk(&format!("{begin}retry: {retry}\n{end}")));
    }
}

#[test]
fn a_client_that_is_disconnected_sees_no_last_chunk() {
    let (came, ids) = mpsc::channel();
    let options = |builder: Builder| {
        builder.history_events(0).on_connect(move |_, client| came.send(client.id).unwrap())
    };
    let hub = Hub::with(&[""], options, |http| http);
    let mut disconnected = ask(&hub, "", "");
    hub.server.disconnect(ids.recv_timeout(SOON).unwrap()).unwrap();
    let bytes = disconnected.rest(Instant::now() + SOON).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.ends_with(&chunk(": websse\nretry: 3000\n")), "{text}");
}
