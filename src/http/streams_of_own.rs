//! How many bodies the program is writing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Counts the bodies that the program is writing, by
/// [`Response::events`](super::Response::events) or [`stream`](super::Response::stream), for all
/// listeners of an [`HttpServer`](super::HttpServer) together. Clones share the count.
///
/// ```
/// let http = websse::http::HttpServer::new();
/// assert_eq!(http.streams_of_own().open(), 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct StreamsOfOwn(Arc<AtomicUsize>);

impl StreamsOfOwn {
    /// How many are open now.
    pub fn open(&self) -> usize {
        self.0.load(Relaxed)
    }

    /// Counts one more, unless there are as many as `limit`.
    pub(super) fn enter(&self, limit: usize) -> Option<Open> {
        let more = |open| (open < limit).then_some(open + 1);
        self.0.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Open(Arc::clone(&self.0)))
    }
}

/// One that is open; dropping it ends its count.
pub(super) struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
