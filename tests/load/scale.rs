//! What many clients cost.

use std::time::{Duration, Instant};

use support::crowd::{Crowd, HubProcess, TARGET, measure};

pub(crate) fn ten_thousand_idle_streams_cost_little_memory_and_no_threads() {
    const MANY: usize = 10_000;
    const MOST_BYTES: u64 = 1280;
    const BYTES: usize = 128;
    let mut crowd = Crowd::start();
    let mut hub = HubProcess::start();
    let threads = measure::threads(hub.pid());
    let resident = measure::resident(hub.pid());

    let clients = crowd.join(hub.address, TARGET, MANY);
    hub.wait_streams(MANY, Duration::from_secs(10));
    // Threads that served the requests end when there is nothing to do.
    measure::wait_for("threads with idle streams", Duration::from_secs(15), &threads, || {
        measure::threads(hub.pid())
    });
    let per_stream = measure::resident(hub.pid()).saturating_sub(resident) / MANY as u64;

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
    let hub = command::Hub::start();
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
    hub.end();
}

/// The real command, as its user starts it.
#[cfg(feature = "cli")]
mod command {
    use std::{
        io::{BufRead, BufReader, Read},
        net::SocketAddr,
        process::{Child, Command, Stdio},
        sync::mpsc::{Sender, channel},
        thread,
        time::Duration,
    };

    use support::crowd::measure;

    /// Killed and waited for when dropped.
    #[derive(Debug)]
    pub(crate) struct Hub {
        child: Child,
        pub(crate) address: SocketAddr,
    }

    impl Hub {
        pub(crate) fn start() -> Self {
            let mut child = Command::new(env!("CARGO_BIN_EXE_websse"))
                .args(["--listen", "127.0.0.1:0"])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the command was built with this test");
            let (sender, addresses) = channel();
            find_address(child.stdout.take().expect("piped above"), sender.clone());
            find_address(child.stderr.take().expect("piped above"), sender);
            let Ok(address) = addresses.recv_timeout(Duration::from_secs(10)) else {
                let _ = child.kill();
                let _ = child.wait();
                panic!("expected the command to print http://127.0.0.1:PORT within 10 s");
            };
            Self { child, address }
        }

        pub(crate) fn pid(&self) -> u32 {
            self.child.id()
        }

        /// Asks it to end, as a terminal or a service manager does.
        #[track_caller]
        pub(crate) fn end(mut self) {
            let kill = format!("kill -TERM {}", self.child.id());
            let told = Command::new("sh").args(["-c", &kill]).status();
            assert!(told.is_ok_and(|status| status.success()), "cannot send SIGTERM");
            let mut status = None;
            measure::wait_until("the command to end on SIGTERM", Duration::from_secs(20), || {
                status = self.child.try_wait().expect("a child can be waited for");
                status.is_some()
            });
            assert!(
                status.is_some_and(|status| status.success()),
                "expected the command to end with success on SIGTERM, got {status:?}"
            );
        }
    }

    impl Drop for Hub {
        fn drop(&mut self) {
            // Both fail only if it has ended and been waited for.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Sends the first address of an output, and reads on so that the command never waits. The
    /// thread ends with the command.
    fn find_address(output: impl Read + Send + 'static, sender: Sender<SocketAddr>) {
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Some((_, rest)) = line.split_once("http://") else { continue };
                let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
                if let Ok(address) = rest[..end.unwrap_or(rest.len())].parse() {
                    // Nobody waits for a second one.
                    let _ = sender.send(address);
                }
            }
        });
    }
}
