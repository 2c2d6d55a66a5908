//! A way to Redis that can be cut.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use websse::redis::RedisConfig;

/// How often a relay looks what it is to do.
const LOOK: Duration = Duration::from_millis(5);

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// It is lost in both directions, and nobody is told.
    Silent,
    /// What Redis answers to those that wait for entries takes its time.
    Late(Duration),
    /// What Redis says is lost.
    Mute,
    /// So many answers come through on each connection, then it ends.
    Answers(u32),
}

struct Shared {
    /// Where new connections lead to, and before that the next ones in turn.
    redis: AtomicU16,
    next: Mutex<VecDeque<u16>>,
    connections: AtomicU32,
    way: Mutex<Way>,
    over: AtomicBool,
}

/// Passes connections on to a Redis; ends when dropped.
pub(crate) struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) fn new(redis: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            redis: AtomicU16::new(redis),
            next: Mutex::default(),
            connections: AtomicU32::new(0),
            way: Mutex::new(Way::Open),
            over: AtomicBool::new(false),
        });
        let relayed = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                if relayed.over.load(SeqCst) {
                    return;
                }
                let Ok(client) = client else { continue };
                relayed.connections.fetch_add(1, SeqCst);
                let next = relayed.next.lock().pop_front();
                let redis = next.unwrap_or_else(|| relayed.redis.load(SeqCst));
                let redis = (Ipv4Addr::LOCALHOST, redis);
                let Ok(server) = TcpStream::connect(redis) else { continue };
                let other = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let reads = Arc::new(AtomicBool::new(false));
                for (from, to, is_answer) in [(client, server, false), (other.0, other.1, true)] {
                    let (shared, reads) = (Arc::clone(&relayed), Arc::clone(&reads));
                    thread::spawn(move || relay(from, to, is_answer, &reads, &shared));
                }
            }
        });
        Self { port, shared }
    }

    /// New connections lead to another one.
    pub(crate) fn lead_to(&self, redis: u16) {
        self.shared.redis.store(redis, SeqCst);
    }

    /// The next connection leads to this one.
    pub(crate) fn lead_once_to(&self, redis: u16) {
        self.shared.next.lock().push_back(redis);
    }

    /// How many there were.
    pub(crate) fn connections(&self) -> u32 {
        self.shared.connections.load(SeqCst)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig::new(&self.url()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, way: Way) {
        *self.shared.way.lock() = way;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        // So that it accepts once more.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn relay(
    mut from: TcpStream,
    mut to: TcpStream,
    is_answer: bool,
    reads: &AtomicBool,
    shared: &Shared,
) {
    from.set_nodelay(true).unwrap();
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut piece = [0; 16 * 1024];
    // Once something is lost the rest is of no use.
    let mut is_lost = false;
    let mut answers = 0;
    while !shared.over.load(SeqCst) {
        let count = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if piece[..count].windows(5).any(|word| word == b"XREAD") && !is_answer {
            reads.store(true, SeqCst);
        }
        answers += u32::from(is_answer);
        if matches!(*shared.way.lock(), Way::Answers(most) if answers > most) {
            break;
        }
        let come = Instant::now();
        loop {
            let way = *shared.way.lock();
            is_lost |= way == Way::Silent || way == Way::Mute && is_answer;
            match way {
                Way::Late(delay) if is_answer && reads.load(SeqCst) && come.elapsed() < delay => {
                    thread::sleep(LOOK);
                }
                _ => break,
            }
        }
        if !is_lost && to.write_all(&piece[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
