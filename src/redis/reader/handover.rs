//! A stream that moves from one server of a Cluster to another.

/// What is known of a move.
#[derive(Default)]
pub(super) struct Handover {
    /// The last connection ended as the stream was at another server.
    pub(super) is_redirected: bool,
    /// The connection leads to the server that was read before, which has lost nothing.
    pub(super) is_at_known: bool,
    /// Such a server has said where the stream is now, and has given it away whole.
    pub(super) is_done: bool,
}

impl Handover {
    pub(super) fn connects(&mut self) {
        (self.is_redirected, self.is_at_known) = (false, false);
    }

    /// The connection ends.
    pub(super) fn ends(&mut self, is_redirected: bool) {
        self.is_redirected = is_redirected;
        self.is_done |= is_redirected && self.is_at_known;
    }
}
