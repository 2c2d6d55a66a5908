//! A history on disk: a restart that nobody notices.
//!
//! Without it everything is forgotten when the process ends, and each client that comes back learns
//! of a gap. With it the history is in a directory too, and a client's `Last-Event-ID` means the
//! same before and after a restart.
//!
//! ```no_run
//! use websse::{Server, durable::DurableConfig};
//!
//! let server = Server::builder().durable(DurableConfig::new("/var/lib/sensors")).build();
//! server.register_event("temperature")?; // before `run`, which reads what is there
//! server.run()?;
//! let published = server.publish(websse::Message::new("21.5").event("temperature"))?;
//! assert!(published.id().is_some()); // it is on the disk, and clients hear of it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The command takes `--history-dir`, `--history-commit`, `--history-disk-bytes` and
//! `--history-when-full`. With [socket activation](crate::http::Listener::shared) beside it, a
//! restart refuses no connection and loses no event.
//!
//! What is kept is what the [history](crate::Builder::history_events) keeps, so its limits hold
//! here as well, and `?replay=each` gives newcomers the last values of before the restart. A client
//! that was away for longer than that learns of a gap, as always. Event types are registered before
//! [`run`](crate::Server::run): events of other types are not read, and go when their file does. A
//! server has either this or [`redis`](crate::Builder::redis); the last one counts.
//!
//! # What is promised
//!
//! An event whose [`publish`](crate::Server::publish) returned `Ok`:
//!
//! | [`Commit`] | the process is killed | the machine crashes, or its power is cut |
//! |---|---|---|
//! | `Each`, the default | is there | is there |
//! | `Every(time)` | is there | may be lost if it is younger than that; clients are told of a gap |
//! | `Never` | is there | may be lost; clients are told of a gap |
//!
//! With `Each` a client hears of an event only when it is on the disk: nobody hears one that a
//! power cut takes back. All that is published at the same time shares one write and one flush
//! (`fdatasync`). An event whose publish failed, or had not returned when the process ended, is
//! there or not. This holds as far as the disk keeps what it says it has.
//!
//! A server takes up where the one before it stopped, with the same ids, unless something may be
//! missing: then its ids begin anew, and each client that comes back with an older one learns of a
//! gap. That is so after a crash of the machine with `Every` and `Never`; where a file is damaged
//! whose events were committed; where the disk did not take something and no more could be written;
//! and where the directory is a copy, for example from a backup: events may have been published
//! since. On Unix a copy is known by the inodes of its files `lock` and `state`, and by when `lock`
//! was last changed. Three things go unnoticed: a snapshot of the whole file system that is put
//! back, a copy that leaves these two files as they are, and damage that makes the end of the
//! newest file look as if nothing had been written there.
//!
//! With `Every` and `Never`, that only the process was killed, and not the machine, is known by
//! `/proc/sys/kernel/random/boot_id`, which Linux has unless it is hidden (`ProcSubset=pid` of
//! systemd). Where it cannot be read, a kill is taken for a crash of the machine.
//!
//! # What it costs
//!
//! Events are in files of 1 MiB, segments, each a header and records with a checksum. A record is
//! the message and some 35 bytes. When there are more than four, and more than four times what the
//! history keeps, the oldest one is used again; what is still wanted of it is appended again
//! before. All of them take at most [`max_disk_bytes`](DurableConfig::max_disk_bytes); with less
//! than four times what the history keeps, rare events may not be there after a restart, and their
//! clients are told of a gap.
//!
//! A flush writes at least one block of the disk. So one sensor that publishes once a second writes
//! 86,400 blocks of 4 KiB a day with `Each`, some 350 MB, and with `Every(60 s)` 1440, some 6 MB
//! and the events themselves. That matters to an SD card.
//!
//! # When the disk takes nothing
//!
//! A full or failing disk refuses events: `publish` fails with
//! [`DiskUnavailable`](crate::PublishError::DiskUnavailable), over HTTP with status 503 and
//! `Retry-After`. Each publish tries again, and where there is none the server does, once a second,
//! so that it goes on by itself when there is room. A flush that failed is never repeated, as the
//! system may have dropped what it could not write: what was not acknowledged is written again,
//! into a new segment. [`/healthz`](crate::Server::health_handler) is 503 meanwhile,
//! [`Stats::durable`](crate::Stats::durable) has the figures, and the log a line when it begins and
//! when it ends.
//!
//! With [`WhenDiskFails::GoOnInMemory`], `--history-when-full memory` in the command, such a disk
//! refuses nothing: what comes is delivered, and written once there is room again. It costs what
//! is promised above: if the process ends before, in whatever way, all that was accepted since the
//! trouble began is gone. Each client that comes back then learns of a gap, and no other event gets
//! the id of one that is gone. `/healthz` is 200 meanwhile, and its text says so.
//!
//! # Looking inside, and backups
//!
//! [`stored_events`] reads a directory, also while a server uses it, and `websse log DIRECTORY`
//! prints it as lines of JSON. To back up, copy the directory while no server runs. A second server
//! on the same directory is refused (its file `lock` is locked), and a directory that a later
//! version has written as well.

