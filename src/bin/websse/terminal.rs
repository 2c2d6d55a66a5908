//! The terminal that the command was started from.

use std::io::{self, IsTerminal};

/// Which of the standard streams were a terminal when the command was started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Terminal {
    pub(crate) fn of_now() -> Self {
        Self {
            stdin: io::stdin().is_terminal(),
            stdout: io::stdout().is_terminal(),
            stderr: io::stderr().is_terminal(),
        }
    }

    /// Whether the terminal is gone. The system hangs a terminal up before it sends SIGHUP for it,
    /// and from then on every request to the terminal fails, as does the one that asks whether it
    /// is one.
    pub(crate) fn is_gone(self) -> bool {
        let now = Self::of_now();
        (self.stdin && !now.stdin) || (self.stdout && !now.stdout) || (self.stderr && !now.stderr)
    }
}
