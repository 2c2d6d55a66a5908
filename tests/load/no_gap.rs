//! Between the response head and the first event there is no gap.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use websse::{Message, Server};

use support::{
    Client,
    crowd::{EVENT, Hub, TARGET},
};

const ROUNDS: usize = 20_000;
const THREADS: usize = 8;

pub(crate) fn a_client_that_has_its_head_gets_what_is_published_next() {
    let hub = Hub::start(Server::builder());
    let started = Instant::now();
    let missed: Vec<String> = thread::scope(|scope| {
        let listeners: Vec<_> = (0..THREADS)
            .map(|thread| {
                let hub = &hub;
                scope.spawn(move || {
                    (0..ROUNDS / THREADS)
                        .filter_map(|round| {
                            let token = format!("{thread}-{round}");
                            let heard = hear(hub, &token);
                            heard.err().map(|error| format!("{token}: {error}"))
                        })
                        // Each takes a time-out; a few tell enough.
                        .take(3)
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        listeners.into_iter().flat_map(|listener| listener.join().expect("no panic")).collect()
    });
    let took = started.elapsed();
    assert!(
        missed.is_empty(),
        "every client should get the event published after its head arrived; these did not: \
         {missed:?}"
    );
    hub.end();
    eprintln!(
        "figure: {ROUNDS} times head, publish, event: {took:.2?}, {:.0?} each on {THREADS} threads",
        took * u32::try_from(THREADS).expect("few") / u32::try_from(ROUNDS).expect("few")
    );
}

/// Opens a stream, publishes the token once the head is there, and waits for it.
fn hear(hub: &Hub, token: &str) -> io::Result<()> {
    let mut client = Client::try_connect(hub.address)?;
    let end = Instant::now() + Duration::from_secs(10);
    client.try_send(format!("GET {TARGET} HTTP/1.1\r\nHost: hub\r\n\r\n"))?;
    client.try_head(end)?.assert_stream();
    hub.server.publish(Message::new(token).event(EVENT)).map_err(io::Error::other)?;
    client.preamble();
    // The others' events come on the same stream.
    while client.event().data.as_deref() != Some(token) {
        if Instant::now() > end {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}
