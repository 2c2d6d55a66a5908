//! A server that was dropped while its handlers are mounted.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use crate::logs::{self, Level};

/// What one handler of a server knows of the server's end; its clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    /// Of the server: it was dropped without a shutdown, so its program may not know of it.
    gone: Arc<AtomicBool>,
    warned: Arc<AtomicBool>,
    /// How the handler was made, for the warning.
    handler: &'static str,
}

impl Dropped {
    pub(super) fn new(gone: Arc<AtomicBool>, handler: &'static str) -> Self {
        Self { gone, warned: Arc::default(), handler }
    }

    /// The line for the log, once, if the server was dropped and the log takes warnings.
    pub(crate) fn warning(&self) -> Option<String> {
        let warns = self.gone.load(Relaxed)
            && logs::enabled(Level::Warn)
            && !self.warned.swap(true, Relaxed);
        warns.then(|| {
            format!(
                "the Server was dropped, and its {} refuses every request; keep the Server as long \
                 as its handlers are mounted, for example in an Arc",
                self.handler
            )
        })
    }
}
