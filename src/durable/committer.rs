//! The thread that commits: it takes what waits, writes it at once, and then tells the publishers
//! and the broadcaster.

use std::{
    cell::Cell,
    io, iter, mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, SendTimeoutError};
use parking_lot::Mutex;

use super::{
    Shared,
    config::Commit,
    queue::{Job, Taken},
    record::Record,
    records::Records,
    say,
    store::{self, Oldest, Opened, Store},
};
use crate::{
    broadcast::log::{Entry, Kept, NotAppended, Step},
    error::PublishError,
    logs::Level,
    message::entry_id::EntryId,
    panics::AtEnd,
};

/// About as much as a segment has is committed at once.
const MOST_BYTES: usize = 1 << 20;
/// How long to wait for room at the broadcaster before looking whether the server ends.
const SLICE: Duration = Duration::from_millis(100);
/// How often to try whether the disk takes events again.
const TRY: Duration = Duration::from_secs(1);
/// How long the broadcaster may take to say what it keeps, when there is no room left.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    static IS_COMMITTER: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread commits, so that it would wait for itself.
pub(super) fn is_committer() -> bool {
    IS_COMMITTER.get()
}

/// Marks this thread as one that commits, as long as it is there.
struct Here;

impl Here {
    fn new() -> Self {
        IS_COMMITTER.set(true);
        Self
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        IS_COMMITTER.set(false);
    }
}

/// Where the committer is while it may be used: from when the broadcaster knows what the directory
/// had, to the end.
pub(super) type Place = Mutex<Option<Committer>>;

#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    store: Store,
    /// What the directory had.
    records: Records,
    /// Since when something is written that is not on the disk.
    dirty_since: Option<Instant>,
    /// When to try whether the disk takes events again, if it does not.
    next_try: Option<Instant>,
    /// The broadcaster was asked what it keeps of the oldest segment.
    asked: Option<(Oldest, Receiver<Kept>)>,
    /// The bytes that the history kept, the last time.
    live: u64,
}

