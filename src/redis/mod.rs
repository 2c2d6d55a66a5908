//! Several nodes as one: they share a log, which is a stream of Redis or Valkey.
//!
//! If one process is not enough, several nodes stand behind a load balancer and act as one server.
//! An event that is published at any node reaches the clients of all nodes, in one order. A client
//! that comes back to another node goes on where it was.
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
//! repository runs two of them behind nginx. All nodes with the same key act as one; the default
//! key is `websse`. Nodes know nothing of each other. Any of them may come and go at any time.
//!
//! # How it works
//!
//! [`publish`](crate::Server::publish) appends an entry to the stream (`XADD`, with `MAXLEN ~`) and
//! returns when Redis has acknowledged it. Entries that many publishers of a node append at the
//! same time go in one round trip. A batch ([`publish_all`](crate::Server::publish_all), JSON
//! lines) of up to 1024 messages and 1 MiB is a transaction (`MULTI`), which Redis executes whole
//! or not at all. A larger batch is several transactions; after one that was refused, no further
//! one is sent. A thread of each node reads the stream (`XREAD BLOCK`) and feeds the broadcaster.
//!
//! The id of an event is the id of its entry, padded with zeros to 13 digits, so that
//! `Last-Event-ID` means the same at every node. An id that the publisher chose works too, as long
//! as the node that is asked remembers the event. Only events tell a client its position. For
//! example, a client listens to a type that has one event a day, and comes back to a node that was
//! started today: the node then reads everything that came since that event, though nothing of it
//! is for this client.
//!
//! An entry has the field `data` and, if they are set, the fields `event`, `id` and `retry`. Other
//! programs may append entries as well (`XADD news '*' event news data hello`). An entry that is
//! not an event is skipped; it is counted, and at most one line a second is logged. Redis accepts
//! up to 512 MiB for a field, and an entry is read whole before it can be skipped: give the right
//! to write only to programs that need it.
//!
//! Event types may differ from node to node. A node counts and skips events of a type that it does
//! not know. Once `news` is registered there, a client of `?event=news` that comes back gets
//! everything that it missed; a client of `*` gets what came from then on. But
//! [`max_frame_bytes`](crate::Builder::max_frame_bytes) must be the same at all nodes: a node skips
//! an event that is too large for it.
//!
//! When a node starts it reads the end of the stream, as much as its
//! [history](crate::Builder::history_events) holds. If a client was away for longer than that, a
//! thread of its own sends it what it missed from Redis, in pages, until the node's history goes
//! on. These rules hold for such clients:
//!
//! - At most 256 clients have such a thread at a time. Others wait for one, at most 2 s, and are
//!   then told to come back.
//! - A client gives up its thread after 5 s if others wait. It connects again and goes on where it
//!   was.
//! - If a client has an event that the node has not read yet, it waits for the node, at most 2 s,
//!   and is then told to come back. If Redis does not have that event either, the client learns of
//!   a gap at once.
//! - A client that comes before the node has reached Redis waits as well.
//!
//! `?replay=N` and [`subscribe`](crate::Server::subscribe) begin with what the node remembers.
//!
//! # What is guaranteed
//!
//! Every event whose publish returned `Ok` reaches every client once and in the one order of the
//! stream, wherever the client listens and however often it moves. Otherwise the client learns of
//! the gap by `stream-gap`. This holds as far as Redis keeps what it acknowledged:
//!
//! | `appendfsync` | a node dies | Redis is restarted | its machine dies |
//! |---|---|---|---|
//! | `always` | nothing lost | nothing lost | nothing lost, if the disk survives |
//! | `everysec` | nothing lost | clients told of a gap | up to about 1 s lost; clients told |
//! | `no`, or no AOF | nothing lost | what was not written, or all; clients told | the same |
//!
//! (See [Redis persistence][persistence].)
//!
//! [persistence]: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
//!
//! A replica that takes over may lack what the primary acknowledged last, since replication is
//! asynchronous: clients are always told of a gap then, unless [sentinels](#sentinel) named the
//! replica. To notice it, a node checks:
//!
//! - at each new connection and every second, the server's replication id and role (`INFO`);
//! - at each new connection, whether the last entries that the node read and appended are there.
//!
//! When in doubt, the node appends an entry with the fields `gap` and `after`. Every node tells its
//! clients of a gap at that position, also clients that come back later. Until then the node
//! publishes nothing, and reads nothing for clients that come back.
//!
//! A restart is no reason for doubt if two things hold:
//!
//! - Both before and after it, Redis says that it has `appendonly yes`, `appendfsync always` and
//!   `no-appendfsync-on-rewrite no` (`CONFIG GET`).
//! - Both before and after it, Redis says that it had no replica within an hour
//!   (`repl_backlog_active`): a replica could have come up in its place.
//!
//! The key `STREAM:server` names the server that nodes trusted last, for nodes that start later:
//! its replication id, its run id, and `safe` if it could be restarted.
//!
//! A client that listens learns of a gap in the same form as one that comes back: `requested` is
//! the last position at which its node knew that nothing was lost, `oldest` is where the stream
//! goes on. Several nodes may have reason to tell, so a client may be told more than once. If Redis
//! has lost the stream, nodes forget what they remembered of it. A client that comes back with the
//! id of an event that the stream never had learns of a gap as well.
//!
//! Three things can go unnoticed:
//!
//! - A Redis with `always` was set back to an older state while no node was running. A client whose
//!   last event is older than that state is not told.
//! - Entries in the middle of the stream were deleted. Let no other program trim the stream or
//!   delete from it.
//! - A network is parted, and nodes that still reach a primary which was given up go on with it.
//!   When they reach the new primary, their clients are told of a gap. But a client may miss
//!   something if it moves meanwhile from a node of one side to a node of the other, with an event
//!   whose id both servers gave in the same millisecond. So stop the old primary before another
//!   takes over, or set [`min-replicas-to-write`](#a-primary-that-was-given-up).
//!
//! While Redis is not reached, streams stay open, with heartbeats. `publish` fails with
//! [`RedisUnavailable`](crate::PublishError::RedisUnavailable) (status 503 with `Retry-After` over
//! HTTP): at once when that is known, or within about a [`timeout`](RedisConfig::timeout) if Redis
//! just stops answering. A message whose acknowledgement was lost is
//! [`OutcomeUnknown`](crate::PublishError::OutcomeUnknown) (status 504): it may be published or
//! not, and the node never sends it again. The same is true of a batch of which a part may be
//! published ([`PublishAllError`](crate::PublishAllError) tells how much): to send the whole batch
//! again publishes that part twice. A node connects again after 50 ms to 2 s, and goes on after the
//! entry that it read last.
//!
//! What concerns one node alone stays there: [`presence`](crate::Builder::presence) counts the
//! clients of its own node, in an event without an id, and [`send_to`](crate::Server::send_to)
//! knows only these clients.
//!
//! Unlike with a single node, clients never delay publishers: a node that is too slow reads later,
//! and Redis keeps what waits. If the stream is trimmed before a node has read it, the node tells
//! its clients of a gap.
//!
//! # Sentinel
//!
//! With an address such as `redis-sentinel://10.0.0.1,10.0.0.2,10.0.0.3/mymaster` a node asks these
//! sentinels for the primary: each time it connects, and four times a second. So it leaves a
//! primary that was given up, and publishes to the new one within 2 s of its promotion.
//!
//! - The latest failover that any of them knows of counts. At least half of the sentinels that are
//!   listed must answer before a node connects: one alone may not have heard of a failover.
//! - While a sentinel says that another server is about to become the primary, nothing is
//!   published. A message that is under way then is
//!   [`OutcomeUnknown`](crate::PublishError::OutcomeUnknown).
//! - After a failover each node checks whether the new primary has the last event that the node
//!   published and the last one that it read. Clients are told of a gap only if one of them is not
//!   there. Before it publishes, a node waits 0.3 s for other nodes to find out the same.
//! - A loss goes unnoticed if the only node that knew of the event ends together with the primary,
//!   or if another program appended the event and no node had read it yet.
//! - [`RedisConfig::new`] tells how to write passwords. Sentinels and servers are connected to
//!   without TLS.
//!
//! # Cluster
//!
//! In a Redis Cluster the address is that of any of its servers: it says which one has the stream,
//! and the node goes there. Several addresses can stand behind one name, so that one of the servers
//! may be down. The key beside the stream is `{STREAM}:server` there, in the same slot; the one of
//! before, `STREAM:server`, is read if there is no other. A name with a part in braces has its own
//! slot, such as `{shop}:news`.
//!
//! If the slot moves to another server, nodes follow the stream there, also while it is on its way.
//! Nothing is lost or refused, and clients are told of no gap. A stream is moved in one piece, and
//! its server does nothing else meanwhile: a large one takes seconds. A node that starts within a
//! second of a move may tell of a gap, as it does not know yet that there was one. After a failover
//! in the Cluster the same is true as [with Sentinel](#sentinel).
//!
//! # A primary that was given up
//!
//! A primary that went away, and comes back after a replica has taken its place, takes itself for
//! the primary until somebody tells it. What it acknowledges meanwhile is lost. Sentinels know that
//! it was given up. Without them, only the server itself can be asked: if it had replicas, was
//! started anew, and none of its replicas is back, a node waits until it has run for 30 s.
//!
//! A primary that was only cut off from its replicas and sentinels, but not from a node, shows
//! nothing of that. Let Redis refuse events then, on all servers:
//!
//! ```text
//! min-replicas-to-write 1
//! min-replicas-max-lag 10
//! ```
//!
//! Then a primary accepts nothing 10 s after it has lost its last replica, and nothing at all after
//! a restart until a replica is back. The price: with a single replica, publishing stops when the
//! replica does.
//!
//! # What to watch
//!
//! [`Stats::redis`](crate::Stats::redis), and with it `/metrics` and `/stats`, has the state and
//! counts:
//!
//! - `websse_redis_connected`: 0 is an alarm.
//! - `websse_redis_lag_seconds`: should be 0. A node that stays behind has too many clients or too
//!   little CPU.
//! - `websse_redis_breaks_total`: how often Redis was not what it was before.
//! - `websse_redis_malformed_total`: how many entries were not events.
//!
//! [`/healthz`](crate::Server::health_handler) is 503 while Redis is not reached, is full, or does
//! not allow this account to publish or to read back. As that is so for all nodes at the same time,
//! a load balancer that takes out unhealthy nodes should keep the last ones (nginx's `max_fails`
//! looks at requests only and is fine). To find out, the node asks Redis at most once a second to
//! append an entry with the id `0-0`. Redis always refuses that, and counts it as an error in its
//! `INFO`.
//!
//! # What to give Redis
//!
//! - One primary, used for nothing else if possible. Set `maxmemory-policy noeviction`, or the
//!   whole stream goes at once. Give it memory for [`max_len`](RedisConfig::max_len) entries, each
//!   its data and about 60 bytes (a million of 128 bytes: 180 MB), and twice that while the AOF is
//!   rewritten.
//! - As long as Redis keeps an entry, clients are told of no gap for it. At 100 events/s the
//!   default of a million entries lasts about 3 hours.
//! - A node takes 2 connections, 4 more for clients that come back, and one for `/healthz`.
//! - With Sentinel: `SENTINEL MASTER` and `SENTINEL GET-MASTER-ADDR-BY-NAME` there, a connection to
//!   each sentinel, and a thread for each.
//! - Commands: `XADD`, `XREAD`, `XRANGE`, `XREVRANGE`, `XINFO STREAM`, `MULTI`, `EXEC`, `INFO`,
//!   `GET`, `SET`, and `CONFIG GET` if restarts are to cause no gap.
//! - Redis 7 or Valkey; [others](engines) were tried. Two things differ with Redis 6.2: a client
//!   that is older than the first entry learns of a gap even if nothing was ever taken out, and
//!   nodes do not notice that a stream was deleted and made again at once.
//! - [Sentinel](#sentinel), a [Cluster](#cluster), or an address that leads to the primary.
//! - TLS (`rediss://`) is the feature `redis-tls`: rustls with ring, and the system's root
//!   certificates. It brings some 15 crates more, neither tokio nor OpenSSL.
//!
//! A single event of 128 bytes takes 0.25 ms from the publisher to a client. Redis adds 0.22 ms
//! without AOF, 0.25 ms with `everysec` and 0.64 ms with `always` (medians of 5 rounds on 2
//! processors that all programs shared, AMD EPYC, see `benches/README.md`).
//! The program `append` of `benches/fanout` measures how many events a second one node can
//! append, and how much CPU Redis needs for each. There, 8 threads had this many acknowledged, one
//! at a time or by [`publish_all`](crate::Server::publish_all):
//!
//! | acknowledged | without AOF | `everysec` | `always` |
//! |---|---|---|---|
//! | one at a time, events/s | 80,000 | 76,000 | 20,000 |
//! | Redis' CPU for each | 5 µs | 6 µs | 22 µs |
//! | 100 at a time, events/s | 680,000 | 430,000 | 200,000 |
//! | Redis' CPU for each | 1.1 µs | 1.9 µs | 3.2 µs |
//!
//! Each event takes some 160 bytes of Redis' memory.
//!
//! # For ten million clients
//!
//! Suppose that each client gets one event of 128 bytes a second. One node's share of the
//! deliveries, 100,000 a second, and its memory are measured; the number of nodes is arithmetic:
//!
//! - A node with 10,000 clients that are sent 10 events a second needs 5.9 µs of CPU for a
//!   delivery, the CPU of Redis included: 59% of one core (`benches/README.md`; the same without
//!   Redis). Its broadcaster is one thread, so at most 1 s / 5.9 µs = 170,000 deliveries/s are
//!   possible. With 100,000 deliveries/s, that is with 100,000 clients a node, ten million clients
//!   take 100 nodes and 59 cores for writing. It is not measured how much worse the processor's
//!   cache serves 100,000 sockets than 10,000.
//! - Memory: 100,000 × (0.8 KiB that a stream holds once it was behind + about 5 KiB in the
//!   kernel's sockets) = 0.6 GB a node, and 100,000 descriptors.
//! - Egress: 128 bytes of data are 165 in the frame and about 230 on Ethernet with TCP and IP:
//!   10,000,000 × 230 B/s = 2.3 GB/s = 18 Gbit/s, 184 Mbit/s a node.
//! - Redis sends each event once to each node. If all clients hear the same event, that is 100
//!   answers a second, which is nothing. If they hear 1000 different events a second, it is 100,000
//!   answers a second (20 MB/s), about what one Redis can do on one core: then give each topic, or
//!   each set of topics, a stream and nodes of its own. To append 1000 events a second is nothing
//!   to Redis.
//! - If a node dies, its 100,000 clients come to 99 others, 1000 each, within the seconds of their
//!   `retry`. If the load balancer dies, all clients come at once: give it
//!   [`retry`](crate::Builder::retry) and [`reconnect_spread`](crate::Builder::reconnect_spread) of
//!   a minute.

