//! Writes to the `log` facade; without the feature `log`, does nothing.
//!
//! A logger is code of the embedding program, so it is called only where such code may run: on the
//! caller's thread, on the hooks' thread, and on a connection's own thread after it has passed
//! leadership on. It is never called on the broadcaster, by the leader, or under a lock.

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

/// Whether this level is enabled, as far as is known without asking the logger.
#[cfg(feature = "log")]
pub(crate) fn enabled(level: Level) -> bool {
    level <= log::STATIC_MAX_LEVEL && level <= log::max_level()
}

#[cfg(not(feature = "log"))]
pub(crate) fn enabled(_: Level) -> bool {
    false
}

/// If the logger panics, only its line is lost.
#[cfg(feature = "log")]
pub(crate) fn write(level: Level, text: fmt::Arguments<'_>) {
    survive(|| log::log!(target: "websse", level, "{text}"));
}

#[cfg(not(feature = "log"))]
pub(crate) fn write(_: Level, _: fmt::Arguments<'_>) {}
