//! All the clients, as the broadcaster serves them: admit, deliver, catch up, sweep, end.
//!
//! A deterministic machine: what it does depends on the calls, the sockets' answers and the time
//! it is told. The broadcaster's thread decides when to call what.

mod arrival;
mod delivery;
mod ending;
mod entries;
#[cfg(test)]
mod model;
mod order;
#[cfg(test)]
mod order_tests;
mod overload;
#[cfg(test)]
mod overload_tests;
mod presence;
mod replay;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::ClientId,
    feed::Feed,
    frame::{Frame, HEARTBEAT},
    groups::{Event, GroupId, Groups, Key},
    history::{History, Place},
    mail::{Load, Mail},
    meter::Moment,
    notices::{Connected, Notices},
    registry::Registry,
    socket::Wire,
    stats::{Disconnect, Stats},
    stream::{Progress, Stream},
};

use self::overload::Furthest;
pub(crate) use self::{
    arrival::{Arrival, Origin, Resume, Returned, Via},
    order::Order,
    presence::json_counts,
};

/// What one client that catches up writes before others have their turn.
const CATCH_UP_SHARE: usize = 256 * 1024;
/// How long a client that is over its budget may take nothing. A healthy one on a busy machine may
/// not run for a second or two.
const GRACE: Duration = Duration::from_secs(3);
/// What the sweep reads of a client's input at most.
const INPUT_BUFFER: usize = 4096;

