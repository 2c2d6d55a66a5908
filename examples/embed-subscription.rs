//! Events inside a program that has a synchronous HTTP server already, here `tiny_http`.
//!
//! `cargo run --example embed-subscription`, then `curl -N http://127.0.0.1:8081/event`.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{
    error::Error,
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use tiny_http::{Request, Response};
use websse::{Message, Server, event_type::GENERAL};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
    Cache-Control: no-cache\r\nConnection: close\r\n\r\n";

fn main() -> Result<(), Box<dyn Error>> {
    let events = Arc::new(Server::new());
    events.register_event(GENERAL)?;
    events.run()?;
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8081".into());
    let http =
        tiny_http::Server::http(address).map_err(|error| io::Error::other(error.to_string()))?;
    println!("listen: curl -N http://{}/event", http.server_addr());
    let clock = Arc::clone(&events);
    thread::spawn(move || {
        for second in 1_u64.. {
            clock.publish(Message::new(format!("second {second}"))).expect("the server runs");
            thread::sleep(Duration::from_secs(1));
        }
    });
    for request in http.incoming_requests() {
        let events = Arc::clone(&events);
        thread::spawn(move || match request.url() {
            "/event" => stream(request, &events),
            _ => request.respond(Response::from_string("see /event\n").with_status_code(404)),
        });
    }
    Ok(())
}

/// Takes the connection over and passes frames on until either side has gone.
fn stream(request: Request, events: &Server) -> io::Result<()> {
    let mut subscription = events.subscribe([GENERAL]).map_err(io::Error::other)?;
    let mut connection = request.into_writer();
    connection.write_all(HEAD)?;
    subscription.stream_to(connection).map_err(io::Error::other)?;
    Ok(())
}