// | file | owns |
// |---|---|
// | `(this file)` | `DurableLog`, `Builder::durable`, `stored_events` |
// | `config` | `DurableConfig` and `Commit` |
// | `queue` | the messages that wait to be committed |
// | `committer` | the thread that commits, tells the broadcaster, and makes room |
// | `store` | the segments of a directory, and what only memory has |
// | `reading` | what a directory has, and what may be missing |
// | `group` | messages that are written at once, as records |
// | `segment` | a segment: its header, and reading its records |
// | `record` | an event as a segment has it |
// | `records` | all events of a directory, read in their order |
// | `directory` | the lock, how the directory was left, the names of files |
//
// Imports nothing of `http` or `handlers`. Nothing else names it but the crate's root.

mod committer;
mod config;
mod directory;
mod group;
mod queue;
mod reading;
mod record;
mod records;
mod segment;
mod store;

use std::{
    fmt, io,
    path::Path,
    slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::bounded;
use parking_lot::{Condvar, Mutex};

pub use self::config::{Commit, DurableConfig, WhenDiskFails};
use self::{
    committer::{Committer, Place},
    group::Part,
    queue::{Job, Queue},
    reading::Reading,
    record::Record,
    store::Store,
};
pub use crate::broadcast::stats::DurableStats;
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

/// How long the committer may take to write the end, beside what clients may take.
const ENDING: Duration = Duration::from_millis(500);

/// An event as a directory has it; see [`stored_events`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// The event's id as clients are sent it: its publisher's own, or the server's.
    pub id: String,
    /// When it was published.
    pub time: SystemTime,
    /// What was published.
    pub message: Message,
}

/// Reads the events that a directory has, in their order, those that the history does not keep any
/// more among them. It changes nothing, and may be called while a server uses the directory. What
/// is damaged is left out.
///
/// # Errors
///
/// The error of the operating system, or the reason if a later version has written the directory.
pub fn stored_events(directory: impl AsRef<Path>) -> io::Result<Vec<StoredEvent>> {
    let Reading { records, .. } = Reading::all(directory.as_ref(), 0)?;
    let event = |Record { entry, millis, message, .. }: Record| {
        let id = message.event_id().map_or_else(|| entry.to_string(), |id| id.as_str().to_owned());
        let time = UNIX_EPOCH + Duration::from_millis(millis);
        StoredEvent { id, time, message }
    };
    Ok(records.map(event).collect())
}

/// Writes a line. If the logger panics, the caller goes on.
fn say(level: Level, text: fmt::Arguments<'_>) {
    panics::survive(|| logs::write(level, format_args!("history: {text}")));
}

impl Builder {
    /// Keeps the history on disk, in a directory; see [`durable`](crate::durable) for what that
    /// means. Needs the feature `durable`.
    pub fn durable(mut self, config: DurableConfig) -> Self {
        self.options.log = Some(Arc::new(config));
        self
    }
}

impl LogFactory for DurableConfig {
    fn open(&self, input: LogInput) -> io::Result<Arc<dyn Log>> {
        let at = |error: io::Error| {
            let text = format!("the history in {}: {error}", self.path.display());
            io::Error::new(error.kind(), text)
        };
        let opened = Store::open(self).map_err(at)?;
        let shared = Arc::new(Shared::new(input));
        let committer = Committer::new(Arc::clone(&shared), opened);
        let place = Arc::<Place>::default();
        let named = thread::Builder::new().name("websse-committer".to_owned());
        let of_thread = Arc::clone(&place);
        named.spawn(move || committer.run(&of_thread))?;
        Ok(Arc::new(DurableLog { shared, place }))
    }
}

