//! The `websse` command: a hub for Server-Sent Events, to be tried with curl.

mod cli;

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    thread,
    time::Duration,
};

use log::{info, warn};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use socket2::{Domain, Protocol, Socket, Type};
use websse::{
    Server,
    http::{HttpServer, Request, Response},
};

use crate::cli::{Command, Options};

/// Connections that may wait to be accepted: enough for all clients to come back at once.
const BACKLOG: i32 = 4096;
/// How long a shutdown may take to answer requests that are on their way.
const ANSWER: Duration = Duration::from_secs(1);
/// How long it may then take to deliver what was accepted.
const SHUTDOWN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    cli::log_to_stderr();
    let result = match cli::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => print(&[cli::USAGE, cli::ENDPOINTS, cli::EXAMPLE].concat()),
        Ok(Command::Version) => print(concat!("websse ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Serve(options)) => serve(&options),
        Err(error) => Err(format!("{error}; try websse --help")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever reads the output has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to standard output: {error}"))
        }
        _ => Ok(()),
    }
}

fn serve(options: &Options) -> Result<(), String> {
    // Before anything is accepted: a signal from here on ends the program in good order.
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    raise_descriptor_limit();
    let server = Server::new();
    server.register_event("").map_err(|error| error.to_string())?;
    server.register_events(&options.events).map_err(|error| error.to_string())?;
    server.run().map_err(|error| error.to_string())?;
    let mut http = HttpServer::new()
        .get("/event", server.event_stream_handler())
        .post("/send", server.send_message_handler())
        .get("/healthz", |_: &Request| Response::text(200, "ok"))
        .get("/", |_: &Request| Response::text(200, cli::ENDPOINTS));
    let mut addresses = Vec::new();
    for &address in &options.listen {
        let cannot = |error: io::Error| format!("cannot listen on {address}: {error}");
        let listener = listen(address).map_err(cannot)?;
        addresses.push(listener.local_addr().map_err(cannot)?);
        http = http.serve(listener).map_err(cannot)?;
    }
    print(&what_next(&addresses, options))?;
    if let Some(signal) = signals.forever().next() {
        info!("signal {signal}, shutting down; once more ends it at once");
    }
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(1);
        }
    });
    http.shutdown(ANSWER);
    let report = server.shutdown(SHUTDOWN);
    if report.undelivered > 0 || report.cut_streams > 0 {
        warn!(
            "after {} s gave up {} events and {} streams",
            SHUTDOWN.as_secs(),
            report.undelivered,
            report.cut_streams
        );
    }
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // So that a restart need not wait for the last connections to time out. On Windows the option
    // would let two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets the program hold as many streams as the system allows it.
fn raise_descriptor_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        warn!("cannot raise the limit of open descriptors: {error}");
    }
}

/// What to type next, with the real addresses.
fn what_next(addresses: &[SocketAddr], options: &Options) -> String {
    let listening: Vec<String> =
        addresses.iter().map(|address| format!("websse listens on http://{address}\n")).collect();
    let listening = listening.concat();
    let Some(address) = addresses.first() else {
        return listening;
    };
    let event = options.events.first().filter(|event| !event.is_empty());
    let event = event.map(|event| format!("event={}", encode(event)));
    let (listen, send) = match event {
        Some(event) => (format!("?{event}"), format!("{event}&")),
        None => (String::new(), String::new()),
    };
    format!(
        "{listening}listen:   curl -N 'http://{address}/event{listen}'\n\
         publish:  curl -X POST 'http://{address}/send?{send}data=hello'\n"
    )
}

/// Encodes an event type for a URL.
fn encode(text: &str) -> String {
    let encode = |byte: u8| {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    text.bytes().map(encode).collect::<Vec<_>>().concat()
}
