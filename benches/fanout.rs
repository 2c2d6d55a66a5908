//! How fast, and at what cost, events reach many clients: `websse` alone, or side by side with
//! other servers that speak the same small protocol (`fanout/peer.rs`).
//!
//! ```console
//! $ cargo bench --bench fanout -- --help
//! $ cargo bench --bench fanout -- --scenario burst --peer axum=/path/to/peer-axum
//! ```
//!
//! Three processes take part: this one leads, publishes and reports; the server under test is a
//! child; so is the crowd, an event loop of `tests/support` over all clients' sockets, which checks
//! for each client that every event comes once and in order, and takes the time. Times of different
//! processes are compared by the machine's real-time clock, which is exact enough as long as nobody
//! sets it: `Instant` means nothing in another process.
//!
//! | file | owns |
//! |---|---|
//! | `options.rs` | the command line |
//! | `scenario.rs` | the catalogue: what is run, with which numbers |
//! | `stage.rs` | a server and a crowd before it, for one run |
//! | `delivery.rs` | events to many clients, at full speed or at a steady rate |
//! | `idle.rs`, `storm.rs`, `publishing.rs` | the other kinds of run |
//! | `peer.rs` | the server under test, as a child process |
//! | `hub.rs` | `websse` as such a child |
//! | `store.rs` | the Redis of such a child, with the feature `redis` |
//! | `publisher.rs` | the connection that publishes |
//! | `listener.rs`, `latency.rs` | what a client of the crowd understands, and when it came |
//! | `processes.rs` | what a process and its descendants use, by `/proc` |
//! | `metric.rs` | what is measured, in which unit, and what several rounds say together |
//! | `results.rs`, `table.rs`, `json.rs`, `markdown.rs`, `svg.rs` | what came out |
//! | `blocks.rs` | where it goes in files that are there |

#![allow(clippy::print_stderr, reason = "the progress of a run that takes minutes")]

use std::process::ExitCode;

use support::crowd;

mod fanout {
    pub(crate) mod blocks;
    pub(crate) mod check;
    pub(crate) mod delivery;
    pub(crate) mod hub;
    pub(crate) mod idle;
    pub(crate) mod json;
    pub(crate) mod latency;
    pub(crate) mod listener;
    pub(crate) mod markdown;
    pub(crate) mod metric;
    pub(crate) mod options;
    pub(crate) mod peer;
    pub(crate) mod processes;
    pub(crate) mod publisher;
    pub(crate) mod publishing;
    pub(crate) mod results;
    pub(crate) mod scenario;
    pub(crate) mod stage;
    #[cfg(feature = "redis")]
    pub(crate) mod store;
    pub(crate) mod storm;
    pub(crate) mod svg;
    pub(crate) mod table;
}

use fanout::{check, hub, listener::Listener, options, results, stage};

fn main() -> ExitCode {
    // Also raises the limit of descriptors.
    if let Some(code) = crowd::run_as_child() {
        return code;
    }
    match std::env::args().nth(1).as_deref() {
        Some(stage::LISTENERS) => return crowd::run_crowd::<Listener>(),
        Some(hub::ARGUMENT) => return hub::run(),
        _ => {}
    }
    let outcome = options::parse(std::env::args().skip(1)).and_then(|options| match options {
        Some(options) => {
            check::notices_what_is_wrong();
            results::measure(&options)
        }
        None => results::print(options::USAGE).map(|()| true),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanout: {error}");
            ExitCode::FAILURE
        }
    }
}
