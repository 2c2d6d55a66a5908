//! Several nodes as one: a stream of Redis or Valkey is the log that they share.
//!
//! Where one process is not enough, more stand behind a load balancer, and it still is one stream: a
//! publish at any node reaches the clients of all of them, in one order, and a client that comes
//! back to another node goes on where it was.
//!
//! ```no_run
//! use websse::{Message, Server, redis::RedisConfig};
//!
//! let redis = RedisConfig::new("redis://:secret@10.0.0.5:6379/0")?.stream("news");
//! let server = Server::builder().redis(redis).build();
//! server.register_event("news")?;
//! server.run()?;
//! server.publish(Message::new("hello").event("news"))?; // Redis has it, all nodes will tell it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The command takes `--redis`, `--redis-stream` and `--redis-maxlen`; `examples/two-nodes` in the
//! repository runs two of them behind nginx. All nodes with the same key are one, `websse` if nothing is
//! said. They know nothing of each other; any may come and go at any time.
//!
//! # How it works
//!
//! [`publish`](crate::Server::publish) appends an entry to the stream (`XADD`, with `MAXLEN ~`) and
//! returns when Redis has acknowledged it. What many publishers of a node append at the same time goes
//! in one round trip. A batch ([`publish_all`](crate::Server::publish_all), JSON lines) of up to 1024
//! messages and 1 MiB is a transaction (`MULTI`), which Redis takes whole or not at all; a larger one is
//! several, and none is sent behind one that was refused. A thread of each node reads the stream
//! (`XREAD BLOCK`) and feeds the broadcaster. The id of an event is the id of its entry, with zeros
//! before it where it is shorter than 13 digits, so that `Last-Event-ID` means the same everywhere.
//! An id of a publisher's own works too, as long as the node that is asked remembers the event. Only
//! events tell a client its place: where a client of a type that has one event a day comes back to a
//! node that was started today, all that came since is read for it, though nothing of it is for it.
//!
//! An entry has the fields `data` and, where they are set, `event`, `id` and `retry`: other programs
//! may append as well (`XADD news '*' event news data hello`). What is no event is passed over, with
//! a count and, once a second at most, a line in the log. Redis takes up to 512 MiB for a field, and
//! an entry is read whole before it can be passed over: let nobody write who must not.
//!
//! Event types may differ from node to node; events of a type that a node does not know are counted
//! and passed over. Once `news` is registered there, a client of `?event=news` that comes back gets all
//! that it missed, one of `*` what came from then on. But
//! [`max_frame_bytes`](crate::Builder::max_frame_bytes) must be the same at all nodes: what is too large
//! for one is no event to it.
//!
//! At its start a node reads the end of the stream, as much as its
//! [history](crate::Builder::history_events) takes. A client that was away for longer than the node
//! remembers is given what it misses out of Redis, in pages, by a thread of its own, until the
//! node's memory goes on; at most 256 clients at a time. Others wait for a place, 2 s at most, and are
//! told to come back. A client gives up its place after 5 s if others wait; it connects again and goes
//! on where it was. A client that has more than the node has read is waited for, 2 s at most, before it
//! is told to come back; where Redis does not have so much either, it is told of a gap at once. Who
//! comes before the node has reached Redis is waited for as well. `?replay=N` and
//! [`subscribe`](crate::Server::subscribe) begin with what the node remembers.
//!
//! # What is guaranteed
//!
//! Every event whose publish returned `Ok` reaches every client once and in the one order of the
//! stream, wherever it listens and however often it moves, or the client is told by `stream-gap`;
//! as far as Redis keeps what it acknowledged:
//!
//! | `appendfsync` | a node dies | Redis is restarted | its machine dies |
//! |---|---|---|---|
//! | `always` | nothing is lost | nothing is lost | nothing is lost, if the disk survives |
//! | `everysec` | nothing is lost | clients are told of a gap | up to about a second is lost, clients are told |
//! | `no`, or no AOF | nothing is lost | what was not written is lost, or all; clients are told | the same |
//!
//! (See [Redis persistence](https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/).)
//! A replica that takes over may lack what the primary had acknowledged last, as replication is
//! asynchronous: clients are always told of a gap then. At each new connection, and every second, a
//! node looks at the server's replication id and role (`INFO`), and at each new connection whether the
//! last entries are there that it read and appended. When in doubt it appends an entry with the
//! fields `gap` and `after`, which every node tells its clients of, at that place, also those that come
//! back later. Until then it publishes nothing and reads nothing for clients that come back. A restart is
//! no reason to doubt where both before and after it Redis says that it has `appendonly yes`,
//! `appendfsync always` and `no-appendfsync-on-rewrite no` (`CONFIG GET`), and that it had no replica
//! within an hour (`repl_backlog_active`), as one could have come up in its place. The key `STREAM:server` names the server that nodes trusted last, for nodes
//! that start later: its replication id and run id, and `safe` where it could be restarted.
//!
//! A client that listens is told in the same form as one that comes back: `requested` is where its
//! node last knew nothing to be lost, `oldest` where it goes on. Several nodes may have reason to tell,
//! so that a client may be told more than once. Where Redis has lost the stream, nodes forget what they
//! remembered of it.
//!
//! A client that comes back with the id of an event that the stream has never had is told of a gap as
//! well. Not noticed is that a Redis with `always` was set back to an older state while no node was
//! running, by a client whose last event is older than that; nor that entries in the middle were deleted:
//! let nobody else trim the stream or delete from it. While a network is parted, nodes that reach a
//! primary which was given up go on with it; when they come to the new one, their clients are told of
//! a gap. Only who changes from one of these to one of the others meanwhile, with an event whose id both
//! servers gave in the same millisecond, may miss something without a word: have the old primary stopped
//! before another takes over (`min-replicas-to-write` does that in part).
//!
//! While Redis is not reached, streams stay open, with heartbeats. `publish` fails with
//! [`LogUnavailable`](crate::PublishError::LogUnavailable) (status 503 with `Retry-After` over HTTP): at
//! once when that is known, within about a [`timeout`](RedisConfig::timeout) where Redis just
//! says nothing any more. A message whose acknowledgement was lost is
//! [`OutcomeUnknown`](crate::PublishError::OutcomeUnknown) (status 504): it may be published or not,
//! and is never sent again by itself. So is a batch of which a part may be published
//! ([`PublishAllError`](crate::PublishAllError) tells how much): to send it again whole publishes that
//! part twice. A node connects again after 50 ms to 2 s, and goes on after the entry that it read last.
//!
//! What concerns one node alone stays there: [`presence`](crate::Builder::presence) counts the clients
//! of its own node, without an id, and [`send_to`](crate::Server::send_to) knows them only.
//!
//! Unlike with a single node, clients never hold publishers up: a node that is too slow reads later, and
//! Redis keeps what waits. A node that is overtaken by the trimming of the stream tells its clients of a
//! gap.
//!
//! # What to watch
//!
//! [`Stats::log`](crate::Stats::log), and with it `/metrics` and `/stats`, has the state and counts:
//! `websse_log_connected` (0 is an alarm), `websse_log_lag_seconds` (should be 0; a node that stays
//! behind has too many clients or too little CPU), `websse_log_breaks_total` (Redis was not what it
//! was before), `websse_log_malformed_total`. [`/healthz`](crate::Server::health_handler) is 503
//! while Redis is not reached, is full, or does not allow this account to publish or to read back: as
//! that is so for all nodes at a time, a load balancer that takes out unhealthy nodes should keep the
//! last ones (nginx's `max_fails` looks at requests only and is fine). To find out, Redis is asked once
//! a second at most to append an entry with the id `0-0`, which it always refuses: that counts as an
//! error in its `INFO`.
//!
//! # What to give Redis
//!
//! - One primary, alone with this if it can be: `maxmemory-policy noeviction`, or the whole stream
//!   goes at once; memory for [`max_len`](RedisConfig::max_len) entries, each its data and about 60
//!   bytes (a million of 128 bytes: 180 MB), twice that while the AOF is rewritten.
//! - Clients are told of no gap for as long as an entry stays: at 100 events/s the default of a
//!   million entries is about 3 hours.
//! - A node takes 2 connections, 4 more for clients that come back, and one for `/healthz`.
//! - Commands: `XADD`, `XREAD`, `XRANGE`, `XREVRANGE`, `XINFO STREAM`, `MULTI`, `EXEC`, `INFO`, `GET`,
//!   `SET`, and `CONFIG GET` where restarts shall be no gap. Redis 7 or Valkey; with Redis 6.2 a
//!   client that is older than the first entry is told of a gap even if nothing was ever taken out,
//!   and it is not noticed that a stream was deleted and made again at once.
//! - Redis Cluster and Sentinel are not followed; an address that leads to the primary is.
//! - TLS (`rediss://`) is the feature `redis-tls`: rustls with ring, and the system's root
//!   certificates. It brings some 15 crates more, neither tokio nor OpenSSL.
//!
//! On 2 processors that all shared (AMD EPYC; medians of 5 rounds, `benches/README.md`), Redis added to
//! the 0.25 ms that a single event of 128 bytes takes from the publisher to a client 0.22 ms without
//! AOF, 0.25 ms with `everysec` and 0.64 ms with `always`. The program `append` of `benches/fanout`
//! tells how many events a second one node can append, and what Redis does for each: there 8 threads
//! had 80,000, 76,000 and 20,000 acknowledged one at a time, for 5, 6 and 22 µs of Redis' CPU each,
//! and 680,000, 430,000 and 200,000 by [`publish_all`](crate::Server::publish_all), 100 at a time, for
//! 1.1, 1.9 and 3.2 µs; each takes some 160 bytes of Redis' memory.
//!
//! # For ten million clients
//!
//! Say each client gets one event of 128 bytes a second. What is measured is one node's share of the
//! deliveries, 100,000 a second, and its memory; the number of nodes is arithmetic:
//!
//! - A node with 10,000 clients that are sent 10 events a second needs 5.9 µs of CPU for a delivery, that
//!   of Redis included: 59% of one core (`benches/README.md`; the same without Redis). Its broadcaster
//!   is one thread, so that 1 s / 5.9 µs = 170,000 deliveries/s are the most. With 100,000 deliveries/s,
//!   that is with 100,000 clients a node, ten million take 100 nodes and 59 cores for writing.
//!   Not measured is how much worse the processor's cache serves 100,000 sockets than 10,000.
//! - Memory: 100,000 × (0.8 KiB that a stream holds once it was behind + about 5 KiB in the kernel's
//!   sockets) = 0.6 GB a node, and 100,000 descriptors.
//! - Egress: 128 bytes of data are 165 in the frame and about 230 on Ethernet with TCP and IP:
//!   10,000,000 × 230 B/s = 2.3 GB/s = 18 Gbit/s, 184 Mbit/s a node.
//! - Redis sends each event once to each node. If all clients hear the same event that is 100
//!   answers a second, nothing. If they hear 1000 different ones a second it is 100,000 answers a
//!   second (20 MB/s), about what one Redis can do on one core: then give each topic, or each group
//!   of topics, a stream and nodes of its own. To append 1000 events a second is nothing to it.
//! - When a node dies its 100,000 clients come to 99 others, 1000 each, within the seconds of their
//!   `retry`. When the load balancer dies all come at once: give it
//!   [`retry`](crate::Builder::retry) and [`reconnect_spread`](crate::Builder::reconnect_spread) of a
//!   minute.

