//! `websse` as a server under test: the library with its defaults, but for the number of streams.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use websse::{Builder, Server, http::HttpServer};

/// Begins the arguments of a child process that is such a server.
pub(crate) const ARGUMENT: &str = "--as-websse";

/// All clients of a storm may wait to be accepted, as with the `websse` command.
const BACKLOG: i32 = 4096;
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Serves until standard input ends.
pub(crate) fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanout: websse: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--types").skip(1);
    let types = arguments.next().ok_or("expected --types N")?.parse()?;
    let hub = Hub::start(types)?;
    writeln!(io::stdout(), "listening {}", hub.address)?;
    io::stdin().read_to_end(&mut Vec::new())?;
    // Whom it disconnected, and why: the crowd can only tell that it did.
    let disconnected = hub.server.stats().disconnected;
    if disconnected.behind + disconnected.stalled + disconnected.error > 0 {
        eprintln!("    websse: {disconnected:?}");
    }
    hub.http.shutdown(SHUTDOWN);
    hub.server.shutdown(SHUTDOWN);
    Ok(())
}

/// A server with its HTTP server.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) server: Server,
    http: HttpServer,
    pub(crate) address: SocketAddr,
}

impl Hub {
    pub(crate) fn start(types: usize) -> Result<Self, Box<dyn Error>> {
        let server = builder().build();
        server.register_events((0..types).map(|number| format!("t{number}")))?;
        server.run()?;
        let http = HttpServer::new()
            .get("/event", server.event_stream_handler())
            .post("/send", server.send_message_handler())
            .serve(listen()?)?;
        let address = http.local_addr().ok_or("it listens over TCP")?;
        Ok(Self { server, http, address })
    }
}

fn builder() -> Builder {
    Server::builder().max_streams(20_000)
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
