//! What channels cost that are only known: nobody listens, an event of each is kept.

use std::time::Duration;

use anyhow::{Result, ensure};
use websse::{Builder, Message, Server};

use super::{
    channels::own_and_common,
    hub::{Hub, builder},
    latency::now,
    listener::compose,
    metric::{Metric, Sample, float},
    peer::Entrant,
    processes::Used,
    stage::{LISTENERS, Settings, Stage, check, put_down_faults},
};
use crate::crowd::Crowd;

const BYTES: usize = 128;

/// Publishes to channels with a listener each, by calls in this process, beside those that are known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    pub(crate) known: usize,
    /// The history is used up: each event that is kept makes another one go.
    pub(crate) is_full: bool,
    pub(crate) publishes: u32,
}

/// These have a listener, and get the events.
pub(crate) const USED: u16 = 10;
/// What a channel with an event of [`BYTES`] counts for in the history.
const COUNTED: usize = 608;

impl Beside {
    pub(crate) fn run(self, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let hub = Hub::start(1, self.builder())?;
        let mut crowd = Crowd::with_ear(LISTENERS);
        let used = usize::from(USED);
        let clients = crowd.connect(hub.address, &own_and_common(1), used, used);
        let joined = crowd.wait_heads(&clients, settings.time);
        ensure!(joined.ok == joined.clients, "no stream: {joined}");
        // What is too many pushes the oldest out.
        let known = if self.is_full { self.known * 6 / 5 } else { self.known };
        for channel in 0..known {
            let data = format!("{:-<BYTES$}", "");
            hub.server.publish(message(&data, used + 1 + channel))?;
        }
        wait_published(&hub.server, known as u64);
        sample.set(Metric::Known, float(hub.server.stats().channels as u64));

        let mut data = Vec::new();
        let messages: Vec<Message> = (0..self.publishes)
            .map(|number| {
                let channel = 1 + number as usize % used;
                compose(&mut data, channel, number / u32::from(USED), now(), BYTES);
                message(&String::from_utf8_lossy(&data), channel)
            })
            .collect();
        let own = [std::process::id()];
        let before = Used::by(&own);
        for message in messages {
            hub.server.publish(message)?;
        }
        let each = u64::from(self.publishes) / u64::from(USED);
        let report = crowd.wait_events(&clients, each, settings.time);
        let used = Used::by(&own).since(before);
        sample.set(Metric::CpuPerPublish, used.as_secs_f64() * 1e6 / f64::from(self.publishes));
        put_down_faults(&report, each * report.clients, &mut sample);
        Ok(sample.with(check(&report)))
    }

    fn builder(self) -> Builder {
        // The logs that are written to have no limits of their own, which would make room.
        let room = if self.is_full { 0 } else { 1 << 30 };
        let all = self.known * COUNTED + room;
        builder().history_events(usize::MAX >> 1).history_bytes(1 << 30).history_all_bytes(all)
    }
}

fn message(data: &str, channel: usize) -> Message {
    Message::new(data).event("t0").channel(format!("c{channel}"))
}

/// Waits until the broadcaster has got so far.
pub(crate) fn wait_published(server: &Server, published: u64) {
    while server.stats().published < published {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Memory for each channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) channels: usize,
    /// Each has a listener, and else an event that is kept.
    pub(crate) are_listened: bool,
}

/// The data of that event.
pub(crate) const KEPT: usize = 100;

impl Memory {
    pub(crate) fn run(self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let metric = if self.are_listened {
            stage.join(&own_and_common(1), self.channels)?;
            Metric::Memory
        } else {
            let mut publisher = stage.publisher(1)?;
            publisher.bytes = KEPT;
            for channel in 1..=self.channels {
                publisher.publish(channel, settings.window)?;
            }
            publisher.finish()?;
            sample.set(Metric::Refused, float(publisher.refused));
            Metric::ChannelMemory
        };
        // Threads that served the requests end when there is nothing more to do.
        stage.wait_idle();
        sample.set(metric, stage.growth() / float(self.channels as u64));
        stage.describe(&mut sample);
        Ok(sample)
    }
}
