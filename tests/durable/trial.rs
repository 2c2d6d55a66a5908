//! The command under load, with clients that come and go, while it is killed.

use std::{
    collections::HashSet,
    env,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use support::process::Running;
use support::random::Random;
use support::{Client, SOON, is_nothing_yet};

/// How long a client waits before it looks whether the trial is over, or whether there is a server.
const LOOK: Duration = Duration::from_millis(20);

/// The data of the last event.
const LAST: &str = "last";

pub(crate) struct Trial {
    directory: PathBuf,
    flags: &'static [&'static str],
    address: OnceLock<SocketAddr>,
    /// Nothing more is published.
    is_quiet: AtomicBool,
    /// What was acknowledged, in no order.
    acknowledged: Mutex<Vec<String>>,
    /// The id of the first event.
    first: OnceLock<String>,
}

/// A number from the environment.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// Does something to the command while eight publishers publish and clients come and go; it returns
/// the command as it runs then. Returns what each client heard.
pub(crate) fn under_load(
    trial: &Trial,
    trouble: impl FnOnce(Running, &mut Random) -> Running,
) -> Vec<Heard> {
    let (seed, clients) = (number("WEBSSE_SEED", 1), number("WEBSSE_CLIENTS", 20));
    let running = trial.start();
    thread::scope(|scope| {
        let publishers: Vec<_> =
            (0..8).map(|publisher| scope.spawn(move || trial.publish(publisher))).collect();
        let clients: Vec<_> =
            (1..=clients).map(|client| scope.spawn(move || trial.listen(seed, client))).collect();
        let _running = trouble(running, &mut Random::new(seed, 0));
        trial.quiet();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        trial.finish();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

/// What a client heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) data: Vec<String>,
    pub(crate) gaps: usize,
    pub(crate) connections: usize,
}

/// A response's status, and the id in it.
pub(crate) fn post(address: SocketAddr, data: &str) -> Option<(u16, String)> {
    let mut client = Client::try_connect(address).ok()?;
    let length = data.len();
    let request = format!(
        "POST /send HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{data}"
    );
    client.try_send(request).ok()?;
    let answer = client.try_answer(Instant::now() + SOON).ok()?;
    let id = answer.fields.iter().find(|(name, _)| name == "event-id");
    Some((answer.status, id.map(|(_, id)| id.clone()).unwrap_or_default()))
}

impl Trial {
    pub(crate) fn new(directory: PathBuf, flags: &'static [&'static str]) -> Self {
        Self {
            directory,
            flags,
            address: OnceLock::new(),
            is_quiet: AtomicBool::new(false),
            acknowledged: Mutex::default(),
            first: OnceLock::new(),
        }
    }

    /// Starts the command, at the same address as before.
    pub(crate) fn start(&self) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        let listen = self.address.get().map_or("127.0.0.1:0".to_owned(), ToString::to_string);
        command.args(["--listen", &listen, "--history-dir"]).arg(&self.directory);
        command.args(["--history-events", "1000000", "--history-bytes", "256MiB"]).args(self.flags);
        for of_the_test in ["WEBSSE_SEED", "WEBSSE_KILLS", "WEBSSE_CLIENTS"] {
            command.env_remove(of_the_test);
        }
        let mut running = Running::with_errors_to(Stdio::inherit(), &mut command);
        let address = running.address();
        assert_eq!(*self.address.get_or_init(|| address), address);
        if self.first.get().is_none() {
            let (status, id) = post(address, "first").unwrap();
            assert_eq!(status, 200);
            self.first.set(id).unwrap();
        }
        running
    }

    pub(crate) fn address(&self) -> SocketAddr {
        *self.address.get().unwrap()
    }

    /// Publishes one event after the other, and waits for each acknowledgement. One without is not
    /// published again.
    pub(crate) fn publish(&self, publisher: usize) {
        for number in 0.. {
            if self.is_quiet.load(Relaxed) {
                return;
            }
            let data = format!("{publisher}-{number} {}", "x".repeat(number * 7 % 300));
            match post(self.address(), &data) {
                Some((200, _)) => self.acknowledged.lock().unwrap().push(data),
                Some(_) => {}
                // There is no server now.
                None => thread::sleep(LOOK),
            }
        }
    }

    /// Has the publishers end.
    pub(crate) fn quiet(&self) {
        self.is_quiet.store(true, Relaxed);
    }

    /// Publishes the last event.
    pub(crate) fn finish(&self) {
        assert_eq!(post(self.address(), LAST).unwrap().0, 200);
    }

    /// Listens until the last event came, with one connection after the other.
    pub(crate) fn listen(&self, seed: u64, client: u64) -> Heard {
        let mut random = Random::new(seed, client);
        let (mut heard, mut last) = (Heard::default(), self.first.get().unwrap().clone());
        loop {
            let Ok(mut stream) = Client::try_connect(self.address()) else {
                thread::sleep(LOOK);
                continue;
            };
            let request =
                format!("GET /event HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: {last}\r\n\r\n");
            if stream.try_send(request).is_err() {
                continue;
            }
            heard.connections += 1;
            let mut left = 1 + random.below(500);
            while left > 0 {
                while let Some(block) = stream.block() {
                    last = block.id.unwrap_or(last);
                    heard.gaps += usize::from(block.event.as_deref() == Some("stream-gap"));
                    if let Some(data) = block.data.filter(|_| block.event.is_none()) {
                        left = left.saturating_sub(1);
                        let is_last = data == LAST;
                        heard.data.push(data);
                        if is_last {
                            return heard;
                        }
                    }
                }
                match stream.fill(Instant::now() + LOOK) {
                    Ok(1..) => {}
                    Err(error)
                        if is_nothing_yet(&error)
                            || error.kind() == std::io::ErrorKind::TimedOut => {}
                    _ => break,
                }
            }
        }
    }

    /// Whether each heard everything that was acknowledged, or was told of a gap; nothing came twice.
    pub(crate) fn check_with_gaps(&self, heard: &[Heard]) {
        let acknowledged = self.acknowledged.lock().unwrap();
        let mut lost = 0;
        for heard in heard {
            let once: HashSet<&String> = heard.data.iter().collect();
            assert_eq!(once.len(), heard.data.len(), "something came twice");
            let missed = acknowledged.iter().filter(|data| !once.contains(data)).count();
            assert!(missed == 0 || heard.gaps > 0, "{missed} are lost, and nobody told");
            lost = missed.max(lost);
        }
        eprintln!("{} acknowledged, at most {lost} lost", acknowledged.len());
    }

    /// Whether each heard everything that was acknowledged, once, and all in the same order.
    pub(crate) fn check(&self, heard: &[Heard]) {
        let acknowledged = self.acknowledged.lock().unwrap();
        let order = &heard[0].data;
        let connections: usize = heard.iter().map(|heard| heard.connections).sum();
        eprintln!(
            "{} acknowledged, {} heard by {} clients over {connections} connections",
            acknowledged.len(),
            order.len(),
            heard.len()
        );
        let once: HashSet<&String> = order.iter().collect();
        assert_eq!(once.len(), order.len(), "something came twice");
        for data in &*acknowledged {
            assert!(once.contains(data), "{data:?} was acknowledged and is lost");
        }
        for heard in heard {
            assert_eq!(heard.gaps, 0);
            assert_eq!(heard.data.len(), order.len());
            assert!(heard.data == *order, "another order");
        }
    }
}
