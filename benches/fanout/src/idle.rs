//! Streams on which nothing happens: what they hold, fresh, and after each was behind once.

use std::{
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::{
    metric::{Metric, Sample, float},
    peer::Entrant,
    processes,
    stage::{Part, Settings, Stage, put_down_faults},
};

/// See the [module](self). Clients have small buffers, so that being behind takes the machine
/// some 250 KB of each and not 3 MB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) streams: usize,
    /// They fall behind in so many groups, one after the other, each with its own event type.
    pub(crate) groups: usize,
    /// Threads and memory count once they have been the same for so long.
    pub(crate) settled: Duration,
}

/// What is published while a group does not read: more than its sockets take, and less than half
/// of what makes servers drop a client.
const EVENTS: u32 = 112;
const BYTES: usize = 4096;
const MOMENT: Duration = Duration::from_millis(200);

impl Idle {
    pub(crate) fn run(&self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, self.groups, settings.time)?;
        stage.fill_history(self.groups)?;
        let crowd = [stage.crowd.pid()];
        let available = processes::available();
        let crowd_memory = processes::resident(&crowd);
        let mut parts: Vec<Part> = Vec::new();
        for group in 0..self.groups {
            let count = self.streams / self.groups;
            parts.push((stage.join_narrow(&format!("/event?event=t{group}"), count)?, 1));
        }
        self.settle(&stage);
        let streams = float(self.streams as u64);
        sample.set(Metric::Memory, stage.growth() / streams);
        // Of any use only where nothing else runs: it is the whole machine's, less the crowd's own.
        let used = float(available) - float(processes::available());
        let crowd_memory = float(processes::resident(&crowd)) - float(crowd_memory);
        sample.set(Metric::Machine, (used - crowd_memory) / streams);
        stage.describe(&mut sample);

        let behind = self.fall_behind(&mut stage, &parts, settings.window, &mut sample);
        self.settle(&stage);
        sample.set(Metric::MemoryAfter, stage.growth() / streams);
        let report = stage.crowd.report(&everyone(&parts));
        sample.set(Metric::Closed, float(report.clients - report.open));
        Ok(sample.with(behind))
    }

    /// Each group in turn stops reading, and reads again when more waits than its sockets hold.
    fn fall_behind(
        &self,
        stage: &mut Stage,
        parts: &[Part],
        window: usize,
        sample: &mut Sample,
    ) -> Result<()> {
        // They are streams, not only sockets.
        let mut publisher = stage.publisher(self.groups)?;
        stage.warm_up(&mut publisher, self.groups, parts)?;
        publisher.bytes = BYTES;
        let mut unread: f64 = 0.0;
        for (kind, (clients, _)) in parts.iter().enumerate() {
            stage.crowd.stop_reading(clients);
            for _ in 0..EVENTS {
                publisher.publish(kind, window)?;
            }
            publisher.finish()?;
            let port = stage.peer.address.port();
            let held = until_still(stage, MOMENT, || processes::in_sockets(port));
            unread = unread.max(float(held) / float(clients.len() as u64));
            stage.crowd.read(clients);
            stage.wait_events(&[(clients.clone(), EVENTS.into())])?;
        }
        sample.set(Metric::Unread, unread);
        sample.set(Metric::Refused, float(publisher.refused));
        let report = stage.crowd.report(&everyone(parts));
        put_down_faults(&report, u64::from(EVENTS) * report.clients, sample);
        let most = float(u64::from(EVENTS) * BYTES as u64);
        ensure!(unread < most, "the sockets took everything: nobody was behind");
        Ok(())
    }

    /// Threads that served the requests end when there is nothing more to do.
    fn settle(&self, stage: &Stage) {
        until_still(stage, self.settled, || {
            let family = stage.peer.family();
            (processes::threads(&family), processes::resident(&family) >> 20)
        });
    }
}

/// The clients of all parts, which joined one after the other.
fn everyone(parts: &[Part]) -> Range<usize> {
    let start = parts.first().map_or(0, |(clients, _)| clients.start);
    start..parts.last().map_or(start, |(clients, _)| clients.end)
}

/// What `measure` gives once it has given the same for a while, or time is short.
fn until_still<T: PartialEq>(
    stage: &Stage,
    a_while: Duration,
    mut measure: impl FnMut() -> T,
) -> T {
    const MOST: Duration = Duration::from_secs(10);
    let started = Instant::now();
    let (mut last, mut since) = (measure(), started);
    while since.elapsed() < a_while && started.elapsed() < MOST.min(stage.left() / 2) {
        thread::sleep(Duration::from_millis(20));
        let new = measure();
        if new != last {
            (last, since) = (new, Instant::now());
        }
    }
    last
}
