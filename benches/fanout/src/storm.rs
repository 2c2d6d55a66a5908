//! Many clients that connect at once, and leave at once.

use anyhow::{Result, anyhow};

use super::{
    channels::own_and_common,
    metric::{Metric, Sample, float},
    peer::Entrant,
    publisher::Publisher,
    stage::{Settings, Stage},
};

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) clients: usize,
    /// Each listens to a channel of its own, too.
    pub(crate) have_own: bool,
}

impl Storm {
    pub(crate) fn run(self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let address = stage.peer.address;
        let before = stage.costs();
        // None waits for another's head.
        let own = self.have_own.then(|| own_and_common(1));
        let target = own.as_deref().unwrap_or("/event?event=t0");
        let clients = stage.crowd.connect(address, target, self.clients, self.clients);
        let left = stage.left();
        let report = stage.crowd.wait_heads(&clients, left);
        let after = stage.costs();
        after.put_down(before, Metric::CpuPerConnection, report.ok, &mut sample);
        stage.describe(&mut sample);
        sample.set(Metric::LastHead, float(report.last_head_micros));
        sample.set(Metric::Memory, stage.growth() / float(report.clients));
        sample.set(Metric::Closed, float(report.clients - report.open));
        let outcome = if report.ok == report.clients {
            let all_are_there = stage.publisher(1).and_then(|mut publisher| {
                // They are streams.
                stage.warm_up(&mut publisher, 1, &[(clients.clone(), 1)])?;
                Ok(publisher)
            });
            all_are_there.and_then(|publisher| self.leave(&mut stage, publisher, &mut sample))
        } else {
            let (all, some, trouble) = (report.clients, report.ok, &report.trouble);
            Err(anyhow!("{some} of {all} clients have a stream; {trouble}"))
        };
        Ok(sample.with(outcome))
    }

    /// All leave. Some servers notice that a client has left only by what they write to it, and that
    /// twice: the first time its system answers that nobody is there.
    fn leave(self, stage: &mut Stage, mut publisher: Publisher, sample: &mut Sample) -> Result<()> {
        let before = stage.costs();
        stage.crowd.close(&(0..self.clients));
        stage.wait_idle();
        for _ in 0..2 {
            publisher.publish(0, 1)?;
            publisher.finish()?;
            stage.wait_idle();
        }
        let used = stage.costs().of_server(before);
        sample.set(Metric::CpuPerLeaving, used / float(self.clients as u64));
        Ok(())
    }
}
