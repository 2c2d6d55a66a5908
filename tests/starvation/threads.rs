//! No thread is to be had.
//!
//! The kernel refuses one that asks for a larger stack than the address space of its process has
//! room for; unlike a limit of threads this holds for every user. The hub and its clients are in a
//! process of their own meanwhile.

use std::{
    fs,
    io::ErrorKind,
    sync::Barrier,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use rlimit::Resource;
use websse::{
    Message,
    http::{Request, Response},
};

use support::{
    Client, Hub, SOON, eventually,
    measure::own_threads_named,
    process::{alone, assert_passes, is_alone, this_program},
};

use crate::{InTurn, get, post};

/// The stack of each thread, and the room that is left: ample for all but a stack.
const STACK: u64 = 512 << 20;
const ROOM: u64 = STACK / 2;

#[test]
fn with_no_thread_to_be_had_the_one_that_accepts_serves_and_publishes() {
    if is_alone() {
        return starve();
    }
    let itself = "threads::with_no_thread_to_be_had_the_one_that_accepts_serves_and_publishes";
    assert_passes(alone(&mut this_program(), itself).env("RUST_MIN_STACK", STACK.to_string()));
}

fn starve() {
    let (gate, in_turn) = make_gate();
    let (busy, in_busy) = make_gate();
    let both_there = Barrier::new(2);
    let meet = move |_: &Request| {
        both_there.wait();
        Response::new(200)
    };
    let hub = Hub::with(
        &["a", "probe"],
        |builder| builder.history_events(0),
        |http| http.get("/gate", InTurn(in_turn)).get("/busy", in_busy).get("/meet", meet),
    );
    let mut listeners = vec![hub.listen("?event=a")];
    let mut first = hub.ask(get("/busy"));
    busy.entered.recv_timeout(SOON).unwrap();
    // The one that accepts, and the one that is busy; those who parked have ended.
    eventually(2 * SOON, 2, threads);
    let starvation = Starvation::begin();

    for (mut client, _) in serve_all(&hub, &gate, vec![get("/event?event=a"); 10]) {
        client.preamble();
        listeners.push(client);
    }
    let publishes = (0..10).map(|number| post(&number.to_string())).collect();
    let served = serve_all(&hub, &gate, publishes);
    hub.publish(Message::new("own").event("a"));
    for listener in &mut listeners {
        for (_, request) in &served {
            let data = listener.event().data.unwrap();
            assert_eq!(post(&data), *request);
        }
        assert_eq!(listener.event().data.as_deref(), Some("own"));
    }

    // What cannot be done without another thread is refused, not waited for.
    let mut two = serve_all(&hub, &gate, vec![post("first") + &post("second")]);
    assert_refused(&mut two[0].0);
    for listener in &mut listeners {
        assert_eq!(listener.event().data.as_deref(), Some("first"));
    }
    assert_refused(&mut hub.connect());
    assert_refused(&mut hub.ask(get("/meet")));
    assert_eq!(threads(), 2);

    // A thread that becomes free is one to be had.
    drop(busy);
    assert_eq!(first.answer().status, 200);
    drop(first);
    eventually(2 * SOON, 200, || hub.ask(get("/busy")).answer().status);

    starvation.end();
    let mut pair = [hub.ask(get("/meet")), hub.ask(get("/meet"))];
    assert_eq!(pair.each_mut().map(|client| client.answer().status), [200, 200]);
    hub.publish(Message::new("last").event("a"));
    for listener in &mut listeners {
        assert_eq!(listener.event().data.as_deref(), Some("last"));
    }
    hub.assert_still_serves();
    assert_eq!(hub.http.shutdown(SOON), 0, "threads are left");
}

/// The threads of HTTP connections in this process.
fn threads() -> usize {
    own_threads_named("websse").iter().filter(|name| *name == "websse-http").count()
}

#[track_caller]
fn assert_refused(client: &mut Client) {
    let answer = client.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    answer.assert_explained();
    assert!(answer.text().contains("no threads"), "{answer:?}");
}

/// While this lasts no thread can be started in this process.
struct Starvation {
    limits: (u64, u64),
    held: Vec<JoinHandle<()>>,
    release: Sender<()>,
}

impl Starvation {
    fn begin() -> Self {
        let limits = Resource::AS.get().unwrap();
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: u64 = pages.split(' ').next().unwrap().parse().unwrap();
        // The smallest pages there are; larger ones leave less room, still enough.
        Resource::AS.set(pages * 4096 + ROOM, limits.1).unwrap();
        let (release, released) = bounded(0);
        let mut starvation = Self { limits, held: Vec::new(), release };
        // Stacks of threads that have ended may be kept for new ones.
        loop {
            let released: Receiver<()> = released.clone();
            match thread::Builder::new().spawn(move || released.recv().unwrap_or(())) {
                Ok(thread) => starvation.held.push(thread),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                    return starvation;
                }
            }
            assert!(starvation.held.len() < 100, "expected the limit to be felt");
        }
    }

    fn end(self) {
        Resource::AS.set(self.limits.0, self.limits.1).unwrap();
        drop(self.release);
        for thread in self.held {
            thread.join().unwrap();
        }
    }
}

/// Says when a handler was entered, and lets it go on; when dropped, for good.
struct Gate {
    entered: Receiver<()>,
    open: Sender<()>,
}

/// A gate, and the handler that stops at it.
fn make_gate() -> (Gate, impl Fn(&Request) -> Response + Send + Sync + 'static) {
    let (enter, entered) = unbounded();
    let (open, opened) = unbounded();
    let handler = move |_: &Request| {
        // Without a gate nobody listens, and nobody needs to wait.
        let _ = enter.send(());
        let _ = opened.recv();
        Response::new(200)
    };
    (Gate { entered, open }, handler)
}

impl Gate {
    /// Keeps the thread that accepts in a handler.
    fn close(&self, hub: &Hub) {
        let end = Instant::now() + 6 * SOON;
        while Instant::now() < end {
            let mut client = hub.ask(get("/gate"));
            loop {
                if self.entered.try_recv().is_ok() {
                    return;
                }
                match client.fill(Instant::now() + Duration::from_millis(1)) {
                    Err(error) if error.kind() == ErrorKind::TimedOut => {}
                    // It was accepted before its request was there, and refused.
                    _ => break,
                }
            }
        }
        panic!("expected the gate's handler to be called");
    }
}

/// Sends requests while nobody accepts, so that they are there when somebody does, and returns the
/// clients that were answered with success, with what they asked, in the order of the answers: in
/// the end all of them.
fn serve_all(hub: &Hub, gate: &Gate, mut requests: Vec<String>) -> Vec<(Client, String)> {
    let mut served = Vec::new();
    for _ in 0..20 {
        gate.close(hub);
        let asked = |request: String| (hub.ask(&request), request);
        let clients: Vec<_> = requests.drain(..).map(asked).collect();
        gate.open.send(()).unwrap();
        for (mut client, request) in clients {
            match client.head().status {
                200 => served.push((client, request)),
                // A busy kernel brought it late.
                503 => requests.push(request),
                status => panic!("expected {request:?} to be served, got {status}"),
            }
        }
        if requests.is_empty() {
            return served;
        }
    }
    panic!("expected all to be served in the end; not served: {requests:?}");
}
