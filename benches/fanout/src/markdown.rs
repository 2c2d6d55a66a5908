//! The results as tables in Markdown, one for each scenario, in the place of those of another run.

use anyhow::Result;

use super::{
    blocks,
    json::Machine,
    metric::Metric,
    peer::Kind,
    results::{Outcome, Row},
    table::{best, shown_with_spread},
};

/// The text with the tables of the scenarios that were run.
pub(crate) fn update(text: &str, outcomes: &[Outcome]) -> Result<String> {
    let mut text = text.to_owned();
    for scenario in outcomes.chunk_by(|a, b| a.case.scenario == b.case.scenario) {
        let table = table(scenario).join("\n") + "\n";
        text = blocks::replace(&text, scenario[0].case.scenario, &table)?;
    }
    Ok(text)
}

/// The cases of one scenario: a line for each figure, a column for each server.
fn table(outcomes: &[Outcome]) -> Vec<String> {
    let rows = || outcomes.iter().flat_map(|outcome| &outcome.rows);
    let mut columns: Vec<&str> = Vec::new();
    for row in rows() {
        if !columns.contains(&row.name.as_str()) {
            columns.push(&row.name);
        }
    }
    let names = columns.clone();
    // Without others there is nothing to compare.
    let has_others = rows().any(|row| matches!(row.kind, Kind::Limit | Kind::Other));
    if has_others {
        columns.extend(["to `limit`", "to the best other"]);
    }
    let rounds = outcomes.iter().map(Outcome::rounds).max().unwrap_or(0);
    let mut lines = vec![
        format!("\nRounds: {rounds}, on {}.\n", Machine::here().told()),
        format!("| | {} |", columns.join(" | ")),
        format!("|{}", "---|".repeat(columns.len() + 1)),
    ];
    for outcome in outcomes {
        lines.push(format!("| *{}* |{}", outcome.case.about, " |".repeat(columns.len())));
        for metric in outcome.case.headlines.iter().chain(&[Metric::Peak]) {
            lines.extend(figure(outcome, *metric, &names, has_others));
        }
    }
    for outcome in outcomes {
        for row in &outcome.rows {
            let told =
                |failure| format!("\n{}, {}: failed in {failure}", row.name, outcome.case.about);
            lines.extend(row.failure().map(told));
        }
    }
    lines
}

fn figure(outcome: &Outcome, metric: Metric, names: &[&str], has_others: bool) -> Option<String> {
    outcome.rows.iter().find_map(|row| row.summary(metric))?;
    let cells = names.iter().map(|name| {
        let row = outcome.rows.iter().find(|row| row.name == *name);
        row.map_or_else(String::new, |row| cell(row, metric))
    });
    let mut cells: Vec<String> = cells.collect();
    let median = |row: Option<&Row>| Some(row?.summary(metric)?.median);
    let own = median(outcome.first(Kind::Websse));
    let ratio = |other: Option<&Row>| match (own, median(other)) {
        (Some(own), Some(other)) if own > 0.0 && other > 0.0 => format!("{:.2}", own / other),
        _ => String::new(),
    };
    if has_others {
        cells.extend([outcome.first(Kind::Limit), best(outcome, metric)].map(ratio));
    }
    Some(format!("| {} | {} |", metric.title(), cells.join(" | ")))
}

fn cell(row: &Row, metric: Metric) -> String {
    match row.summary(metric) {
        None => "failed".to_owned(),
        Some(summary) => {
            let whole = if row.is_faultless() { "" } else { ", failed" };
            shown_with_spread(row, summary, metric) + whole
        }
    }
}
