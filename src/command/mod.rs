//! The parts of the `websse` command.

pub(crate) mod config;
mod flags;
pub(crate) mod lines;
pub(crate) mod listen;
pub(crate) mod log_lines;
pub(crate) mod peers;
pub(crate) mod tokens;
mod units;