// | file | owns |
// |---|---|
// | `(this file)` | `RedisLog`, and `Builder::redis` |
// | `config` | `RedisConfig`: which stream the nodes share |
// | `address` | addresses, as they are written and told |
// | `primary` | where the primary is |
// | `sentinel` | the threads that ask sentinels for it |
// | `queue` | the messages that wait to be appended |
// | `part` | what is sent at once of one call |
// | `writer` | the thread that appends |
// | `acknowledgement` | the answers that publishers wait for |
// | `reader/` | the thread that reads; `feeder` gives the broadcaster what is read |
// | `classify` | what an entry means to this node |
// | `entry` | a message as an entry, and marks of a gap |
// | `resume` | clients that come back: waiting for the node, and replay from the log |
// | `pages, page_size` | reading the log for them, in pages of a bounded size |
// | `slots` | how many of them have a thread |
// | `probe` | whether Redis would accept an event now |
// | `link` | a connection to Redis |
// | `lineage` | which server answers, and whether it has what another one had |
// | `backoff` | how long to wait before the next try |
// | `shared` | what the threads share |
//
// Imports nothing of `http` or `handlers`. Nothing else names it but the crate's root.

#[allow(clippy::doc_markdown, reason = "these are names of products")]
#[doc = include_str!("engines.md")]
#[doc = concat!("```haproxy\n", include_str!("../../examples/proxies/haproxy-redis.cfg"), "```")]
pub mod engines {}

