//! Descriptors that run out, and connections that come and go, leave no trace.

use std::{
    io,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use support::{
    Client, SOON,
    crowd::{Crowd, HubProcess, Report, TARGET, measure, payload},
    random::Random,
};

pub(crate) fn two_hundred_clients_are_answered_by_a_hub_with_64_descriptors() {
    const BYTES: usize = 128;
    const EVENTS: u32 = 200;
    const ANSWER: Duration = Duration::from_secs(10);
    let mut crowd = Crowd::start();
    let mut hub = HubProcess::with_few_descriptors(64);
    let early = crowd.join(hub.address, TARGET, 20);

    // The late ones push while the early ones listen.
    let late = crowd.connect(hub.address, TARGET, 180, 180);
    for _ in 0..EVENTS {
        hub.publish(1, BYTES);
    }
    let report = crowd.wait_heads(&late, ANSWER);
    assert_answered(&report);
    let everyone = early.start..late.end;
    hub.publish(1, BYTES);
    let report = crowd.wait_events(&early, u64::from(EVENTS) + 1, ANSWER);
    report.assert_everyone_has(u64::from(EVENTS) + 1, BYTES as u64);
    let report = crowd.report(&everyone);
    assert_eq!(
        (report.cut, report.faulty, report.on_the_way),
        (0, 0, 0),
        "answers should be whole, and everyone answered; got (cut, faulty, on the way) in {report}"
    );
    let served = crowd.report_open(&everyone);
    assert!(
        served.open > 20 && served.least_events > 0,
        "more than the first 20 should be served, and hear what is published; got {served}"
    );

    // Half of the clients leave: the half with most of the streams, for the others are gone.
    let (first, second) = (everyone.start..100, 100..everyone.end);
    let leaving = if crowd.report_open(&first).open >= served.open / 2 { first } else { second };
    let left = crowd.report_open(&leaving).open;
    crowd.close(&leaving);
    let remaining = usize::try_from(served.open - left).expect("few");
    hub.wait_streams(remaining, Duration::from_secs(5));
    let new = crowd.join(hub.address, TARGET, usize::try_from(left / 2).expect("few"));
    hub.publish(1, BYTES);
    let report = crowd.wait_events(&new, 1, ANSWER);
    assert_eq!(
        (report.missing, report.open),
        (0, report.clients),
        "new clients should be served when descriptors are free; got (missing, open) in {report}"
    );
    hub.end();
    eprintln!(
        "figure: 64 descriptors, 200 clients: {} streams at once, {left} left, {} new ones served",
        served.open, report.open
    );
}

/// Every client has a whole head that serves it or says that it cannot be served now.
#[track_caller]
fn assert_answered(report: &Report) {
    assert_eq!(
        report.ok + report.unavailable,
        report.clients,
        "every client should be answered, with status 200 or 503; got {report}"
    );
}

/// Connections in all, threads that open them, and how many each holds at a time.
const CONNECTIONS: usize = 20_000;
const THREADS: usize = 8;
const HELD: usize = 24;

pub(crate) fn twenty_thousand_connections_of_all_kinds_leave_nothing_behind() {
    let mut hub = HubProcess::start();
    let before = (measure::threads(hub.pid()), measure::descriptors(hub.pid()));
    let started = Instant::now();
    let troubles: Vec<String> = thread::scope(|scope| {
        let visitors: Vec<_> = (0..THREADS)
            .map(|thread| {
                let address = hub.address;
                scope.spawn(move || visit(address, thread as u64 + 1))
            })
            .collect();
        visitors.into_iter().flat_map(|visitor| visitor.join().expect("no panic")).collect()
    });
    let took = started.elapsed();
    assert!(troubles.is_empty(), "every visit should succeed, got {troubles:?}");

    hub.wait_streams(0, Duration::from_secs(10));
    let started = Instant::now();
    measure::wait_for("(threads, descriptors)", Duration::from_secs(20), &before, || {
        (measure::threads(hub.pid()), measure::descriptors(hub.pid()))
    });
    eprintln!(
        "figure: {CONNECTIONS} connections of all kinds in {took:.2?}; {before:?} threads and \
         descriptors again after {:.2?}",
        started.elapsed()
    );
    hub.end();
}

/// Makes this thread's share of the connections; returns what went wrong.
fn visit(address: SocketAddr, seed: u64) -> Vec<String> {
    let mut random = Random::new(seed, 0);
    let mut held: Vec<(Visit, Client)> = Vec::with_capacity(HELD);
    let mut troubles = Vec::new();
    for number in 0..CONNECTIONS / THREADS {
        if held.len() == HELD {
            let (visit, client) = held.swap_remove(random.below(HELD));
            if let Err(error) = visit.end(&client) {
                troubles.push(format!("end of {visit:?}: {error}"));
            }
        }
        let visit = Visit::ALL[random.below(Visit::ALL.len())];
        match visit.begin(address, number) {
            Ok(client) => held.push((visit, client)),
            Err(error) => troubles.push(format!("{visit:?}: {error}")),
        }
        if troubles.len() > 3 {
            break;
        }
    }
    for (visit, mut client) in held {
        // Half-closed by the client, the stream ends soon.
        if matches!(visit, Visit::StreamFinished)
            && let Err(error) = client.rest(Instant::now() + 2 * SOON)
        {
            troubles.push(format!("a finished stream did not end: {error}"));
        }
    }
    troubles
}

/// What a client may do to a connection.
#[derive(Clone, Copy, Debug)]
enum Visit {
    OnlyConnect,
    HalfARequest,
    HalfABody,
    RequestThatCloses,
    RequestKeptAlive,
    Post,
    StreamFinished,
    Stream,
    StreamUnread,
    Nonsense,
}

impl Visit {
    const ALL: [Self; 10] = [
        Self::OnlyConnect,
        Self::HalfARequest,
        Self::HalfABody,
        Self::RequestThatCloses,
        Self::RequestKeptAlive,
        Self::Post,
        Self::StreamFinished,
        Self::Stream,
        Self::StreamUnread,
        Self::Nonsense,
    ];

    fn begin(self, address: SocketAddr, number: usize) -> io::Result<Client> {
        let mut client = Client::try_connect(address)?;
        let end = Instant::now() + 2 * SOON;
        let stream = format!("GET {TARGET} HTTP/1.1\r\nHost: hub\r\n\r\n");
        match self {
            Self::OnlyConnect => {}
            Self::HalfARequest => client.try_send(b"GET /event?event=x HTTP/1.1\r\nHo")?,
            Self::HalfABody => {
                client.try_send(
                    b"POST /send?event=x HTTP/1.1\r\nHost: hub\r\nContent-Length: 9\r\n\r\nhalf",
                )?;
            }
            Self::RequestThatCloses => {
                client
                    .try_send(b"GET /health HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")?;
                expect(200, client.try_answer(end)?.status)?;
            }
            Self::RequestKeptAlive => {
                client.try_send(b"GET /health HTTP/1.1\r\nHost: hub\r\n\r\n")?;
                expect(200, client.try_answer(end)?.status)?;
            }
            Self::Post => {
                let counter = u32::try_from(number).expect("few");
                expect(200, client.post("/send?event=x", &payload::compose(counter, 2048))?)?;
            }
            Self::StreamFinished => {
                client.try_send(&stream)?;
                expect(200, client.try_head(end)?.status)?;
                client.half_close();
            }
            Self::Stream => {
                client.try_send(&stream)?;
                expect(200, client.try_head(end)?.status)?;
            }
            Self::StreamUnread => client.try_send(&stream)?,
            Self::Nonsense => {
                client.try_send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")?;
                expect(400, client.try_answer(end)?.status)?;
            }
        }
        Ok(client)
    }

    fn end(self, client: &Client) -> io::Result<()> {
        match self {
            // At least the head is unread, and closing so resets the connection.
            Self::StreamUnread if !client.has_something_unread() => {
                Err(io::ErrorKind::TimedOut.into())
            }
            _ => Ok(()),
        }
    }
}

fn expect(expected: u16, status: u16) -> io::Result<()> {
    if status == expected {
        Ok(())
    } else {
        Err(io::Error::other(format!("expected status {expected}, got {status}")))
    }
}
