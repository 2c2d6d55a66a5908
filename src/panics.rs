//! Code of the embedding program that panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what may panic; `None` where it did, of which the panic hook has told. What it has half done
/// is its own.
pub(crate) fn survive<T>(work: impl FnOnce() -> T) -> Option<T> {
    let panic = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => return Some(result),
        Err(panic) => panic,
    };
    // What a panic carries may panic when it is dropped, and what that carries as well.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
    None
}

/// Does something at the end of a scope, however the scope ends.
pub(crate) struct AtEnd<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
