//! Events to one client each, by channels: every client listens to its own channel and to the
//! common one.

use std::time::{Duration, Instant};

use anyhow::Result;
use support::random::Random;

use super::{
    churn::Churn,
    delivery::Load,
    latency::now,
    metric::{Metric, Sample, float, micros},
    peer::Entrant,
    publisher::Publisher,
    stage::{Part, Settings, Stage, check, put_down_faults},
};

/// Each client of a `connect` listens to the channel of its own number, from this one on, and to the
/// common channel.
pub(crate) fn own_and_common(first: usize) -> String {
    format!("/event?event=t0&channel=c{{{first}}}&channel=")
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Channels {
    pub(crate) clients: usize,
    /// Events to single channels. At full speed each channel gets equally many, in random order; at a
    /// steady rate a second also brings one to the common channel.
    pub(crate) load: Load,
    /// Leavings a second, and as many joinings, of clients beside those that are measured.
    pub(crate) churn: u32,
}

impl Channels {
    pub(crate) fn run(&self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let clients = stage.join(&own_and_common(1), self.clients)?;
        sample.set(Metric::Memory, stage.growth() / float(self.clients as u64));
        let mut publisher = stage.publisher(1)?;
        stage.warm_up(&mut publisher, 1 + self.clients, &[(clients.clone(), 2)])?;

        let (kinds, expected) = self.plan();
        let address = stage.peer.address;
        let churn = (self.churn > 0)
            .then(|| Churn::start(address, self.clients + 1, self.churn))
            .transpose()?;
        let before = stage.costs();
        let started = now();
        let sent = self.publish(&kinds, &mut publisher, settings.window);
        let outcome = sent.and_then(|()| stage.wait_events(&expected));
        let after = stage.costs();
        let churned = churn.map(Churn::stop).transpose();

        let heard = stage.heard()?;
        let took = micros(heard.end.saturating_sub(started)) / 1e6;
        if took > 0.0 {
            sample.set(Metric::Deliveries, float(heard.deliveries) / took);
        }
        // Of the events: nearly all are for a single client.
        let metrics = [Metric::LastP50, Metric::LastP99, Metric::LastMax];
        sample.values.extend(metrics.into_iter().zip(heard.last.map(micros)));
        after.put_down(before, Metric::CpuPerPublish, kinds.len() as u64, &mut sample);
        stage.describe(&mut sample);
        sample.set(Metric::Refused, float(publisher.refused));
        let expected = expected.iter().map(|(clients, each)| clients.len() as u64 * each).sum();
        let report = stage.crowd.report(&clients);
        put_down_faults(&report, expected, &mut sample);
        let seen = check(&report);
        if let Ok(Some(joined)) = churned {
            sample.set(Metric::Joinings, joined);
        }
        Ok(sample.with(outcome.and(seen).and(churned.map(drop))))
    }

    /// To which channels events go, one after the other, and how many each client gets of them.
    fn plan(&self) -> (Vec<usize>, Vec<Part>) {
        let mut random = Random::new(1, 0);
        let wanted = self.load.events() as usize;
        // Some channels once, or all of them equally often.
        let (some, rounds) = (wanted.min(self.clients), wanted.div_ceil(self.clients).max(1));
        let mut kinds = Vec::new();
        for _ in 0..rounds {
            let mut round: Vec<usize> = (1..=some).collect();
            for at in (1..some).rev() {
                round.swap(at, random.below(at + 1));
            }
            kinds.extend(round);
        }
        let mut common = 0;
        if let Load::Steady { per_second, .. } = self.load {
            let a_second = per_second as usize;
            common = kinds.len().div_ceil(a_second);
            // In the middle of each second, so that what is behind it is part of the run.
            for second in 0..common {
                kinds.insert((second * (a_second + 1) + a_second / 2).min(kinds.len()), 0);
            }
        }
        let [each, common] = [rounds, common].map(|count| count as u64);
        (kinds, vec![(0..some, each + common), (some..self.clients, common)])
    }

    fn publish(&self, kinds: &[usize], publisher: &mut Publisher, window: usize) -> Result<()> {
        let interval = match self.load {
            Load::Burst { .. } => None,
            Load::Steady { per_second, .. } => Some(Duration::from_secs(1) / per_second),
        };
        let (mut next, mut due) = (Instant::now(), now());
        for kind in kinds {
            let Some(interval) = interval else {
                publisher.publish(*kind, window)?;
                continue;
            };
            publisher.wait(next)?;
            let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
            // As for a steady rate to all (`delivery.rs`).
            let is_late = now() > due + nanos;
            publisher.publish_as_of(*kind, window, is_late.then_some(due))?;
            next += interval;
            due += nanos;
        }
        publisher.finish()
    }
}