// | file | owns |
// |---|---|
// | `config` | `RedisConfig`: which stream the nodes share |
// | `queue` | what waits to be appended |
// | `writer` | the thread that appends |
// | `acknowledgement` | the answers that publishers wait for |
// | `reader/` | the thread that reads; `feeder` gives the broadcaster what is read |
// | `classify` | what an entry is to this node |
// | `entry` | a message as an entry, and marks of a gap |
// | `resume` | clients that come back: waiting for the node, and replay out of the stream |
// | `pages, page_size` | reading the stream for them, in parts of a bounded size |
// | `slots` | how many of them have a thread |
// | `link` | a connection to Redis |
// | `backoff` | how long to wait before the next try |
// | `shared` | what the threads share |
//
// Imports nothing of `http` or `handlers`. Nothing else names it but the crate's root.

mod acknowledgement;
mod backoff;
mod classify;
mod config;
mod entry;
mod link;
mod page_size;
mod pages;
mod part;
mod probe;
mod queue;
mod reader;
mod resume;
mod shared;
mod slots;
mod writer;

use std::{
    cell::Cell,
    fmt, io, slice,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub use self::config::{RedisConfig, RedisConfigError};
use self::{
    acknowledgement::Acknowledgement, pages::Pager, part::Parts, probe::Probe, reader::Reader,
    shared::Shared, writer::Writer,
};
use crate::{
    broadcast::{
        arrival::Arrival,
        inbox::Refused,
        log::{Log, LogFactory, LogInput, NotAppended},
        stats::LogStats,
    },
    error::{PublishError, SubscribeError},
    logs::{self, Level},
    message::{Message, entry_id::EntryId},
    panics,
    server::Builder,
    socket::Socket,
};

/// How long the threads may take to notice the end; the reader waits for entries no longer.
const ENDING: Duration = Duration::from_millis(500);

thread_local! {
    static IS_OF_LOG: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as the reader's or the writer's.
fn of_log(run: impl FnOnce()) {
    IS_OF_LOG.set(true);
    run();
}

/// Writes a line, whatever becomes of the logger: what it interrupts must go on.
fn say(level: Level, text: fmt::Arguments<'_>) {
    panics::survive(|| logs::write(level, format_args!("redis: {text}")));
}

impl Builder {
    /// Makes the server one of several nodes that share a stream of Redis or Valkey; see
    /// [`redis`](crate::redis) for what that means. Needs the feature `redis`.
    pub fn redis(mut self, config: RedisConfig) -> Self {
        self.options.log = Some(Arc::new(config));
        self
    }
}

impl LogFactory for RedisConfig {
    fn open(&self, input: LogInput) -> io::Result<Arc<dyn Log>> {
        let shared = Arc::new(Shared::new(self.clone(), input));
        let (reader, writer) = (Reader::new(Arc::clone(&shared)), Writer::new(Arc::clone(&shared)));
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        shared.starts();
        named("websse-redis-reader").spawn(move || of_log(|| reader.run()))?;
        shared.starts();
        named("websse-redis-writer")
            .spawn(move || of_log(|| writer.run()))
            .inspect_err(|_| shared.end(Instant::now()))?;
        let pager = Pager::new(Arc::clone(&shared));
        let probe = Probe::new(Arc::clone(&shared));
        Ok(Arc::new(RedisLog { shared, pager, probe }))
    }
}

#[derive(Debug)]
struct RedisLog {
    shared: Arc<Shared>,
    pager: Pager,
    probe: Probe,
}

impl RedisLog {
    /// Waits until `until` for the reader to have begun, which it does once.
    fn wait_primed(&self, until: Instant) -> bool {
        self.shared.wait(until, |state| state.is_primed.then_some(())).is_some()
    }

    /// Waits until `until` for the reader to have come to this entry.
    fn wait_read(&self, id: EntryId, until: Instant) -> bool {
        self.shared.wait(until, |state| (state.reached >= id).then_some(())).is_some()
    }
}

impl Log for RedisLog {
    fn append(&self, messages: &[Message]) -> Result<(), NotAppended> {
        if IS_OF_LOG.get() {
            // A logger that publishes: nobody else would do what it waits for.
            return Err(NotAppended { index: 0, unknown: 0, error: PublishError::OnBroadcaster });
        }
        let acknowledgement = Arc::new(Acknowledgement::new(messages.len()));
        for part in Parts::new(&self.shared.config, messages) {
            let index = part.first;
            if let Err(error) = self.shared.queue.push(part, &acknowledgement) {
                let left = messages.len() - index;
                self.shared.counts.refused(left);
                acknowledgement.give_up(index, left, error);
                break;
            }
        }
        acknowledgement.wait()
    }

    fn try_append(&self, message: &Message) -> Result<(), Refused> {
        if IS_OF_LOG.get() {
            return Err(Refused::Never(PublishError::OnBroadcaster));
        }
        let acknowledgement = Arc::new(Acknowledgement::new(1));
        for part in Parts::new(&self.shared.config, slice::from_ref(message)) {
            self.shared.queue.try_push(part, &acknowledgement).inspect_err(|refused| {
                if let Refused::Never(_) = refused {
                    self.shared.counts.refused(1);
                }
            })?;
        }
        acknowledgement.wait().map_err(|NotAppended { error, .. }| Refused::Never(error))
    }

    fn is_ready(&self, until: Instant) -> Result<(), String> {
        self.probe.is_ready(until)
    }

    fn admit(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
        resume::admit(self, arrival)
    }

    fn stats(&self) -> LogStats {
        self.shared.stats()
    }

    fn stop(&self, deadline: Instant) {
        self.shared.stop(deadline);
        self.shared.slots.close();
        self.shared.queue.close();
        self.shared.wait_drained();
        self.shared.end(deadline.max(Instant::now()) + ENDING);
    }
}
