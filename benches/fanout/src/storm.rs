//! Many clients that connect at once.

use anyhow::{Result, anyhow};

use super::{
    metric::{Metric, Sample, float},
    peer::Entrant,
    stage::{Settings, Stage},
};

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) clients: usize,
}

impl Storm {
    pub(crate) fn run(self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let address = stage.peer.address;
        let before = stage.costs();
        // None waits for another's head.
        let clients = stage.crowd.connect(address, "/event?event=t0", self.clients, self.clients);
        let left = stage.left();
        let report = stage.crowd.wait_heads(&clients, left);
        let after = stage.costs();
        after.put_down(before, Metric::CpuPerConnection, report.ok, &mut sample);
        stage.describe(&mut sample);
        sample.set(Metric::LastHead, float(report.last_head_micros));
        sample.set(Metric::Memory, stage.growth() / float(report.clients));
        sample.set(Metric::Closed, float(report.clients - report.open));
        let outcome = if report.ok == report.clients {
            // They are streams.
            stage
                .publisher(1)
                .and_then(|mut publisher| stage.warm_up(&mut publisher, 1, &[(clients, 1)]))
        } else {
            let (all, some, trouble) = (report.clients, report.ok, &report.trouble);
            Err(anyhow!("{some} of {all} clients have a stream; {trouble}"))
        };
        Ok(sample.with(outcome))
    }
}
