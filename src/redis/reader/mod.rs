//! The thread that reads the stream and tells the broadcaster what is in it.

mod feeder;
mod handover;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use redis::cmd;

use self::{feeder::Feeder, handover::Handover};
use super::{
    backoff::Backoff,
    entry::{ContentHash, Mark, Raw, gap},
    lineage::Lineage,
    link::{
        BLOCK, BLOCK_MILLIS, EntryState, Extent, Fault, Link, argument, entries, given_up, id,
        read_entries,
    },
    page_size::PageSize,
    say,
    shared::Shared,
};
use crate::{broadcast::log::Step, logs::Level, message::entry_id::EntryId, panics::AtEnd};

/// How often to check that the server is still the same one. Some changes of a server do not end
/// its connections.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How long a node that has more to read waits for another node's mark of the gap, before it
/// appends its own.
const MARK_WAIT: Duration = Duration::from_millis(250);

/// How long nothing is published to a replica that took over and has everything that this node
/// knows of: other nodes may find that it lacks something, and their mark must come first.
const OTHERS_WAIT: Duration = Duration::from_millis(300);

pub(super) struct Reader {
    shared: Arc<Shared>,
    feeder: Feeder,
    page_size: PageSize,
    /// Everything up to here was read.
    cursor: EntryId,
    /// The last entry that was read.
    last: Option<(EntryId, ContentHash)>,
    /// The end of the stream was read, to begin with.
    is_primed: bool,
    /// The server at the last check.
    lineage: Option<Lineage>,
    looked: Instant,
    /// How many entries the stream ever had; `None` if the server does not say.
    added: Option<i64>,
    /// There is more than one page to read: the next entries may be trimmed before they are read.
    is_behind: bool,
    /// Since when it is known that this server may lack events. `None` once all nodes are told.
    doubt: Option<Instant>,
    /// Until when other nodes may tell that this server lacks events.
    others: Option<Instant>,
    handover: Handover,
    /// The newest entry that a client of this node may have. The mark of a gap must come after it,
    /// even if the new server's clock is behind.
    peak: EntryId,
    /// The mark that clients were last told of.
    told: Option<Mark>,
}

/// How long the reader waits for entries meanwhile.
const WAITING_MILLIS: u64 = 50;

/// Why a server is waited for.
const RETURNED: &str = "the server was started anew, and none of its replicas is back: one of them \
    may have taken its place";

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

