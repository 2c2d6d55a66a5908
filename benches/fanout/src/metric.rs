//! What is measured, in which unit, and what several rounds say together.

use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Micros,
    Bytes,
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
    /// Neither: it describes the run.
    Neither,
}

/// Declares [`Metric`] with what there is to say about each.
macro_rules! metrics {
    ($($name:ident, $key:literal, $title:literal, $unit:ident, $better:ident;)*) => {
        /// In the order of a table's columns.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Metric {
            $($name,)*
        }

        impl Metric {
            /// Its name in JSON.
            pub(crate) fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            pub(crate) fn unit(self) -> Unit {
                match self { $(Self::$name => Unit::$unit,)* }
            }

            pub(crate) fn better(self) -> Better {
                match self { $(Self::$name => Better::$better,)* }
            }
        }
    };
}

metrics! {
    Deliveries, "deliveries_per_second", "deliveries", PerSecond, More;
    Publishes, "publishes_per_second", "publishes", PerSecond, More;
    P50, "latency_p50_us", "p50", Micros, Less;
    P99, "latency_p99_us", "p99", Micros, Less;
    Max, "latency_max_us", "max", Micros, Less;
    LastP50, "last_client_p50_us", "last client p50", Micros, Less;
    LastP99, "last_client_p99_us", "last p99", Micros, Less;
    LastMax, "last_client_max_us", "last max", Micros, Less;
    LastAll, "last_has_all_us", "last has all", Micros, Less;
    LastHead, "last_head_us", "last head", Micros, Less;
    FirstByte, "first_byte_p50_us", "first byte", Micros, Less;
    CpuPerDelivery, "cpu_per_delivery_us", "CPU/delivery", Micros, Less;
    CpuPerPublish, "cpu_per_publish_us", "CPU/publish", Micros, Less;
    CpuPerConnection, "cpu_per_connection_us", "CPU/connection", Micros, Less;
    CpuPerLeaving, "cpu_per_leaving_us", "CPU/leaving", Micros, Less;
    LoadCpu, "load_generator_cpu_us", "crowd's CPU", Micros, Neither;
    DriverCpu, "driver_cpu_us", "driver's CPU", Micros, Neither;
    Memory, "resident_per_stream_bytes", "memory/stream", Bytes, Less;
    ChannelMemory, "resident_per_channel_bytes", "memory/channel", Bytes, Less;
    MemoryAfter, "resident_per_stream_after_behind_bytes", "after behind", Bytes, Less;
    Machine, "machine_per_stream_bytes", "machine/stream", Bytes, Less;
    Unread, "socket_buffers_per_stream_behind_bytes", "in sockets behind", Bytes, Neither;
    Peak, "peak_resident_bytes", "peak memory", Bytes, Less;
    Threads, "threads", "threads", Count, Neither;
    Joinings, "joinings_per_second", "joinings", PerSecond, Neither;
    Known, "channels_known", "channels known", Count, Neither;
    Lost, "lost", "lost", Count, Less;
    Repeated, "repeated", "repeated", Count, Less;
    Late, "out_of_order", "out of order", Count, Less;
    Refused, "publishes_refused", "refused", Count, Less;
    Closed, "readers_closed", "readers closed", Count, Less;
    Pressures, "tcp_memory_pressures", "kernel short of TCP memory", Count, Neither;
    Dropped, "stuck_or_slow_closed", "stuck closed", Count, Neither;
}

/// Mistakes: 0 of each, if nothing is wrong.
pub(crate) const FAULTS: [Metric; 5] =
    [Metric::Lost, Metric::Repeated, Metric::Late, Metric::Refused, Metric::Closed];

/// What one run gave, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) values: BTreeMap<Metric, f64>,
    pub(crate) failure: Option<String>,
}

impl Sample {
    /// The same with what went wrong in the end, if anything did.
    pub(crate) fn with(mut self, outcome: anyhow::Result<()>) -> Self {
        self.failure = outcome.err().map(|error| format!("{error:#}"));
        self
    }

    pub(crate) fn set(&mut self, metric: Metric, value: f64) {
        self.values.insert(metric, value);
    }

    pub(crate) fn is_faultless(&self) -> bool {
        let is_zero = |metric| self.values.get(&metric).is_none_or(|value| *value == 0.0);
        self.failure.is_none() && FAULTS.into_iter().all(is_zero)
    }
}

/// What the rounds of one peer say together about a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Summary {
    /// `None` without a value.
    pub(crate) fn of(samples: &[Sample], metric: Metric) -> Option<Self> {
        let mut values: Vec<f64> =
            samples.iter().filter_map(|sample| sample.values.get(&metric).copied()).collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let median = f64::midpoint(values[last / 2], values[last.div_ceil(2)]);
        Some(Self { median, least: values[0], most: values[last] })
    }
}

/// A value as people read it.
pub(crate) fn shown(value: f64, unit: Unit) -> String {
    match unit {
        Unit::PerSecond => format!("{}/s", scaled(value, 1000.0, &["", "k", "M", "G"])),
        Unit::Micros if value.abs() < 1.0 => format!("{:.0} ns", value * 1000.0),
        Unit::Micros => scaled(value, 1000.0, &[" µs", " ms", " s"]),
        Unit::Bytes => scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB"]),
        Unit::Count => format!("{value:.0}"),
    }
}

/// Three digits and a suffix.
fn scaled(mut value: f64, step: f64, suffixes: &[&str]) -> String {
    let mut times = 0;
    while value.abs() >= step * 0.9995 && times + 1 < suffixes.len() {
        value /= step;
        times += 1;
    }
    let digits = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$}{}", suffixes[times])
}

/// For figures: exact up to 2^53, which none of them reaches.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// Microseconds of so many nanoseconds.
pub(crate) fn micros(nanos: u64) -> f64 {
    float(nanos) / 1000.0
}
