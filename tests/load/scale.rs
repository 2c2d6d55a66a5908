//! What many clients cost.

#[cfg(feature = "cli")]
use std::process::Command;
use std::time::{Duration, Instant};

use support::crowd::{Crowd, HubProcess, TARGET, measure};
#[cfg(feature = "cli")]
use support::process::{Running, Serving};

pub(crate) fn ten_thousand_idle_streams_cost_little_memory_and_no_threads() {
    const MANY: usize = 10_000;
    const MOST_BYTES: usize = 1280;
    const BYTES: usize = 128;
    let mut crowd = Crowd::start();
    let mut hub = HubProcess::start();
    let threads = measure::threads(hub.pid());
    let resident = measure::memory(hub.pid()).0;

    let clients = crowd.join(hub.address, TARGET, MANY);
    hub.wait_streams(MANY, Duration::from_secs(10));
    // Threads that served the requests end when there is nothing to do.
    measure::wait_for("threads with idle streams", Duration::from_secs(15), &threads, || {
        measure::threads(hub.pid())
    });
    let per_stream = measure::memory(hub.pid()).0.saturating_sub(resident) / MANY;

    // They are streams, not only sockets.
    let started = Instant::now();
    hub.publish(1, BYTES);
    let report = crowd.wait_events(&clients, 1, Duration::from_secs(20));
    let delivered = started.elapsed();
    report.assert_everyone_has(1, BYTES as u64);
    hub.end();
    eprintln!(
        "figure: 10,000 idle streams: {per_stream} bytes of resident memory each, {threads} \
         threads before and after; one event to all in {delivered:.2?}"
    );
    assert!(
        per_stream < MOST_BYTES,
        "an idle stream should cost less than {MOST_BYTES} bytes of memory, got {per_stream}"
    );
}

#[cfg(feature = "cli")]
pub(crate) fn five_thousand_clients_connecting_at_once_have_their_heads_within_a_second() {
    const CLIENTS: usize = 5000;
    const MOST: Duration = Duration::from_secs(1);
    let mut crowd = Crowd::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    let hub = Serving::from(Running::start(command.args(["--listen", "127.0.0.1:0"])));
    let before = measure::processor_time(hub.pid());

    let clients = crowd.connect(hub.address, "/event", CLIENTS, CLIENTS);
    let report = crowd.wait_heads(&clients, Duration::from_secs(60));
    let used = measure::processor_time(hub.pid()).saturating_sub(before);
    let last_head = Duration::from_micros(report.last_head_micros);
    eprintln!(
        "figure: 5000 clients at once: last head after {last_head:.2?}; {used:.2?} of processor \
         time, {:.1?} per connection",
        used / u32::try_from(CLIENTS).expect("small")
    );
    report.assert_no_trouble();
    assert_eq!(report.ok, report.clients, "expected status 200 for all, got {report}");
    assert!(last_head < MOST, "expected the last head within {MOST:?}, got it after {last_head:?}");
    let (status, errors) = hub.running.terminate();
    assert!(status.success(), "expected the command to end with success, got {status}: {errors}");
}
