//! What the servers of this directory have in common: that they end with whoever started them,
//! their listeners, their TLS, and for those in Rust the channels that events go through.

use std::{
    collections::HashMap,
    env,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    pin::Pin,
    process,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    thread,
    time::Duration,
};

use futures_util::{
    future::Either,
    stream::{self, Stream},
};
use rustls::{
    ServerConfig,
    crypto::ring::{self, Ticketer},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;
use socket2::{Domain, Socket, Type};
use tokio::{sync::broadcast, task::yield_now, time::sleep};
use tokio_stream::wrappers::{BroadcastStream, errors::BroadcastStreamRecvError};

/// Silence before a stream is sent a comment, the same for every server: that of websse.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// As many connections may wait to be accepted; the standard library's 128 are soon full.
const BACKLOG: i32 = 4096;

/// The number that follows `--types`: the event types are `t0`, `t1` and so on.
///
/// # Panics
/// Without it.
#[must_use]
pub fn types() -> u16 {
    let value = argument("--types");
    value.and_then(|value| value.parse().ok()).expect("--types N says how many event types")
}

/// What follows an argument of this name.
fn argument(name: &str) -> Option<String> {
    env::args().skip_while(|argument| argument != name).nth(1)
}

/// The number of an event type.
#[must_use]
pub fn number_of(name: &str) -> Option<usize> {
    name.strip_prefix('t')?.parse().ok()
}

/// A query with repeated keys.
pub type Query = Vec<(String, String)>;

/// The form that publishes.
#[derive(Deserialize)]
pub struct Published {
    pub data: String,
}

/// What a request asks for that is answered by events of its own.
#[derive(Clone, Copy, Deserialize)]
pub struct Own {
    pub messages: u32,
    /// Milliseconds.
    pub pause: u64,
}

impl Own {
    /// The data of its events, 40 bytes each, with the pause behind each. Even without one, each is
    /// sent before the next is made: what is ready together is gathered, and sent as one.
    pub fn messages(self) -> impl Stream<Item = String> {
        stream::unfold(0, move |number| async move {
            match self.pause {
                _ if number == 0 => {}
                0 => yield_now().await,
                pause => sleep(Duration::from_millis(pause)).await,
            }
            let data = format!("{:x<40}", format!("0-{number}-1-"));
            (number < self.messages).then_some((data, number + 1))
        })
    }
}

/// A broadcast channel for each event type, which keeps the last 4096 events: more than any burst
/// here. With one channel for all types, each event would wake every client (measured: twice the
/// processor time with 100 types, and none gained with one).
///
/// Beside the types there are channels with names of any kind, each a broadcast channel in a map for
/// as long as anyone listens to it; and the common channel, which is that of the first type.
pub struct Hub<E> {
    channels: Vec<broadcast::Sender<E>>,
    named: Named<E>,
    last_id: AtomicU64,
}

type Named<E> = Arc<RwLock<HashMap<String, broadcast::Sender<E>>>>;

/// What a broadcast channel keeps, one of a type and one of a name. Of the latter there are
/// thousands, and each takes the memory of all that it could keep from the beginning.
const KEPT: usize = 4096;
const KEPT_OF_NAMED: usize = 64;

impl<E: Clone + Send + 'static> Hub<E> {
    #[must_use]
    pub fn new(types: u16) -> Self {
        let channels = (0..types).map(|_| broadcast::channel(KEPT).0).collect();
        Self { channels, named: Named::default(), last_id: AtomicU64::new(0) }
    }

    /// The events of the types that a query names; `None` if one does not exist. A client that is
    /// too far behind has missed something, and gets an error instead.
    #[must_use]
    pub fn subscribe(
        &self,
        query: &Query,
    ) -> Option<impl Stream<Item = Result<E, BroadcastStreamRecvError>> + use<E>> {
        let names_channels = values(query, "channel").next().is_some();
        let mut streams: Vec<_> = if names_channels {
            values(query, "channel").map(|name| self.listen_to(name)).collect::<Option<_>>()?
        } else {
            values(query, "event").map(|name| self.of_type(name)).collect::<Option<_>>()?
        };
        Some(match streams.len() {
            1 => Either::Left(streams.remove(0)),
            _ => Either::Right(stream::select_all(streams)),
        })
    }

    /// Publishes what is made of the type's name and the next id; `None` if the type does not exist.
    pub fn publish(&self, query: &Query, event: impl FnOnce(&str, String) -> E) -> Option<()> {
        let name = values(query, "event").next()?;
        let channel = self.channels.get(number_of(name)?)?;
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        let event = event(name, id.to_string());
        // An error says that nobody listens.
        let _ = match values(query, "channel").next() {
            None | Some("") => channel.send(event),
            Some(named) => {
                let channels = self.named.read().unwrap_or_else(PoisonError::into_inner);
                let Some(channel) = channels.get(named) else { return Some(()) };
                channel.send(event)
            }
        };
        Some(())
    }

    fn of_type(&self, name: &str) -> Option<Listening<E>> {
        let events = BroadcastStream::new(self.channels.get(number_of(name)?)?.subscribe());
        Some(Listening { events: Some(events), of: None })
    }

    /// To a channel, or to the common one, whose name is empty.
    fn listen_to(&self, name: &str) -> Option<Listening<E>> {
        if name.is_empty() {
            return self.of_type("t0");
        }
        let mut channels = self.named.write().unwrap_or_else(PoisonError::into_inner);
        let channel =
            channels.entry(name.to_owned()).or_insert_with(|| broadcast::channel(KEPT_OF_NAMED).0);
        let events = Some(BroadcastStream::new(channel.subscribe()));
        Some(Listening { events, of: Some((name.to_owned(), Arc::clone(&self.named))) })
    }
}

