//! Many clients that connect at once, and leave at once.

use std::ops::Range;

use anyhow::{Result, anyhow};

use super::{
    channels::own_and_common,
    metric::{Metric, Sample, float},
    peer::Entrant,
    publisher::Publisher,
    stage::{Settings, Stage, check_heads},
};
use crate::crowd::{Security, Tls};

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Storm {
    pub(crate) clients: usize,
    /// Each listens to a channel of its own, too.
    pub(crate) have_own: bool,
    /// How they speak TLS, with servers that do. Those that resume a session were there before.
    pub(crate) tls: Option<Tls>,
}

impl Storm {
    pub(crate) fn run(self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let address = stage.peer.address;
        let own = self.have_own.then(|| own_and_common(1));
        let target = own.as_deref().unwrap_or("/event?event=t0");
        if let Some(tls) = self.tls {
            self.prepare(&mut stage, tls, target)?;
        }
        let before = stage.costs();
        // None waits for another's head.
        let clients = stage.crowd.connect(address, target, self.clients, self.clients);
        let left = stage.left();
        let report = stage.crowd.wait_heads(&clients, left);
        let after = stage.costs();
        after.put_down(before, Metric::CpuPerConnection, report.ok, &mut sample);
        stage.describe(&mut sample);
        sample.set(Metric::LastHead, float(report.last_head_micros));
        sample.set(Metric::Memory, stage.growth() / float(report.clients));
        sample.set(Metric::Closed, float(report.clients - report.open));
        let resumed = report.resumed;
        let outcome = check_heads(&report);
        let outcome = if self.tls.is_some_and(|tls| tls.resumes) && resumed < report.ok {
            outcome.and(Err(anyhow!("{resumed} of {} clients resumed a session", report.ok)))
        } else if outcome.is_ok() {
            let all_are_there = stage.publisher(1).and_then(|mut publisher| {
                // They are streams.
                stage.warm_up(&mut publisher, 1, &[(clients.clone(), 1)])?;
                Ok(publisher)
            });
            all_are_there.and_then(|mut publisher| {
                let before = stage.costs();
                leave(&mut stage, &clients, &mut publisher)?;
                let used = stage.costs().of_server(before);
                sample.set(Metric::CpuPerLeaving, used / float(report.clients));
                Ok(())
            })
        } else {
            outcome
        };
        Ok(sample.with(outcome))
    }

    /// Sets how the clients speak TLS; those that resume sessions get them first.
    fn prepare(self, stage: &mut Stage, tls: Tls, target: &str) -> Result<()> {
        if tls.resumes {
            stage.crowd.protect(Security::Tls(Tls { resumes: false, ..tls }));
            let clients = stage.join(target, self.clients)?;
            let mut publisher = stage.publisher(1)?;
            leave(stage, &clients, &mut publisher)?;
        }
        stage.crowd.protect(Security::Tls(tls));
        Ok(())
    }
}

/// All leave. Some servers notice that a client has left only by what they write to it, and that
/// twice: the first time its system answers that nobody is there.
fn leave(stage: &mut Stage, clients: &Range<usize>, publisher: &mut Publisher) -> Result<()> {
    stage.crowd.close(clients);
    stage.wait_idle();
    for _ in 0..2 {
        publisher.publish(0, 1)?;
        publisher.finish()?;
        stage.wait_idle();
    }
    Ok(())
}
