//! What the server holds of this process.

use std::process;

use support::measure::{descriptors, own_threads_named};

/// The server's threads, by their name, and all open descriptors of the process; `None` where there
/// is no `/proc` to ask. Other threads are those of the tests.
pub(crate) fn level() -> Option<(usize, usize)> {
    let is_known = cfg!(target_os = "linux");
    is_known.then(|| (own_threads_named("websse").len(), descriptors(process::id())))
}
