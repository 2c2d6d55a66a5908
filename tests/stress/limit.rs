//! Until when a test may run.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Over when the time is, and at once when one of the threads fails.
pub(crate) struct Limit {
    end: Instant,
    failed: AtomicBool,
}

impl Limit {
    pub(crate) fn new(longest: Duration) -> Limit {
        Limit { end: Instant::now() + longest, failed: AtomicBool::new(false) }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || Instant::now() >= self.end
    }

    /// Fails as `fail` says where the time is over; where another thread failed, which has told
    /// why, without a word.
    pub(crate) fn enforce(&self, fail: impl FnOnce()) {
        if self.failed.load(Ordering::Relaxed) {
            resume_unwind(Box::new("another thread failed"));
        }
        if self.is_over() {
            fail();
        }
    }

    /// To be held by each thread.
    pub(crate) fn guard(&self) -> Guard<'_> {
        Guard(self)
    }
}

pub(crate) struct Guard<'l>(&'l Limit);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
        }
    }
}
