//! Runs what was asked for, server by server and round by round, and keeps what came out.

use std::{
    fs,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Instant,
};

use super::{
    json, markdown,
    metric::{Metric, Sample, Summary, shown},
    options::Options,
    peer::{Entrant, Kind},
    scenario::{Case, Work, catalogue},
    svg, table,
};

/// All rounds of one server in one case.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    pub(crate) fn summary(&self, metric: Metric) -> Option<Summary> {
        Summary::of(&self.samples, metric)
    }

    /// What went wrong, and in how many rounds it did.
    pub(crate) fn failure(&self) -> Option<String> {
        let mut failures = self.samples.iter().filter_map(|sample| sample.failure.as_ref());
        let first = failures.next()?;
        Some(format!("{} of {} rounds: {first}", failures.count() + 1, self.samples.len()))
    }
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) case: Case,
    pub(crate) rows: Vec<Row>,
}

impl Outcome {
    /// The metrics that any row has, in their order.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let samples = self.rows.iter().flat_map(|row| &row.samples);
        let mut metrics: Vec<Metric> =
            samples.flat_map(|sample| sample.values.keys().copied()).collect();
        metrics.sort_unstable();
        metrics.dedup();
        metrics
    }
}

/// Tells whether `websse` made no mistake.
pub(crate) fn measure(options: &Options) -> Result<bool, String> {
    let is_chosen = |case: &Case| {
        options.scenarios.is_empty() || options.scenarios.iter().any(|name| name == case.scenario)
    };
    let mut outcomes = Vec::new();
    let mut is_faultless = true;
    for case in catalogue(options.is_quick).into_iter().filter(is_chosen) {
        eprintln!("{}: {}", case.scenario, case.about);
        let outcome = run(case, options);
        let is_ours = |row: &&Row| matches!(row.kind, Kind::Websse | Kind::Node);
        let ours = outcome.rows.iter().filter(is_ours);
        is_faultless &= ours.flat_map(|row| &row.samples).all(Sample::is_faultless);
        outcomes.push(outcome);
        // After each case, so that an end before the last one does not cost all.
        if let Some(file) = &options.json {
            write(file, &json::of(options, &outcomes))?;
        }
        if let Some(file) = &options.markdown {
            write(file, &markdown::update(&read(file)?, &outcomes)?)?;
        }
        if let Some(file) = &options.svg {
            let before = if file.exists() { read(file)? } else { String::new() };
            write(file, &svg::of(&before, &outcomes))?;
        }
    }
    print(&table::of(options, &outcomes))?;
    Ok(is_faultless)
}

/// Servers take turns; each round another one begins.
fn run(case: Case, options: &Options) -> Outcome {
    let mut entrants = options.entrants.clone();
    if matches!(case.work, Work::OverHttp(_)) {
        entrants.push(Entrant::echo());
    }
    entrants.retain(|entrant| case.admits(entrant));
    let mut rows: Vec<Row> = entrants
        .iter()
        .map(|entrant| Row { name: entrant.name.clone(), kind: entrant.kind, samples: Vec::new() })
        .collect();
    let rounds = options.rounds(case.scenario);
    for round in 0..rounds {
        for turn in 0..entrants.len() {
            let index = (turn + round) % entrants.len();
            let started = Instant::now();
            let sample = once(&case, &entrants[index], options.window);
            eprintln!(
                "  round {} of {}, {}: {} ({:.1?})",
                round + 1,
                rounds,
                entrants[index].name,
                told(&case, &sample),
                started.elapsed()
            );
            rows[index].samples.push(sample);
        }
    }
    Outcome { case, rows }
}

fn once(case: &Case, entrant: &Entrant, window: usize) -> Sample {
    // The crowd panics where it does in tests; one run's trouble is not that of the next.
    let outcome = catch_unwind(AssertUnwindSafe(|| case.run(entrant, window)));
    match outcome {
        Ok(Ok(sample)) => sample,
        Ok(Err(failure)) => Sample::failed(failure),
        Err(_) => Sample::failed("the benchmark itself panicked, see above".to_owned()),
    }
}

fn told(case: &Case, sample: &Sample) -> String {
    let headline = |metric: &Metric| {
        let value = sample.values.get(metric)?;
        Some(format!("{} {}", metric.title(), shown(*value, metric.unit())))
    };
    let mut told: Vec<String> = case.headlines.iter().filter_map(headline).collect();
    for metric in [Metric::Lost, Metric::Repeated, Metric::Late, Metric::Refused, Metric::Closed] {
        if let Some(value) = sample.values.get(&metric).filter(|value| **value != 0.0) {
            told.push(format!("{} {value}", metric.title()));
        }
    }
    told.extend(sample.failure.iter().map(|failure| format!("FAILED: {failure}")));
    told.join(", ")
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

pub(crate) fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads the output has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}