mod acknowledgement;
mod address;
mod backoff;
mod classify;
mod config;
mod entry;
mod lineage;
mod link;
mod page_size;
mod pages;
mod part;
mod primary;
mod probe;
mod queue;
mod reader;
mod resume;
mod sentinel;
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
    sentinel::Sentinel, shared::Shared, writer::Writer,
};
use crate::{
    broadcast::{
        arrival::Arrival,
        inbox::Refused,
        log::{Log, LogFactory, LogInput, NotAppended},
        stats::Stats,
    },
    error::{PublishError, SubscribeError},
    logs::{self, Level},
    message::{Message, entry_id::EntryId},
    panics,
    server::Builder,
    socket::Socket,
};

/// How long the threads may take to notice the end. The reader never waits for entries longer than
/// this.
const ENDING: Duration = Duration::from_millis(500);

thread_local! {
    static IS_OF_LOG: Cell<bool> = const { Cell::new(false) };
}

/// Runs a thread, and marks it as the reader's or the writer's.
fn of_log(run: impl FnOnce()) {
    IS_OF_LOG.set(true);
    run();
}

/// Writes a line. If the logger panics, the caller goes on.
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
        for sentinel in Sentinel::all(&shared) {
            shared.starts();
            named("websse-redis-sentinel")
                .spawn(move || of_log(|| sentinel.run()))
                .inspect_err(|_| shared.end(Instant::now()))?;
        }
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
    /// Waits until `until` for the reader to have read the end of the stream, to begin with.
    fn wait_primed(&self, until: Instant) -> bool {
        self.shared.wait(until, |state| state.is_primed.then_some(())).is_some()
    }

    /// Waits until `until` for the reader to have read up to this entry.
    fn wait_read(&self, id: EntryId, until: Instant) -> bool {
        self.shared.wait(until, |state| (state.reached >= id).then_some(())).is_some()
    }
}

