//! Events from a bare `TcpListener`, without any HTTP server: a loop, a thread for each client, and
//! just enough of HTTP to be understood. Clients that come back get what they have missed.
//!
//! `cargo run --example embed-listener`, then `curl -N http://127.0.0.1:8083/event`.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{
    error::Error,
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use websse::{Message, Server, event_type::GENERAL};

const FOUND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
    Cache-Control: no-cache\r\nConnection: close\r\n\r\n";
const NOT_FOUND: &[u8] = b"HTTP/1.1 404 Not Found\r\nContent-Length: 11\r\n\
    Connection: close\r\n\r\nsee /event\n";

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
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8083".into());
    let listener = TcpListener::bind(address)?;
    println!("listen: curl -N http://{}/event", listener.local_addr()?);
    for connection in listener.incoming() {
        let (connection, events) = (connection?, Arc::clone(&events));
        thread::spawn(move || serve(&connection, &events));
    }
    Ok(())
}

/// Answers one request, and ends when either side has gone or the client takes too long.
fn serve(mut connection: &TcpStream, events: &Server) -> io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    connection.set_write_timeout(Some(Duration::from_secs(10)))?;
    connection.set_nodelay(true)?;
    // A head has an end, and so has this program's patience.
    let mut head = BufReader::new(connection.take(16 * 1024)).lines();
    let request = head.next().transpose()?.unwrap_or_default();
    let (mut last_id, mut is_browser) = (String::new(), false);
    for field in head {
        let field = field?;
        let Some((name, value)) = field.split_once(':') else { break };
        match (&*name.to_ascii_lowercase(), value.trim()) {
            ("last-event-id", id) => id.clone_into(&mut last_id),
            ("user-agent", agent) => is_browser = agent.starts_with("Mozilla/"),
            _ => {}
        }
    }
    if !request.starts_with("GET /event ") {
        return connection.write_all(NOT_FOUND);
    }
    // Some browsers note the position of a stream in an event only.
    let stream =
        events.subscription([GENERAL]).last_event_id(last_id).stream_open(is_browser).open();
    let mut stream = stream.map_err(io::Error::other)?;
    connection.write_all(FOUND)?;
    stream.stream_to(connection).map_err(io::Error::other)?;
    Ok(())
}
