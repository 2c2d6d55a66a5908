//! The results as JSON: every round of every server, with medians.

use std::{fmt::Write, fs, thread};

use super::{
    metric::{Metric, Sample},
    options::Options,
    results::{Outcome, Row},
};

pub(crate) fn of(options: &Options, outcomes: &[Outcome]) -> String {
    let cases: Vec<String> = outcomes.iter().map(case).collect();
    format!(
        "{{\n\"machine\": {},\n\"window\": {}, \"quick\": {},\n\"cases\": [\n{}\n]\n}}\n",
        Machine::here().json(),
        options.window,
        options.is_quick,
        cases.join(",\n")
    )
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
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("");
        Self {
            processors: thread::available_parallelism().map_or(0, usize::from),
            model: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    /// A phrase about it.
    pub(crate) fn told(&self) -> String {
        let Self { processors, model, kernel } = self;
        format!("{processors} processors ({model}), Linux {kernel}")
    }

    fn json(&self) -> String {
        let Self { processors, model, kernel } = self;
        let [model, kernel] = [model, kernel].map(|text| string(text));
        format!("{{\"processors\": {processors}, \"model\": {model}, \"kernel\": {kernel}}}")
    }
}

fn case(outcome: &Outcome) -> String {
    let rows: Vec<String> = outcome.rows.iter().map(|row| peer(row, &outcome.metrics())).collect();
    format!(
        "{{\"scenario\": {}, \"about\": {}, \"peers\": [\n{}\n]}}",
        string(outcome.case.scenario),
        string(&outcome.case.about),
        rows.join(",\n")
    )
}

fn peer(row: &Row, metrics: &[Metric]) -> String {
    let medians: Vec<String> = metrics
        .iter()
        .filter_map(|metric| Some(field(*metric, row.summary(*metric)?.median)))
        .collect();
    let rounds: Vec<String> = row.samples.iter().map(round).collect();
    format!(
        "  {{\"name\": {}, \"median\": {{{}}}, \"rounds\": [\n{}\n  ]}}",
        string(&row.name),
        medians.join(", "),
        rounds.join(",\n")
    )
}

fn round(sample: &Sample) -> String {
    let mut fields: Vec<String> =
        sample.values.iter().map(|(metric, value)| field(*metric, *value)).collect();
    if let Some(failure) = &sample.failure {
        fields.push(format!("\"failure\": {}", string(failure)));
    }
    format!("    {{{}}}", fields.join(", "))
}

fn field(metric: Metric, value: f64) -> String {
    // JSON has no name for what is no number.
    if value.is_finite() {
        format!("\"{}\": {value:.3}", metric.key())
    } else {
        format!("\"{}\": null", metric.key())
    }
}

fn string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // A string takes everything.
            control if control < ' ' => drop(write!(quoted, "\\u{:04x}", control as u32)),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}
