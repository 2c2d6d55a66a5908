//! The results as JSON: every round of every server, with medians.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
};

use procfs::{CpuInfo, Current};
use serde_json::{Value, json};

use super::{
    metric::{Metric, Sample},
    options::Options,
    results::{Outcome, Row},
};

pub(crate) fn of(options: &Options, outcomes: &[Outcome]) -> String {
    let Machine { processors, model, kernel } = Machine::here();
    let results = json!({
        "machine": {"processors": processors, "model": model, "kernel": kernel},
        "window": options.window,
        "quick": options.is_quick,
        "cases": outcomes.iter().map(case).collect::<Vec<_>>(),
    });
    format!("{results:#}\n")
}

/// Where it was measured.
#[derive(Debug)]
pub(crate) struct Machine {
    processors: usize,
    model: String,
    kernel: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let processors = CpuInfo::current().ok();
        let model = processors.and_then(|each| each.model_name(0).map(str::to_owned));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processors: thread::available_parallelism().map_or(0, usize::from),
            model: model.unwrap_or_default(),
            kernel: kernel.trim().to_owned(),
        }
    }

    /// A phrase about it.
    pub(crate) fn told(&self) -> String {
        let Self { processors, model, kernel } = self;
        format!("{processors} processors ({model}), Linux {kernel}")
    }
}

fn case(outcome: &Outcome) -> Value {
    let metrics = outcome.metrics();
    let peers: Vec<Value> = outcome.rows.iter().map(|row| peer(row, &metrics)).collect();
    json!({"scenario": outcome.case.scenario, "about": outcome.case.about, "peers": peers})
}

fn peer(row: &Row, metrics: &BTreeSet<Metric>) -> Value {
    let medians = metrics.iter().filter_map(|metric| Some((*metric, row.summary(*metric)?.median)));
    let rounds: Vec<Value> = row.samples.iter().map(round).collect();
    json!({"name": row.name, "median": fields(medians), "rounds": rounds})
}

fn round(sample: &Sample) -> Value {
    let mut round = fields(sample.values.iter().map(|(metric, value)| (*metric, *value)));
    round.extend(sample.failure.iter().map(|failure| ("failure", json!(failure))));
    json!(round)
}

fn fields(values: impl Iterator<Item = (Metric, f64)>) -> BTreeMap<&'static str, Value> {
    // Three digits behind the point are enough; JSON has `null` for what is no number.
    values.map(|(metric, value)| (metric.key(), json!((value * 1e3).round() / 1e3))).collect()
}
