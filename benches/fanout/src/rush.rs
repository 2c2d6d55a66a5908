//! Events to clients that are settled, while storms of others connect: how late they come.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    metric::{Metric, Sample, float, micros},
    peer::Entrant,
    processes,
    publisher::Publisher,
    stage::{Settings, Stage, check, check_heads, put_down_faults},
};
use crate::crowd::{Crowd, Report};

/// See the [module](self). What is published counts only during the storms; between them those that
/// came leave again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rush {
    pub(crate) settled: usize,
    /// So many connect at once. They listen to a type of which there are no events.
    pub(crate) joining: usize,
    pub(crate) storms: u32,
    pub(crate) per_second: u32,
    pub(crate) bytes: usize,
}

impl Rush {
    pub(crate) fn run(self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 2, settings.time)?;
        let clients = stage.join("/event?event=t0", self.settled)?;
        let mut publisher = stage.publisher(2)?;
        publisher.bytes = self.bytes;
        let mut others = stage.another_crowd();
        // On other machines they would not take the processor from the server.
        processes::yield_to_others(others.pid())?;
        stage.warm_up(&mut publisher, 2, &[(clients.clone(), 1)])?;
        let (mut sent, mut last_heads, mut connected) = (0, Vec::new(), 0);
        for _ in 0..self.storms {
            let window = settings.window;
            let (events, report) = self.storm(&stage, &mut publisher, &mut others, window)?;
            sent += events;
            check_heads(&report)?;
            connected += report.clients;
            last_heads.push(report.last_head_micros);
            stage.wait_events(&[(clients.clone(), sent)])?;
            others.close(&(0..usize::MAX));
            stage.wait_idle();
        }
        last_heads.sort_unstable();
        sample.set(Metric::LastHead, float(last_heads[last_heads.len() / 2]));
        let took = last_heads.iter().sum::<u64>();
        sample.set(Metric::Joinings, float(connected) / float(took) * 1e6);
        let heard = stage.heard()?;
        let values =
            [Metric::P50, Metric::P99, Metric::Max].into_iter().zip(heard.each.map(micros));
        sample.values.extend(values);
        let values = [Metric::LastP50, Metric::LastP99, Metric::LastMax].into_iter();
        sample.values.extend(values.zip(heard.last.map(micros)));
        stage.describe(&mut sample);
        sample.set(Metric::Refused, float(publisher.refused));
        let report = stage.crowd.report(&clients);
        put_down_faults(&report, sent * report.clients, &mut sample);
        Ok(sample.with(check(&report)))
    }

    /// All connect, and events are published until each has its response head. Tells how many.
    fn storm(
        self,
        stage: &Stage,
        publisher: &mut Publisher,
        others: &mut Crowd,
        window: usize,
    ) -> Result<(u64, Report)> {
        let joining = self.joining;
        let clients = others.connect(stage.peer.address, "/event?event=t1", joining, joining);
        let left = stage.left();
        thread::scope(|scope| {
            let storm = scope.spawn(|| others.wait_heads(&clients, left));
            let (mut next, mut events) = (Instant::now(), 0);
            while !storm.is_finished() {
                publisher.wait(next)?;
                publisher.publish(0, window)?;
                events += 1;
                next += Duration::from_secs(1) / self.per_second;
            }
            publisher.finish()?;
            Ok((events, storm.join().map_err(|_| anyhow!("the storm panicked"))?))
        })
    }
}
