//! The thread that reads the stream, and tells the broadcaster what is in it.

mod feeder;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Instant,
};

use redis::cmd;

use self::feeder::Feeder;
use super::{
    entry::{Raw, gap},
    link::{BLOCK_MILLIS, Fault, Lineage, Link, argument, entries, read_entries},
    pause::Pause,
    say,
    shared::Shared,
};
use crate::journal::{EntryId, Step};
use crate::logs::Level;

pub(super) struct Reader {
    shared: Arc<Shared>,
    feeder: Feeder,
    /// Everything up to here was read.
    cursor: EntryId,
    /// The server's history when it was last seen to be good.
    lineage: Option<Lineage>,
    /// Events may be lost, as the server has this new replication id now: all nodes are to be told.
    doubt: Option<String>,
    /// The newest entry that clients of this node may have: what tells of the gap is to be after it,
    /// also where the clock of the new server is behind.
    peak: EntryId,
    /// The clients were told of this replication id.
    told: Option<String>,
}

/// Why reading ends.
enum Stop {
    Fault(Fault),
    /// The server ends.
    End,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let feeder = Feeder::new(Arc::clone(&shared));
        Self {
            shared,
            feeder,
            cursor: EntryId::ZERO,
            lineage: None,
            doubt: None,
            peak: EntryId::ZERO,
            told: None,
        }
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _end = End(&shared);
        let mut pause = Pause::new();
        let mut is_first = true;
        loop {
            let Err(stop) = self.read(&mut pause) else { return };
            let fault = match stop {
                Stop::Fault(fault) => fault,
                Stop::End => return,
            };
            let was_reading = shared.change(|state| {
                state.behind_since.get_or_insert_with(Instant::now);
                std::mem::take(&mut state.is_reading)
            });
            if was_reading {
                shared.queue.doubt();
                shared.counts.reconnects.fetch_add(1, Relaxed);
            }
            // Not each time that it cannot be reached again.
            if std::mem::take(&mut is_first) || was_reading {
                say(Level::Warn, format_args!("cannot read the stream: {fault}"));
            }
            if !shared.pause(&mut pause) {
                return;
            }
        }
    }

    /// Connects, and reads until something goes wrong.
    fn read(&mut self, pause: &mut Pause) -> Result<(), Stop> {
        let mut link = Link::open(&self.shared.config)?;
        self.begin(&mut link)?;
        say(
            Level::Info,
            format_args!("reads the stream {:?} from {}", self.shared.config.stream, self.cursor),
        );
        self.shared.change(|state| {
            (state.is_primed, state.is_reading) = (true, true);
        });
        self.vouch();
        loop {
            self.follow(&mut link)?;
            pause.reset();
            if self.shared.is_ended() {
                return Err(Stop::End);
            }
        }
    }

    /// Lets events be published to this server, once all are told of what it may have lost.
    fn vouch(&self) {
        if self.doubt.is_none() {
            let id = self.lineage.as_ref().map(|lineage| lineage.id.clone());
            self.shared.change(|state| state.vouched = id);
        }
    }

    /// Finds out whether what was read is still the past of what comes.
    fn begin(&mut self, link: &mut Link) -> Result<(), Stop> {
        let lineage = link.lineage()?;
        let Some(known) = &self.lineage else {
            self.prime(link, true)?;
            self.lineage = Some(lineage);
            return Ok(());
        };
        let is_same = *known == lineage;
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let appended = shared.newest_appended();
        let extent = link.extent(config)?;
        let is_there = |link: &mut Link, id| -> Result<bool, Fault> {
            Ok(id == EntryId::ZERO || !extent.is_whole_after(id) || link.has(config, id)?)
        };
        if extent.newest < self.cursor || !is_there(link, self.cursor)? {
            // The end of what was read is gone, and with it the place to go on from.
            self.report("what was read is not in the stream any more");
            self.doubt(&lineage, appended);
            self.prime(link, false)?;
        } else {
            // Without a disk that has all that was acknowledged, or of a server that was a replica,
            // nobody can tell whether somebody has more than this one.
            let is_good = is_there(link, appended)?
                && (is_same || !lineage.is_promoted && link.is_durable()?);
            if !extent.is_whole_after(self.cursor) {
                self.report("entries were taken out that were not read");
                self.skip_to(extent.oldest.map_or(extent.newest, EntryId::before))?;
            }
            if !is_good {
                self.report("the server is another one, or was started anew");
                self.doubt(&lineage, appended);
            }
        }
        // What this server does not have will not be read.
        shared.forget_appended(appended, extent.newest);
        self.lineage = Some(lineage);
        Ok(())
    }

    /// All nodes are to be told, and the clients of this one again: some came since they were told.
    fn doubt(&mut self, lineage: &Lineage, appended: EntryId) {
        self.doubt = Some(lineage.id.clone());
        self.peak = self.peak.max(self.cursor).max(appended);
        self.told = None;
    }

    fn report(&self, reason: &str) {
        self.shared.counts.breaks.fetch_add(1, Relaxed);
        say(Level::Warn, format_args!("{reason}; clients are told that events may be lost"));
    }

    /// Begins with the last entries of the stream, which are kept; delivered are those only that are
    /// newer than what was read before.
    fn prime(&mut self, link: &mut Link, is_first: bool) -> Result<(), Stop> {
        let config = &self.shared.config;
        let extent = link.extent(config)?;
        let (most, most_bytes) = (self.shared.intake.prime_events, self.shared.intake.prime_bytes);
        let (mut tail, mut bytes, mut end) = (Vec::new(), 0, extent.newest);
        let mut is_all = end == EntryId::ZERO;
        while !is_all && tail.len() < most && bytes < most_bytes {
            let count = self.shared.page();
            let mut command = cmd("XREVRANGE");
            command.arg(&config.stream).arg(argument(end)).arg("-").arg("COUNT").arg(count);
            let page = entries(link.ask(&command)?)?;
            is_all = page.len() < count;
            let page_bytes: usize = page.iter().map(Raw::len).sum();
            self.shared.saw(page.len(), page_bytes);
            bytes += page_bytes;
            end = page.last().map_or(end, |oldest| oldest.id.before());
            tail.extend(page);
        }
        let floor = tail.last().map_or(extent.newest, |oldest| oldest.id.before());
        self.feeder.tell(Step::Begin { floor, is_first })?;
        tail.reverse();
        let old = tail.partition_point(|raw| is_first || raw.id <= self.cursor);
        self.take(&tail[..old], true)?;
        self.take(&tail[old..], false)?;
        self.advance(extent.newest)
    }

    /// Waits for entries, and passes on what came.
    fn follow(&mut self, link: &mut Link) -> Result<(), Stop> {
        let config = &self.shared.config;
        let count = self.shared.page();
        let appended = self.shared.newest_appended();
        let mut command = cmd("XREAD");
        command.arg("COUNT").arg(count).arg("BLOCK").arg(BLOCK_MILLIS);
        command.arg("STREAMS").arg(&config.stream).arg(argument(self.cursor));
        let page = read_entries(link.ask(&command)?)?;
        if page.is_empty() && appended > self.cursor {
            return Err(Fault::Lost("this server lacks what was appended".to_owned()).into());
        }
        self.shared.saw(page.len(), page.iter().map(Raw::len).sum());
        let found = self.shared.change(|state| state.found.take());
        if found.is_some() && found != self.lineage.as_ref().map(|lineage| lineage.id.clone()) {
            return Err(Fault::Lost("the address leads to another server now".to_owned()).into());
        }
        let is_all = page.len() < count;
        // A stream is never cut shorter than a page: who has read all of it has missed nothing.
        if !is_all && !link.extent(config)?.is_whole_after(self.cursor) {
            self.report("entries were taken out before they were read");
            self.skip_to(page[0].id.before())?;
        }
        let was_in_doubt = self.doubt.is_some();
        self.take(&page, false)?;
        if let Some(last) = page.last() {
            self.advance(last.id)?;
        }
        self.shared.change(|state| {
            let since = state.behind_since.unwrap_or_else(Instant::now);
            state.behind_since = (!is_all).then_some(since);
        });
        if is_all && let Some(id) = &self.doubt {
            // Nobody else has told yet.
            let after = (self.cursor < self.peak).then_some(self.peak);
            match link.ask(&gap(&self.shared.config, id, after)) {
                // Somebody has gone further meanwhile.
                Err(Fault::Refused(_)) if after.is_some() => {
                    link.ask(&gap(&self.shared.config, id, None))?
                }
                answer => answer?,
            };
            self.doubt = None;
        }
        if was_in_doubt {
            self.vouch();
        }
        Ok(())
    }

    /// Goes on after this entry; something before it was not read.
    fn skip_to(&mut self, entry: EntryId) -> Result<(), Stop> {
        self.feeder.tell(Step::Begin { floor: entry, is_first: false })?;
        self.advance(entry)
    }

    fn take(&mut self, page: &[Raw], is_prime: bool) -> Result<(), Stop> {
        for raw in page {
            if let Some(id) = self.feeder.take(raw, is_prime)? {
                let told = is_prime || self.told.as_ref() == Some(&id);
                if self.doubt.as_ref() == Some(&id) && raw.id > self.peak {
                    self.doubt = None;
                }
                self.told = Some(id);
                self.feeder.tell(Step::Gap { at: raw.id, told })?;
            }
        }
        self.feeder.flush(is_prime)?;
        Ok(())
    }

    /// Everything up to here was passed on.
    fn advance(&mut self, entry: EntryId) -> Result<(), Stop> {
        self.cursor = entry;
        self.feeder.tell(Step::Reach(entry))?;
        (self.shared.intake.wake)();
        self.shared.change(|state| state.reached = entry);
        Ok(())
    }
}

struct End<'s>(&'s Shared);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.is_reading = false);
        self.0.ends();
    }
}
