//! The time of a step, and a client's read rate.

use std::time::{Duration, Instant};

/// A client counts as reading if it took this many bytes in this second and the one before.
const READING: usize = 64 * 1024;
/// How long ago "lately" is at most. A healthy client can be silent for some hundred milliseconds,
/// while a lost packet is sent again or its process reads elsewhere.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time of one step, and the second it falls in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) second: u32,
}

/// How many bytes a client took lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ReadRate {
    second: u32,
    current: u32,
    previous: u32,
}

impl ReadRate {
    pub(crate) fn add(&mut self, bytes: usize, now: Now) {
        self.roll(now);
        self.current = self.current.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Whether the client took enough lately to count as reading.
    pub(crate) fn reads(&mut self, now: Now) -> bool {
        self.roll(now);
        self.current.saturating_add(self.previous) as usize >= READING
    }

    fn roll(&mut self, now: Now) {
        let passed = now.second.wrapping_sub(self.second);
        if passed > 0 {
            self.previous = if passed == 1 { self.current } else { 0 };
            self.current = 0;
            self.second = now.second;
        }
    }
}

impl Now {
    /// Whether something happened lately.
    pub(crate) fn is_recent(self, past: Instant) -> bool {
        self.instant.saturating_duration_since(past) < PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_knows_the_last_second() {
        let mut rate = ReadRate::default();
        let now = Instant::now();
        let at = |second| Now { instant: now, second };
        rate.add(READING, at(7));
        assert!(rate.reads(at(7)) && rate.reads(at(8)));
        assert!(!rate.reads(at(9)));
        rate.add(READING / 2, at(9));
        rate.add(READING / 2, at(10));
        assert!(rate.reads(at(10)));
        assert!(!rate.reads(at(11)));
        assert!(!rate.reads(at(1000)));
    }
}
