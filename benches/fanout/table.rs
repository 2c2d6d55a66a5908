//! The results as text.

use std::fmt::Write;

use super::{
    metric::{Better, Metric, Summary, Unit, shown},
    options::Options,
    peer::Kind,
    publisher::UNANSWERED,
    results::{Outcome, Row},
};

/// What is only worth a column when it is not 0.
const RARE: [Metric; 5] =
    [Metric::Lost, Metric::Repeated, Metric::Late, Metric::Refused, Metric::Closed];

pub(crate) fn of(options: &Options, outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "Medians, ± half the range from lowest to highest.\nPublishes over HTTP: one connection, \
         at most {} requests and {} KiB unanswered.\nCPU: user and system time of the server's \
         processes, of the crowd, and of the process that publishes, each per delivery (or \
         publish, or connection).\n",
        options.window,
        UNANSWERED / 1024
    );
    for outcome in outcomes {
        text.push('\n');
        case(outcome, &mut text);
    }
    text
}

fn case(outcome: &Outcome, text: &mut String) {
    let rounds = outcome.rows.iter().map(|row| row.samples.len()).max().unwrap_or(0);
    let (scenario, about) = (outcome.case.scenario, &outcome.case.about);
    line(text, format_args!("{scenario}: {about}; rounds: {rounds}"));
    let metrics: Vec<Metric> =
        outcome.metrics().into_iter().filter(|m| is_shown(outcome, *m)).collect();
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(metrics.iter().map(|metric| metric.title().to_owned()));
    for row in &outcome.rows {
        let mut cells = vec![row.name.clone()];
        cells.extend(metrics.iter().map(|metric| cell(row, *metric)));
        rows.push(cells);
    }
    columns(&rows, text);
    if outcome.metrics().contains(&Metric::Lost) && !metrics.contains(&Metric::Lost) {
        line(
            text,
            format_args!("  nothing lost, repeated, out of order, refused; no reader closed"),
        );
    }
    for row in &outcome.rows {
        if let Some(failure) = row.failure() {
            line(text, format_args!("  {} FAILED in {failure}", row.name));
        }
    }
    comparisons(outcome, text);
}

/// The rare ones go together: all, or none.
fn is_shown(outcome: &Outcome, metric: Metric) -> bool {
    let happened = |rare: &Metric| {
        outcome.rows.iter().any(|row| row.summary(*rare).is_some_and(|summary| summary.most > 0.0))
    };
    match metric {
        Metric::Pressures => happened(&metric),
        _ => !RARE.contains(&metric) || RARE.iter().any(happened),
    }
}

fn cell(row: &Row, metric: Metric) -> String {
    let Some(summary @ Summary { median, least, most }) = row.summary(metric) else {
        return "-".to_owned();
    };
    let value = shown(median, metric.unit());
    if RARE.contains(&metric) && least < most {
        return format!("{value} ({least:.0}..{most:.0})");
    }
    format!("{value}{}", spread(row, summary, metric))
}

/// How far apart the rounds are.
pub(crate) fn spread(row: &Row, summary: Summary, metric: Metric) -> String {
    let Summary { median, least, most } = summary;
    if metric.unit() == Unit::Count || row.samples.len() < 2 || median == 0.0 {
        return String::new();
    }
    format!(" ±{:.0}%", (most - least) / 2.0 / median * 100.0)
}

fn columns(rows: &[Vec<String>], text: &mut String) {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    for row in rows {
        let mut shown = String::from("  ");
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            if column == 0 {
                let _ = write!(shown, "{cell:<width$}");
            } else {
                let _ = write!(shown, "  {cell:>width$}");
            }
        }
        line(text, format_args!("{}", shown.trim_end()));
    }
}

/// What the bare loop reaches, and what the best other server does.
fn comparisons(outcome: &Outcome, text: &mut String) {
    for ours in outcome.rows.iter().filter(|row| row.kind == Kind::Websse) {
        for metric in outcome.case.headlines {
            let Some(own) = ours.summary(*metric) else { continue };
            let mut parts = Vec::new();
            for row in outcome.rows.iter().filter(|row| row.kind == Kind::Limit) {
                parts.extend(ratio(own, row, *metric));
            }
            parts.extend(best(outcome, *metric).and_then(|row| ratio(own, row, *metric)));
            if !parts.is_empty() {
                line(
                    text,
                    format_args!(
                        "  {}, websse against others: {}",
                        metric.title(),
                        parts.join("; ")
                    ),
                );
            }
        }
    }
}

fn ratio(own: Summary, other: &Row, metric: Metric) -> Option<String> {
    let theirs = other.summary(metric)?.median;
    let is_best = if other.kind == Kind::Other { ", the best other" } else { "" };
    (theirs != 0.0).then(|| format!("{:.2} times {}{is_best}", own.median / theirs, other.name))
}

/// The best of the servers that lost nothing, so that doing nothing does not win.
pub(crate) fn best(outcome: &Outcome, metric: Metric) -> Option<&Row> {
    let is_whole = |row: &&Row| row.samples.iter().all(super::metric::Sample::is_faultless);
    let others = outcome.rows.iter().filter(|row| row.kind == Kind::Other).filter(is_whole);
    let valued = others.filter_map(|row| Some((row.summary(metric)?.median, row)));
    let best = match metric.better() {
        Better::More => valued.max_by(|a, b| a.0.total_cmp(&b.0)),
        Better::Less | Better::Neither => valued.min_by(|a, b| a.0.total_cmp(&b.0)),
    };
    best.map(|(_, row)| row)
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(text, "{arguments}");
}
