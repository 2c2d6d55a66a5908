//! How long to wait before the next try: longer each time, and different at each node.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);
/// The longest one where others say which server to try: it changes more often.
const LONGEST_TOLD: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(FIRST)
    }

    /// Returns a random time between half of the current backoff and all of it. The next one is
    /// longer. `is_told`: others say which server to try.
    pub(super) fn next(&mut self, is_told: bool) -> Duration {
        let half = self.0 / 2;
        self.0 = (self.0 * 2).min(if is_told { LONGEST_TOLD } else { LONGEST });
        let random = RandomState::new().hash_one(0) % 1024;
        half + half * u32::try_from(random).unwrap_or(0) / 1024
    }

    /// Starts again with the shortest backoff, after a success.
    pub(super) fn reset(&mut self) {
        self.0 = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        for (is_told, longest) in [(false, LONGEST), (true, LONGEST_TOLD)] {
            let mut backoff = Backoff::new();
            let mut expected = FIRST;
            for _ in 0..10 {
                let next = backoff.next(is_told);
                assert!(next >= expected / 2 && next <= expected, "{next:?} of {expected:?}");
                expected = (expected * 2).min(longest);
            }
            backoff.reset();
            assert!(backoff.next(is_told) <= FIRST);
        }
    }
}