impl Log for RedisLog {
    fn append(&self, messages: &[Message]) -> Result<Vec<EntryId>, NotAppended> {
        if IS_OF_LOG.get() {
            // A logger that publishes on this thread would wait for this thread itself.
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

    fn try_append(&self, message: &Message) -> Result<EntryId, Refused> {
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
        let entries = acknowledgement.wait();
        let entries = entries.map_err(|NotAppended { error, .. }| Refused::Never(error))?;
        Ok(entries.first().copied().unwrap_or_default())
    }

    fn is_all_in_history(&self) -> bool {
        false
    }

    fn is_ready(&self, until: Instant) -> Result<String, String> {
        let stats = self.shared.stats();
        let lag = stats.lag.as_secs_f32();
        if !stats.connected {
            let text = "Redis cannot be read or written now; it was read up to";
            return Err(format!("{text} {lag:.1} s ago"));
        }
        self.probe.is_ready(until)?;
        Ok(format!("ok, Redis is read up to {lag:.1} s ago"))
    }

    fn admit(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
        resume::admit(self, arrival)
    }

    fn add_to(&self, stats: &mut Stats) {
        stats.redis = Some(self.shared.stats());
    }

    fn stop(&self, deadline: Instant) {
        self.shared.stop(deadline);
        self.shared.slots.close();
        self.shared.queue.close();
        self.shared.wait_drained();
        self.shared.end(deadline.max(Instant::now()) + ENDING);
    }
}
