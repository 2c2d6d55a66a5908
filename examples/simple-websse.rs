//! Three event types, one event a second, a page that listens.
//!
//! `cargo run --example simple-websse`, then open <http://127.0.0.1:8080/> or listen with curl:
//! `curl -N 'http://127.0.0.1:8080/event?event=event1'`.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{thread::sleep, time::Duration};

use websse::{
    Message, Server,
    event_type::GENERAL,
    http::{HttpServer, Request, Response},
};

const PAGE: &str = "<!doctype html><title>websse</title><h1>event1</h1><ul id=events></ul><script>
  function listen(last) {
    const events = new EventSource('/event?event=event1&last_event_id=' + encodeURIComponent(last))
    events.addEventListener('stream-open', ({lastEventId}) => last = lastEventId || last)
    events.addEventListener('event1', ({data, lastEventId}) => {
      document.getElementById('events').appendChild(document.createElement('li')).textContent = data
      last = lastEventId
    })
    // A browser reconnects by itself, unless an answer such as a proxy's 502 closes it for good.
    events.onerror = () => events.readyState === EventSource.CLOSED && setTimeout(listen, 3000, last)
  }
  listen('')
</script>";

fn main() -> Result<(), websse::Error> {
    let server = Server::new();
    server.register_events([GENERAL, "event1", "event2"])?;
    server.run()?;
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".into());
    let http = HttpServer::new()
        .get("/", |_: &Request| Response::html(PAGE))
        .get("/event", server.event_stream_handler())
        .post("/send", server.send_message_handler())
        .bind(address)?;
    println!("open http://{}/", http.local_addr().expect("it listens over TCP"));
    for second in 1_u64.. {
        server.publish(Message::new(format!("event {second}")).event("event1"))?;
        sleep(Duration::from_secs(1));
    }
    Ok(())
}
