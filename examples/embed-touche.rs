//! Events inside a program whose HTTP server is `touche`, which sends each chunk of a body at once.
//!
//! `cargo run --example embed-touche`, then `curl -N http://127.0.0.1:8082/event`.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{error::Error, io, net::TcpListener, sync::Arc, thread, time::Duration};

use touche::{Body, Request, Response, header::CONTENT_TYPE};
use websse::{Message, Server, event_type::GENERAL};

fn main() -> Result<(), Box<dyn Error>> {
    let events = Arc::new(Server::new());
    events.register_event(GENERAL)?;
    events.run()?;
    let clock = Arc::clone(&events);
    thread::spawn(move || {
        for second in 1_u64.. {
            clock.publish(Message::new(format!("second {second}"))).expect("the server runs");
            thread::sleep(Duration::from_secs(1));
        }
    });
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8082".into());
    let listener = TcpListener::bind(address)?;
    println!("listen: curl -N http://{}/event", listener.local_addr()?);
    // An event is small, and shall not wait for the acknowledgement of the one before it.
    let http = touche::Server::builder().nodelay(true);
    http.from_connections(listener.incoming().flatten()).serve(move |request: Request<Body>| {
        match request.uri().path() {
            "/event" => stream(&events),
            _ => Ok(Response::builder().status(404).body("see /event\n".into())?),
        }
    })?;
    Ok(())
}

/// A body that goes on until either side has gone: when its client has, writing a chunk fails.
fn stream(events: &Server) -> Result<Response<Body>, Box<dyn Error + Send + Sync>> {
    let frames = events.subscribe([GENERAL]).map_err(io::Error::other)?;
    let chunks = frames.map(|frame| frame.as_bytes().to_vec());
    let response = Response::builder().header(CONTENT_TYPE, "text/event-stream; charset=utf-8");
    Ok(response.header("Cache-Control", "no-cache").body(Body::from_iter(chunks))?)
}
