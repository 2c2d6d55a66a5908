//! Programs that run beside a test: what they print, and how they end.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use super::SOON;

/// What stands in ids for the name of a run.
pub const RUN: &str = "0mwscj3olj8rw";

/// A child process that does not outlive its test.
pub struct Running {
    pub child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Reads as many bytes as `expected` has, in which a run's name in ids is [`RUN`].
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

    /// Waits for the end, and returns what was written to standard error.
    pub fn end(mut self) -> (ExitStatus, String) {
        let end = Instant::now() + 2 * SOON;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap(), errors)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test got to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec {line}")).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}
