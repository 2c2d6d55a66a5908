//! The results as tables in Markdown, one for each scenario, in the place of those of another run.

use std::fmt::Write;

use super::{
    blocks,
    json::Machine,
    metric::{Metric, Sample, Summary, shown},
    peer::Kind,
    results::{Outcome, Row},
    table::{best, spread},
};

/// The text with the tables of the scenarios that were run.
pub(crate) fn update(text: &str, outcomes: &[Outcome]) -> Result<String, String> {
    let mut text = text.to_owned();
    for scenario in outcomes.chunk_by(|a, b| a.case.scenario == b.case.scenario) {
        text = blocks::replace(&text, scenario[0].case.scenario, &table(scenario))?;
    }
    Ok(text)
}

/// The cases of one scenario: a line for each figure, a column for each server.
fn table(outcomes: &[Outcome]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for row in outcomes.iter().flat_map(|outcome| &outcome.rows) {
        if !names.contains(&row.name.as_str()) {
            names.push(&row.name);
        }
    }
    let mut text = String::new();
    let rounds = outcomes.iter().flat_map(|outcome| &outcome.rows).map(|row| row.samples.len());
    let rounds = rounds.max().unwrap_or(0);
    line(&mut text, format_args!("\nRounds: {rounds}, on {}.\n", Machine::here().told()));
    // Without others there is nothing to compare.
    let kinds = outcomes.iter().flat_map(|outcome| &outcome.rows).map(|row| row.kind);
    let ratios = ["to `limit`", "to the best other"];
    let has_others = kinds.into_iter().any(|kind| matches!(kind, Kind::Limit | Kind::Other));
    let ratios = if has_others { &ratios[..] } else { &[] };
    let columns = names.len() + ratios.len();
    line(&mut text, format_args!("| | {} |", [&names[..], ratios].concat().join(" | ")));
    line(&mut text, format_args!("|{}", "---|".repeat(columns + 1)));
    for outcome in outcomes {
        line(&mut text, format_args!("| *{}* |{}", outcome.case.about, " |".repeat(columns)));
        for metric in outcome.case.headlines.iter().chain(&[Metric::Peak]) {
            figure(outcome, *metric, &names, has_others, &mut text);
        }
    }
    for outcome in outcomes {
        for row in &outcome.rows {
            if let Some(failure) = row.failure() {
                line(
                    &mut text,
                    format_args!("\n{}, {}: failed in {failure}", row.name, outcome.case.about),
                );
            }
        }
    }
    text
}

fn figure(outcome: &Outcome, metric: Metric, names: &[&str], has_others: bool, text: &mut String) {
    if outcome.rows.iter().all(|row| row.summary(metric).is_none()) {
        return;
    }
    let cells = names.iter().map(|name| {
        let row = outcome.rows.iter().find(|row| row.name == *name);
        row.map_or_else(String::new, |row| cell(row, metric))
    });
    let mut cells: Vec<String> = cells.collect();
    let median = |row: Option<&Row>| Some(row?.summary(metric)?.median);
    let of = |kind| outcome.rows.iter().find(|row| row.kind == kind);
    let own = median(of(Kind::Websse));
    let ratio = |other: Option<&Row>| match (own, median(other)) {
        (Some(own), Some(other)) if own > 0.0 && other > 0.0 => format!("{:.2}", own / other),
        _ => String::new(),
    };
    if has_others {
        cells.extend([ratio(of(Kind::Limit)), ratio(best(outcome, metric))]);
    }
    line(text, format_args!("| {} | {} |", metric.title(), cells.join(" | ")));
}

fn cell(row: &Row, metric: Metric) -> String {
    let Some(summary @ Summary { median, .. }) = row.summary(metric) else {
        return "failed".to_owned();
    };
    let whole = if row.samples.iter().all(Sample::is_faultless) { "" } else { ", failed" };
    format!("{}{}{whole}", shown(median, metric.unit()), spread(row, summary, metric))
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(text, "{arguments}");
}
