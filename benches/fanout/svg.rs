//! The results as a drawing: for each case a bar chart of what it is about, ours first.

use std::fmt::Write;

use super::{
    metric::{Better, Metric, shown},
    peer::Kind,
    results::{Outcome, Row},
};

const WIDTH: u32 = 760;
const LABELS: u32 = 150;
const VALUES: u32 = 130;
const BAR: u32 = 16;
const STEP: u32 = 22;
const GAP: u32 = 26;

/// Readable on light and dark pages alike.
const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #222 }
  .title { font-weight: 600; font-size: 13px } .about { fill: #666 }
  .ours { fill: #1f77b4 } .limit { fill: #999 } .other { fill: #d9a35c }
  .range { stroke: #222; stroke-width: 1.5 } .failed { fill: #c0392b }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd } .about { fill: #999 } .ours { fill: #5aa9e6 } .limit { fill: #777 }
    .other { fill: #b07f3f } .range { stroke: #ddd } .failed { fill: #ff7b6b }
  }
";

pub(crate) fn of(outcomes: &[Outcome]) -> String {
    let mut body = String::new();
    let mut top = 10;
    for outcome in outcomes {
        top += 18;
        let about = format!("{}: {}", outcome.case.scenario, outcome.case.about);
        text(&mut body, (10, top), "title", &about);
        top += 4;
        for metric in outcome.case.headlines {
            chart(outcome, *metric, &mut body, &mut top);
        }
        top += GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" \
         height=\"{top}\">\n<style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn chart(outcome: &Outcome, metric: Metric, body: &mut String, top: &mut u32) {
    let summaries = outcome.rows.iter().filter_map(|row| row.summary(metric));
    let most = summaries.map(|summary| summary.most).fold(0.0, f64::max);
    if most <= 0.0 {
        return;
    }
    let better = match metric.better() {
        Better::More => ", more is better",
        Better::Less => ", less is better",
        Better::Neither => "",
    };
    *top += 16;
    text(body, (10, *top), "about", &format!("{}{better}", metric.title()));
    *top += 6;
    for row in &outcome.rows {
        bar(row, metric, most, *top, body);
        *top += STEP;
    }
}

fn bar(row: &Row, metric: Metric, most: f64, top: u32, body: &mut String) {
    let middle = top + BAR - 4;
    text(body, (10, middle), "", &row.name);
    let Some(summary) = row.summary(metric) else {
        text(
            body,
            (LABELS, middle),
            "failed",
            if row.failure().is_some() { "failed" } else { "-" },
        );
        return;
    };
    let class = match row.kind {
        Kind::Websse => "ours",
        Kind::Limit | Kind::Echo => "limit",
        Kind::Other => "other",
    };
    let scale = f64::from(WIDTH - LABELS - VALUES) / most;
    let at = |value: f64| f64::from(LABELS) + value * scale;
    element(
        body,
        format_args!(
            "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{top}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>",
            (summary.median * scale).max(1.0)
        ),
    );
    if summary.least < summary.most {
        element(
            body,
            format_args!(
                "<line class=\"range\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\"/>",
                at(summary.least),
                at(summary.most),
                y = top + BAR / 2
            ),
        );
    }
    let failed =
        if row.samples.iter().all(super::metric::Sample::is_faultless) { "" } else { ", failed" };
    let value = shown(summary.median, metric.unit());
    let class = if failed.is_empty() { "" } else { "failed" };
    element(
        body,
        format_args!(
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{middle}\">{value}{failed}</text>",
            at(summary.most) + 6.0
        ),
    );
}

fn text(body: &mut String, (x, y): (u32, u32), class: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    element(body, format_args!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{content}</text>"));
}

fn element(body: &mut String, arguments: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(body, "{arguments}");
}
