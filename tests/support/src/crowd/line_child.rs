//! A child process that is told what to do by lines, and answers each with a line.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use crate::measure;

/// Killed and waited for when dropped.
#[derive(Debug)]
pub(crate) struct LineChild {
    child: Child,
    /// `None` once closed.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl LineChild {
    /// Starts this very program with these arguments.
    pub(crate) fn of_this_program(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a running program has a file");
        let mut command = Command::new(program);
        command.args(arguments);
        Self::start(command)
    }

    /// The same with at most so many descriptors.
    pub(crate) fn with_few_descriptors(limit: u32, arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a running program has a file");
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("ulimit -n {limit} && exec \"$0\" \"$@\""));
        command.args([program.as_os_str()]).args(arguments.iter().map(OsStr::new));
        Self::start(command)
    }

    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("piped above"));
        Self { child, input, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line and waits for the answer. The child answers or ends within its lifetime.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        let input = self.input.as_mut().expect("open until `end`");
        if let Err(error) = writeln!(input, "{line}") {
            panic!("cannot tell the child {line:?}: {error}");
        }
        self.next_line(line)
    }

    /// The next line of the child, which is expected because of `reason`.
    #[track_caller]
    pub(crate) fn next_line(&mut self, reason: &str) -> String {
        let mut answer = String::new();
        match self.output.read_line(&mut answer) {
            Ok(length) if length > 0 => answer.trim_end().to_owned(),
            outcome => panic!(
                "expected a line from the child for {reason:?}, got {outcome:?}; the child: {:?}",
                self.child.try_wait()
            ),
        }
    }

    /// Closes the child's standard input and waits until it ends.
    ///
    /// Fails if it does not within `time`, or not with success.
    #[track_caller]
    pub(crate) fn end(mut self, time: Duration) {
        self.input = None;
        let mut status = None;
        measure::wait_until("the child to end", time, || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        assert!(status.is_some_and(|status| status.success()), "a child ended with {status:?}");
    }
}

impl Drop for LineChild {
    fn drop(&mut self) {
        // Both fail only if it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
