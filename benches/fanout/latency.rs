//! When events came: to each client, and until the last one had it.

use std::{
    fmt,
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

/// Nanoseconds since 1970 by the clock that all processes of the machine share.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Counts of nanoseconds, each exact to 1/64.
#[derive(Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    most: u64,
}

/// Up to this value, and then between two powers of two, there is a bucket for each step.
const STEPS: u64 = 64;

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; bucket(u64::MAX) + 1], total: 0, most: 0 }
    }

    pub(crate) fn add(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.most = self.most.max(nanos);
    }

    /// The value that so many percent do not exceed; 0 if there are none.
    pub(crate) fn percentile(&self, percent: u64) -> u64 {
        let rank = (self.total * percent).div_ceil(100);
        let mut passed = 0;
        for (index, count) in self.counts.iter().enumerate() {
            passed += count;
            if passed >= rank && passed > 0 {
                return upper_end(index).min(self.most);
            }
        }
        self.most
    }
}

fn bucket(nanos: u64) -> usize {
    let octave = (nanos | STEPS).ilog2() - STEPS.ilog2();
    let step = nanos >> octave;
    usize::try_from(u64::from(octave) * STEPS + step).unwrap_or(usize::MAX)
}

/// The largest value in a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let octave = (bucket / STEPS).saturating_sub(1);
    let step = bucket - octave * STEPS;
    u64::try_from(((u128::from(step) + 1) << octave) - 1).unwrap_or(u64::MAX)
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
    each: Histogram,
    /// By type and number.
    events: Vec<Vec<Spread>>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { each: Histogram::new(), events: Vec::new() }
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
        self.each.add(now.saturating_sub(event.published));
        Ok(())
    }
}

/// Declares [`Heard`] with its line: numbers in this order.
macro_rules! heard {
    ($($name:ident,)*) => {
        /// What [`Latencies`] come to: nanoseconds, except for the number of deliveries.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(crate) struct Heard {
            $(pub(crate) $name: u64,)*
        }

        impl fmt::Display for Heard {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{} ", self.$name)?;)*
                Ok(())
            }
        }

        impl FromStr for Heard {
            type Err = String;

            fn from_str(line: &str) -> Result<Self, String> {
                let mut numbers = line.split_whitespace().map(str::parse);
                let mut next = || match numbers.next() {
                    Some(Ok(number)) => Ok(number),
                    _ => Err(format!("no figures of a crowd: {line:?}")),
                };
                Ok(Self { $($name: next()?,)* })
            }
        }
    };
}

heard! {
    deliveries,
    p50,
    p99,
    most,
    last_p50,
    last_p99,
    last_most,
    // When the last delivery came.
    end,
}

impl Latencies {
    pub(crate) fn heard(&self) -> Heard {
        let mut last = Histogram::new();
        let mut end = 0;
        for event in self.events.iter().flatten().filter(|event| event.published > 0) {
            last.add(event.last.saturating_sub(event.published));
            end = end.max(event.last);
        }
        Heard {
            deliveries: self.each.total,
            p50: self.each.percentile(50),
            p99: self.each.percentile(99),
            most: self.each.most,
            last_p50: last.percentile(50),
            last_p99: last.percentile(99),
            last_most: last.most,
            end,
        }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.heard().fmt(f)
    }
}
