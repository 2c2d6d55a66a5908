//! `websse` as a server under test: the library with its defaults, but for the numbers of streams and
//! channels.

use std::{
    io::{self, Read},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};
use websse::{Builder, Server, http::HttpServer};

#[cfg(feature = "redis")]
use super::store::Store;
use super::{own, records};

/// Begins the arguments of a child process that is such a server.
pub(crate) const ARGUMENT: &str = "--as-websse";

/// It is a node over a Redis of its own, that has what was appended on its disk by this policy.
#[cfg(feature = "redis")]
pub(crate) const REDIS: &str = "--redis";

/// A certificate with its chain, and its key: it speaks TLS at another port.
#[cfg(feature = "tls")]
pub(crate) const CHAIN: &str = "--tls-cert";
#[cfg(feature = "tls")]
pub(crate) const KEY: &str = "--tls-key";

/// Its history is on disk, too, committed in this mode: `each`, `never`, or every so many seconds.
#[cfg(feature = "durable")]
pub(crate) const HISTORY: &str = "--history";

/// Its history stays when it ends, for one that is started with this argument and the next.
pub(crate) const RESTARTS: &str = "--restarts";
pub(crate) const AGAIN: &str = "--again";

/// It takes publishes as the bare loop does, at another port, beside those over HTTP.
pub(crate) const RECORDS: &str = "--records";

/// All clients of a storm may wait to be accepted, as with the `websse` command.
const BACKLOG: i32 = 4096;
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Serves until standard input ends.
pub(crate) fn serve() -> Result<()> {
    let argument = |name: &str| std::env::args().skip_while(|word| word != name).nth(1);
    let types = argument("--types").context("expected --types N")?.parse()?;
    // Ends after the server.
    #[cfg(feature = "redis")]
    let store = argument(REDIS).map(|policy| Store::start(&policy)).transpose()?;
    let builder = builder();
    #[cfg(feature = "redis")]
    let builder = match &store {
        Some(store) => builder.redis(websse::redis::RedisConfig::new(&store.url)?),
        None => builder,
    };
    #[cfg(feature = "durable")]
    let directory = std::env::temp_dir()
        .join(format!("websse-history-{}", std::os::unix::process::parent_id()));
    #[cfg(feature = "durable")]
    let builder = match argument(HISTORY) {
        Some(mode) => {
            builder.durable(websse::durable::DurableConfig::new(&directory).commit(match &*mode {
                "each" => websse::durable::Commit::Each,
                "never" => websse::durable::Commit::Never,
                seconds => websse::durable::Commit::Every(Duration::from_secs(seconds.parse()?)),
            }))
        }
        None => builder,
    };
    let has = |name: &str| std::env::args().any(|word| word == name);
    #[cfg_attr(not(feature = "tls"), expect(unused_mut))]
    let mut hub = Hub::start(types, builder)?;
    let mut ports = vec![("listening", hub.address)];
    if has(RECORDS) {
        ports.push(("records", records::listen(&hub.server)?));
    }
    #[cfg(feature = "tls")]
    if let (Some(chain), Some(key)) = (argument(CHAIN), argument(KEY)) {
        let listener = listen()?;
        ports.push(("tls", listener.local_addr()?));
        let config = websse::http::TlsConfig::from_pem_files(chain, key)?;
        hub.http = hub.http.serve_tls(listener, config)?;
    }
    let words: Vec<String> = ports.iter().map(|(name, port)| format!("{name} {port}")).collect();
    println!("{}", words.join(" "));
    io::stdin().read_to_end(&mut Vec::new())?;
    // Whom it disconnected, and why: the crowd can only tell that it did.
    let disconnected = hub.server.stats().disconnected;
    if disconnected.behind + disconnected.stalled + disconnected.error > 0 {
        eprintln!("    websse: {disconnected:?}");
    }
    hub.http.shutdown(SHUTDOWN);
    hub.server.shutdown(SHUTDOWN);
    #[cfg(feature = "durable")]
    if argument(HISTORY).is_some() && (has(AGAIN) || !has(RESTARTS)) {
        std::fs::remove_dir_all(directory)?;
    }
    Ok(())
}

/// A server with its HTTP server.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) server: Arc<Server>,
    http: HttpServer,
    pub(crate) address: SocketAddr,
}

impl Hub {
    pub(crate) fn start(types: usize, builder: Builder) -> Result<Self> {
        let server = builder.build();
        server.register_events((0..types).map(|number| format!("t{number}")))?;
        server.run()?;
        let http = HttpServer::new()
            .get("/event", server.event_stream_handler().client_channels())
            .get("/own", own::answer)
            .post("/send", server.send_message_handler().client_channels())
            .serve(listen()?)?;
        let address = http.local_addr().context("it listens over TCP")?;
        Ok(Self { server: Arc::new(server), http, address })
    }
}

pub(crate) fn builder() -> Builder {
    Server::builder().max_streams(20_000).max_channels(400_000)
}

pub(crate) fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
