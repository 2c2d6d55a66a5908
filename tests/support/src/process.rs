//! Programs that run beside a test: what they print, and how they end.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use crate::{Client, SOON, eventually};

/// What stands in ids for the name of a run.
pub const RUN: &str = "0mwscj3olj8rw";

/// A child process that does not outlive its test.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self::with_errors_to(Stdio::piped(), command)
    }

    /// Starts it; its standard error goes there.
    #[track_caller]
    pub fn with_errors_to(errors: impl Into<Stdio>, command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::piped()).stderr(errors))
    }

    /// Starts it with a standard input.
    #[track_caller]
    pub fn with_input(input: impl Into<Stdio>, command: &mut Command) -> Self {
        Self::spawn(command.stdin(input).stderr(Stdio::piped()))
    }

    #[track_caller]
    fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped());
        let child = command.spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The next line; empty at the end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The address in the next line that has one.
    #[track_caller]
    pub fn address(&mut self) -> SocketAddr {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "expected an address");
            let address = ["http://", "https://"].iter().find_map(|scheme| line.split_once(scheme));
            if let Some((_, address)) = address {
                let address = address.trim_end().split('/').next().unwrap();
                return address.parse().unwrap();
            }
        }
    }

    /// Reads as many bytes as `expected` has, in which a run's name in ids is [`RUN`].
    #[track_caller]
    pub fn assert_next(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        self.stdout.read_exact(&mut got).unwrap();
        let got = String::from_utf8(got).unwrap();
        let lines = got.split_inclusive('\n').map(|line| {
            let id = line.strip_prefix("id: ").and_then(|id| id.split_once('-'));
            id.map_or_else(|| line.to_owned(), |(_, number)| format!("id: {RUN}-{number}"))
        });
        assert_eq!(lines.collect::<String>(), expected);
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Waits for the end, and returns what was written to standard error, if that came here.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String) {
        eventually(4 * SOON, true, || self.child.try_wait().unwrap().is_some());
        let mut errors = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut errors).unwrap();
        }
        (self.child.wait().unwrap(), errors)
    }

    /// Asks it to end, as a service manager does, and waits for that.
    #[track_caller]
    pub fn terminate(self) -> (ExitStatus, String) {
        self.signal("-TERM");
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test got to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that prints where it listens.
#[derive(Debug)]
pub struct Serving {
    pub running: Running,
    pub address: SocketAddr,
}

impl Serving {
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        Self::from(Running::with_errors_to(Stdio::inherit(), command))
    }

    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// A client that has sent `raw` on a connection of its own.
    pub fn ask(&self, raw: impl AsRef<[u8]>) -> Client {
        Client::ask(self.address, raw)
    }
}

impl From<Running> for Serving {
    fn from(mut running: Running) -> Self {
        let address = running.address();
        Self { running, address }
    }
}

/// A line for the shell, run where the package is.
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    command.arg("-c").arg(format!("exec {line}")).current_dir(package);
    command
}

/// Set in a process that runs one test, in which it is to do what its name says.
const ALONE: &str = "WEBSSE_TEST_ALONE";

/// Whether this process runs only the one test.
pub fn is_alone() -> bool {
    env::var_os(ALONE).is_some()
}

/// This program by way of `command`, to run a single test in a process of its own. `test` is its whole
/// name, modules included.
pub fn alone<'c>(command: &'c mut Command, test: &str) -> &'c mut Command {
    command.args([test, "--exact", "--nocapture"]).env(ALONE, "yes")
}

/// Starts this program once more.
pub fn this_program() -> Command {
    Command::new(env::current_exe().unwrap())
}

/// Runs a test in a process of its own, so that what it counts or sets is its own.
#[track_caller]
pub fn in_a_process_of_its_own(test: &str, run: impl FnOnce()) {
    if is_alone() {
        return run();
    }
    assert_passes(alone(&mut this_program(), test));
}

/// Waits for a program of [`alone`], which shows its output where the test fails.
#[track_caller]
pub fn assert_passes(command: &mut Command) {
    let output = command.output().unwrap();
    let [out, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{errors}");
    eprint!("{errors}");
}
