//! Clients that come back: each has a thread of its own, which waits until the node has read what
//! the client has, and sends it out of the log what the node's history does not reach back to.

use std::{
    io::{self, ErrorKind, Write},
    sync::atomic::Ordering::Relaxed,
    thread,
    time::{Duration, Instant},
};

use super::{
    RedisLog,
    page_size::PageSize,
    pages::{Item, Page},
    slots::Slot,
};
use crate::{
    broadcast::{
        arrival::{Arrival, Via},
        log::{Lack, input::Origin},
    },
    error::SubscribeError,
    message::{
        entry_id::EntryId,
        event_types::Subscribed,
        frame::{self, Encoded},
    },
    socket::Socket,
};

/// How long a client waits for a slot, and then for the node to read what it has.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it waits before the log is asked whether there is such an event at all.
const MOMENT: Duration = Duration::from_millis(50);
/// How long it waits before it asks once more, where nothing else tells when to.
const LULL: Duration = Duration::from_millis(5);
/// How long a client keeps its slot while others wait for one.
const TURN: Duration = Duration::from_secs(5);
/// How long a write may take before it is checked whether there is reason to go on.
const WRITE_SLICE: Duration = Duration::from_millis(250);

const LATE: &str = "this node has not read as far as you have";
const UNREADABLE: &str = "the log cannot be read";

/// Why a client is not handed over. It is to come back.
#[derive(Debug)]
enum Trouble {
    /// The client is sent this, unless its stream has begun.
    Refused(&'static str),
    /// The client has gone, or is cut off, or the server ends.
    Over,
}

/// Returns when the client is handed over to the broadcaster. A subscription is told of a gap where
/// the history does not reach back to its last event.
pub(super) fn admit(log: &RedisLog, mut arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
    let mut resuming =
        Resuming { log, until: Instant::now() + PATIENCE, slot: None, page_size: PageSize::new() };
    match resuming.bring(&mut arrival) {
        Ok(()) => log.shared.input.hand_over(arrival),
        Err(Trouble::Over) => Err(SubscribeError::ShutDown),
        Err(Trouble::Refused(reason)) => {
            if let Via::Wire(socket) = &arrival.via
                && !arrival.resume.from_log.has_begun
            {
                let head = arrival.preamble.windows(4).position(|end| end == b"\r\n\r\n");
                arrival.preamble.truncate(head.map_or(0, |end| end + 4));
                arrival.preamble.extend_from_slice(frame::refusal(reason).as_bytes());
                // Where it does not take even this, it has lost nothing.
                let _ = resuming.write(socket, &arrival.preamble);
            }
            Err(SubscribeError::LogUnavailable)
        }
    }
}

struct Resuming<'r> {
    log: &'r RedisLog,
    /// Until when the node may take to come to the client's last event.
    until: Instant,
    /// Since when it is served.
    slot: Option<(Slot<'r>, Instant)>,
    page_size: PageSize,
}

impl Resuming<'_> {
    /// Returns when the history reaches back to the client's last event, or nothing better can be
    /// done than to tell it of a gap.
    fn bring(&mut self, arrival: &mut Arrival<Socket>) -> Result<(), Trouble> {
        let log = self.log;
        if !log.wait_primed(Instant::now()) {
            self.take_slot(arrival)?;
            if !log.wait_primed(self.until) {
                return Err(Trouble::Refused(UNREADABLE));
            }
        }
        let is_stream = matches!(arrival.via, Via::Wire(_));
        // What the log had at last when it was asked.
        let mut newest_seen = None;
        loop {
            let Some(id) = &arrival.resume.last_event_id else { return Ok(()) };
            let subscribed = &arrival.seat.subscribed;
            let is_checked = arrival.resume.from_log.is_checked();
            let covered = log.shared.input.ask(subscribed, id, is_checked);
            let Err(lack) = covered.ok_or(Trouble::Over)? else {
                arrival.resume.from_log.is_covered = is_stream;
                return Ok(());
            };
            self.take_slot(arrival)?;
            match lack {
                Lack::Unseen(entry) => {
                    let is_there = log.pager.can_be_at(entry, self.until);
                    let is_there = is_there.ok_or(Trouble::Refused(UNREADABLE))?;
                    arrival.resume.from_log.origin =
                        if is_there { Origin::Log } else { Origin::Elsewhere };
                }
                Lack::Older(after) if is_stream => self.replay(arrival, after)?,
                Lack::Older(_) => return Ok(()),
                // A second look: the node has read all that there was, and does not know it.
                Lack::Unknown(reached) if newest_seen.is_some_and(|newest| reached >= newest) => {
                    return Ok(());
                }
                // It was read, and the broadcaster has yet to take it.
                Lack::Unknown(_) if newest_seen.is_some() => self.lull()?,
                // Most often the node is only a moment behind.
                Lack::Ahead(id) if log.wait_read(id, Instant::now() + MOMENT) => self.lull()?,
                Lack::Unknown(_) | Lack::Ahead(_) => {
                    let newest = log.pager.newest(self.until);
                    let newest = newest.ok_or(Trouble::Refused(UNREADABLE))?;
                    let awaited = if let Lack::Ahead(id) = lack { id } else { newest };
                    newest_seen = Some(awaited);
                    if awaited > newest {
                        // The log does not have, or has lost, what this client has.
                        arrival.resume.last_event_id = Some(newest.to_string());
                        arrival.resume.from_log.origin = Origin::Elsewhere;
                    } else if !log.wait_read(awaited, self.until) {
                        return Err(Trouble::Refused(LATE));
                    }
                }
            }
        }
    }

