//! How many requests were refused, by status.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// Counts the answers with a status of 400 or more of an [`HttpServer`](super::HttpServer), all its
/// listeners together. Cloning shares the counts.
///
/// ```
/// let http = websse::http::HttpServer::new();
/// let refusals = http.refusals();
/// assert_eq!(refusals.counts().get(&404), None, "nobody asked for what is not there");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<u16, u64>>>);

impl Refusals {
    /// Answers since the start, by status; a status that never was is not there.
    pub fn counts(&self) -> BTreeMap<u16, u64> {
        self.0.lock().clone()
    }

    pub(super) fn count(&self, status: u16) {
        if status >= 400 {
            *self.0.lock().entry(status).or_default() += 1;
        }
    }
}
