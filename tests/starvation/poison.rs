//! Clients whose sockets fail in every way, beside others that notice nothing.

use std::{net::Shutdown, panic::resume_unwind, thread, time::Duration};

use websse::{
    Message,
    http::{Request, Response},
};

use crate::get;
use support::{Client, Hub, SOON, eventually};

/// Listeners that nothing may happen to, and the bad clients of each kind.
const GOOD: usize = 5;
const BAD: usize = 10;
/// The history of a type, more than sockets hold.
const OLD: usize = 600;
const OLD_BYTES: usize = 64 << 10;
/// Long enough that nobody who is slow to leave is taken for one who does not read.
const STALL: Duration = Duration::from_secs(3);
const REPLAY: &str = "/event?event=old&replay=1000";

#[test]
fn clients_whose_sockets_fail_in_every_way_disturb_nobody() {
    let builder = |builder: websse::Builder| {
        let bytes = 2 * OLD * OLD_BYTES;
        let builder = builder.history_bytes(bytes).history_all_bytes(2 * bytes);
        builder.stall_timeout(STALL)
    };
    let ok = |_: &Request| Response::new(200);
    let hub = Hub::with(&["live", "old", "probe"], builder, |http| http.get("/ok", ok));
    for _ in 0..OLD {
        hub.publish(Message::new("x".repeat(OLD_BYTES)).event("old"));
    }
    // They come first, so that each event is written to them before the others.
    let early: Vec<_> = (0..BAD).map(|_| hub.listen("?event=live")).collect();
    let mut listeners: Vec<_> = (0..GOOD).map(|_| hub.listen("?event=live")).collect();
    thread::scope(|scope| {
        let poison = scope.spawn(|| poison(&hub, early));
        let mut number = 0;
        while !poison.is_finished() || number < 100 {
            hub.publish(Message::new(number.to_string()).event("live"));
            for listener in &mut listeners {
                assert_eq!(listener.event().data, Some(number.to_string()));
            }
            number += 1;
        }
        poison.join().unwrap_or_else(|panic| resume_unwind(panic));
    });
    hub.assert_still_serves();
    assert_eq!(hub.http.shutdown(SOON), 0, "threads are left");
}

/// One kind after the other; of each nothing is left before the next begins.
fn poison(hub: &Hub, early: Vec<Client>) {
    let gone = || eventually(4 * SOON, GOOD, || hub.server.stats().streams);
    early.into_iter().for_each(reset);
    gone();
    leave_at_every_moment(hub);
    gone();
    reset_in_mid_replay(hub);
    gone();
    let deaf = shut_the_reading_side(hub);
    gone();
    drop(deaf);
    let talking = send_without_end(hub);
    gone();
    drop(talking);
    let ended = || {
        let disconnected = hub.server.stats().disconnected;
        (disconnected.stalled, disconnected.error, disconnected.behind)
    };
    eventually(SOON, (BAD as u64, BAD as u64, 0), ended);
}

/// Some with answers unread, which resets their connections.
fn leave_at_every_moment(hub: &Hub) {
    let half = "POST /send?event=live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf";
    let stream = get("/event?event=live");
    for _ in 0..BAD {
        drop(hub.ask(half));
        drop(hub.ask(&stream));
        reset(hub.ask(&stream));
        reset(hub.ask(get(REPLAY)));
        // The first answer is unread while the others are still to be written.
        reset(hub.ask(get("/ok") + &stream));
        reset(hub.ask(get("/ok").repeat(100)));
    }
}

/// Ends a connection that has something to read.
fn reset(client: Client) {
    assert_eq!(client.socket().peek(&mut [0]).unwrap(), 1, "expected an answer");
    drop(client);
}

fn reset_in_mid_replay(hub: &Hub) {
    let clients: Vec<_> = (0..BAD).map(|_| hub.ask(get(REPLAY))).collect();
    eventually(SOON, true, || hub.server.stats().behind >= BAD);
    clients.into_iter().for_each(reset);
}

/// To the server they look like clients that do not read.
fn shut_the_reading_side(hub: &Hub) -> Vec<Client> {
    let clients: Vec<_> = (0..BAD).map(|_| hub.ask(get(REPLAY))).collect();
    for client in &clients {
        client.socket().shutdown(Shutdown::Read).unwrap();
    }
    eventually(SOON, true, || hub.server.stats().behind >= BAD);
    clients
}

fn send_without_end(hub: &Hub) -> Vec<Client> {
    let mut clients: Vec<_> = (0..BAD).map(|_| hub.listen("?event=live")).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            // The server ends it on the way, and then nothing more can be sent.
            scope.spawn(|| (0..1000).any(|_| client.try_send([b'x'; 16 << 10]).is_err()));
        }
    });
    clients
}
