//! How a stream is put on the wire for each kind of client: chunks, the first block, heartbeats.

use std::time::{Duration, Instant};

use support::sse::Item;
use support::{Got, Hub, SOON, shown};
use websse::Message;
use websse::http::HttpServer;

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
    let firefox = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101\r\n";
    let (lines, event) = (
        ": websse\nretry: 3000\ndata: x\n\n",
        ": websse\nevent: stream-open\ndata: {}\nretry: 3000\n\ndata: x\n\n",
    );
    for (query, fields, expected) in [
        ("", "", lines),
        ("", "User-Agent: curl/8\r\n", lines),
        ("", "User-Agent: node\r\nSec-Fetch-Mode: cors\r\n", lines),
        ("", firefox, event),
        ("?stream-open=1", "", event),
        ("?stream-open=0", firefox, lines),
    ] {
        let close = format!("{fields}Connection: close\r\n");
        let text = raw(&hub, &format!("GET /event{query} HTTP/1.1"), &close);
        assert_eq!(text.split_once("\r\n\r\n").unwrap().1, expected, "{query} {fields}");
    }
    for (embedder, query, expected) in [(true, "", event), (false, "?stream-open=1", event)] {
        let server = support::running();
        let http =
            HttpServer::new().get("/event", server.event_stream_handler().stream_open(embedder));
        let http = http.bind("127.0.0.1:0").unwrap();
        let hub = Hub { server, http };
        let text = raw(&hub, &format!("GET /event{query} HTTP/1.1"), "Connection: close\r\n");
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert!(body.starts_with(&expected[..40]), "{body}");
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
