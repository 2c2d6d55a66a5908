//! The results as a drawing: what each scenario is about, as bars, ours first.

use std::fmt::Display;

use super::{
    blocks,
    metric::{Better, Metric, Summary, shown},
    peer::Kind,
    results::{Outcome, Row},
};

/// What is drawn, two beside each other: of a scenario its nth case, and what was measured.
const CHARTS: [(&str, usize, Metric, &str); 8] = [
    ("burst", 0, Metric::Deliveries, "Deliveries a second, at full speed"),
    ("types", 0, Metric::Deliveries, "Deliveries a second, many event types"),
    ("steady", 0, Metric::LastP50, "Until the last client has an event, median"),
    ("steady", 0, Metric::CpuPerDelivery, "Server's processor time for each delivery"),
    ("storm", 0, Metric::LastHead, "Until the last of many streams has begun"),
    ("idle", 0, Metric::Memory, "Server's memory for each idle stream"),
    ("stuck", 1, Metric::Deliveries, "Deliveries a second, some clients never read"),
    ("publish", 1, Metric::Publishes, "Publishes a second, over HTTP"),
];

const COLUMNS: u32 = 2;
const WIDTH: u32 = 430;
const HEIGHT: u32 = 212;
const MARGIN: u32 = 12;
const LABELS: u32 = 104;
const VALUES: u32 = 96;
const FIRST_BAR: u32 = 44;
const BAR: u32 = 14;
const STEP: u32 = 21;

/// It has a ground of its own: the page around it may be dark where the browser's preference is not.
const STYLE: &str = "
  .ground { fill: #fff } text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 13px } .about { fill: #59636e; font-size: 11px }
  .ours { fill: #0969da } .limit { fill: #afb8c1 } .other { fill: #d4a72c }
  .range { stroke: #1f2328; stroke-width: 1.5 } .failed { fill: #cf222e }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117 } text { fill: #e6edf3 } .about { fill: #9198a1 }
    .ours { fill: #4493f8 } .limit { fill: #6e7681 } .other { fill: #bb8009 }
    .range { stroke: #e6edf3 } .failed { fill: #ff7b72 }
  }
";

/// What was not measured now stays as it was before.
pub(crate) fn of(before: &str, outcomes: &[Outcome]) -> String {
    let mut charts = Vec::new();
    for (index, (scenario, nth, metric, title)) in (0..).zip(CHARTS) {
        let name = format!("{scenario} {}", metric.key());
        let mut outcomes = outcomes.iter().filter(|outcome| outcome.case.scenario == scenario);
        let content = match outcomes.nth(nth) {
            Some(outcome) => chart(outcome, metric, title),
            None => blocks::find(before, &name).unwrap_or_default().to_owned(),
        };
        let x = MARGIN + index % COLUMNS * (WIDTH + MARGIN);
        let y = MARGIN + index / COLUMNS * HEIGHT;
        let block = blocks::make(&name, &content);
        charts.push(format!("<g transform=\"translate({x} {y})\">{block}</g>\n"));
    }
    let charts = charts.concat();
    let width = MARGIN + COLUMNS * (WIDTH + MARGIN);
    let height = MARGIN + u32::try_from(CHARTS.len()).unwrap_or(0).div_ceil(COLUMNS) * HEIGHT;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\">\n<title>websse beside other servers</title>\n\
         <style>{STYLE}</style>\n<rect class=\"ground\" width=\"{width}\" height=\"{height}\" \
         rx=\"6\"/>\n{charts}</svg>\n"
    )
}

fn chart(outcome: &Outcome, metric: Metric, title: &str) -> String {
    let better = match metric.better() {
        Better::More => " (more is better)",
        Better::Less => " (less is better)",
        Better::Neither => "",
    };
    let title = text(0, 14, "title", &format!("{title}{better}"));
    let about = text(0, 32, "about", &outcome.case.about);
    let summaries = outcome.rows.iter().filter_map(|row| row.summary(metric));
    let most = summaries.map(|summary| summary.most).fold(f64::MIN_POSITIVE, f64::max);
    let rows = outcome.rows.iter().filter(|row| row.kind != Kind::Echo);
    let tops = (0..).map(|index| FIRST_BAR + index * STEP);
    let bars = tops.zip(rows).map(|(top, row)| bar(row, metric, most, top));
    [title, about].into_iter().chain(bars).collect()
}

fn bar(row: &Row, metric: Metric, most: f64, top: u32) -> String {
    let base = top + BAR - 3;
    let name = text(0, base, "", &row.name);
    let Some(Summary { median, least, most: own }) = row.summary(metric) else {
        return name + &text(LABELS, base, "failed", "failed");
    };
    let class = match row.kind {
        Kind::Websse | Kind::Unprotected | Kind::Records | Kind::Node => "ours",
        Kind::Limit | Kind::Echo => "limit",
        Kind::Other => "other",
    };
    let scale = f64::from(WIDTH - LABELS - VALUES) / most;
    let [start, end] = [least, own].map(|value| f64::from(LABELS) + value * scale);
    let (width, y) = ((median * scale).max(1.0), top + BAR / 2);
    let bar = format!(
        "<rect class=\"{class}\" x=\"{LABELS}\" y=\"{top}\" width=\"{width:.1}\" \
         height=\"{BAR}\" rx=\"2\"/>\n"
    );
    let range = format!(
        "<line class=\"range\" x1=\"{start:.1}\" x2=\"{end:.1}\" y1=\"{y}\" y2=\"{y}\"/>\n"
    );
    let range = if least < own { range } else { String::new() };
    let (class, failed) = if row.is_faultless() { ("", "") } else { ("failed", ", failed") };
    let value = shown(median, metric.unit()) + failed;
    [name, bar, range, text(format!("{:.1}", end + 6.0), base, class, &value)].concat()
}

fn text(x: impl Display, y: u32, class: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{content}</text>\n")
}
