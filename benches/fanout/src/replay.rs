//! One client that gets all that is kept, of many channels or of one, while another one gets events as
//! they are published.

use std::{
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow, ensure};
use websse::{Message, Server};

use super::{
    hub::{Hub, builder},
    known::wait_published,
    latency::now,
    listener::compose,
    metric::{Metric, Sample, float, micros},
    processes::Used,
    stage::{LISTENERS, Settings, check, heard, put_down_faults},
};
use crate::crowd::Crowd;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replay {
    pub(crate) events: u32,
    /// Each is in a channel of its own.
    pub(crate) are_apart: bool,
}

const BYTES: usize = 128;
/// So often an event is published to the other client.
const INTERVAL: Duration = Duration::from_millis(1);

impl Replay {
    pub(crate) fn run(self, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let kept = builder().history_events(usize::MAX >> 1).history_bytes(1 << 30);
        let hub = Hub::start(2, kept.history_all_bytes(1 << 30))?;
        for number in 0..self.events {
            let channel = if self.are_apart { number } else { 0 };
            hub.server.publish(message(0, number).channel(format!("c{channel}")))?;
        }
        wait_published(&hub.server, self.events.into());
        let (mut crowd, mut other) = (Crowd::with_ear(LISTENERS), Crowd::with_ear(LISTENERS));
        let live = other.connect(hub.address, "/event?event=t1", 1, 1);
        let joined = other.wait_heads(&live, settings.time);
        ensure!(joined.ok == joined.clients, "no stream: {joined}");

        let target = if self.are_apart {
            "/event?event=t0&channel=*&replay=each".to_owned()
        } else {
            format!("/event?event=t0&channel=c0&replay={}", self.events)
        };
        let own = [std::process::id()];
        let (before, started) = (Used::by(&own), now());
        let (going_on, end) = channel::<()>();
        let server = Arc::clone(&hub.server);
        let publishing = thread::spawn(move || {
            publish_until(&server, || end.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout))
        });
        let client = crowd.connect(hub.address, &target, 1, 1);
        let report = crowd.wait_events(&client, self.events.into(), settings.time);
        drop(going_on);
        let published = publishing.join().map_err(|_| anyhow!("the publisher panicked"))??;
        let used = Used::by(&own).since(before);
        let lately = other.wait_events(&live, published.into(), settings.time);

        let took = heard(&mut crowd)?.end.saturating_sub(started);
        sample.set(Metric::LastAll, micros(took));
        let of_each = used.as_secs_f64() * 1e6 / f64::from(self.events);
        sample.set(Metric::CpuPerDelivery, of_each);
        let latencies = heard(&mut other)?.each.map(micros);
        sample.values.extend([Metric::P50, Metric::P99, Metric::Max].into_iter().zip(latencies));
        sample.set(Metric::Known, float(hub.server.stats().channels as u64));
        put_down_faults(&report, self.events.into(), &mut sample);
        ensure!(lately.missing == 0, "the other client misses {} of {published}", lately.missing);
        Ok(sample.with(check(&report).and_then(|()| check(&lately))))
    }
}

fn message(kind: usize, number: u32) -> Message {
    let mut data = Vec::new();
    compose(&mut data, kind, number, now(), BYTES);
    Message::new(String::from_utf8_lossy(&data)).event(format!("t{kind}"))
}

/// Tells how many events were published to the common channel.
fn publish_until(server: &Server, is_over: impl Fn() -> bool) -> Result<u32> {
    let mut published = 0;
    while published == 0 || !is_over() {
        server.publish(message(1, published))?;
        published += 1;
    }
    Ok(published)
}
