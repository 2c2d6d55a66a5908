//! The results as text.

use super::{
    metric::{Better, FAULTS, Metric, Summary, Unit, shown},
    options::Options,
    peer::Kind,
    publisher::UNANSWERED,
    results::{Outcome, Row},
};

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
        text += "\n";
        for line in case(outcome) {
            text += line.trim_end();
            text += "\n";
        }
    }
    text
}

fn case(outcome: &Outcome) -> Vec<String> {
    let Outcome { case, rows } = outcome;
    let all = outcome.metrics();
    let metrics: Vec<Metric> = all.iter().copied().filter(|m| is_shown(outcome, *m)).collect();
    let title = format!("{}: {}; rounds: {}", case.scenario, case.about, outcome.rounds());
    let mut lines = vec![String::new(); 1 + rows.len()];
    let names = rows.iter().map(|row| row.name.clone());
    add_column(&mut lines, "", names, |name, width| format!("{name:<width$}"));
    for metric in &metrics {
        let cells = rows.iter().map(|row| cell(row, *metric));
        add_column(&mut lines, metric.title(), cells, |cell, width| format!("{cell:>width$}"));
    }
    lines.insert(0, title);
    if all.contains(&Metric::Lost) && !metrics.contains(&Metric::Lost) {
        let nothing = "  nothing lost, repeated, out of order, refused; no reader closed";
        lines.push(nothing.to_owned());
    }
    for row in rows {
        let failure = row.failure();
        lines.extend(failure.map(|failure| format!("  {} FAILED in {failure}", row.name)));
    }
    lines.extend(case.headlines.iter().filter_map(|metric| comparison(outcome, *metric)));
    lines
}

/// One more column, as wide as its widest cell.
fn add_column(
    lines: &mut [String],
    title: &str,
    cells: impl Iterator<Item = String>,
    pad: impl Fn(&str, usize) -> String,
) {
    let cells: Vec<String> = [title.to_owned()].into_iter().chain(cells).collect();
    let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    for (line, cell) in lines.iter_mut().zip(cells) {
        *line += "  ";
        *line += &pad(&cell, width);
    }
}

/// Faults are only worth columns when there are any, and go together.
fn is_shown(outcome: &Outcome, metric: Metric) -> bool {
    let happened = |rare: &Metric| {
        outcome.rows.iter().any(|row| row.summary(*rare).is_some_and(|summary| summary.most > 0.0))
    };
    match metric {
        Metric::Pressures => happened(&metric),
        _ => !FAULTS.contains(&metric) || FAULTS.iter().any(happened),
    }
}

fn cell(row: &Row, metric: Metric) -> String {
    match row.summary(metric) {
        None => "-".to_owned(),
        Some(Summary { median, least, most }) if FAULTS.contains(&metric) && least < most => {
            format!("{median:.0} ({least:.0}..{most:.0})")
        }
        Some(summary) => shown_with_spread(row, summary, metric),
    }
}

/// The median, and how far apart the rounds are.
pub(crate) fn shown_with_spread(row: &Row, summary: Summary, metric: Metric) -> String {
    let Summary { median, least, most } = summary;
    let value = shown(median, metric.unit());
    if metric.unit() == Unit::Count || row.samples.len() < 2 || median == 0.0 {
        return value;
    }
    format!("{value} ±{:.0}%", (most - least) / 2.0 / median * 100.0)
}

/// What the bare loop reaches, and what the best other server does.
fn comparison(outcome: &Outcome, metric: Metric) -> Option<String> {
    let own = outcome.first(Kind::Websse)?.summary(metric)?.median;
    let limits = outcome.rows.iter().filter(|row| row.kind == Kind::Limit);
    let ratio = |(row, remark): (&Row, &str)| {
        let theirs = row.summary(metric)?.median;
        (theirs != 0.0).then(|| format!("{:.2} times {}{remark}", own / theirs, row.name))
    };
    let best = best(outcome, metric).map(|row| (row, ", the best other"));
    let parts: Vec<String> = limits.map(|row| (row, "")).chain(best).filter_map(ratio).collect();
    let parts = (!parts.is_empty()).then(|| parts.join("; "))?;
    Some(format!("  {}, websse against others: {parts}", metric.title()))
}

/// The best of the servers that lost nothing, so that doing nothing does not win.
pub(crate) fn best(outcome: &Outcome, metric: Metric) -> Option<&Row> {
    let others = outcome.rows.iter().filter(|row| row.kind == Kind::Other && row.is_faultless());
    let valued = others.filter_map(|row| Some((row.summary(metric)?.median, row)));
    let best = match metric.better() {
        Better::More => valued.max_by(|a, b| a.0.total_cmp(&b.0)),
        Better::Less | Better::Neither => valued.min_by(|a, b| a.0.total_cmp(&b.0)),
    };
    best.map(|(_, row)| row)
}
