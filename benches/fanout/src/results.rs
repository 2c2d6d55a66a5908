//! Runs what was asked for, server by server and round by round, and keeps what came out.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};

#[cfg(feature = "tls")]
use super::{certificate::Certificate, scenario::TLS};
use super::{
    json, markdown,
    metric::{FAULTS, Metric, Sample, Summary, shown},
    options::Options,
    peer::{Entrant, Kind},
    scenario::{Case, Work, catalogue},
    svg, table, targets,
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

    pub(crate) fn is_faultless(&self) -> bool {
        self.samples.iter().all(Sample::is_faultless)
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
    pub(crate) fn rounds(&self) -> usize {
        self.rows.iter().map(|row| row.samples.len()).max().unwrap_or(0)
    }

    pub(crate) fn first(&self, kind: Kind) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind == kind)
    }

    /// The metrics that any row has, in their order.
    pub(crate) fn metrics(&self) -> BTreeSet<Metric> {
        let samples = self.rows.iter().flat_map(|row| &row.samples);
        samples.flat_map(|sample| sample.values.keys().copied()).collect()
    }
}

/// Tells whether `websse` made no mistake.
pub(crate) fn measure(options: &Options) -> Result<bool> {
    let is_chosen = |case: &Case| {
        let chosen = &options.scenarios;
        let is_meant = chosen.is_empty() || chosen.iter().any(|name| name == case.scenario);
        is_meant && case.about.contains(&options.about)
    };
    let mut outcomes = Vec::new();
    let mut is_faultless = true;
    for case in catalogue(options.is_quick).into_iter().filter(is_chosen) {
        eprintln!("{}: {}", case.scenario, case.about);
        let outcome = run(case, options)?;
        let is_ours = |row: &&Row| !matches!(row.kind, Kind::Limit | Kind::Other | Kind::Echo);
        let mut ours = outcome.rows.iter().filter(is_ours);
        is_faultless &= ours.all(Row::is_faultless);
        outcomes.push(outcome);
        // After each case, so that an end before the last one does not cost all.
        if let Some(file) = &options.json {
            write(file, &json::of(options, &outcomes))?;
        }
        if let Some(file) = &options.markdown {
            let text = markdown::update(&read(file)?, &outcomes)?;
            write(file, &targets::update(&text, &outcomes)?)?;
        }
        if let Some(file) = &options.svg {
            let before = if file.exists() { read(file)? } else { String::new() };
            write(file, &svg::of(&before, &outcomes))?;
        }
    }
    print(&table::of(options, &outcomes))?;
    targets::of(&outcomes).iter().try_for_each(|line| print(&format!("{line}\n")))?;
    Ok(is_faultless)
}

/// Servers take turns; each round another one begins.
fn run(case: Case, options: &Options) -> Result<Outcome> {
    let mut entrants = options.entrants.clone();
    if matches!(case.work, Work::OverHttp(_)) {
        entrants.push(Entrant::echo());
    }
    if matches!(case.work, Work::Own(_)) {
        entrants.retain(|entrant| entrant.kind != Kind::Limit);
        entrants.push(Entrant::bare_loop()?);
    }
    entrants.retain(|entrant| case.admits(entrant));
    // Its files are there for as long as servers start.
    #[cfg(feature = "tls")]
    let certificate = (case.scenario == TLS).then(Certificate::make).transpose()?;
    #[cfg(feature = "tls")]
    if let Some(certificate) = &certificate {
        let shows_it = |entrant: &mut Entrant| {
            if entrant.kind != Kind::Unprotected {
                *entrant = entrant.clone().with_tls(certificate);
            }
        };
        entrants.iter_mut().for_each(shows_it);
    }
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
    Ok(Outcome { case, rows })
}

fn once(case: &Case, entrant: &Entrant, window: usize) -> Sample {
    // The crowd panics where it does in tests; one run's trouble is not that of the next.
    catch_unwind(AssertUnwindSafe(|| case.run(entrant, window)))
        .unwrap_or_else(|_| Err(anyhow!("the benchmark itself panicked, see above")))
        .unwrap_or_else(|failure| Sample::default().with(Err(failure)))
}

fn told(case: &Case, sample: &Sample) -> String {
    let headline = |metric: &Metric| {
        let value = sample.values.get(metric)?;
        Some(format!("{} {}", metric.title(), shown(*value, metric.unit())))
    };
    let mut told: Vec<String> = case.headlines.iter().filter_map(headline).collect();
    for metric in FAULTS {
        if let Some(value) = sample.values.get(&metric).filter(|value| **value != 0.0) {
            told.push(format!("{} {value}", metric.title()));
        }
    }
    told.extend(sample.failure.iter().map(|failure| format!("FAILED: {failure}")));
    told.join(", ")
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

pub(crate) fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // Enough of it was read.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}
