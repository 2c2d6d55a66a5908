//! Time as the broadcaster's steps see it, and how many bytes passed lately.

use std::time::{Duration, Instant};

/// A client that took this much in this second and the one before is one that reads.
const READING: usize = 64 * 1024;
/// How long ago "lately" may be at most. A healthy client can be silent for some hundred
/// milliseconds, while a lost packet is sent again or its process reads elsewhere.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time of one step, with the second it falls in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) second: u32,
}

/// How many bytes passed lately.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    second: u32,
    current: u32,
    previous: u32,
}

impl Meter {
    pub(crate) fn add(&mut self, bytes: usize, moment: Moment) {
        self.turn(moment);
        self.current = self.current.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Whether the client took enough lately to count as one that reads.
    pub(crate) fn reads(&mut self, moment: Moment) -> bool {
        self.turn(moment);
        self.current.saturating_add(self.previous) as usize >= READING
    }

    fn turn(&mut self, moment: Moment) {
        let passed = moment.second.wrapping_sub(self.second);
        if passed > 0 {
            self.previous = if passed == 1 { self.current } else { 0 };
            self.current = 0;
            self.second = moment.second;
        }
    }
}

impl Moment {
    /// Whether something happened lately.
    pub(crate) fn is_recent(self, past: Instant) -> bool {
        self.now.saturating_duration_since(past) < PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_knows_the_last_second() {
        let mut meter = Meter::default();
        let now = Instant::now();
        let at = |second| Moment { now, second };
        meter.add(READING, at(7));
        assert!(meter.reads(at(7)) && meter.reads(at(8)));
        assert!(!meter.reads(at(9)));
        meter.add(READING / 2, at(9));
        meter.add(READING / 2, at(10));
        assert!(meter.reads(at(10)));
        assert!(!meter.reads(at(11)));
        assert!(!meter.reads(at(1000)));
    }
}
