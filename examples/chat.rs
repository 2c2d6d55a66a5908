//! A chat: the page sends what is typed, the program passes it on to everybody, and who comes new
//! sees the last 50 messages.
//!
//! `cargo run --example chat`, then open <http://127.0.0.1:8087/> in two windows.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{error::Error, sync::Arc};

use websse::{
    Message, Server,
    http::{HttpServer, Request, Response},
};

const PAGE: &str = "<!doctype html><title>chat</title><style>
  body { font: 1em system-ui; max-width: 40em; margin: auto } ul { padding: 0; list-style: none }
</style><ul></ul><form><input name=name placeholder=name required maxlength=20>
<input name=text placeholder=message required autofocus maxlength=1000> <button>say</button>
<output></output></form>
<script>
  const form = document.forms[0]
  function listen(last) {
    const query = 'event=chat&replay=50&last_event_id=' + encodeURIComponent(last)
    const events = new EventSource('/event?' + query)
    events.addEventListener('stream-open', ({lastEventId}) => last = lastEventId || last)
    events.addEventListener('chat', ({data, lastEventId}) => {
      const line = document.querySelector('ul').appendChild(document.createElement('li'))
      line.textContent = data // text, whatever it is
      last = lastEventId
      form.scrollIntoView()
    })
    // A browser reconnects by itself, unless an answer such as a proxy's 502 closes it for good.
    events.onerror = () => events.readyState === EventSource.CLOSED && setTimeout(listen, 3000, last)
  }
  listen('')
  form.onsubmit = async event => {
    event.preventDefault()
    const body = new URLSearchParams(new FormData(form))
    let trouble = ''
    try {
      const said = await fetch('/say', {method: 'POST', body, signal: AbortSignal.timeout(10000)})
      if (said.ok) form.text.value = ''
      else trouble = 'Not sent: ' + (await said.text() || said.status)
    } catch {
      trouble = 'No answer, so it may not be sent. Send it again?'
    }
    document.querySelector('output').value = trouble
  }
</script>";

fn main() -> Result<(), Box<dyn Error>> {
    let server = Arc::new(Server::new());
    server.register_event("chat")?;
    server.run()?;
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8087".into());
    let room = Arc::clone(&server);
    let http = HttpServer::new()
        .get("/", |_: &Request| Response::html(PAGE))
        .get("/event", server.event_stream_handler())
        .post("/say", move |request: &Request| say(&room, request))
        .bind(address)?;
    println!("open http://{}/", http.local_addr().expect("it listens over TCP"));
    http.join();
    Ok(())
}

fn say(room: &Server, request: &Request) -> Response {
    let field = |wanted: &str, most: usize| {
        let value = request.form()?.find(|(name, _)| name == wanted)?.1;
        let value = value.trim();
        (1..=most).contains(&value.chars().count()).then(|| value.to_owned())
    };
    let (Some(name), Some(text)) = (field("name", 20), field("text", 1000)) else {
        return Response::text(422, "a name of 20 characters and a text of 1000 at most, please");
    };
    match room.publish(Message::new(format!("{name}: {text}")).event("chat")) {
        Ok(_) => Response::new(204),
        Err(error) => Response::text(503, error.to_string()),
    }
}
