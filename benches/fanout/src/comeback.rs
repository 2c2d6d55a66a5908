//! Clients that come back all at once, as after a restart of their network, each of which has missed
//! the same events.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    latency::now,
    metric::{Metric, Sample, float, micros},
    peer::Entrant,
    publisher::Publisher,
    stage::{Settings, Stage, check, put_down_faults},
};

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comeback {
    pub(crate) clients: usize,
    /// How many events each has missed.
    pub(crate) behind: u32,
}

/// So many wait for their response head at a time: fewer than may wait to be accepted, or what is
/// measured would be the second after which a client's kernel asks once more.
const WINDOW: usize = 4000;

impl Comeback {
    pub(crate) fn run(self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let clients = stage.join("/event?event=t0", self.clients)?;
        let mut publisher = stage.publisher(1)?;
        stage.warm_up(&mut publisher, 1, &[(clients.clone(), 1)])?;
        // All have the same last event.
        let last = Witness::start(stage.peer.address)?.last_id(&mut publisher)?;
        stage.wait_events(&[(clients.clone(), 1)])?;
        stage.crowd.close(&clients);
        for _ in 0..self.behind {
            publisher.publish(0, settings.window)?;
        }
        publisher.finish()?;
        stage.wait_idle();
        if let Some(again) = entrant.again() {
            stage.start_again(&again)?;
            publisher = stage.publisher(1)?.after(&publisher);
        }
        stage.crowd.restart();
        let address = stage.peer.address;

        let target = format!("/event?event=t0&last_event_id={last}");
        let before = stage.costs();
        let started = now();
        let clients = stage.crowd.connect(address, &target, self.clients, WINDOW);
        let outcome = stage.wait_events(&[(clients.clone(), self.behind.into())]);
        let after = stage.costs();
        let heard = stage.heard()?;
        let took = micros(heard.end.saturating_sub(started));
        sample.set(Metric::LastAll, took);
        if took > 0.0 {
            sample.set(Metric::Deliveries, float(heard.deliveries) / took * 1e6);
        }
        after.put_down(before, Metric::CpuPerConnection, self.clients as u64, &mut sample);
        stage.describe(&mut sample);

        // What is published now comes behind that, and nothing came that had come before.
        let outcome = outcome.and_then(|()| {
            publisher.publish(0, settings.window)?;
            publisher.finish()?;
            stage.wait_events(&[(clients.clone(), u64::from(self.behind) + 1)])
        });
        sample.set(Metric::Refused, float(publisher.refused));
        let report = stage.crowd.report(&clients);
        let each = u64::from(self.behind) + 1;
        put_down_faults(&report, each * report.clients, &mut sample);
        let seen = check(&report).and_then(|()| {
            let most = report.most_events;
            ensure!(most <= each, "a client got {most} events instead of {each}");
            Ok(())
        });
        Ok(sample.with(outcome.and(seen)))
    }
}

/// A client that reads ids, which the crowd does not look at.
#[derive(Debug)]
struct Witness(BufReader<TcpStream>);

impl Witness {
    fn start(address: SocketAddr) -> Result<Self> {
        const TIME: Duration = Duration::from_secs(10);
        let mut socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(TIME))?;
        let head = format!("Host: {address}\r\nAccept: text/event-stream");
        let request = format!("GET /event?event=t0 HTTP/1.1\r\n{head}\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        let mut witness = Self(BufReader::new(socket));
        // It is a stream when the head is there.
        while !witness.line()?.is_empty() {}
        Ok(witness)
    }

    /// Publishes an event, and gives its id.
    fn last_id(mut self, publisher: &mut Publisher) -> Result<String> {
        publisher.publish(0, 1)?;
        publisher.finish()?;
        let (mut id, mut has_data) = (None, false);
        loop {
            let line = self.line()?;
            if let Some(value) = line.strip_prefix("id:") {
                id = Some(value.trim_start().to_owned());
            }
            has_data |= line.starts_with("data:");
            // Lines that are not fields are sizes and ends of chunks.
            if line.is_empty()
                && let Some(id) = id.take().filter(|_| has_data)
            {
                return Ok(id);
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let length = self.0.read_line(&mut line).context("no event with an id")?;
        ensure!(length > 0, "the stream ended");
        Ok(line.trim_end().to_owned())
    }
}
