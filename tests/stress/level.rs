//! What the server holds of this process.

use std::{fs, process};

/// The server's threads, by their name, and all open descriptors of the process; `None` where there
/// is no `/proc` to ask. Other threads are those of the tests.
pub(crate) fn level() -> Option<(usize, usize)> {
    let own = format!("/proc/{}", process::id());
    let names = fs::read_dir(format!("{own}/task")).ok()?.filter_map(|task| {
        // It may end meanwhile.
        fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    let threads = names.filter(|name| name.starts_with("websse")).count();
    Some((threads, fs::read_dir(format!("{own}/fd")).ok()?.count()))
}
