//! Clients that come back to a node which follows a log: on a thread of their own they wait until
//! the node has read what they have, and are given out of the log what the node has forgotten.

use std::{
    io::{self, ErrorKind, Write},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::bounded;

use crate::{
    broadcast::{
        arrival::{Arrival, Origin, Resume, Returned, Via},
        history::Lack,
        local_sink::Tally,
        log::{EntryId, Item, Journal, Pace, Page},
        registry::Seat,
        shared::Hub,
    },
    error::SubscribeError,
    message::{
        event_types::Subscribed,
        frame::{self, Encoded},
    },
    socket::Socket,
};

/// How long a client waits for a place, and then for the node to read what it has.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it waits before the log is asked whether there is such an event at all.
const MOMENT: Duration = Duration::from_millis(50);
/// How long it waits before it asks once more, where nothing else tells when to.
const LULL: Duration = Duration::from_millis(5);
/// How long a client is served before others that wait for its place have it.
const TURN: Duration = Duration::from_secs(5);
const LATE: &str = "this node has not read as far as you have";
/// How long a write may take before it is seen whether there is reason to go on.
const WRITE_SLICE: Duration = Duration::from_millis(250);

/// Why a client is not admitted. It is to come back.
#[derive(Debug)]
enum Trouble {
    /// It is told this, unless its stream has begun.
    Refused(&'static str, Box<Arrival<Socket>>),
    /// It has gone, or is cut off, or nobody is there any more to serve it.
    Over,
}

/// Serves a client over a connection until the broadcaster has taken it over.
pub(crate) fn serve(
    hub: &Hub,
    journal: &dyn Journal,
    seat: Seat,
    head: &[u8],
    resume: Resume,
    socket: Socket,
) {
    let preamble = [head, hub.preamble().as_bytes()].concat();
    let arrival = Arrival { seat, preamble, resume, via: Via::Wire(socket), back: None };
    let mut visit = Visit::new(hub, journal);
    if let Err(Trouble::Refused(reason, arrival)) = visit.bring(arrival)
        && let (Via::Wire(socket), false) = (&arrival.via, arrival.resume.begun)
    {
        let text = [head, frame::refusal(reason).as_bytes()].concat();
        // Where it does not take even this, it has lost nothing.
        let _ = visit.write(socket, &text);
    }
}

/// Brings a subscription to the broadcaster. What the node has forgotten is a gap to it.
pub(crate) fn subscribe(
    hub: &Hub,
    journal: &dyn Journal,
    seat: Seat,
    resume: Resume,
    tally: Arc<Tally>,
) -> Result<(), SubscribeError> {
    let preamble = hub.preamble().into_bytes();
    let arrival = Arrival { seat, preamble, resume, via: Via::Tally(tally), back: None };
    match Visit::new(hub, journal).bring(arrival) {
        Ok(()) => Ok(()),
        Err(Trouble::Refused(..)) => Err(SubscribeError::LogUnavailable),
        Err(Trouble::Over) => Err(SubscribeError::ShutDown),
    }
}

struct Visit<'v> {
    hub: &'v Hub,
    journal: &'v dyn Journal,
    /// Until when the node may take to come to the client's last event.
    until: Instant,
    /// Since when it has one of the places.
    served: Option<Instant>,
    pace: Pace,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if self.served.is_some() {
            self.journal.leave_place();
        }
    }
}

impl<'v> Visit<'v> {
    fn new(hub: &'v Hub, journal: &'v dyn Journal) -> Self {
        let until = Instant::now() + PATIENCE;
        Self { hub, journal, until, served: None, pace: Pace::new() }
    }

