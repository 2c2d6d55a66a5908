//! Whether clients hand out each small event of an answer before the next one is sent.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use websse::Message;
use websse::http::{HttpServer, Request, Response};

use super::program::{PATIENCE, Program};
use super::table;

const EVENTS: usize = 10;

/// A server with one answer, of the events that come by the channel.
fn serve(events: Receiver<String>) -> HttpServer {
    let events = Arc::new(Mutex::new(events));
    let answer = move |_: &Request| {
        let events = Arc::clone(&events);
        Response::events(move |out| {
            let events = events.lock().unwrap();
            while let Some(text) = out.recv(&events)? {
                out.send(&Message::new(text))?;
            }
            Ok(())
        })
    };
    let page = |_: &Request| Response::html(include_str!("browser/fetch.html"));
    let http = HttpServer::new().get("/answer", answer).get("/page", page);
    http.bind("127.0.0.1:0").unwrap()
}

/// Nothing is sent while an event is under way: a client that waits for more bytes waits for ever.
fn has_each_at_once(name: &str) {
    let (sender, events) = channel();
    let http = serve(events);
    let address = http.local_addr().unwrap();
    let client = match name {
        "a browser's fetch" => Program::browser(address, "/answer"),
        name => table::start(name, &format!("http://{address}/answer")),
    };
    for number in 1..=EVENTS {
        let text = format!("event {number:06}"); // 20 bytes, as an event
        sender.send(text.clone()).unwrap();
        let end = Instant::now() + PATIENCE;
        while !client.lines().iter().any(|line| line.contains(&text)) {
            assert!(Instant::now() < end, "{name}: not {text}, but {:?}", client.lines());
            thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
#[ignore = "needs node, python3, chromium and packages for them: run tests/clients/run"]
fn small_events_of_one_answer_are_handed_out_one_by_one() {
    for name in ["curl-N", "urllib", "requests", "fetch", "a browser's fetch"] {
        has_each_at_once(name);
    }
}

/// Guzzle is not one of them: it reads by `fread`, which hands out what came with the head when something
/// more comes (PHP 8.2.36).
#[test]
#[ignore = "needs PHP: run tests/clients/run --all"]
fn all_clients_in_php_hand_out_small_events_of_one_answer_one_by_one() {
    for name in ["php-fopen", "php-curl"] {
        has_each_at_once(name);
    }
}