    /// Takes one of the slots for a client that the node cannot serve at once, where it has none. A
    /// subscription needs none: it has its owner's thread.
    fn take_slot(&mut self, arrival: &Arrival<Socket>) -> Result<(), Trouble> {
        if self.slot.is_none() && matches!(arrival.via, Via::Wire(_)) {
            let slot = self.log.shared.slots.take(self.until);
            let slot = slot.ok_or(Trouble::Refused("too many clients are coming back"))?;
            let now = Instant::now();
            (self.slot, self.until) = (Some((slot, now)), now + PATIENCE);
        }
        Ok(())
    }

    /// Whether the client has had its turn, and has left its slot to another one. It comes back.
    fn yields(&mut self) -> bool {
        let is_due = |(_, since): &mut (Slot<'_>, Instant)| since.elapsed() >= TURN;
        let Some((slot, since)) = self.slot.take_if(is_due) else { return false };
        self.slot = slot.hand_over().err().map(|slot| (slot, since));
        self.slot.is_none()
    }

    /// Waits a moment for the broadcaster.
    fn lull(&self) -> Result<(), Trouble> {
        if Instant::now() >= self.until {
            return Err(Trouble::Refused(LATE));
        }
        thread::sleep(LULL);
        Ok(())
    }

    /// Sends a client the next page of what it misses.
    fn replay(&mut self, arrival: &mut Arrival<Socket>, after: EntryId) -> Result<(), Trouble> {
        if self.yields() {
            return Err(Trouble::Over);
        }
        let page = self.log.pager.page(after, &mut self.page_size);
        let mut page = page.ok_or(Trouble::Refused(UNREADABLE))?;
        let from_log = arrival.resume.from_log;
        if from_log.origin == Origin::Elsewhere {
            let first = page.items.first().map(Item::entry_id);
            page.missing = page.missing.or(first).or(Some(page.last));
        }
        let mut bytes = std::mem::take(&mut arrival.preamble);
        if !from_log.has_begun {
            bytes.extend_from_slice(frame::position(Some(&after.to_string())).as_bytes());
        }
        let requested = arrival.resume.last_event_id.take().unwrap_or_default();
        let last = page.last;
        let is_stuck = last == after && page.items.is_empty();
        self.frame(after, page, &arrival.seat.subscribed, &requested, &mut bytes);
        if let Via::Wire(socket) = &arrival.via {
            self.write(socket, &bytes).map_err(|_| Trouble::Over)?;
        }
        arrival.resume.last_event_id = Some(last.to_string());
        arrival.resume.replay = 0;
        arrival.resume.from_log.has_begun = true;
        arrival.resume.from_log.origin = Origin::Log;
        if is_stuck {
            // The node is about to come there.
            return self.lull();
        }
        self.until = Instant::now() + PATIENCE;
        Ok(())
    }

    /// Ends with the entry up to which the client has everything, where its last event does not tell it:
    /// as the first block does, for a client that is cut off. It is not registered yet.
    fn frame(
        &self,
        after: EntryId,
        page: Page,
        subscribed: &Subscribed,
        requested: &str,
        bytes: &mut Vec<u8>,
    ) {
        let (mut buffer, last) = (Vec::new(), page.last);
        let (mut told, mut requested) = (Some(after), requested.to_owned());
        let mut is_gap = false;
        for item in page.missing.map(Item::Gap).into_iter().chain(page.items) {
            match item {
                Item::Event(entry) if subscribed.includes(entry.event.kind) => {
                    let Encoded { lines, id } = entry.event.encoded;
                    let millis = entry.id.millis_text();
                    let place = id.is_none().then_some((&*millis, entry.id.number));
                    let frame = frame::seal(&lines, place, &mut buffer);
                    bytes.extend_from_slice(frame.as_bytes());
                    (told, requested) = (place.map(|_| entry.id), entry.id.to_string());
                    is_gap = false;
                }
                // Several nodes may have told of the same.
                Item::Gap(oldest) if !is_gap => {
                    let gap = frame::gap(&requested, Some(&oldest.to_string()));
                    bytes.extend_from_slice(gap.as_bytes());
                    self.log.shared.counts.gaps.fetch_add(1, Relaxed);
                    is_gap = true;
                }
                Item::Event(_) | Item::Gap(_) => {}
            }
        }
        if told != Some(last) {
            bytes.extend_from_slice(frame::position(Some(&last.to_string())).as_bytes());
        }
    }

    /// Writes all of it, unless the client takes nothing for the stall time-out, or has had its turn,
    /// or the server ends.
    fn write(&mut self, mut socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
        let patience = self.log.shared.input.stall_timeout;
        socket.set_nonblocking(false)?;
        socket.set_write_timeout(WRITE_SLICE)?;
        let mut progress = Instant::now();
        while !bytes.is_empty() {
            match socket.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    progress = Instant::now();
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut
                        if progress.elapsed() < patience => {}
                    _ => return Err(error),
                },
            }
            if !bytes.is_empty() && (self.log.shared.is_stopping() || self.yields()) {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        socket.set_nonblocking(true)
    }
}
