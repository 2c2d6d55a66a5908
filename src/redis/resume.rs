//! Clients that come back. Each has a thread of its own. The thread waits until the node has read
//! the client's last event, and sends the client from the log what the history does not reach back
//! to.

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
        arrival::{Arrival, Form, Replay, Via},
        inbox::queue::Queued,
        log::{Lack, input::Origin},
    },
    error::SubscribeError,
    message::{
        channel::Channel,
        entry_id::EntryId,
        frame::{self, Encoded},
    },
    socket::Socket,
};

/// How long a client waits for a slot, and then for the node to read its last event.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it waits before the log is asked whether it has this event at all.
const SHORT_WAIT: Duration = Duration::from_millis(50);
/// How long it waits before it asks again, if nothing notifies it.
const RETRY_WAIT: Duration = Duration::from_millis(5);
/// How long a client keeps its slot while others wait for one.
const SLOT_TIME: Duration = Duration::from_secs(5);
/// How long a write may block before it is checked whether to go on.
const WRITE_SLICE: Duration = Duration::from_millis(250);

const LATE: &str = "this node has not read as far as you have";
const UNREADABLE: &str = "the log cannot be read";

/// Why a client is not handed over. It will come back.
#[derive(Debug)]
enum Trouble {
    /// The client is sent this reason, unless its stream has begun.
    Refused(&'static str),
    /// The client has gone or is cut off, or the server ends.
    Over,
}

/// Returns when the client is handed over to the broadcaster. If the history does not reach back to
/// its last event, a stream is first sent the events from the log; a subscription only learns of a
/// gap.
pub(super) fn admit(log: &RedisLog, mut arrival: Arrival<Socket>) -> Result<(), SubscribeError> {
    let mut resuming =
        Resuming { log, until: Instant::now() + PATIENCE, slot: None, page_size: PageSize::new() };
    match resuming.bring(&mut arrival) {
        Ok(()) => log.shared.input.hand_over(arrival),
        Err(Trouble::Over) => Err(SubscribeError::ShutDown),
        Err(Trouble::Refused(reason)) => {
            let text = arrival.refusal(reason);
            if let Via::Wire(socket) = &mut arrival.via
                && !arrival.resume.from_log.has_begun
            {
                // If the client does not take even this, it has lost nothing.
                let _ = resuming.write(socket, &text);
            }
            Err(SubscribeError::RedisUnavailable)
        }
    }
}

struct Resuming<'r> {
    log: &'r RedisLog,
    /// Until when the node may take to read the client's last event.
    until: Instant,
    /// The slot, and since when the client has it.
    slot: Option<(Slot<'r>, Instant)>,
    page_size: PageSize,
}

impl Resuming<'_> {
    /// Returns when the history reaches back to the client's last event, or when the client can
    /// only be told of a gap.
    fn bring(&mut self, arrival: &mut Arrival<Socket>) -> Result<(), Trouble> {
        let log = self.log;
        if !log.wait_primed(Instant::now()) {
            self.take_slot(arrival)?;
            if !log.wait_primed(self.until) {
                return Err(Trouble::Refused(UNREADABLE));
            }
        }
        let is_stream = matches!(arrival.via, Via::Wire(_));
        // The newest entry of the log, once it was asked.
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
                // Asked again: the node has read the whole log, and does not know the id.
                Lack::Unknown(reached) if newest_seen.is_some_and(|newest| reached >= newest) => {
                    return Ok(());
                }
                // The reader has read it; the broadcaster has not taken it yet.
                Lack::Unknown(_) if newest_seen.is_some() => self.wait_briefly()?,
                // Most often the node is only a moment behind.
                Lack::Ahead(id) if log.wait_read(id, Instant::now() + SHORT_WAIT) => {
                    self.wait_briefly()?;
                }
                Lack::Unknown(_) | Lack::Ahead(_) => {
                    let newest = log.pager.newest(self.until);
                    let newest = newest.ok_or(Trouble::Refused(UNREADABLE))?;
                    let awaited = if let Lack::Ahead(id) = lack { id } else { newest };
                    newest_seen = Some(awaited);
                    if awaited > newest {
                        // The log never had the client's last event, or has lost it.
                        arrival.resume.last_event_id = Some(newest.to_string());
                        arrival.resume.from_log.origin = Origin::Elsewhere;
                    } else if !log.wait_read(awaited, self.until) {
                        return Err(Trouble::Refused(LATE));
                    }
                }
            }
        }
    }

    /// The node cannot serve the client at once: takes a slot, if the client has none. A
    /// subscription needs none, since it uses its owner's thread.
    fn take_slot(&mut self, arrival: &Arrival<Socket>) -> Result<(), Trouble> {
        if self.slot.is_none() && matches!(arrival.via, Via::Wire(_)) {
            let slot = self.log.shared.slots.take(self.until);
            let slot = slot.ok_or(Trouble::Refused("too many clients are coming back"))?;
            let now = Instant::now();
            (self.slot, self.until) = (Some((slot, now)), now + PATIENCE);
        }
        Ok(())
    }

    /// Whether the client's time is over and another client got its slot. This one comes back.
    fn yields(&mut self) -> bool {
        let is_due = |(_, since): &mut (Slot<'_>, Instant)| since.elapsed() >= SLOT_TIME;
        let Some((slot, since)) = self.slot.take_if(is_due) else { return false };
        self.slot = slot.hand_over().err().map(|slot| (slot, since));
        self.slot.is_none()
    }

    /// Waits a moment for the broadcaster.
    fn wait_briefly(&self) -> Result<(), Trouble> {
        if Instant::now() >= self.until {
            return Err(Trouble::Refused(LATE));
        }
        thread::sleep(RETRY_WAIT);
        Ok(())
    }

    /// Sends the client the next page of the events that it misses.
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
        let Form { coding, own, .. } = arrival.form;
        let mut blocks = std::mem::take(&mut arrival.preamble).into_bytes();
        if !from_log.has_begun {
            blocks.extend_from_slice(own.position(Some(&after.to_string())).as_bytes());
        }
        let requested = arrival.resume.last_event_id.take().unwrap_or_default();
        let last = page.last;
        let is_stuck = last == after && page.items.is_empty();
        self.frame(after, page, arrival, &requested, &mut blocks);
        if let Via::Wire(socket) = &mut arrival.via
            && !blocks.is_empty()
        {
            let head = std::mem::take(&mut arrival.head);
            let bytes = [head, coding.encode(&blocks)].concat();
            self.write(socket, &bytes).map_err(|_| Trouble::Over)?;
        }
        arrival.resume.last_event_id = Some(last.to_string());
        arrival.resume.replay = Replay::default();
        arrival.resume.from_log.has_begun = true;
        arrival.resume.from_log.origin = Origin::Log;
        if is_stuck {
            // The node is about to reach this entry.
            return self.wait_briefly();
        }
        self.until = Instant::now() + PATIENCE;
        Ok(())
    }

    /// Encodes a page. If the last event does not tell the client its position, a block with the
    /// position ends the page, for a client that is cut off then. The client is not registered yet.
    fn frame(
        &self,
        after: EntryId,
        page: Page,
        arrival: &Arrival<Socket>,
        requested: &str,
        blocks: &mut Vec<u8>,
    ) {
        let subscribed = &arrival.seat.subscribed;
        let is_wanted = |event: &Queued| {
            subscribed.includes(event.channel.as_ref().map(Channel::number), event.kind)
        };
        let (mut buffer, last) = (Vec::new(), page.last);
        let (mut told, mut requested) = (Some(after), requested.to_owned());
        let mut is_gap = false;
        for item in page.missing.map(Item::Gap).into_iter().chain(page.items) {
            match item {
                Item::Event(entry) if is_wanted(&entry.event) => {
                    let Encoded { lines, id } = entry.event.encoded;
                    let millis = entry.id.millis_text();
                    let position = id.is_none().then_some((&*millis, entry.id.number));
                    let frame = frame::seal(&lines, position, &mut buffer);
                    blocks.extend_from_slice(frame.as_bytes());
                    (told, requested) = (position.map(|_| entry.id), entry.id.to_string());
                    is_gap = false;
                }
                // Several nodes may have appended a mark of the same gap.
                Item::Gap(oldest) if !is_gap => {
                    let gap = frame::gap(&requested, Some(&oldest.to_string()));
                    blocks.extend_from_slice(gap.as_bytes());
                    self.log.shared.counts.gaps.fetch_add(1, Relaxed);
                    is_gap = true;
                }
                Item::Event(_) | Item::Gap(_) => {}
            }
        }
        if told != Some(last) {
            blocks.extend_from_slice(arrival.form.own.new_position(&last.to_string()).as_bytes());
        }
    }

    /// Writes all bytes. Fails if the client takes nothing for the stall time-out, if its time is
    /// over, or if the server ends.
    fn write(&mut self, socket: &mut Socket, mut bytes: &[u8]) -> io::Result<()> {
        let patience = self.log.shared.input.stall_timeout;
        socket.raw.set_nonblocking(false)?;
        socket.raw.set_write_timeout(WRITE_SLICE)?;
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
        socket.raw.set_nonblocking(true)
    }
}
