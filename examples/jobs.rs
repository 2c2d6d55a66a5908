//! A job runner for many users: each page shows the jobs of its own user, and what is said to all.
//! A page that is opened later, or again, shows how far the last ones are.
//!
//! `cargo run --example jobs`, then open <http://127.0.0.1:8086/?user=ann> in one tab, and
//! <http://127.0.0.1:8086/?user=bob> in another. In a real program the user is that of the session.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{
    error::Error,
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, Sender, channel},
    },
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
    const keep = ({lastEventId}) => last = lastEventId || last
    events.addEventListener('stream-open', keep)
    events.addEventListener('news', event => { said.value = event.data; keep(event) })
    events.addEventListener('job', event => {
      const [job, state] = event.data.split(' ', 2)
      const line = document.getElementById(job) || list.appendChild(document.createElement('li'))
      line.id = job
      line.textContent = 'job ' + job + ': ' + state
      keep(event)
    })
    // A browser reconnects by itself, unless an answer such as a proxy's 502 closes it for good.
    events.onerror = () => events.readyState === EventSource.CLOSED && setTimeout(listen, 3000, last)
  }
  listen('')
</script>";

/// A job of a user.
struct Job {
    user: String,
    number: usize,
}

/// The user's own channel. Nobody registers it, and it is forgotten when it is not needed.
fn channel_of(user: &str) -> String {
    format!("user/{user}")
}

fn user_of(request: &Request) -> Result<String, Denied> {
    let user = request.query().find(|(name, _)| name == "user").map(|(_, user)| user.into_owned());
    user.filter(|user| !user.is_empty()).ok_or(Denied::unauthorized("who are you? ?user=NAME"))
}

/// What is for all, and what is for this user. The client does not choose it.
fn channels_of(request: &Request) -> Result<Channels, Denied> {
    let user = user_of(request)?;
    let channels = Channels::new([String::new(), channel_of(&user)]);
    channels.map_err(|error| Denied::forbidden(error.to_string()))
}

/// Does the jobs one after the other, and tells their users.
fn work(jobs: &Receiver<Job>, server: &Publisher, step: Duration) -> Result<(), Box<dyn Error>> {
    for Job { user, number } in jobs {
        for state in ["begun", "half-done", "done"] {
            sleep(step);
            let message = Message::new(format!("{number} {state}")).event("job");
            server.publish(message.channel(channel_of(&user)))?;
        }
        server.publish(Message::new(format!("{number} jobs are done")).event("news"))?;
    }
    Ok(())
}

fn start(request: &Request, jobs: &Sender<Job>, number: usize) -> Response {
    match user_of(request).map(|user| jobs.send(Job { user, number })) {
        Ok(Ok(())) => Response::text(202, format!("job {number}")),
        Ok(Err(_)) => Response::text(503, "the worker has ended"),
        Err(_) => Response::text(401, "who are you? ?user=NAME"),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::new();
    server.register_events(["job", "news"])?;
    server.run()?;
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:8086".into());
    let step = Duration::from_millis(arguments.next().map_or(Ok(1000), |text| text.parse())?);
    let (jobs, to_do) = channel();
    let started = AtomicUsize::new(0);
    let http = HttpServer::new()
        .get("/", |_: &Request| Response::html(PAGE))
        .get("/event", server.event_stream_handler().channels(channels_of))
        .post("/start", move |request: &Request| {
            start(request, &jobs, started.fetch_add(1, Relaxed) + 1)
        })
        .bind(address)?;
    println!("open http://{}/?user=ann", http.local_addr().expect("it listens over TCP"));
    let publisher = server.publisher();
    let worker =
        thread::spawn(move || work(&to_do, &publisher, step).map_err(|error| error.to_string()));
    http.join();
    worker.join().expect("it does not panic")?;
    Ok(())
}
