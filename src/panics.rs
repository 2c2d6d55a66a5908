//! Panics in code of the embedding program.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs code that may panic; `None` if it did. The panic hook has reported the panic. The code
/// itself is responsible for what it has left half done.
pub(crate) fn survive<T>(work: impl FnOnce() -> T) -> Option<T> {
    let panic = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => return Some(result),
        Err(panic) => panic,
    };
    // The payload of a panic may panic when it is dropped, and the payload of that panic too.
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
