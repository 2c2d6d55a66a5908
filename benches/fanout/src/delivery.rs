//! Events to many clients, at full speed or at a steady rate.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    latency::now,
    metric::{Metric, Sample, float, micros},
    own::Beside,
    peer::Entrant,
    publisher::Publisher,
    stage::{Part, Settings, Stage, check, put_down_faults},
};
use crate::crowd::{Crowd, measure::tcp_memory_pressures};

/// How many events, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    Burst { events: u32 },
    Steady { per_second: u32, seconds: u32 },
}

impl Load {
    pub(crate) fn events(self) -> u32 {
        match self {
            Self::Burst { events } => events,
            Self::Steady { per_second, seconds } => per_second * seconds,
        }
    }
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// Events go round the types. A client listens to one to five of them.
    pub(crate) types: usize,
    /// Those who read; the figures are theirs.
    pub(crate) readers: usize,
    /// Clients that never read, once warmed up.
    pub(crate) stuck: usize,
    /// Clients that read [so much](SIP) a second.
    pub(crate) slow: usize,
    pub(crate) bytes: usize,
    pub(crate) load: Load,
    /// Streams for one request each that are written beside.
    pub(crate) own: usize,
}

/// What a slow client reads a second.
pub(crate) const SIP: usize = 1024;
/// The most types that a client listens to.
const MOST_TYPES: usize = 5;

impl Delivery {
    pub(crate) fn run(&self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, self.types, settings.time)?;
        let parts = self.join(&mut stage)?;
        let stuck = stage.join("/event?event=t0", self.stuck)?;
        let slow = stage.join("/event?event=t0", self.slow)?;
        let others = stuck.start..slow.end;
        let mut publisher = stage.publisher(self.types)?;
        publisher.bytes = self.bytes;
        let all = [&parts[..], &[(others.clone(), 1)]].concat();
        stage.warm_up(&mut publisher, self.types, &all)?;
        stage.crowd.stop_reading(&others);
        sample.set(Metric::Memory, stage.growth() / float(others.end as u64));

        let own = (self.own > 0).then(|| Beside::start(&stage, self.own)).transpose()?;
        let pressures = tcp_memory_pressures();
        let before = stage.costs();
        let started = now();
        let sent = self.publish(&mut publisher, settings.window, &mut stage.crowd, &slow);
        let each = u64::from(self.load.events()) / self.types as u64;
        let expected: Vec<Part> =
            parts.into_iter().map(|(clients, types)| (clients, types * each)).collect();
        let outcome = sent.and_then(|()| stage.wait_events(&expected));
        let after = stage.costs();
        let outcome = outcome.and(own.map_or(Ok(()), Beside::finish));
        if let (Some(before), Some(after)) = (pressures, tcp_memory_pressures()) {
            sample.set(Metric::Pressures, float(after - before));
        }

        let heard = stage.heard()?;
        let took = micros(heard.end.saturating_sub(started)) / 1e6;
        if took > 0.0 {
            sample.set(Metric::Deliveries, float(heard.deliveries) / took);
        }
        for (metrics, nanos) in [
            ([Metric::P50, Metric::P99, Metric::Max], heard.each),
            ([Metric::LastP50, Metric::LastP99, Metric::LastMax], heard.last),
        ] {
            sample.values.extend(metrics.into_iter().zip(nanos.map(micros)));
        }
        after.put_down(before, Metric::CpuPerDelivery, heard.deliveries, &mut sample);
        stage.describe(&mut sample);
        sample.set(Metric::Refused, float(publisher.refused));
        let expected = expected.iter().map(|(clients, each)| clients.len() as u64 * each).sum();
        let seen = self.check_readers(&mut stage, expected, &mut sample);
        if !others.is_empty() {
            sample.set(Metric::Dropped, closed(&mut stage, &others, self.load.events()));
        }
        Ok(sample.with(outcome.and(seen)))
    }

    /// Connects those who read; each part says how many types each of its clients has.
    fn join(&self, stage: &mut Stage) -> Result<Vec<Part>> {
        if self.types == 1 {
            return Ok(vec![(stage.join("/event?event=t0", self.readers)?, 1)]);
        }
        let mut parts = Vec::new();
        for types in 1..=MOST_TYPES {
            let first = self.readers * (types - 1) / MOST_TYPES;
            let end = self.readers * types / MOST_TYPES;
            for client in first..end {
                // Neighbours share types, and a client's own are far apart.
                let kinds = (0..types).map(|nth| (client + nth * self.types / types) % self.types);
                let names: Vec<String> = kinds.map(|kind| format!("event=t{kind}")).collect();
                stage.join(&format!("/event?{}", names.join("&")), 1)?;
            }
            parts.push((first..end, types as u64));
        }
        Ok(parts)
    }

    fn publish(
        &self,
        publisher: &mut Publisher,
        window: usize,
        crowd: &mut Crowd,
        slow: &Range<usize>,
    ) -> Result<()> {
        let kinds = (0..self.load.events()).map(|number| number as usize % self.types);
        match self.load {
            Load::Burst { .. } => {
                for kind in kinds {
                    publisher.publish(kind, window)?;
                }
            }
            Load::Steady { per_second, .. } => {
                let interval = Duration::from_secs(1) / per_second;
                let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
                let (mut next, mut due) = (Instant::now(), now());
                let mut sip = next;
                for kind in kinds {
                    publisher.wait(next)?;
                    // A server whose answers are late must not make its own load lighter: what
                    // cannot be published in its turn counts from when it should have been.
                    let is_late = now() > due + nanos;
                    publisher.publish_as_of(kind, window, is_late.then_some(due))?;
                    next += interval;
                    due += nanos;
                    if !slow.is_empty() && Instant::now() > sip {
                        check(&crowd.sip(slow, SIP))?;
                        sip += Duration::from_secs(1);
                    }
                }
            }
        }
        publisher.finish()
    }

    /// Those who read are all connected, and what came to them has the right size.
    fn check_readers(&self, stage: &mut Stage, expected: u64, sample: &mut Sample) -> Result<()> {
        let report = stage.crowd.report(&(0..self.readers));
        put_down_faults(&report, expected, sample);
        let (least, most, bytes) = (report.least_bytes, report.most_bytes, self.bytes as u64);
        let is_right = report.events == 0 || (least, most) == (bytes, bytes);
        ensure!(is_right, "events of {least} to {most} bytes instead of {bytes}");
        check(&report)
    }
}

/// How many clients that did not read the server has disconnected. They only notice now, when they
/// read what is still there for them.
fn closed(stage: &mut Stage, others: &Range<usize>, events: u32) -> f64 {
    const LONG: Duration = Duration::from_secs(3);
    stage.crowd.read(others);
    let time = LONG.min(stage.left());
    let report = stage.crowd.wait_events(others, events.into(), time);
    float(report.clients - report.open)
}