/// The events of one broadcast channel. With its last listener a named one leaves the map.
struct Listening<E> {
    /// `None` only while it is dropped.
    events: Option<BroadcastStream<E>>,
    of: Option<(String, Named<E>)>,
}

impl<E: Clone + Send + 'static> Stream for Listening<E> {
    type Item = Result<E, BroadcastStreamRecvError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let events = self.events.as_mut().map(Pin::new);
        events.map_or(Poll::Ready(None), |events| events.poll_next(context))
    }
}

impl<E> Drop for Listening<E> {
    fn drop(&mut self) {
        self.events = None;
        let Some((name, named)) = self.of.take() else { return };
        let mut channels = named.write().unwrap_or_else(PoisonError::into_inner);
        if channels.get(&name).is_some_and(|channel| channel.receiver_count() == 0) {
            channels.remove(&name);
        }
    }
}

/// What a query says of a key.
fn values<'q>(query: &'q Query, key: &str) -> impl Iterator<Item = &'q str> {
    query.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
}

/// A listener on a free port of the loopback interface, non-blocking. Connections inherit that
/// nothing waits for more bytes to fill a packet.
///
/// # Errors
/// Of the socket.
pub fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// See [`tls`].
pub struct Tls {
    pub address: SocketAddr,
    pub listener: TcpListener,
    pub config: ServerConfig,
}

/// A listener for TLS beside the other one, and what to say there, if `--tls-cert FILE` and
/// `--tls-key FILE` name a chain and its key. It is the same for every server, so that servers are
/// compared and not ciphers: rustls with ring, its defaults, HTTP/1.1, and tickets that the server
/// need not keep, by which a thousand clients can resume their sessions. (By default rustls keeps 256.)
///
/// # Errors
/// Of the socket, or of the files.
pub fn tls() -> io::Result<Option<Tls>> {
    let (Some(chain), Some(key)) = (argument("--tls-cert"), argument("--tls-key")) else {
        return Ok(None);
    };
    let chain = CertificateDer::pem_file_iter(chain).map_err(io::Error::other)?;
    let chain = chain.collect::<Result<_, _>>().map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key));
    let mut config = config.map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = Ticketer::new().map_err(io::Error::other)?;
    let listener = listen()?;
    Ok(Some(Tls { address: listener.local_addr()?, listener, config }))
}

/// Tells whoever started this program where it listens, also for TLS if it does, and ends it with the
/// standard input.
///
/// # Errors
/// Of the standard output.
pub fn announce(address: SocketAddr, tls: Option<SocketAddr>) -> io::Result<()> {
    let mut stdout = io::stdout();
    match tls {
        None => writeln!(stdout, "listening {address}")?,
        Some(tls) => writeln!(stdout, "listening {address} tls {tls}")?,
    }
    stdout.flush()?;
    thread::spawn(|| {
        let end = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(i32::from(end.is_err()));
    });
    Ok(())
}
