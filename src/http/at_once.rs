//! A handler that never blocks, of the command or of a test.

use super::{Handler, Hint, Request, Response};

/// A handler that never blocks and takes microseconds, so that the accepting thread can call it by
/// itself. No new client is accepted meanwhile.
///
/// Not for the users of this crate: what may block holds up all other clients. The command has it
/// for the crate's handlers, whose `authorize` is its own.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct AtOnce<H>(pub H);

impl<H: Handler> Handler for AtOnce<H> {
    fn handle(&self, request: &Request) -> Response {
        self.0.handle(request)
    }

    fn answers_any_host(&self) -> bool {
        self.0.answers_any_host()
    }

    fn may_block(&self, _: Hint) -> bool {
        false
    }
}