fn lost(reason: &str) -> Stop {
    Fault::Lost(reason.to_owned()).into()
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let feeder = Feeder::new(Arc::clone(&shared));
        Self {
            shared,
            feeder,
            page_size: PageSize::new(),
            cursor: EntryId::ZERO,
            last: None,
            is_primed: false,
            lineage: None,
            looked: Instant::now(),
            added: None,
            is_behind: false,
            doubt: None,
            others: None,
            handover: Handover::default(),
            peak: EntryId::ZERO,
            told: None,
        }
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _end = AtEnd(|| {
            shared.change(|state| (state.is_reading, state.vouched) = (false, None));
            shared.ends();
        });
        let mut backoff = Backoff::new();
        let mut is_first = true;
        loop {
            let Err(stop) = self.read(&mut backoff) else { return };
            let fault = match stop {
                Stop::Fault(fault) => fault,
                Stop::End => return,
            };
            let was_reading = shared.change(|state| {
                state.behind_since.get_or_insert_with(Instant::now);
                state.vouched = None;
                state.trouble = fault.to_string();
                std::mem::take(&mut state.is_reading)
            });
            if was_reading {
                shared.queue.doubt();
                shared.counts.reconnects.fetch_add(1, Relaxed);
            }
            // Only the first failure is logged, not each failed reconnect.
            if self.handover.is_redirected {
                say(Level::Info, format_args!("the stream is at another server: {fault}"));
            } else if std::mem::take(&mut is_first) || was_reading {
                say(
                    Level::Warn,
                    format_args!("cannot read the stream{}: {fault}", shared.primary.place()),
                );
            }
            if !shared.backoff(&mut backoff) {
                return;
            }
        }
    }

    /// Connects, and reads until something fails.
    fn read(&mut self, backoff: &mut Backoff) -> Result<(), Stop> {
        self.handover.connects();
        let mut link = Link::open(&self.shared)?;
        let result = self.read_by(&mut link, backoff);
        self.handover.ends(link.is_redirected());
        result
    }

    fn read_by(&mut self, link: &mut Link, backoff: &mut Backoff) -> Result<(), Stop> {
        self.begin(link)?;
        say(
            Level::Info,
            format_args!(
                "connected for reading, goes on after {} in the stream {:?}",
                self.cursor, self.shared.config.stream
            ),
        );
        self.shared.change(|state| {
            (state.is_primed, state.is_reading) = (true, true);
        });
        self.shared.input.set_primed();
        loop {
            let is_unvouched = !self.is_waiting() && self.shared.vouched().is_none();
            if (is_unvouched || !link.is_current()) && self.shared.primary.is_redirected() {
                // This server may have the stream no more, and says so.
                link.extent(&self.shared.config)?;
            }
            if is_unvouched {
                return Err(lost("the address may lead to another server now"));
            }
            if !link.is_current() {
                return Err(given_up().into());
            }
            // While the stream is on its way, others must soon learn that it has come.
            if self.looked.elapsed() >= if link.is_asking() { BLOCK } else { LOOK } {
                self.look(link)?;
            }
            self.follow(link)?;
            backoff.reset();
            if self.shared.is_ended() {
                return Err(Stop::End);
            }
        }
    }

    /// Checks whether the server still has what was read and appended, and finds where to go on.
    fn begin(&mut self, link: &mut Link) -> Result<(), Stop> {
        let shared = Arc::clone(&self.shared);
        let config = &shared.config;
        let lineage = link.lineage(config)?;
        self.handover.is_at_known = !self.is_waiting()
            && self.lineage.as_ref().is_some_and(|known| lineage.continues(known));
        let known = match &self.lineage {
            Some(known) => Some(known.clone()),
            None => link.remembered(config, lineage.is_cluster)?,
        };
        // Sentinels may name it a while longer to a node that is new.
        let knows_none = self.lineage.is_none();
        if let Some(known) = &known
            && !lineage.is_cluster
            && (config.sentinels.is_none() || knows_none && !lineage.takes_over_from(known))
            && lineage.may_be_given_up(known, self.lineage.as_ref().map(|_| self.looked.elapsed()))
        {
            return Err(Fault::Refused(RETURNED.to_owned()).into());
        }
        let (appended, content) = shared.append_content();
        let last = self.last.filter(|(id, _)| *id == self.cursor).map(|(_, content)| content);
        let states = [
            link.entry_state(config, self.cursor, last)?,
            link.entry_state(config, appended, content)?,
        ];
        let extent = link.extent(config)?;
        let served = shared.change(|state| state.served);
        // A client may have more than the reader.
        let is_served_lost =
            served > self.cursor && link.entry_state(config, served, None)? == EntryState::Lost;
        self.looked = Instant::now();

        // From here until `doubt` is set nothing can fail, so that a doubt is never forgotten.
        if states[1] != EntryState::There {
            shared.forget_appended(appended);
        }
        // A server may lack what was acknowledged in two cases: it was restarted and had not
        // everything on its disk; or it was a replica, or may have been one.
        let is_trusted = known.is_none_or(|known| lineage.continues(&known));
        // Where sentinels or a Cluster name the replica that took over, this node's own events tell
        // whether it lacks any. Other nodes check theirs. A stream that was handed over by the
        // server that had it is whole.
        let is_handed_over = std::mem::take(&mut self.handover.is_done);
        let is_led = config.sentinels.is_some() || lineage.is_cluster;
        let is_successor =
            is_led && self.lineage.as_ref().is_some_and(|known| lineage.takes_over_from(known));
        let takes_over = !is_served_lost && (is_handed_over || is_successor);
        let is_gone = states[0] == EntryState::Lost;
        let is_cut = self.is_primed && !extent.is_whole_after(self.cursor);
        let is_anew = self.is_anew(extent);
        self.peak = self.peak.max(self.cursor).max(appended).max(served);
        if !(is_trusted || takes_over) || is_anew || states.contains(&EntryState::Lost) {
            self.report(if is_trusted || takes_over {
                "what was read or appended is not in the stream any more"
            } else {
                "the server is another one, or was started anew"
            });
            // Clients may come before the mark is read, so it must be told even if an equal one
            // was.
            (self.doubt, self.told) = (Some(self.looked), None);
        } else {
            if is_cut {
                self.report("entries were taken out that were not read");
            }
            if !is_trusted && !is_handed_over && self.doubt.is_none() {
                self.others = Some(self.looked + OTHERS_WAIT);
            }
        }
        self.lineage = Some(lineage);
        self.added = extent.added;
        if !self.is_primed || is_gone {
            // If the last entry that was read is gone, reading cannot go on after it.
            self.prime(link, !self.is_primed)?;
        } else if is_cut {
            self.skip_to(extent.oldest.map_or(extent.newest, EntryId::before))?;
        }
        self.handover.is_at_known = !self.is_waiting();
        self.vouch(link)
    }

    /// Allows publishing to this server, once all nodes are told of what it may have lost.
    fn vouch(&self, link: &mut Link) -> Result<(), Stop> {
        if let Some(lineage) = self.lineage.as_ref().filter(|_| !self.is_waiting()) {
            self.remember(link, lineage)?;
            self.shared.change(|state| state.vouched = Some(lineage.id.clone()));
        }
        Ok(())
    }

    fn remember(&self, link: &mut Link, lineage: &Lineage) -> Result<(), Stop> {
        match link.remember(&self.shared.config, lineage) {
            // Only a node that starts after Redis did needs the key.
            Err(Fault::Refused(reason)) => {
                say(Level::Warn, format_args!("cannot write the key beside the stream: {reason}"));
                Ok(())
            }
            answer => Ok(answer?),
        }
    }

    /// Checks that the server and the stream are still the same.
    fn look(&mut self, link: &mut Link) -> Result<(), Stop> {
        self.looked = Instant::now();
        let lineage = link.lineage(&self.shared.config)?;
        if let Some(known) = &self.lineage {
            if lineage.id != known.id {
                return Err(lost("the server has another replication id now"));
            }
            let has_settled = link.is_asking() && link.settle(&self.shared.config)?;
            if (has_settled || lineage.differs(known)) && !self.is_waiting() {
                self.remember(link, &lineage)?;
            }
        }
        self.lineage = Some(lineage);
        let extent = link.extent(&self.shared.config)?;
        if extent.newest < self.cursor || self.is_anew(extent) {
            return Err(lost("what was read is not in the stream any more"));
        }
        self.added = extent.added;
        Ok(())
    }

    /// Whether nothing may be published yet, as events may be lost that nobody was told of.
    fn is_waiting(&self) -> bool {
        self.doubt.is_some() || self.others.is_some()
    }

    /// Whether the stream was deleted and made again, as far as the server says.
    fn is_anew(&self, extent: Extent) -> bool {
        extent.added.zip(self.added).is_some_and(|(now, before)| now < before)
    }

    fn report(&self, reason: &str) {
        self.shared.counts.breaks.fetch_add(1, Relaxed);
        say(Level::Warn, format_args!("{reason}; clients are told that events may be lost"));
    }

    /// Begins with the last entries of the stream. All of them are kept; only those newer than what
    /// was read before are delivered.
    fn prime(&mut self, link: &mut Link, is_first: bool) -> Result<(), Stop> {
        let config = &self.shared.config;
        let extent = link.extent(config)?;
        let (most, most_bytes) = (self.shared.input.prime_events, self.shared.input.prime_bytes);
        let (mut tail, mut bytes, mut end) = (Vec::new(), 0, extent.newest);
        let mut is_all = end == EntryId::ZERO;
        while !is_all && tail.len() < most && bytes < most_bytes {
            let count = self.page_size.entries();
            let mut command = cmd("XREVRANGE");
            command.arg(&config.stream).arg(argument(end)).arg("-").arg("COUNT").arg(count);
            let page = entries(link.ask(&command)?)?;
            is_all = page.len() < count;
            self.page_size.saw(Raw::largest(&page));
            bytes += page.iter().map(Raw::len).sum::<usize>();
            end = page.last().map_or(end, |oldest| oldest.id.before());
            tail.extend(page);
        }
        let floor = tail.last().map_or(extent.newest, |oldest| oldest.id.before());
        tail.reverse();
        let old = tail.partition_point(|raw| is_first || raw.id <= self.cursor);
        if !is_first {
            // A client that comes must find all of it.
            self.feeder.hold();
        }
        self.feeder.tell(Step::Begin { floor, forgotten: EntryId::ZERO, is_first })?;
        self.take(&tail[..old], true)?;
        self.take(&tail[old..], false)?;
        self.feeder.tell(Step::Reach(extent.newest))?;
        self.feeder.release()?;
        self.reached(extent.newest);
        self.is_primed = true;
        Ok(())
    }

    /// Waits for entries, and gives them to the broadcaster.
    fn follow(&mut self, link: &mut Link) -> Result<(), Stop> {
        let shared = Arc::clone(&self.shared);
        let count = self.page_size.entries();
        let appended = shared.newest_appended();
        let page = if self.is_behind {
            let (page, extent) = link.page(&shared.config, self.cursor, count)?;
            if !extent.is_whole_after(self.cursor) {
                self.report("entries were taken out before they were read");
                self.skip_to(page.first().map_or(extent.newest, |raw| raw.id.before()))?;
            }
            page
        } else {
            let mut command = cmd("XREAD");
            let block = self.others.map_or(BLOCK_MILLIS, |_| WAITING_MILLIS);
            command.arg("COUNT").arg(count).arg("BLOCK").arg(block);
            command.arg("STREAMS").arg(&shared.config.stream).arg(argument(self.cursor));
            read_entries(link.ask(&command)?)?
        };
        self.page_size.saw(Raw::largest(&page));
        let is_all = page.len() < count;
        if !is_all && !self.is_behind {
            // The stream is never trimmed to less than a page, so a page that reaches its end has
            // missed nothing. After a full page, the next read also asks how far the stream
            // reaches, at the same moment.
            self.is_behind = true;
            return Ok(());
        }
        self.is_behind = !is_all;
        let reaches = |id| is_all || page.last().is_some_and(|last| last.id >= id);
        if appended > self.cursor
            && reaches(appended)
            && page.binary_search_by_key(&appended, |raw| raw.id).is_err()
        {
            return Err(lost("this server lacks what was appended"));
        }
        let was_waiting = self.is_waiting();
        self.take(&page, false)?;
        if let Some(last) = page.last() {
            self.advance(last.id)?;
        }
        self.shared.change(|state| {
            let since = state.behind_since.unwrap_or_else(Instant::now);
            state.behind_since = (!is_all).then_some(since);
        });
        if self.doubt.is_some_and(|since| is_all || since.elapsed() >= MARK_WAIT) {
            self.mark_gap(link)?;
        }
        self.others = self.others.filter(|until| Instant::now() < *until);
        if was_waiting { self.vouch(link) } else { Ok(()) }
    }

    /// Appends the mark of a gap, which all nodes read. It must come after everything that clients
    /// may have: at the end of the stream, or right after `peak` if this server's clock is behind.
    fn mark_gap(&mut self, link: &mut Link) -> Result<(), Stop> {
        let config = &self.shared.config;
        let Some(Lineage { id: server, .. }) = &self.lineage else { return Ok(()) };
        let mark = Mark { server: server.clone(), after: self.peak };
        if id(link.ask(&gap(config, &mark, None))?)? <= self.peak {
            match link.ask(&gap(config, &mark, Some(self.peak))) {
                // Another node has appended a later entry meanwhile.
                Err(Fault::Refused(_)) => link.ask(&gap(config, &mark, None))?,
                answer => answer?,
            };
        }
        self.doubt = None;
        Ok(())
    }

    /// Goes on after this entry, although something before it was not read.
    fn skip_to(&mut self, entry: EntryId) -> Result<(), Stop> {
        self.feeder.tell(Step::Begin {
            floor: entry,
            forgotten: EntryId::ZERO,
            is_first: false,
        })?;
        self.advance(entry)
    }

    fn take(&mut self, page: &[Raw], is_prime: bool) -> Result<(), Stop> {
        for raw in page {
            if let Some(mark) = self.feeder.take(raw, is_prime)? {
                let is_of = |lineage: &Lineage| lineage.id == mark.server;
                if raw.id > self.peak && self.lineage.as_ref().is_some_and(is_of) {
                    self.doubt = None;
                }
                let is_covered = self.told.as_ref().is_some_and(|told| told.covers(&mark));
                if !is_covered {
                    self.told = Some(mark);
                }
                self.feeder.tell(Step::Gap { at: raw.id, told: is_prime || is_covered })?;
            }
        }
        if let Some(last) = page.last() {
            self.last = Some((last.id, last.content_hash()));
        }
        self.feeder.flush(is_prime)?;
        Ok(())
    }

    /// Everything up to here was given to the broadcaster.
    fn advance(&mut self, entry: EntryId) -> Result<(), Stop> {
        self.feeder.tell(Step::Reach(entry))?;
        self.reached(entry);
        Ok(())
    }

    fn reached(&mut self, entry: EntryId) {
        self.cursor = entry;
        self.shared.input.wake();
        self.shared.change(|state| state.reached = entry);
    }
}
