//! A client as a process of its own, which says what it sees in lines of JSON.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use url::form_urlencoded::Serializer;
use websse::http::{HttpServer, Policy, Request, Response};

use super::plan::TYPES;
use support::eventually;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A browser without a screen, which asks nobody else for anything.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-breakpad",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
];

type Lines = Arc<Mutex<Vec<String>>>;

/// Ends the process when dropped.
pub(crate) struct Program {
    child: Child,
    lines: Lines,
    /// Takes its lines, where it is not a browser.
    thread: Option<JoinHandle<()>>,
    browser: Option<Browser>,
    /// What it says else.
    log: PathBuf,
}

struct Browser {
    /// Where its page sends the lines.
    _desk: HttpServer,
    /// Its own files.
    profile: PathBuf,
}

impl Program {
    /// Starts one that prints a line for each event.
    pub(crate) fn start(command: Command) -> Program {
        let (mut child, log) = spawn(command);
        let lines = Lines::default();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let thread = thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                for line in stdout.lines() {
                    lines.lock().unwrap().push(line.unwrap());
                }
            }
        });
        Program { child, lines, thread: Some(thread), browser: None, log }
    }

    /// What it has said so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// How it has ended, if it has, and all that it had to say is here.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().unwrap()?;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
        Some(status)
    }

    /// A browser that opens a page of the server at `addr`, which listens to `stream`.
    pub(crate) fn browser(addr: SocketAddr, stream: &str) -> Program {
        Program::browser_at(&format!("http://{addr}"), stream)
    }

    /// The same at a URL; any certificate is let pass.
    pub(crate) fn browser_at(server: &str, stream: &str) -> Program {
        let lines = Lines::default();
        let take = {
            let lines = Arc::clone(&lines);
            move |request: &Request| {
                let body = std::str::from_utf8(request.body()).unwrap();
                lines.lock().unwrap().extend(body.lines().map(str::to_owned));
                Response::new(200)
            }
        };
        // The page is of another port, and so of another origin.
        let policy = Policy::default().allow_origin("*").unwrap();
        let desk = HttpServer::new().policy(policy).post("/seen", take);
        let desk = desk.bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/seen", desk.local_addr().unwrap());
        let mut query = Serializer::new(String::new());
        query.append_pair("stream", stream).append_pair("desk", &url);
        for kind in TYPES.iter().chain(&["stream-gap"]) {
            query.append_pair("type", kind);
        }
        let profile =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("browser-{}", std::process::id()));
        let mut command = Command::new("chromium");
        command
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("--ignore-certificate-errors")
            .arg(format!("{server}/page?{}", query.finish()));
        let (child, log) = spawn(command);
        let browser = Some(Browser { _desk: desk, profile });
        Program { child, lines, thread: None, browser, log }
    }

    /// Waits until it has said exactly these lines, as `seen` has them.
    #[track_caller]
    pub(crate) fn says(&mut self, expected: &[String], seen: fn(&str) -> &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            let wrong = (0..lines.len())
                .find(|&at| expected.get(at).map(|line| seen(line)) != Some(seen(&lines[at])));
            if let Some(at) = wrong {
                panic!(
                    "line {at}: expected {:?}\n     got {:?}\n  after {:?}{}",
                    expected.get(at),
                    lines[at],
                    lines[..at].last(),
                    self.told()
                );
            }
            if lines.len() == expected.len() {
                return;
            }
            let exit = self.child.try_wait().unwrap();
            assert!(
                Instant::now() < end && exit.is_none(),
                "expected {} lines, got {}; next {:?}; the client's end: {exit:?}{}",
                expected.len(),
                lines.len(),
                expected[lines.len()],
                self.told()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// What it has said that is no event.
    fn told(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(2000);
        format!("\n--- {}:\n{}", self.log.display(), String::from_utf8_lossy(&log[from..]))
    }

    /// Ends it, and waits until all that it had to say is here.
    #[track_caller]
    pub(crate) fn end(&mut self) {
        drop(self.child.stdin.take());
        if let Some(thread) = self.thread.take() {
            let child = &mut self.child;
            eventually(PATIENCE, Some(true), || {
                child.try_wait().unwrap().map(|status| status.success())
            });
            thread.join().unwrap();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(Browser { profile, .. }) = &self.browser {
            // Its own processes end a moment later, and write until then.
            let end = Instant::now() + PATIENCE;
            while profile.exists() && Instant::now() < end {
                let _ = fs::remove_dir_all(profile);
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn spawn(mut command: Command) -> (Child, PathBuf) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    let log = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("clients-{test}.log"));
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
    let child = command.spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; run tests/clients/run"));
    (child, log)
}