/// What the committer and publishers share.
#[derive(Debug)]
struct Shared {
    input: LogInput,
    queue: Queue,
    counts: Counts,
    /// Why the disk did not take what it was given last.
    trouble: Mutex<Option<String>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The broadcaster was given what the directory had.
    is_primed: bool,
    /// The committer has ended.
    is_ended: bool,
    /// Set while the log stops: until then the broadcaster is waited for.
    deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Counts {
    appended: AtomicUsize,
    refused: AtomicUsize,
    commits: AtomicUsize,
    flushes: AtomicUsize,
    disk_bytes: AtomicUsize,
    segments: AtomicUsize,
    in_memory: AtomicUsize,
}

impl Shared {
    fn new(input: LogInput) -> Self {
        Self {
            queue: Queue::new(input.queue_messages, input.queue_bytes),
            input,
            counts: Counts::default(),
            trouble: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn primed(&self) {
        self.input.set_primed();
        self.state.lock().is_primed = true;
        self.changed.notify_all();
    }

    fn ended(&self) {
        self.state.lock().is_ended = true;
        self.changed.notify_all();
    }

    /// Whether the broadcaster must not be waited for any more.
    fn is_overdue(&self) -> bool {
        self.state.lock().deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

#[derive(Debug)]
struct DurableLog {
    shared: Arc<Shared>,
    /// A publisher commits by itself if nobody else does: two threads would wait for each other
    /// about as long as the disk takes.
    place: Arc<Place>,
}

impl DurableLog {
    fn push(&self, messages: &[Message], waits: bool) -> Result<Appending, Refused> {
        if committer::is_committer() {
            // A logger that publishes on this thread would wait for this thread itself.
            return Err(Refused::Never(PublishError::OnBroadcaster));
        }
        let encode = |message| self.shared.input.encode(message);
        let events =
            messages.iter().map(encode).collect::<Result<_, _>>().map_err(Refused::Never)?;
        let (answer, receiver) = bounded(1);
        let parts = messages.iter().map(Part::new).collect();
        let job = Job { parts, events, answer };
        if let Some(mut place) = self.place.try_lock()
            && let Some(committer) = &mut *place
            && self.shared.queue.is_idle()
        {
            committer.commit_here(job);
            return Ok(Appending(receiver));
        }
        self.shared.queue.push(job, waits)?;
        Ok(Appending(receiver))
    }
}

/// Messages that will be committed.
struct Appending(crossbeam_channel::Receiver<Result<Vec<EntryId>, NotAppended>>);

impl Appending {
    fn wait(self) -> Result<Vec<EntryId>, NotAppended> {
        let error = PublishError::OutcomeUnknown;
        self.0.recv().unwrap_or(Err(NotAppended { index: 0, unknown: 0, error }))
    }
}

impl Log for DurableLog {
    fn append(&self, messages: &[Message]) -> Result<Vec<EntryId>, NotAppended> {
        let none = |error| NotAppended { index: 0, unknown: 0, error };
        match self.push(messages, true) {
            Ok(appending) => appending.wait().map_err(|refused| match refused.error {
                PublishError::OutcomeUnknown => NotAppended { unknown: messages.len(), ..refused },
                _ => refused,
            }),
            Err(Refused::Never(error)) => Err(none(error)),
            Err(Refused::Full | Refused::Stale) => Err(none(PublishError::ShutDown)),
        }
    }

    fn try_append(&self, message: &Message) -> Result<EntryId, Refused> {
        let appending = self.push(slice::from_ref(message), false)?;
        let entries = appending.wait().map_err(|refused| Refused::Never(refused.error))?;
        Ok(entries.first().copied().unwrap_or_default())
    }

    /// The history has what the directory has: what it does not reach back to is a gap.
    fn admit(&self, arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
        let mut state = self.shared.state.lock();
        while !state.is_primed && !state.is_ended {
            self.shared.changed.wait(&mut state);
        }
        drop(state);
        self.shared.input.hand_over(arrival)
    }

    fn is_all_in_history(&self) -> bool {
        true
    }

    fn is_ready(&self, _: Instant) -> Result<String, String> {
        match &*self.shared.trouble.lock() {
            _ if self.shared.state.lock().is_ended => {
                Err("nothing is committed any more".to_owned())
            }
            Some(trouble) if self.shared.counts.in_memory.load(Relaxed) > 0 => {
                Ok(format!("ok, but the history goes on in memory alone: {trouble}"))
            }
            Some(trouble) => Err(format!("the disk does not take events: {trouble}")),
            None => Ok("ok".to_owned()),
        }
    }

    fn add_to(&self, stats: &mut Stats) {
        let counts = &self.shared.counts;
        let count = |count: &AtomicUsize| count.load(Relaxed) as u64;
        stats.durable = Some(DurableStats {
            writable: self.shared.trouble.lock().is_none(),
            appended: count(&counts.appended),
            refused: count(&counts.refused),
            commits: count(&counts.commits),
            flushes: count(&counts.flushes),
            disk_bytes: count(&counts.disk_bytes),
            segments: counts.segments.load(Relaxed),
            in_memory: counts.in_memory.load(Relaxed),
        });
    }

    fn stop(&self, deadline: Instant) {
        let mut state = self.shared.state.lock();
        let earlier = state.deadline.map_or(deadline, |earlier| earlier.min(deadline));
        state.deadline = Some(earlier);
        drop(state);
        self.shared.queue.close();
        let mut state = self.shared.state.lock();
        // A disk that does not answer is not waited for.
        let until = deadline.max(Instant::now()) + ENDING;
        while !state.is_ended && !self.shared.changed.wait_until(&mut state, until).timed_out() {}
    }
}

#[cfg(test)]
mod tests;
