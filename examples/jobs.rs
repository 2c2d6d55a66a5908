//! A job runner for many users: each page shows the jobs of its own user, and what is said to all.
//! A page that is opened later shows how far the last ones are.
//!
//! `cargo run --example jobs`, then open <http://127.0.0.1:8086/?user=ann> in one tab, and
//! <http://127.0.0.1:8086/?user=bob> in another. In a real program the user is that of the session.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{
    error::Error,
    sync::mpsc::{Receiver, channel},
    thread::{self, sleep},
    time::Duration,
};

use websse::{
    Channels, Denied, Message, Publisher, Server,
    http::{HttpServer, Request, Response},
};

const PAGE: &str = "<!doctype html><title>jobs</title>
<button>start a job</button> <output></output><ul></ul><script>
  const [button, said, list] = document.querySelectorAll('button, output, ul')
  const user = new URLSearchParams(location.search).get('user') || 'ann'
  button.onclick = () => fetch('/start?user=' + encodeURIComponent(user), {method: 'POST'})
  function listen(last) {
    const query = new URLSearchParams({user, event: '*', replay: 100, last_event_id: last})
    const events = new EventSource('/event?' + query)
    const on = (type, use) => events.addEventListener(type, ({data, lastEventId}) => {
      last = lastEventId || last
      use(data)
    })
    on('stream-open', () => {})
    on('news', text => said.value = text)
    on('job', text => {
      const [job, state] = text.split(' ')
      const line = document.getElementById(job) || list.appendChild(document.createElement('li'))
      line.id = job
      line.textContent = `job ${job}: ${state}`
    })
    // A browser reconnects by itself, unless an answer such as a proxy's 502 closes it for good.
    events.onerror = () => events.readyState === EventSource.CLOSED && setTimeout(listen, 3000, last)
  }
  listen('')
</script>";

fn user_of(request: &Request) -> Result<String, Denied> {
    let user = request.query().find(|(name, _)| name == "user").map(|(_, user)| user.into_owned());
    user.filter(|user| !user.is_empty()).ok_or(Denied::unauthorized("who are you? ?user=NAME"))
}

/// What is for all, and what is for this user. The client does not choose it.
fn channels_of(request: &Request) -> Result<Channels, Denied> {
    let channels = Channels::new([String::new(), channel_of(&user_of(request)?)]);
    channels.map_err(Denied::from)
}

/// The user's own channel. Nobody registers it, and it is forgotten when it is not needed.
fn channel_of(user: &str) -> String {
    format!("user/{user}")
}

/// Does the jobs one after the other, and tells their users.
fn work(
    users: &Receiver<String>,
    server: &Publisher,
    step: Duration,
) -> Result<(), Box<dyn Error>> {
    for (number, user) in (1..).zip(users) {
        for state in ["begun", "half-done", "done"] {
            let message = Message::new(format!("{number} {state}")).event("job");
            server.publish(message.channel(channel_of(&user)))?;
            sleep(step);
        }
        if number % 100 == 0 {
            server.publish(Message::new(format!("{number} jobs are done")).event("news"))?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::new();
    server.register_events(["job", "news"])?;
    server.run()?;
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8086".into());
    let step = Duration::from_millis(arguments.next().map_or(Ok(1000), |text| text.parse())?);
    let (start, users) = channel();
    let http = HttpServer::new()
        .get("/", |_: &Request| Response::html(PAGE))
        .get("/event", server.event_stream_handler().channels(channels_of))
        .post("/start", move |request: &Request| match user_of(request).map(|it| start.send(it)) {
            Ok(Ok(())) => Response::new(202),
            Ok(Err(_)) => Response::text(503, "the worker has ended"),
            Err(_) => Response::text(401, "who are you? ?user=NAME"),
        })
        .bind(address)?;
    println!("open http://{}/?user=ann", http.local_addr().expect("it listens over TCP"));
    let publisher = server.publisher();
    thread::spawn(move || work(&users, &publisher, step).expect("the server runs"));
    http.join();
    Ok(())
}