#[cfg(test)]
thread_local! {
    /// How many clients were looked at to find those that are too far behind.
    static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Limits and times that concern clients.
#[derive(Clone, Debug)]
pub(crate) struct AudienceLimits {
    pub(crate) mailbox_bytes: usize,
    pub(crate) mailboxes_bytes: usize,
    pub(crate) stall_timeout: Duration,
    pub(crate) heartbeat: Duration,
    /// Over which time clients come back after a shutdown; zero leaves it to them.
    pub(crate) reconnect_spread: Duration,
}

#[derive(Debug)]
struct Member<W> {
    id: ClientId,
    group: GroupId,
    /// Its place in the group.
    place: u32,
    outlet: Outlet<W>,
}

#[derive(Debug)]
enum Outlet<W> {
    Stream(Stream<W>),
    Feed(Box<Feed>),
}

impl<W: Wire> Outlet<W> {
    /// Bytes that wait, as the budget counts them.
    fn waiting(&self) -> usize {
        match self {
            Self::Stream(stream) => stream.waiting(),
            Self::Feed(feed) => feed.waiting(),
        }
    }

    /// Bytes that wait, all of them.
    fn held(&self) -> usize {
        match self {
            Self::Stream(stream) => stream.held(),
            Self::Feed(feed) => feed.held(),
        }
    }

    /// When a client for which something waits last took something.
    fn progress(&self) -> Option<Instant> {
        match self {
            Self::Stream(stream) => stream.progress(),
            Self::Feed(feed) => Some(feed.progress()),
        }
    }

    /// Whether the client reads, as far as can be told.
    fn reads(&mut self, moment: Moment) -> bool {
        match self {
            Self::Stream(stream) => stream.reads(moment),
            Self::Feed(feed) => feed.reads(moment),
        }
    }

    /// Whether the client is among the `heavy` ones.
    fn is_heavy(&mut self) -> &mut bool {
        match self {
            Self::Stream(stream) => &mut stream.is_heavy,
            Self::Feed(feed) => &mut feed.is_heavy,
        }
    }

    /// Whether the client took something not long ago; one that has is given time, and more than
    /// its budget as long as memory is not short.
    fn takes_something(&self, moment: Moment) -> bool {
        let passed = |progress| moment.now.saturating_duration_since(progress);
        self.progress().is_none_or(|progress| passed(progress) < GRACE)
    }
}

#[derive(Debug)]
pub(crate) struct Audience<W> {
    registry: Arc<Registry>,
    limits: AudienceLimits,
    load: Load,
    history: History,
    members: Vec<Option<Member<W>>>,
    vacant: Vec<Key>,
    groups: Groups,
    /// When to try the streams again that are behind. An entry whose stream has another time by
    /// now is void.
    retries: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Clients that are gone, to be let go of one by one: closing a socket and freeing what waited
    /// takes time, which live events do not have.
    graves: Vec<Outlet<W>>,
    /// Kept events for which nobody waits any more.
    released: Vec<Place>,
    /// Where the sweep goes on.
    cursor: usize,
    /// Those that were seen to be more than half a budget behind. One that has left since is void.
    heavy: Vec<(Key, ClientId)>,
    furthest: Furthest,
    /// Counts since the start; the numbers of clients are the registry's.
    stats: Stats,
    /// Where clients are told of that come and go, if anybody wants to know.
    notices: Option<Arc<Notices>>,
    /// Clients have come or gone since their numbers were published.
    has_changed: bool,
    // Used within one call and kept for their memory.
    events: Vec<Event>,
    touched: Vec<GroupId>,
    joined: Vec<u8>,
    mails: Vec<(ClientId, Mail)>,
    gone: Vec<(Key, Disconnect)>,
    input: Box<[u8]>,
    /// Spreads what shall not happen to all clients at the same time.
    random: RandomState,
}

impl<W: Wire> Audience<W> {
    pub(crate) fn new(registry: Arc<Registry>, limits: AudienceLimits, history: History) -> Self {
        Self {
            registry,
            limits,
            history,
            load: Load::default(),
            members: Vec::new(),
            vacant: Vec::new(),
            groups: Groups::default(),
            retries: BinaryHeap::new(),
            graves: Vec::new(),
            released: Vec::new(),
            cursor: 0,
            heavy: Vec::new(),
            furthest: Furthest::default(),
            stats: Stats::default(),
            notices: None,
            has_changed: false,
            events: Vec::new(),
            touched: Vec::new(),
            joined: Vec::new(),
            mails: Vec::new(),
            gone: Vec::new(),
            input: vec![0; INPUT_BUFFER].into(),
            random: RandomState::new(),
        }
    }

    /// Tells from now on who comes and who goes.
    pub(crate) fn tell(&mut self, notices: Arc<Notices>) {
        self.notices = Some(notices);
    }

    /// Counts since the start, and how many clients are behind.
    pub(crate) fn stats(&self) -> &Stats {
        &self.stats
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.len() == self.vacant.len()
    }

    /// Places in the table of clients, vacant ones included.
    pub(crate) fn places(&self) -> usize {
        self.members.len()
    }

    /// Takes a client in: from here on it gets every event that it subscribes to.
    pub(crate) fn admit(&mut self, arrival: Arrival<W>, moment: Moment) {
        let Some(arrival) = self.give_back(arrival) else {
            return;
        };
        let Arrival { seat, mut preamble, resume, via, back: _ } = arrival;
        let peer = seat.peer;
        let (id, subscribed, mailbox) = seat.take();
        let (position, mut gap) = self.begin(&subscribed, &resume, &mut preamble);
        if matches!(via, Via::Wire(_))
            && let Some(gap) = gap.take()
        {
            // With the head in one write; a subscription gets each block as a frame of its own.
            preamble.extend_from_slice(gap.as_bytes());
        }
        let key = self.vacant.pop().unwrap_or_else(|| {
            self.members.push(None);
            Key::try_from(self.members.len() - 1).unwrap_or(Key::MAX)
        });
        let (group, place) = self.groups.join(Arc::clone(&subscribed), key);
        let outlet = match via {
            Via::Wire(wire) => Outlet::Stream(Stream::new(wire, mailbox, moment)),
            Via::Tally(tally) => Outlet::Feed(Box::new(Feed::new(tally, mailbox, moment))),
        };
        self.members[key as usize] = Some(Member { id, group, place, outlet });
        self.registry.seated(id, key);
        self.has_changed = true;
        if let Some(notices) = &self.notices {
            let (subscribed, last_event_id) = (Arc::clone(&subscribed), resume.last_event_id);
            notices.connected(Connected { id, peer, subscribed, last_event_id });
        }
        if !preamble.is_empty() {
            self.say(key, &Frame::from_bytes(&preamble), moment);
        }
        if let Some(gap) = gap {
            self.say(key, &gap, moment);
        }
        if self.history.is_on() && position < self.history.newest() {
            self.replay(key, &subscribed, position, moment);
        }
    }

    /// Lets go of one client that is gone; false if there is none.
    pub(crate) fn bury_one(&mut self) -> bool {
        self.graves.pop().is_some()
    }

    /// Whether clients that are gone are still to be let go of.
    pub(crate) fn has_graves(&self) -> bool {
        !self.graves.is_empty()
    }

    /// When the next stream that is behind is due.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retries.peek().map(|Reverse((at, _))| *at)
    }

    /// Lets the stream catch up that has been due the longest; false if none is due.
    pub(crate) fn retry_one(&mut self, moment: Moment) -> bool {
        let Some(&Reverse((at, key))) = self.retries.peek() else {
            return false;
        };
        if at > moment.now {
            return false;
        }
        self.retries.pop();
        let stall_timeout = self.limits.stall_timeout;
        self.refill(key, at);
        if let Some(stream) = self.stream(key)
            && stream.retry_at() == Some(at)
        {
            match stream.catch_up(CATCH_UP_SHARE, stall_timeout, moment) {
                Ok(Progress::CaughtUp) => self.stats.behind -= 1,
                Ok(Progress::Retry(at)) => self.retries.push(Reverse((at, key))),
                Err(reason) => {
                    self.stats.behind -= 1;
                    self.remove(key, reason);
                }
            }
        }
        true
    }

    /// Looks at the next client in turn: has it gone, does it need a heartbeat.
    pub(crate) fn sweep_one(&mut self, moment: Moment) {
        if self.cursor >= self.members.len() {
            self.cursor = 0;
        }
        let at = self.cursor;
        self.cursor += 1;
        let Some(member) = self.members.get_mut(at).and_then(Option::as_mut) else {
            return;
        };
        let key = Key::try_from(at).unwrap_or(Key::MAX);
        if member.outlet.waiting() > self.limits.mailbox_bytes
            && !member.outlet.takes_something(moment)
        {
            return self.remove(key, Disconnect::Behind);
        }
        let silence = match &mut member.outlet {
            Outlet::Stream(stream) => {
                if let Err(reason) = stream.poll_input(&mut self.input) {
                    return self.remove(key, reason);
                }
                stream.fit_mailbox(|room| self.registry.replace_mailbox(member.id, room));
                stream.silence(moment.now)
            }
            Outlet::Feed(feed) if feed.has_left() => {
                return self.remove(key, Disconnect::ClosedByPeer);
            }
            Outlet::Feed(feed) => feed.silence(moment.now),
        };
        if silence.is_some_and(|silence| silence >= self.limits.heartbeat) {
            self.say(key, &Frame::from_bytes(HEARTBEAT), moment);
        }
    }

    /// Sends one client a block that is for it alone, at once or in its turn.
    fn say(&mut self, key: Key, frame: &Frame, moment: Moment) {
        let Some(member) = self.members.get_mut(key as usize).and_then(Option::as_mut) else {
            return;
        };
        let mail = || Mail::new(frame.clone(), &self.load);
        match &mut member.outlet {
            Outlet::Stream(stream) if !stream.is_caught_up() => {
                stream.fit_mailbox(|room| self.registry.replace_mailbox(member.id, room));
                let waiting = stream.mailed(frame.len());
                self.registry.send([(member.id, mail())]);
                self.note_waiting(key, waiting);
            }
            Outlet::Stream(stream) => match stream.send(frame.as_bytes(), mail, moment) {
                Ok(Progress::CaughtUp) => {}
                Ok(Progress::Retry(at)) => {
                    self.stats.behind += 1;
                    self.retries.push(Reverse((at, key)));
                }
                Err(reason) => self.remove(key, reason),
            },
            Outlet::Feed(feed) => {
                let waiting = feed.mailed(frame.len(), moment);
                self.registry.send([(member.id, mail())]);
                self.note_waiting(key, waiting);
            }
        }
    }

    fn stream(&mut self, key: Key) -> Option<&mut Stream<W>> {
        match &mut self.members.get_mut(key as usize)?.as_mut()?.outlet {
            Outlet::Stream(stream) => Some(stream),
            Outlet::Feed(_) => None,
        }
    }

    fn remove_gone(&mut self) {
        while let Some((key, reason)) = self.gone.pop() {
            self.remove(key, reason);
        }
    }

    fn remove(&mut self, key: Key, reason: Disconnect) {
        // The table is empty again when nobody is left.
        let Some(member) = self.members.get_mut(key as usize).and_then(Option::take) else {
            return;
        };
        self.vacant.push(key);
        if let Some(moved) = self.groups.leave(member.group, member.place)
            && let Some(moved) = &mut self.members[moved as usize]
        {
            moved.place = member.place;
        }
        match &member.outlet {
            Outlet::Stream(stream) => self.stats.behind -= usize::from(!stream.is_caught_up()),
            Outlet::Feed(feed) => feed.end(reason),
        }
        self.stats.disconnected.count(reason);
        self.registry.remove(member.id);
        self.has_changed = true;
        if let Some(notices) = &self.notices {
            notices.disconnected(member.id, reason);
        }
        self.graves.push(member.outlet);
        if self.is_empty() {
            self.members = Vec::new();
            self.vacant = Vec::new();
            self.retries = BinaryHeap::new();
            self.heavy = Vec::new();
            self.furthest = Furthest::default();
        }
    }
}
