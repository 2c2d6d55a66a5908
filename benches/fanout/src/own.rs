//! A stream for each of many requests, which nobody else gets: `GET /own?messages=N&pause=MS` is
//! answered by events of 40 bytes, so many milliseconds apart, and ends.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    ops::Range,
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use websse::{
    Message,
    http::{EventWriter, Request, Response},
};

use super::{
    hub,
    latency::now,
    metric::{Metric, Sample, float, micros},
    peer::Entrant,
    stage::{Settings, Stage, check, put_down_faults},
};
use crate::crowd::Crowd;

/// Begins the arguments of a child process that is a [bare loop](serve_bare).
pub(crate) const BARE: &str = "--as-bare-loop";

const BYTES: usize = 40;

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    /// All are asked for at once.
    pub(crate) streams: usize,
    pub(crate) messages: u32,
    /// Milliseconds between two messages.
    pub(crate) pause: u32,
}

impl Own {
    pub(crate) fn run(self, entrant: &Entrant, settings: Settings) -> Result<Sample> {
        let Self { streams, messages, pause } = self;
        let mut sample = Sample::default();
        let mut stage = Stage::start(entrant, 1, settings.time)?;
        let (before, started) = (stage.costs(), now());
        let clients =
            stage.crowd.connect(stage.peer.address, &target(messages, pause), streams, streams);
        if pause > 0 {
            // All of them are being written.
            thread::sleep(Duration::from_millis(u64::from(messages * pause / 2)));
            sample.set(Metric::Memory, stage.growth() / float(streams as u64));
        }
        let outcome = stage.wait_events(&[(clients.clone(), messages.into())]);
        let after = stage.costs();
        let expected = streams as u64 * u64::from(messages);
        let took = micros(stage.heard()?.end.saturating_sub(started)) / 1e6;
        if took > 0.0 {
            sample.set(Metric::Deliveries, float(expected) / took);
        }
        after.put_down(before, Metric::CpuPerDelivery, expected, &mut sample);
        stage.describe(&mut sample);
        let report = stage.crowd.report(&clients);
        sample.set(Metric::FirstByte, float(report.median_answer_micros));
        put_down_faults(&report, expected, &mut sample);
        Ok(sample.with(outcome.and(check(&report))))
    }
}

/// Streams of their own beside what is measured. Their clients are a crowd of their own, so that its
/// figures are not the others'.
#[derive(Debug)]
pub(crate) struct Beside {
    crowd: Crowd,
    clients: Range<usize>,
}

impl Beside {
    /// Between two messages of each: 50 a second.
    pub(crate) const PAUSE: u32 = 20;

    pub(crate) fn start(stage: &Stage, streams: usize) -> Result<Self> {
        let mut crowd = stage.another_crowd();
        // Longer than any run takes.
        let target = target(1_000_000, Self::PAUSE);
        let clients = crowd.connect(stage.peer.address, &target, streams, streams);
        let report = crowd.wait_events(&clients, 1, stage.left());
        ensure!(report.missing == 0, "no streams of their own: {report}");
        Ok(Self { crowd, clients })
    }

    /// Fails unless all are still being written.
    pub(crate) fn finish(mut self) -> Result<()> {
        let report = self.crowd.report(&self.clients);
        ensure!(report.open == report.clients, "streams of their own have ended: {report}");
        check(&report)
    }
}

fn target(messages: u32, pause: u32) -> String {
    format!("/own?event=t0&messages={messages}&pause={pause}")
}

/// As a listener expects it, without a time.
fn data(number: u32) -> String {
    format!("{:x<BYTES$}", format!("0-{number}-1-"))
}

/// The answer of `websse`.
pub(crate) fn answer(request: &Request) -> Response {
    let number = |name| request.param(name)?.parse().ok();
    let (Some(messages), Some(pause)) = (number("messages"), number("pause")) else {
        return Response::text(400, "expected ?messages=N&pause=MS");
    };
    Response::events(move |out: &mut EventWriter<'_>| {
        for number in 0..messages {
            out.send(&Message::new(data(number)))?;
            if pause > 0 {
                out.wait(Duration::from_millis(pause.into()))?;
            }
        }
        Ok(())
    })
}

/// The least that a server can do: a thread for each connection, and a call of `write` for each
/// message, of the same bytes.
pub(crate) fn serve_bare() -> Result<()> {
    let listener = hub::listen()?;
    println!("listening {}", listener.local_addr()?);
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            // A client that leaves ends it.
            thread::spawn(move || write_bare(socket));
        }
    });
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn write_bare(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut request = [0; 1024];
    let length = socket.read(&mut request)?;
    let request = String::from_utf8_lossy(&request[..length]);
    let number = |name: &str| {
        let (_, value) = request.split_once(name)?;
        value.split(['&', ' ']).next()?.parse().ok()
    };
    let (messages, pause): (u32, u64) =
        (number("messages=").unwrap_or(0), number("pause=").unwrap_or(0).into());
    socket.write_all(
        b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\
          Content-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache, no-transform\r\n\
          X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    let mut chunk = Vec::new();
    for number in 0..messages {
        let block = format!("data: {}\n\n", data(number));
        chunk.clear();
        write!(chunk, "{:x}\r\n{block}\r\n", block.len())?;
        socket.write_all(&chunk)?;
        if pause > 0 {
            thread::sleep(Duration::from_millis(pause));
        }
    }
    socket.write_all(b"0\r\n\r\n")?;
    // The connection is kept.
    socket.read(&mut [0]).map(drop)
}
