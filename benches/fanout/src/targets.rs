//! What HTTPS may cost, beside what it does: ratios of medians of one run.

use super::{
    blocks,
    delivery::{Delivery, Load},
    metric::{Metric, Summary},
    peer::Kind,
    results::{Outcome, Row},
    scenario::{TLS, Work},
    storm::Storm,
    table::best,
};

/// A target, and what was reached; `None` where a part of it was not run, or failed.
struct Target {
    what: String,
    bound: Bound,
    reached: Option<f64>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

/// The text with them, if they are in it and HTTPS was measured.
pub(crate) fn update(text: &str, outcomes: &[Outcome]) -> anyhow::Result<String> {
    let lines = of(outcomes);
    if lines.is_empty() {
        return Ok(text.to_owned());
    }
    blocks::replace(text, "tls-targets", &format!("\n{}\n", lines.join("\n")))
}

/// A table in Markdown; nothing without HTTPS.
pub(crate) fn of(outcomes: &[Outcome]) -> Vec<String> {
    let outcomes: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.case.scenario == TLS).collect();
    if outcomes.is_empty() {
        return Vec::new();
    }
    let rows = targets(&outcomes).into_iter().map(|Target { what, bound, reached }| {
        let bound_shown = match bound {
            AtMost(most) => format!("≤ {most:.2}"),
            AtLeast(least) => format!("≥ {least:.2}"),
        };
        let is_met = reached.map(|value| match bound {
            AtMost(most) => value <= most,
            AtLeast(least) => value >= least,
        });
        let shown = reached.map_or(String::new(), |value| format!("{value:.2}"));
        let verdict = match is_met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "no figure",
        };
        format!("| {what} | {bound_shown} | {shown} | {verdict} |")
    });
    ["| | target | reached | |", "|---|---|---|---|"]
        .map(str::to_owned)
        .into_iter()
        .chain(rows)
        .collect()
}

fn targets(outcomes: &[&Outcome]) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |what: String, bound, reached| targets.push(Target { what, bound, reached });
    let mut calm = None;
    let mut fresh: Vec<(bool, f64)> = Vec::new();
    for &outcome in outcomes {
        let own = |metric| median(outcome.first(Kind::Websse), metric);
        let to = |row: Option<&Row>, metric| Some(own(metric)? / median(row, metric)?);
        let named = |name: &str| outcome.rows.iter().find(|row| row.name == name);
        match outcome.case.work {
            Work::Deliver(Delivery { readers, load: Load::Steady { .. }, .. }) => {
                calm = own(Metric::P99);
                let cpu = format!("CPU of a delivery, {readers} clients");
                let plain = outcome.first(Kind::Unprotected);
                for (other, row, bound) in [
                    ("websse without TLS", plain, 1.35),
                    ("actix-web", named("actix-web"), 0.75),
                    ("axum", named("axum"), 0.65),
                ] {
                    let reached = to(row, Metric::CpuPerDelivery);
                    add(format!("{cpu}, to {other}"), AtMost(bound), reached);
                }
            }
            Work::Deliver(_) => {
                let metric = Metric::Deliveries;
                let reached = [best(outcome, metric), outcome.first(Kind::Limit)];
                let [best, limit] = reached.map(|row| to(row, metric));
                add("deliveries at full speed, to the best other".into(), AtLeast(2.0), best);
                add("deliveries at full speed, to the bare loop".into(), AtLeast(0.8), limit);
            }
            Work::Idle(_) => {
                let metric = Metric::Memory;
                let kib = own(metric).map(|bytes| bytes / 1024.0);
                add("KiB of an idle stream".into(), AtMost(8.6), kib);
                let reached = to(best(outcome, metric), metric);
                add("memory of an idle stream, to the best other".into(), AtMost(0.45), reached);
            }
            Work::Storm(Storm { tls: Some(tls), .. }) => {
                let version = if tls.is_12 { "TLS 1.2" } else { "TLS 1.3" };
                let metric = Metric::LastHead;
                let Some(value) = own(metric) else { continue };
                if tls.resumes {
                    let before = fresh.iter().find(|(is_12, _)| *is_12 == tls.is_12);
                    let reached = before.map(|(_, fresh)| value / fresh);
                    let what = "last head of a storm that resumes sessions, to one that does not";
                    add(format!("{what}, {version}"), AtMost(0.6), reached);
                } else {
                    fresh.push((tls.is_12, value));
                    let reached = to(best(outcome, metric), metric);
                    let what = "last head of a storm, to the best other";
                    add(format!("{what}, {version}"), AtMost(1.05), reached);
                }
            }
            Work::Rush(_) => {
                let reached = own(Metric::P99).zip(calm).map(|(p99, calm)| p99 / calm);
                add("p99 of settled streams, in storms to without".into(), AtMost(1.3), reached);
            }
            _ => {}
        }
    }
    targets
}

fn median(row: Option<&Row>, metric: Metric) -> Option<f64> {
    let row = row.filter(|row| row.is_faultless())?;
    row.summary(metric).map(|Summary { median, .. }| median)
}
