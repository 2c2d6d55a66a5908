//! How fast one publisher can publish.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, ensure};
use websse::Message;

use super::{
    hub::{Hub, builder},
    latency::now,
    listener::compose,
    metric::{Metric, Sample, float, micros},
    peer::{Entrant, Kind},
    processes::Used,
    publisher::{Publisher, Speech},
    stage::{LISTENERS, Settings, Stage, check, heard, put_down_faults},
};
use crate::crowd::Crowd;

const BYTES: usize = 128;

/// Over HTTP, on one connection, with one client that listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverHttp {
    pub(crate) publishes: u32,
    /// Requests that may wait for their answer; `None` is what the command line says.
    pub(crate) window: Option<usize>,
}

impl OverHttp {
    pub(crate) fn run(&self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let window = self.window.unwrap_or(settings.window);
        if entrant.kind == Kind::Echo {
            return self.echo(window, settings.time);
        }
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let clients = stage.join("/event?event=t0", 1)?;
        let mut publisher = stage.publisher(1)?;
        stage.warm_up(&mut publisher, 1, &[(clients.clone(), 1)])?;
        let before = stage.costs();
        let took = self.publish(&mut publisher, window)?;
        let outcome = stage.wait_events(&[(clients.clone(), self.publishes.into())]);
        let after = stage.costs();
        sample.set(Metric::Publishes, f64::from(self.publishes) / took.as_secs_f64());
        after.put_down(before, Metric::CpuPerPublish, self.publishes.into(), &mut sample);
        stage.describe(&mut sample);
        sample.set(Metric::Refused, float(publisher.refused));
        put_down_faults(&stage.crowd.report(&clients), self.publishes.into(), &mut sample);
        Ok(sample.with(outcome))
    }

    fn publish(&self, publisher: &mut Publisher, window: usize) -> Result<Duration> {
        let started = Instant::now();
        for _ in 0..self.publishes {
            publisher.publish(0, window)?;
        }
        publisher.finish()?;
        Ok(started.elapsed())
    }

    fn echo(&self, window: usize, time: Duration) -> Result<Sample> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let server = thread::spawn(move || echo(listener.accept()?.0));
        let mut publisher = Publisher::connect(address, Speech::Http, 1, Instant::now() + time)?;
        let took = self.publish(&mut publisher, window)?;
        let mut sample = Sample::default();
        sample.set(Metric::Publishes, f64::from(self.publishes) / took.as_secs_f64());
        sample.set(Metric::Refused, float(publisher.refused));
        drop(publisher);
        server.join().map_err(|_| anyhow!("the echo panicked"))??;
        Ok(sample)
    }
}

/// Answers every request of a connection with an empty 200.
fn echo(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let mut buffer = vec![0; 64 << 10];
    let mut pending = Vec::new();
    loop {
        let read = socket.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        pending.extend_from_slice(&buffer[..read]);
        let mut passed = 0;
        while let Some(length) = request(&pending[passed..])? {
            passed += length;
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
        }
        pending.drain(..passed);
    }
}

/// The length of the first request, if it is there in whole.
fn request(bytes: &[u8]) -> Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes)? else {
        return Ok(None);
    };
    let length = request.headers.iter().find(|header| header.name == "Content-Length");
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
    let length = head + length.unwrap_or(0_usize);
    Ok((length <= bytes.len()).then_some(length))
}

/// By calls of `publish`, in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InProcess {
    pub(crate) publishes: u32,
    pub(crate) clients: usize,
}

impl InProcess {
    pub(crate) fn run(&self, settings: Settings) -> Result<Sample> {
        let mut sample = Sample::default();
        let hub = Hub::start(1, builder())?;
        let mut crowd = Crowd::with_ear(LISTENERS);
        let clients = crowd.connect(hub.address, "/event?event=t0", self.clients, self.clients);
        let joined = crowd.wait_heads(&clients, settings.time);
        ensure!(joined.ok == joined.clients, "no stream: {joined}");
        let mut data = Vec::new();
        let messages: Vec<Message> = (0..self.publishes)
            .map(|number| {
                compose(&mut data, 0, number, now(), BYTES);
                Message::new(String::from_utf8_lossy(&data)).event("t0")
            })
            .collect();
        let own = [std::process::id()];
        let before = Used::by(&own);
        let (began, started) = (now(), Instant::now());
        for message in messages {
            hub.server.publish(message)?;
        }
        let took = started.elapsed();
        let report = crowd.wait_events(&clients, self.publishes.into(), settings.time);
        let used = Used::by(&own).since(before);
        let heard = heard(&mut crowd)?;
        let publishes = f64::from(self.publishes);
        sample.set(Metric::Publishes, publishes / took.as_secs_f64());
        sample.set(Metric::CpuPerPublish, used.as_secs_f64() * 1e6 / publishes);
        if self.clients > 0 {
            let took = micros(heard.end.saturating_sub(began)) / 1e6;
            sample.set(Metric::Deliveries, float(heard.deliveries) / took);
        }
        put_down_faults(&report, u64::from(self.publishes) * report.clients, &mut sample);
        Ok(sample.with(check(&report)))
    }
}
