//! Requests of people who mean harm, over real sockets: malformed, ambiguous, oversized, dribbled,
//! cut off; in crowds that want all the memory, or all the threads.
//!
//! The tables here go on where `requests.rs` and `requests_bodies.rs` end. Memory and threads are
//! those of the real command, in a process of its own.

#![cfg(all(feature = "cli", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod beginnings;
mod bodies;
mod cuts;
#[cfg(feature = "tls")]
mod handshakes;
mod heads;
mod history;
mod memory;
mod process;
mod routes;
mod slowloris;
mod streams;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};

use support::Hub;
use websse::Message;
use websse::http::{HttpServer, Request, Response};

/// Threads and descriptors are counted, and two crowds at a time would be in each other's way.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A hub for requests that publish events of the types `own`, `canary` and `smuggled`, with a page, a
/// stream that a program writes, and a route with a parameter.
fn hub() -> Hub {
    let hello = |_: &Request| Response::text(200, "hello\n");
    let events = ["", "own", "canary", "smuggled", "probe"];
    let stream = |_: &Request| {
        Response::events(|out| {
            out.send(&Message::new("one"))?;
            out.send(&Message::new("two"))
        })
    };
    let routes = |http: HttpServer| {
        http.get("/hello", hello).get("/stream", stream).route("PUT", "/item/:id", hello)
    };
    Hub::with(&events, |builder| builder, routes)
}
