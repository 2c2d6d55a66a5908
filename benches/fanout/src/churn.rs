//! Clients that join and leave all the time, each with its own channel and the common one: a crowd of
//! its own, so that who is measured does not wait for it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    channels::own_and_common,
    metric::float,
    stage::{LISTENERS, check},
};
use crate::crowd::Crowd;

/// So often some join and some leave.
const TICK: Duration = Duration::from_millis(10);
/// How long a client stays, in ticks.
const STAY: usize = 100;
/// Channels are used again after so many.
const CHANNELS: usize = 1000;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Churn {
    /// Closed to end it.
    going_on: Sender<()>,
    thread: JoinHandle<Result<f64>>,
}

impl Churn {
    /// Begins, with so many joinings and leavings a second. Returns when as many are there as will be
    /// at any time. Their channels begin with this number.
    pub(crate) fn start(address: SocketAddr, first: usize, per_second: u32) -> Result<Self> {
        let (going_on, end) = channel();
        let (ready, is_ready) = channel();
        let at_a_time = (per_second as usize / 100).max(1);
        let thread = thread::Builder::new().name("churn".into()).spawn(move || {
            let mut crowd = Crowd::with_ear(LISTENERS);
            let mut there = VecDeque::new();
            let mut next = 0;
            let mut join = |crowd: &mut Crowd| {
                let target = own_and_common(first + next);
                next = (next + at_a_time) % CHANNELS;
                crowd.connect(address, &target, at_a_time, usize::MAX)
            };
            for _ in 0..STAY {
                let clients = join(&mut crowd);
                crowd.wait_heads(&clients, Duration::from_secs(10));
                there.push_back(clients);
            }
            // Fails if the other end has given up.
            let _ = ready.send(());
            let (started, mut ticks) = (Instant::now(), 0);
            let mut due = started;
            let everyone = 0..usize::MAX;
            let before = crowd.report(&everyone).ok;
            loop {
                due += TICK;
                let left = due.saturating_duration_since(Instant::now());
                if end.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                there.push_back(join(&mut crowd));
                there.pop_front().iter().for_each(|clients| drop(crowd.close(clients)));
                ticks += 1;
            }
            let took = started.elapsed().as_secs_f64();
            let report = crowd.report(&everyone);
            check(&report)?;
            if ticks == 0 || report.failed + report.unavailable + report.other > 0 {
                return Err(anyhow!("clients that come and go: {report}"));
            }
            Ok(float(report.ok - before) / took)
        })?;
        if is_ready.recv().is_err() {
            thread.join().map_err(|_| anyhow!("the churn panicked"))??;
            return Err(anyhow!("the churn has ended"));
        }
        Ok(Self { going_on, thread })
    }

    /// Ends; tells how many joined in a second.
    pub(crate) fn stop(self) -> Result<f64> {
        drop(self.going_on);
        self.thread.join().map_err(|_| anyhow!("the churn panicked"))?
    }
}