/// The broadcaster has ended, or must not be waited for.
struct Ended;

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, Opened { store, records }: Opened) -> Self {
        let next_try = (store.room() == 0).then(Instant::now);
        Self { shared, store, records, dirty_since: None, next_try, asked: None, live: 0 }
    }

    /// Runs the thread that commits. A publisher that finds nobody else commits by itself, once the
    /// committer is in its `place`.
    pub(super) fn run(mut self, place: &Place) {
        let _here = Here::new();
        let shared = Arc::clone(&self.shared);
        // However this thread ends, no publisher must wait for an answer that will not come.
        let _end = AtEnd(|| {
            shared.queue.abandon();
            place.lock().take();
            shared.ended();
        });
        if self.prime().is_err() {
            // Its lock is free before anybody hears of the end.
            return drop(self);
        }
        *place.lock() = Some(self);
        loop {
            let until = place.lock().as_ref().and_then(Self::next_due);
            let taken = shared.queue.take(MOST_BYTES, until);
            let mut place = place.lock();
            let Some(committer) = &mut *place else { return };
            let goes_on = match taken {
                Taken::Jobs(jobs) => committer.commit(jobs).is_ok(),
                Taken::Idle => true,
                Taken::Over => false,
            };
            if !goes_on {
                break;
            }
            committer.do_what_is_due();
        }
        if let Some(mut committer) = place.lock().take()
            && let Err(error) = committer.store.close()
        {
            say(Level::Error, format_args!("not everything is on the disk: {error}"));
        }
    }

    /// When what is written has to be on the disk.
    fn next_flush(&self) -> Option<Instant> {
        match self.store.commit() {
            Commit::Every(time) => self.dirty_since.and_then(|since| since.checked_add(time)),
            Commit::Each | Commit::Never => None,
        }
    }

    /// When there is something to do, whether events come or not.
    fn next_due(&self) -> Option<Instant> {
        [self.next_flush(), self.next_try].into_iter().flatten().min()
    }

    fn do_what_is_due(&mut self) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| Instant::now() >= at);
        if is_due(self.next_flush()) && self.store.is_dirty {
            let flushed = self.store.flush();
            self.note(flushed.as_ref().err());
        }
        if is_due(self.next_try) {
            self.next_try = None;
            let tried = self.store.try_again();
            self.note(tried.as_ref().err());
            if tried.is_ok() && self.store.in_memory().is_some() {
                // There is room for more of it.
                self.next_try = Some(Instant::now());
            }
        }
        self.count();
    }

    /// Commits a publisher's messages on its own thread.
    pub(super) fn commit_here(&mut self, job: Job) {
        let _here = Here::new();
        let was_due = self.next_due();
        // The broadcaster ends; the publisher has its answer.
        let _ = self.commit(vec![job]);
        if self.next_due() != was_due {
            self.shared.queue.nudge();
        }
    }

    /// Gives the broadcaster what the directory had.
    fn prime(&mut self) -> Result<(), Ended> {
        let [floor, forgotten, broken] = self.store.bounds();
        self.give(Step::Begin { floor, forgotten, is_first: true })?;
        let shared = Arc::clone(&self.shared);
        let input = &shared.input;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        let mut unregistered = 0;
        let mut records = mem::take(&mut self.records);
        for Record { entry, before, message, .. } in records.by_ref() {
            // Read first: a type that is registered meanwhile has this event, or is not counted.
            let types = input.types();
            match input.encode(&message) {
                Ok(event) => {
                    bytes += event.encoded.len();
                    let before = EntryId { number: before, ..entry };
                    batch.push(Entry { id: entry, before, event });
                }
                Err(error) => {
                    unregistered += 1;
                    if !matches!(error, PublishError::EventNotRegistered(_)) {
                        say(Level::Warn, format_args!("event {entry} cannot be sent: {error}"));
                    }
                    if !batch.is_empty() {
                        bytes = 0;
                        self.give(Step::Prime(mem::take(&mut batch)))?;
                    }
                    self.give(Step::Unknown { entry, types })?;
                }
            }
            if bytes >= input.batch_bytes {
                bytes = 0;
                self.give(Step::Prime(mem::take(&mut batch)))?;
            }
        }
        self.give(Step::Prime(batch))?;
        let newest = self.store.newest();
        let broken = if records.missing > 0 {
            say(Level::Warn, format_args!("{} events cannot be read any more", records.missing));
            EntryId { number: newest.number + 1, ..newest }
        } else {
            broken
        };
        if broken > EntryId::ZERO {
            self.give(Step::Gap { at: broken, told: true })?;
        }
        self.give(Step::Reach(newest))?;
        if unregistered > 0 {
            let text = "events are of types that are not registered";
            say(Level::Info, format_args!("{unregistered} {text}"));
        }
        self.count();
        self.shared.input.wake();
        self.shared.primed();
        Ok(())
    }

    /// Commits the messages of these calls, gives them to the broadcaster, and answers.
    fn commit(&mut self, jobs: Vec<Job>) -> Result<(), Ended> {
        let counts = &self.shared.counts;
        let appended = self.store.append(jobs.iter().flat_map(|job| &job.parts));
        counts.commits.fetch_add(1, Relaxed);
        self.note(appended.as_ref().err().map(|refused| &refused.error));
        let (entries, error) = match appended {
            Ok(entries) => (entries, None),
            Err(store::NotAppended { entries, error }) => (entries, Some(error.to_string())),
        };
        self.shared.counts.appended.fetch_add(entries.len(), Relaxed);
        let mut left = entries.iter().copied();
        let (mut batch, mut answers) = (Vec::new(), Vec::new());
        for Job { parts, events, answer } in jobs {
            let own: Vec<EntryId> = left.by_ref().take(parts.len()).collect();
            batch.extend(iter::zip(&own, events).map(|(&id, event)| Entry {
                id,
                before: EntryId::ZERO,
                event,
            }));
            let result = if own.len() == parts.len() {
                Ok(own)
            } else {
                let refused = parts.len() - own.len();
                self.shared.counts.refused.fetch_add(refused, Relaxed);
                let error = PublishError::DiskUnavailable(error.clone().unwrap_or_default());
                Err(NotAppended { index: own.len(), unknown: 0, error })
            };
            answers.push((answer, result));
        }
        let given = self.give_events(batch);
        self.shared.input.wake();
        for (answer, result) in answers {
            // A publisher that does not wait any more has been ended.
            let _ = answer.send(result);
        }
        given?;
        self.make_room();
        self.count();
        Ok(())
    }

    /// Gives the broadcaster events, in steps of at most `batch_bytes`.
    fn give_events(&mut self, entries: Vec<Entry>) -> Result<(), Ended> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let more = entry.event.encoded.len();
            if bytes + more > self.shared.input.batch_bytes && !batch.is_empty() {
                self.give(Step::Events(mem::take(&mut batch)))?;
                bytes = 0;
            }
            bytes += more;
            batch.push(entry);
        }
        if batch.is_empty() { Ok(()) } else { self.give(Step::Events(batch)) }
    }

    /// Gives the broadcaster a step; waits for room. What was written is not kept from the disk
    /// meanwhile.
    fn give(&mut self, mut step: Step) -> Result<(), Ended> {
        loop {
            match self.shared.input.give(step, SLICE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) if !self.shared.is_overdue() => step = back,
                Err(_) => return Err(Ended),
            }
            self.do_what_is_due();
        }
    }

    /// Before the directory is full: lets the oldest segments go, if they are too many.
    fn make_room(&mut self) {
        while self.asked.is_some() || self.store.is_full(self.live) {
            if !self.let_oldest_go() {
                return;
            }
        }
    }

    /// Lets the oldest segment go, if the broadcaster has said what it keeps of it. False if it has
    /// not, or if that fails.
    fn let_oldest_go(&mut self) -> bool {
        let (oldest, answer) = match self.asked.take() {
            Some(asked) => asked,
            None => match self.store.oldest() {
                Ok(Some(oldest)) => {
                    let answer = self.shared.input.ask_kept(oldest.entries());
                    (oldest, answer)
                }
                Ok(None) => return false,
                Err(_) => {
                    self.store.lose_oldest();
                    return true;
                }
            },
        };
        let must_be_now = self.store.is_at_limit();
        let kept =
            if must_be_now { answer.recv_timeout(PATIENCE).ok() } else { answer.try_recv().ok() };
        let dropped = match kept {
            Some(Kept { entries, bytes }) => {
                self.live = bytes as u64;
                if !self.store.is_full(self.live) {
                    return true;
                }
                self.store.drop_oldest(&oldest, |entry| entries.binary_search(&entry).is_ok())
            }
            // Where there is no room the next segment takes the place of the oldest one.
            None if must_be_now => return false,
            None => {
                self.asked = Some((oldest, answer));
                return false;
            }
        };
        if let Err(error) = &dropped {
            self.note(Some(error));
        }
        dropped.is_ok()
    }

    /// Notes whether the disk takes what it is given, and logs when that changes.
    fn note(&mut self, error: Option<&io::Error>) {
        let in_memory = self.store.in_memory();
        let now = error.map(ToString::to_string).or_else(|| in_memory.map(str::to_owned));
        let goes_on = if in_memory.is_some() { "; goes on in memory" } else { "" };
        self.next_try = now.as_ref().map(|_| self.next_try.unwrap_or(Instant::now() + TRY));
        let was = mem::replace(&mut *self.shared.trouble.lock(), now.clone());
        match (was, now) {
            (None, Some(error)) => {
                say(Level::Error, format_args!("cannot write: {error}{goes_on}"));
            }
            (Some(_), None) => say(Level::Info, format_args!("the disk takes events again")),
            _ => {}
        }
    }

    fn count(&mut self) {
        let dirty_since = || Some(self.dirty_since.unwrap_or_else(Instant::now));
        self.dirty_since = self.store.is_dirty.then(dirty_since).flatten();
        let counts = &self.shared.counts;
        counts.flushes.store(self.store.flushes, Relaxed);
        let bytes = usize::try_from(self.store.disk_bytes()).unwrap_or(usize::MAX);
        counts.disk_bytes.store(bytes, Relaxed);
        counts.segments.store(self.store.segments(), Relaxed);
        counts.in_memory.store(self.store.in_memory_events(), Relaxed);
    }
}
