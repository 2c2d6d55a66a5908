//! What the library tells the `log` facade; without the feature `log`, nothing.
//!
//! A logger is code of the embedding program. It is called where that may run: on the caller's thread,
//! on that of the hooks, and on a connection's own once it has passed the turn to accept; never on
//! the broadcaster, in the leader, or under a lock.

use std::fmt;

#[cfg(feature = "log")]
pub(crate) use log::Level;

#[cfg(feature = "log")]
use crate::panics::survive;

#[cfg(not(feature = "log"))]
#[derive(Clone, Copy)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

/// Whether anything of this level is wanted, as far as can be told without asking the logger.
#[cfg(feature = "log")]
pub(crate) fn enabled(level: Level) -> bool {
    level <= log::STATIC_MAX_LEVEL && level <= log::max_level()
}

#[cfg(not(feature = "log"))]
pub(crate) fn enabled(_: Level) -> bool {
    false
}

/// A logger that panics costs nothing but its line.
#[cfg(feature = "log")]
pub(crate) fn write(level: Level, text: fmt::Arguments<'_>) {
    survive(|| log::log!(target: "websse", level, "{text}"));
}

#[cfg(not(feature = "log"))]
pub(crate) fn write(_: Level, _: fmt::Arguments<'_>) {}
