//! When events came: to each client, and until the last one had it.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;

/// Nanoseconds since 1970 by the clock that all processes of the machine share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds, exact to 1 %. No run takes longer than this many of them, an hour.
const MOST: u64 = 3600 * 1_000_000_000;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(MOST, 2).expect("a range that a histogram can have")
}

/// The 50th and the 99th percentile, and the most; 0 if there are none.
fn summary(of: &Histogram<u64>) -> [u64; 3] {
    [0.5, 0.99, 1.0].map(|quantile| of.value_at_quantile(quantile))
}

/// One event: when it was published, and when the last client so far had it.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
    published: u64,
    last: u64,
}

/// What all clients of a crowd add to.
#[derive(Debug)]
pub(crate) struct Latencies {
    each: Histogram<u64>,
    /// By type and number.
    events: Vec<Vec<Spread>>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { each: histogram(), events: Vec::new() }
    }
}

impl Latencies {
    /// An event came to one client. `published` is only asked for the first time.
    pub(crate) fn add(
        &mut self,
        kind: u16,
        number: u32,
        now: u64,
        published: impl FnOnce() -> Result<u64, String>,
    ) -> Result<(), String> {
        let (kind, number) = (usize::from(kind), number as usize);
        if kind >= self.events.len() {
            self.events.resize_with(kind + 1, Vec::new);
        }
        let events = &mut self.events[kind];
        if number >= events.len() {
            events.resize(number + 1, Spread::default());
        }
        let event = &mut events[number];
        if event.published == 0 {
            event.published = published()?;
        }
        event.last = event.last.max(now);
        self.each.saturating_record(now.saturating_sub(event.published));
        Ok(())
    }

    pub(crate) fn heard(&self) -> Heard {
        let mut last = histogram();
        let mut end = 0;
        for event in self.events.iter().flatten().filter(|event| event.published > 0) {
            last.saturating_record(event.last.saturating_sub(event.published));
            end = end.max(event.last);
        }
        let deliveries = self.each.len();
        Heard { deliveries, end, each: summary(&self.each), last: summary(&last) }
    }
}

/// The crowd's answer to its leader.
impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Heard { deliveries, end, each, last } = self.heard();
        let line = serde_json::to_string(&(deliveries, end, each, last));
        f.write_str(&line.map_err(|_| fmt::Error)?)
    }
}

/// What [`Latencies`] come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) deliveries: u64,
    /// When the last delivery came.
    pub(crate) end: u64,
    /// The 50th and the 99th percentile and the most of what each delivery took, in nanoseconds,
    /// and of what each event took to its last client.
    pub(crate) each: [u64; 3],
    pub(crate) last: [u64; 3],
}

impl FromStr for Heard {
    type Err = serde_json::Error;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let (deliveries, end, each, last) = serde_json::from_str(line)?;
        Ok(Self { deliveries, end, each, last })
    }
}
