//! How fast, and at what cost, events reach many clients: `websse` alone, or side by side with
//! other servers that speak the same small protocol (`peer.rs`).
//!
//! ```console
//! $ cargo run --release --manifest-path benches/fanout/Cargo.toml -- --help
//! $ cargo run --release --manifest-path benches/fanout/Cargo.toml -- \
//!     --scenario burst --peer axum=/path/to/peer-axum
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
//! | `rush.rs` | events to many clients while storms of others connect |
//! | `channels.rs`, `churn.rs` | events to one client each, while others come and go |
//! | `own.rs` | a stream for each of many requests, alone, and beside events to many clients |
//! | `known.rs`, `replay.rs` | what channels cost that are only known; all that is kept of them |
//! | `comeback.rs` | clients that come back at once and have missed something |
//! | `peer.rs` | the server under test, as a child process |
//! | `hub.rs` | `websse` as such a child |
//! | `records.rs` | what it can take instead of requests that publish |
//! | `store.rs` | the Redis of such a child, with the feature `redis` |
//! | `publisher.rs` | the connection that publishes |
//! | `listener.rs`, `latency.rs` | what a client of the crowd understands, and when it came |
//! | `processes.rs` | what a process and its descendants use, by `/proc` |
//! | `metric.rs` | what is measured, in which unit, and what several rounds say together |
//! | `results.rs`, `table.rs`, `json.rs`, `markdown.rs`, `svg.rs` | what came out |
//! | `certificate.rs` | what servers show with the feature `tls` |
//! | `targets.rs` | what HTTPS may cost |
//! | `blocks.rs` | where it goes in files that are there |
//! | `bin/append.rs` | another program: how much one node can append to a shared log |

mod blocks;
#[cfg(feature = "tls")]
mod certificate;
mod channels;
mod check;
mod churn;
mod comeback;
mod delivery;
mod hub;
mod idle;
mod json;
mod known;
mod latency;
mod listener;
mod markdown;
mod metric;
mod options;
mod own;
mod peer;
mod processes;
mod publisher;
mod publishing;
mod records;
mod replay;
mod results;
mod rush;
mod scenario;
mod stage;
#[cfg(feature = "redis")]
mod store;
mod storm;
mod svg;
mod table;
mod targets;

use std::process::ExitCode;

use listener::Listener;
use support::crowd;

fn main() -> ExitCode {
    // Also raises the limit of descriptors.
    if let Some(code) = crowd::run_as_child() {
        return code;
    }
    let outcome = match std::env::args().nth(1).as_deref() {
        Some(stage::LISTENERS) => return crowd::run_crowd::<Listener>(),
        Some(hub::ARGUMENT) => hub::serve().map(|()| true),
        Some(own::BARE) => own::serve_bare().map(|()| true),
        _ => lead(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fanout: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tells whether `websse` made no mistake.
fn lead() -> anyhow::Result<bool> {
    // Its errors tell their sources themselves.
    let Some(options) = options::parse().map_err(anyhow::Error::msg)? else {
        results::print(options::USAGE)?;
        return Ok(true);
    };
    check::notices_what_is_wrong();
    results::measure(&options)
}