    /// Returns when the broadcaster has taken the client over.
    fn bring(&mut self, mut arrival: Arrival<Socket>) -> Result<(), Trouble> {
        if !self.journal.wait_primed(Instant::now()) {
            arrival = self.place(arrival)?;
            if !self.journal.wait_primed(self.until) {
                return Err(Trouble::Refused("the log cannot be read", Box::new(arrival)));
            }
        }
        // The last time is when nothing better can be done than to tell it of a gap.
        let mut is_last = arrival.resume.last_event_id.is_none();
        // What the log had at last when it was asked.
        let mut looked = None;
        loop {
            let (sender, receiver) = bounded(1);
            arrival.back = (!is_last).then_some(sender);
            self.hub.arrive(arrival).map_err(|_| Trouble::Over)?;
            let Ok(Returned { lack, arrival: returned }) = receiver.recv() else {
                return Ok(());
            };
            arrival = self.place(returned)?;
            match (lack, &arrival.via) {
                (Lack::Unseen(entry), _) => {
                    let Some(is_there) = self.journal.can_be_at(entry, self.until) else {
                        return Err(Trouble::Refused("the log cannot be read", Box::new(arrival)));
                    };
                    arrival.resume.origin = if is_there { Origin::Log } else { Origin::Elsewhere };
                }
                (Lack::Older(after), Via::Wire(_)) => {
                    arrival = self.replay(arrival, after)?;
                }
                (Lack::Older(_), Via::Tally(_)) => is_last = true,
                // A second look: the node has read all that there was, and does not know it.
                (Lack::Unknown(reached), _) if looked.is_some_and(|newest| reached >= newest) => {
                    is_last = true;
                }
                // It was read, and the broadcaster has yet to take it.
                (Lack::Unknown(_), _) if looked.is_some() => arrival = self.lull(arrival)?,
                // Most often the node is only a moment behind.
                (Lack::Ahead(id), _) if self.journal.wait_read(id, Instant::now() + MOMENT) => {
                    arrival = self.lull(arrival)?;
                }
                (Lack::Unknown(_) | Lack::Ahead(_), _) => {
                    let Some(newest) = self.journal.newest(self.until) else {
                        return Err(Trouble::Refused("the log cannot be read", Box::new(arrival)));
                    };
                    let awaited = match lack {
                        Lack::Ahead(id) => id,
                        _ => newest,
                    };
                    looked = Some(awaited);
                    if awaited > newest {
                        // The log does not have, or has lost, what this client has.
                        arrival.resume.last_event_id = Some(newest.to_string());
                        arrival.resume.origin = Origin::Elsewhere;
                    } else if !self.journal.wait_read(awaited, self.until) {
                        return Err(Trouble::Refused(LATE, Box::new(arrival)));
                    }
                }
            }
        }
    }

    /// Sees to it that a client has a place which the node cannot serve at once. A subscription has its
    /// owner's thread.
    fn place(&mut self, arrival: Arrival<Socket>) -> Result<Arrival<Socket>, Trouble> {
        if self.served.is_none() && matches!(arrival.via, Via::Wire(_)) {
            if !self.journal.take_place(self.until) {
                let reason = "too many clients are coming back";
                return Err(Trouble::Refused(reason, Box::new(arrival)));
            }
            let now = Instant::now();
            (self.served, self.until) = (Some(now), now + PATIENCE);
        }
        Ok(arrival)
    }

    /// Whether the client has had its turn, and has left its place to another one. It comes back.
    fn yields(&mut self) -> bool {
        let had_turn = self.served.is_some_and(|since| since.elapsed() >= TURN);
        let yields = had_turn && self.journal.yield_place();
        if yields {
            self.served = None;
        }
        yields
    }

    /// Waits a moment for the broadcaster.
    fn lull(&self, arrival: Arrival<Socket>) -> Result<Arrival<Socket>, Trouble> {
        if Instant::now() >= self.until {
            return Err(Trouble::Refused(LATE, Box::new(arrival)));
        }
        thread::sleep(LULL);
        Ok(arrival)
    }

    /// Sends a client the next page of what it misses.
    fn replay(
        &mut self,
        mut arrival: Arrival<Socket>,
        after: EntryId,
    ) -> Result<Arrival<Socket>, Trouble> {
        if self.yields() {
            return Err(Trouble::Over);
        }
        let Some(mut page) = self.journal.page(after, &mut self.pace) else {
            return Err(Trouble::Refused("the log cannot be read", Box::new(arrival)));
        };
        if arrival.resume.origin == Origin::Elsewhere {
            let first = page.items.first().map(Item::place);
            page.missing = page.missing.or(first).or(Some(page.last));
        }
        let mut bytes = std::mem::take(&mut arrival.preamble);
        if !arrival.resume.begun {
            bytes.extend_from_slice(frame::position(Some(&after.to_string())).as_bytes());
        }
        let requested = arrival.resume.last_event_id.take().unwrap_or_default();
        let last = page.last;
        let is_stuck = last == after && page.items.is_empty();
        self.frame(after, page, &arrival.seat.subscribed, &requested, &mut bytes);
        if let Via::Wire(socket) = &arrival.via {
            self.write(socket, &bytes).map_err(|_| Trouble::Over)?;
        }
        arrival.resume = Resume {
            last_event_id: Some(last.to_string()),
            replay: 0,
            begun: true,
            origin: Origin::Log,
        };
        if is_stuck {
            // The node is about to come there.
            return self.lull(arrival);
        }
        self.until = Instant::now() + PATIENCE;
        Ok(arrival)
    }

    /// Ends with the place up to which the client has everything, where its last event does not tell it:
    /// as the preamble does, for a client that is cut off. It is not registered yet.
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
                    self.journal.count_gap();
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
        let patience = self.hub.options.audience.stall_timeout;
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
            if !bytes.is_empty() && (self.journal.is_stopped() || self.yields()) {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        socket.set_nonblocking(true)
    }
}
