//! What it costs to write a stream for each of many requests, beside a bare loop of `write` with the same
//! bytes and a thread for each connection:
//! `cargo run --release --manifest-path benches/fanout/Cargo.toml --bin own`. Other servers take part as
//! `NAME=PROGRAM`: programs that print their address, and answer `/own?messages=N&pause=MILLISECONDS` in
//! chunks. Each server is a process of its own. Medians of some rounds.

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

use support::measure::{memory, processor_time};
use websse::{
    Message,
    http::{HttpServer, Limits, Request, Response},
};

const ROUNDS: usize = 5;
const CLIENTS: usize = 200;
const MESSAGES: usize = 500;
/// 40 bytes.
const TEXT: &str = "a token of a language model, or a bit it";
/// Between two messages: as fast as they go, or 50 a second.
const PAUSES: [u64; 2] = [0, 20];

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--serve-websse") => serve(),
        Some("--serve-bare") => bare(),
        _ => {
            let own = env::current_exe()?.display().to_string();
            let mut servers = vec![
                ("websse".to_owned(), own.clone(), Some("--serve-websse")),
                ("bare loop".to_owned(), own, Some("--serve-bare")),
            ];
            for peer in &arguments {
                let (name, program) =
                    peer.split_once('=').ok_or(anyhow::anyhow!("NAME=PROGRAM"))?;
                servers.push((name.to_owned(), program.to_owned(), None));
            }
            PAUSES.into_iter().try_for_each(|pause| compare(&servers, pause))
        }
    }
}

/// A server of its own process, with what it is called by.
type Server = (String, String, Option<&'static str>);

fn compare(servers: &[Server], pause: u64) -> anyhow::Result<()> {
    println!("{CLIENTS} streams of {MESSAGES} messages of 40 bytes, {pause} ms between two");
    let mut figures = vec![Vec::new(); servers.len()];
    for _ in 0..ROUNDS {
        for (server, figures) in servers.iter().zip(&mut figures) {
            figures.push(round(server, pause)?);
        }
    }
    for ((name, ..), rounds) in servers.iter().zip(figures) {
        let median = |at: usize| {
            let mut all: Vec<f64> = rounds.iter().map(|round: &[f64; 4]| round[at]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        println!(
            "{name:>10}: {:>9.0} messages/s; {:>5.2} us of CPU for each; {:>6.1} KiB for each stream; \
             first byte after {:>6.0} us",
            median(0),
            median(1),
            median(2),
            median(3)
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn round((name, program, argument): &Server, pause: u64) -> anyhow::Result<[f64; 4]> {
    let mut child = Ended(Command::new(program).args(*argument).stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("it is piped")).read_line(&mut line)?;
    let address = line.trim().rsplit('/').find(|part| part.contains(':'));
    let address: SocketAddr = address.unwrap_or_else(|| panic!("{name}: {line}")).parse()?;
    let pid = child.0.id();
    let (before, worked) = (memory(pid).0, processor_time(pid));
    let (all_open, first_bytes) = (Barrier::new(CLIENTS + 1), mpsc::channel());
    let request = format!("GET /own?messages={MESSAGES}&pause={pause} HTTP/1.1\r\nHost: a\r\n\r\n");
    let (took, grown) = thread::scope(|scope| {
        let readers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (all_open, sender, request) = (&all_open, first_bytes.0.clone(), &request);
                scope.spawn(move || {
                    let mut socket = TcpStream::connect(address).expect("it listens");
                    all_open.wait();
                    let begun = Instant::now();
                    socket.write_all(request.as_bytes()).expect("it reads");
                    let mut piece = [0; 16 * 1024];
                    let mut length = socket.read(&mut piece).expect("it answers");
                    sender.send(begun.elapsed()).expect("somebody listens");
                    while length > 0 && !piece[..length].ends_with(b"0\r\n\r\n") {
                        length = socket.read(&mut piece).expect("it answers");
                    }
                    assert!(length > 0, "the answer is incomplete");
                })
            })
            .collect();
        all_open.wait();
        let begun = Instant::now();
        if pause > 0 {
            thread::sleep(Duration::from_millis(pause * MESSAGES as u64 / 2));
        }
        let grown = memory(pid).0.saturating_sub(before);
        for reader in readers {
            reader.join().expect("it reads all");
        }
        (begun.elapsed(), grown)
    });
    let worked = processor_time(pid).saturating_sub(worked).as_secs_f64();
    drop(first_bytes.0);
    let mut first: Vec<Duration> = first_bytes.1.iter().collect();
    first.sort();
    let messages = (CLIENTS * MESSAGES) as f64;
    Ok([
        messages / took.as_secs_f64(),
        worked / messages * 1e6,
        grown as f64 / 1024.0 / CLIENTS as f64,
        first[first.len() / 2].as_secs_f64() * 1e6,
    ])
}

/// A process that ends with its round.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Fails where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve() -> anyhow::Result<()> {
    let own = |request: &Request| {
        let number = |name| request.param(name).and_then(|text| text.parse::<u64>().ok());
        let (messages, pause) = (number("messages").unwrap_or(1), number("pause").unwrap_or(0));
        Response::events(move |out| {
            let message = Message::new(TEXT);
            for _ in 0..messages {
                out.send(&message)?;
                if pause > 0 {
                    out.wait(Duration::from_millis(pause))?;
                }
            }
            Ok(())
        })
    };
    let limits = Limits::default().streams_of_own(CLIENTS);
    let http = HttpServer::new().limits(limits).get("/own", own).bind("127.0.0.1:0")?;
    println!("http://{}/", http.local_addr().expect("it listens over TCP"));
    http.join();
    Ok(())
}

/// The least that a server can do.
fn bare() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}/", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        // A client that leaves ends it.
        thread::spawn(move || write_bare(socket));
    }
    Ok(())
}

fn write_bare(mut socket: TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut request = [0; 1024];
    let length = socket.read(&mut request)?;
    let pauses = !request[..length].windows(8).any(|eight| eight == b"pause=0 ");
    socket.write_all(
        b"HTTP/1.1 200 OK\r\nDate: Mon, 30 Nov 2026 17:00:00 GMT\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
          Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    let block = format!("data: {TEXT}\n\n");
    let chunk = format!("{:x}\r\n{block}\r\n", block.len());
    for _ in 0..MESSAGES {
        socket.write_all(chunk.as_bytes())?;
        if pauses {
            thread::sleep(Duration::from_millis(PAUSES[1]));
        }
    }
    socket.write_all(b"0\r\n\r\n")
}
