//! What the servers of this directory have in common: that they end with whoever started them,
//! their listener, and for those in Rust the channels that events go through.

use std::{
    env,
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use futures_util::{
    future::Either,
    stream::{self, Stream},
};
use serde::Deserialize;
use socket2::{Domain, Socket, Type};
use tokio::sync::broadcast;
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
    let value = env::args().skip_while(|argument| argument != "--types").nth(1);
    value.and_then(|value| value.parse().ok()).expect("--types N says how many event types")
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

/// A broadcast channel for each event type, which keeps the last 4096 events: more than any burst
/// here. With one channel for all types, each event would wake every client (measured: twice the
/// processor time with 100 types, and none gained with one).
pub struct Hub<E> {
    channels: Vec<broadcast::Sender<E>>,
    last_id: AtomicU64,
}

impl<E: Clone + Send + 'static> Hub<E> {
    #[must_use]
    pub fn new(types: u16) -> Self {
        let channels = (0..types).map(|_| broadcast::channel(4096).0).collect();
        Self { channels, last_id: AtomicU64::new(0) }
    }

    /// The events of the types that a query names; `None` if one does not exist. A client that is
    /// too far behind has missed something, and gets an error instead.
    #[must_use]
    pub fn subscribe(
        &self,
        query: &Query,
    ) -> Option<impl Stream<Item = Result<E, BroadcastStreamRecvError>> + use<E>> {
        let channels = names(query).map(|name| self.channels.get(number_of(name)?));
        let streams = channels.map(|channel| Some(BroadcastStream::new(channel?.subscribe())));
        let mut streams: Vec<_> = streams.collect::<Option<_>>()?;
        Some(match streams.len() {
            1 => Either::Left(streams.remove(0)),
            _ => Either::Right(stream::select_all(streams)),
        })
    }

    /// Publishes what is made of the type's name and the next id; `None` if the type does not exist.
    pub fn publish(&self, query: &Query, event: impl FnOnce(&str, String) -> E) -> Option<()> {
        let name = names(query).next()?;
        let channel = self.channels.get(number_of(name)?)?;
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        // An error says that nobody listens.
        let _ = channel.send(event(name, id.to_string()));
        Some(())
    }
}

fn names(query: &Query) -> impl Iterator<Item = &str> {
    query.iter().filter(|(key, _)| key == "event").map(|(_, name)| name.as_str())
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

/// Tells whoever started this program where it listens, and ends it with the standard input.
///
/// # Errors
/// Of the standard output.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "listening {address}")?;
    stdout.flush()?;
    thread::spawn(|| {
        let end = io::copy(&mut io::stdin(), &mut io::sink());
        process::exit(i32::from(end.is_err()));
    });
    Ok(())
}
