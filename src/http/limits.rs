//! The limits for what one client may ask of an HTTP server, in bytes, numbers and seconds.

use std::time::Duration;

use crate::YEAR;

const KIB: usize = 1024;
/// The lowest and the highest limit that can be set for a head.
const HEAD_BYTES: (usize, usize) = (512, 1024 * KIB);
/// The highest limit that can be set for header fields.
const MOST_HEADERS: usize = 1024;
/// The smallest stack of a thread. In a build without optimisation, 40 KiB were enough for every
/// handler of this crate and for a panic with its backtrace (x86-64 Linux; `tests/stacks.rs`); 32
/// KiB were not.
const LEAST_STACK: usize = 64 * KIB;
/// No machine has room for a larger one, and the standard library rounds it up to whole pages.
const MOST_STACK: usize = usize::MAX / 4 * 3;
/// The slowest rate of a body, in bytes a second. A body may take as long as its size takes at this
/// rate, plus the time that every body has.
const SLOWEST_BODY: usize = 16 * KIB;

/// How long a connection is kept alive between two requests: longer than the proxy in front of it
/// does, so that the proxy closes it.
const IDLE: Duration = Duration::from_secs(130);

/// Limits of an [`HttpServer`](super::HttpServer). Each limit is for one client unless it says
/// otherwise. A request over a limit is answered with the status in parentheses.
///
/// ```
/// use std::time::Duration;
/// use websse::http::{HttpServer, Limits};
///
/// let limits = Limits::default()
///     // Requests.
///     .head_bytes(8 * 1024)
///     .target_bytes(2 * 1024)
///     .headers(32)
///     .body_bytes(64 * 1024)
///     .bodies_bytes(1024 * 1024)
///     // Times.
///     .head_timeout(Duration::from_secs(5))
///     .body_timeout(Duration::from_secs(10))
///     .write_timeout(Duration::from_secs(5))
///     .idle_timeout(Duration::from_secs(15))
///     // Threads.
///     .connections(32)
///     .streams_of_own(16)
///     .stack_bytes(256 * 1024);
/// let http = HttpServer::new().limits(limits).bind("127.0.0.1:0")?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "it does nothing until a server has it"]
pub struct Limits {
    pub(super) head_bytes: usize,
    pub(super) target_bytes: usize,
    pub(super) headers: usize,
    pub(super) body_bytes: usize,
    pub(super) bodies_bytes: usize,
    pub(super) connections: usize,
    pub(super) streams_of_own: usize,
    pub(super) head_timeout: Duration,
    body_timeout: Duration,
    pub(super) write_timeout: Duration,
    pub(super) idle_timeout: Duration,
    /// `None` is the default of the standard library.
    pub(super) stack_bytes: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 * KIB,
            target_bytes: 8 * KIB,
            headers: 100,
            body_bytes: 1024 * KIB,
            bodies_bytes: 64 * 1024 * KIB,
            connections: 1024,
            streams_of_own: 256,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            idle_timeout: IDLE,
            stack_bytes: None,
        }
    }
}

impl Limits {
    /// Request line and header fields together; default 16 KiB, from 512 bytes to 1 MiB (431).
    pub fn head_bytes(mut self, bytes: usize) -> Self {
        self.head_bytes = bytes.clamp(HEAD_BYTES.0, HEAD_BYTES.1);
        self
    }

    /// Request target; default 8 KiB (414).
    pub fn target_bytes(mut self, bytes: usize) -> Self {
        self.target_bytes = bytes;
        self
    }

    /// Number of header fields; default 100, at most 1024 (431).
    pub fn headers(mut self, fields: usize) -> Self {
        self.headers = fields.min(MOST_HEADERS);
        self
    }

    /// Request body; default 1 MiB (413).
    pub fn body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// Request bodies of all clients of a listener together; default 64 MiB (503).
    pub fn bodies_bytes(mut self, bytes: usize) -> Self {
        self.bodies_bytes = bytes;
        self
    }

    /// Connections of a listener that hold a thread; default 1024. Such a connection is receiving a
    /// request, being answered, or kept alive; event streams do not count. If one more connection
    /// comes, the connection that has waited longest for its client is closed, with 503 if it has
    /// sent a part of a request. If all are being answered, the new one gets 503.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Bodies that your program is writing at the same time, by
    /// [`Response::events`](super::Response::events) or [`stream`](super::Response::stream), for all
    /// listeners together; default 256 (503 with `Retry-After`). Each holds one of the
    /// [connections](Self::connections) and its thread, so it should be the smaller limit.
    pub fn streams_of_own(mut self, streams: usize) -> Self {
        self.streams_of_own = streams;
        self
    }

    /// Time for a whole request head; default 10 s (408; a connection on which nothing was sent is
    /// just closed). It runs from the start of the connection, for a later request from its first
    /// byte.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.head_timeout = timeout.min(YEAR);
        self
    }

    /// Time for a whole request body; default 30 s (408). Every 16 KiB received adds one second.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout.min(YEAR);
        self
    }

    /// Time for a client to take a whole response, or what one call sends of a body that your program
    /// writes; default 10 s, at least 1 ms. Then the connection is closed.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.write_timeout = timeout.clamp(Duration::from_millis(1), YEAR);
        self
    }

    /// How long a connection is kept alive between two requests; default 130 s, longer than reverse
    /// proxies keep theirs (nginx 60 s, Traefik 90 s, Caddy 120 s). If the server closed first, a
    /// POST on its way would be lost: the proxy answers 502 and does not send it again. If
    /// connections or descriptors run short, the one that has been idle longest gives way before its
    /// time ([`connections`](Self::connections)).
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout.min(YEAR);
        self
    }

    /// Stack of each connection thread in bytes, at least 64 KiB, which is enough for the handlers
    /// of this crate. Your handlers run on it too. The default is that of every thread
    /// ([`std::thread`]), 2 MiB unless `RUST_MIN_STACK` says otherwise.
    ///
    /// Only the part of a stack that was ever used takes memory. In two cases the whole stack
    /// counts, times [`connections`](Self::connections): if the address space is small (a 32-bit
    /// host), and if all memory must be reserved (`vm.overcommit_memory=2`).
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes.clamp(LEAST_STACK, MOST_STACK));
        self
    }

    /// The time that a body of this size may take.
    pub(super) fn time_for_body(&self, bytes: usize) -> Duration {
        let seconds = bytes / SLOWEST_BODY;
        self.body_timeout + Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
    }
}
