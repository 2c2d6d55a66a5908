//! Slots for the connections that hold a thread: their limit, and how to end them from outside.

use std::{
    collections::HashMap,
    io,
    net::Shutdown,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::socket::RawSocket;

/// How much more patience there is with a client in a handshake once it was answered.
const GREETED: u32 = 4;

#[derive(Debug)]
pub(super) struct Slots {
    limit: usize,
    /// Held at most for the `shutdown` of a socket, which does not block.
    state: Mutex<State>,
    /// A slot was freed.
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    sockets: HashMap<u64, Entry>,
    next: u64,
    stopping: bool,
    /// While stopping, connections may still send their first request.
    lets_first: bool,
    cut: bool,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<RawSocket>,
    wait: Wait,
}

/// Whether a connection waits for its client, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// It does not wait: a request is being answered.
    No,
    /// The same, by a body that has no end of its own.
    Endless,
    /// For its first request.
    First(Instant),
    /// The same, but it has said hello (RFC 8446, section 4.1.2), and was answered.
    Greeted(Instant),
    /// For another request, which may never come.
    Idle(Instant),
    /// For the rest of a request.
    Request(Instant),
    /// For the client to close: the last response was sent.
    Leaving(Instant),
    /// It had waited longest when the limit was reached, and must end.
    Over,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default(), freed: Condvar::new() }
    }

    /// Registers a connection. If the limit is reached, the connection that has waited longest for
    /// its client must end, in this order: closing, idle, receiving a request. So clients that send
    /// nothing, send byte by byte, or do not close cannot keep others out. Those that receive a
    /// request are let alone until they have waited as long as the `patience` of this one, which
    /// waits here; in a handshake that goes on, four times as long. `None`: all are being
    /// answered, or were cut.
    pub(super) fn enter(
        self: &Arc<Self>,
        socket: &Arc<RawSocket>,
        patience: Duration,
    ) -> Option<Slot> {
        let mut state = self.state.lock();
        loop {
            if state.cut {
                return None;
            }
            if state.sockets.len() < self.limit {
                break;
            }
            let (longest, until) = state.longest(Wait::may_end, patience)?;
            if until <= Instant::now() {
                longest.give_way();
                break;
            }
            self.freed.wait_until(&mut state, until);
        }
        let number = state.next;
        state.next += 1;
        state.sockets.insert(number, Entry { socket: Arc::clone(socket), wait: Wait::No });
        Some(Slot { connections: Arc::clone(self), number })
    }

    /// Descriptors have run out: the connection that has waited longest must end, if one is closing
    /// or idle. So clients that keep their connections cannot keep others out.
    pub(super) fn relieve(&self) {
        let mut state = self.state.lock();
        let may_end = |wait| matches!(wait, Wait::Leaving(_) | Wait::Idle(_));
        if let Some((longest, _)) = state.longest(may_end, Duration::ZERO) {
            longest.give_way();
        }
    }

    /// Ends the idle connections, and each other one as soon as it is idle. To a body without an end
    /// its client seems to have gone. `lets_first`: those that have sent nothing may send a request.
    pub(super) fn stop(&self, lets_first: bool) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.lets_first = lets_first;
        for entry in state.sockets.values() {
            match entry.wait {
                Wait::First(_) | Wait::Greeted(_) if lets_first => {}
                Wait::First(_) | Wait::Greeted(_) | Wait::Idle(_) => entry.end(),
                Wait::Endless => entry.end_reading(),
                Wait::No | Wait::Request(_) | Wait::Leaving(_) | Wait::Over => {}
            }
        }
    }

    /// Ends all connections, whatever they do. A thread that waits for its client wakes up.
    pub(super) fn cut(&self) {
        let mut state = self.state.lock();
        state.cut = true;
        state.sockets.values().for_each(Entry::end);
    }
}

impl State {
    /// Of the connections with such a wait, the one to end, and when: a closing one first, then an
    /// idle one, and of these the one that has waited longest. `None`: there is none.
    fn longest(
        &mut self,
        may_end: impl Fn(Wait) -> bool,
        patience: Duration,
    ) -> Option<(&mut Entry, Instant)> {
        let now = Instant::now();
        let order = |wait: Wait| match wait {
            Wait::Leaving(since) => (0, since),
            Wait::Idle(since) => (1, since),
            // A new connection is the youngest of these.
            Wait::First(since) | Wait::Request(since) => (2, since + patience),
            // Work was done for it, and the answer may have far to go.
            Wait::Greeted(since) => (2, since + GREETED * patience),
            Wait::No | Wait::Endless | Wait::Over => (3, now),
        };
        let may_end = |entry: &&mut Entry| may_end(entry.wait);
        let longest = self.sockets.values_mut().filter(may_end);
        let longest = longest.min_by_key(|entry| order(entry.wait))?;
        let (_, until) = order(longest.wait);
        Some((longest, until))
    }
}

impl Wait {
    /// Whether the connection may have to give way.
    fn may_end(self) -> bool {
        !matches!(self, Self::No | Self::Endless | Self::Over)
    }
}

impl Entry {
    fn give_way(&mut self) {
        self.wait = Wait::Over;
        self.end_reading();
    }

    fn end(&self) {
        // If the client has already ended it, nothing is left to end.
        let _: io::Result<()> = self.socket.shutdown(Shutdown::Both);
    }

    /// Its thread wakes from its read, and may still answer.
    fn end_reading(&self) {
        let _: io::Result<()> = self.socket.shutdown(Shutdown::Read);
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitingFor {
    /// A connection whose handshake comes in small pieces is as old as before.
    FirstRequest {
        since: Instant,
        /// The server has answered in the handshake.
        greeted: bool,
    },
    /// Empty lines in front of it do not count: a connection that sends them is as old as before.
    AnotherRequest { since: Instant },
    /// The rest of a request.
    TheRest,
}

/// A connection's slot; dropping it frees the slot.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Slots>,
    number: u64,
}

impl Slot {
    /// Records that the connection waits for its client. False: it must end instead.
    pub(super) fn begin_wait(&self, what: WaitingFor) -> bool {
        let mut state = self.connections.state.lock();
        let State { stopping, lets_first, .. } = *state;
        if let Some(entry) = state.sockets.get_mut(&self.number) {
            let now = Instant::now();
            entry.wait = match (entry.wait, what) {
                (Wait::Over, _) => Wait::Over,
                (_, WaitingFor::FirstRequest { since, greeted: false }) => Wait::First(since),
                (_, WaitingFor::FirstRequest { since, greeted: true }) => Wait::Greeted(since),
                (_, WaitingFor::AnotherRequest { since }) => Wait::Idle(since),
                // A wait that goes on keeps its age.
                (Wait::Request(since), WaitingFor::TheRest) => Wait::Request(since),
                (_, WaitingFor::TheRest) => Wait::Request(now),
            };
        }
        match what {
            WaitingFor::FirstRequest { .. } => !stopping || lets_first,
            WaitingFor::AnotherRequest { .. } => !stopping,
            WaitingFor::TheRest => true,
        }
    }

    /// Records that bytes arrived. True: the connection had to give way meanwhile.
    pub(super) fn end_wait(&self) -> bool {
        let mut state = self.connections.state.lock();
        state.sockets.get_mut(&self.number).is_some_and(|entry| match entry.wait {
            Wait::Over => true,
            // More of the same request: it is still as old as its first byte.
            Wait::Request(_) | Wait::Leaving(_) => false,
            Wait::No | Wait::Endless | Wait::First(_) | Wait::Greeted(_) | Wait::Idle(_) => {
                entry.wait = Wait::No;
                false
            }
        })
    }

    /// Records that the last response was sent, and that the client must close.
    pub(super) fn leave(&self) {
        self.change(Wait::Leaving(Instant::now()));
    }

    /// Records that a request is complete and is being answered.
    pub(super) fn work(&self) {
        self.change(Wait::No);
    }

    /// Records that a body is being written that has no end of its own: its client has gone as soon
    /// as the server stops.
    pub(super) fn work_endlessly(&self) {
        self.change(Wait::Endless);
        let state = self.connections.state.lock();
        if state.stopping
            && let Some(entry) = state.sockets.get(&self.number)
        {
            entry.end_reading();
        }
    }

    /// Whether the connection was ended from outside while its request was being answered.
    pub(super) fn is_ended(&self) -> bool {
        let state = self.connections.state.lock();
        let is_endless = |entry: &Entry| entry.wait == Wait::Endless;
        state.cut || state.stopping && state.sockets.get(&self.number).is_some_and(is_endless)
    }

    fn change(&self, wait: Wait) {
        let mut state = self.connections.state.lock();
        if let Some(entry) = state.sockets.get_mut(&self.number)
            && entry.wait != Wait::Over
        {
            entry.wait = wait;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.state.lock().sockets.remove(&self.number);
        self.connections.freed.notify_one();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream};

    use super::*;

    /// A registered connection, and the client's end.
    fn enter(connections: &Arc<Slots>) -> Option<(Slot, UnixStream)> {
        let (server, client) = UnixStream::pair().expect("descriptors can be had");
        connections
            .enter(&Arc::new(RawSocket::Unix(server)), Duration::ZERO)
            .map(|slot| (slot, client))
    }

    #[test]
    fn idle_ones_give_way_first_then_those_with_a_part_of_a_request_the_longest_wait_first() {
        let connections = Arc::new(Slots::new(4));
        let four: Vec<_> = (0..4).filter_map(|_| enter(&connections)).collect();
        let [busy, request, older, newer] = &four[..] else { panic!("there is room for four") };
        assert!(request.0.begin_wait(WaitingFor::TheRest));
        assert!(older.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        assert!(newer.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        for gives_way in [older, newer, request] {
            assert!(!gives_way.0.end_wait());
            let idle = gives_way.0.number != request.0.number;
            assert!(gives_way.0.begin_wait(if idle {
                WaitingFor::AnotherRequest { since: Instant::now() }
            } else {
                WaitingFor::TheRest
            }));
        }
        // These waits are new; again the first one is the longest of its kind.
        for gives_way in [older, newer, request] {
            let more = enter(&connections);
            assert!(more.is_some(), "somebody gives way");
            assert!(gives_way.0.end_wait(), "{gives_way:?}");
            // The new connection has this slot, and is being answered.
            std::mem::forget(more);
        }
        assert!(enter(&connections).is_none(), "all are being worked on");
        assert!(!busy.0.end_wait());
    }

    #[test]
    fn empty_lines_make_an_idle_connection_no_younger() {
        let connections = Arc::new(Slots::new(2));
        let dribbles = enter(&connections).expect("room");
        let quiet = enter(&connections).expect("room");
        let idle = WaitingFor::AnotherRequest { since: Instant::now() };
        assert!(dribbles.0.begin_wait(idle));
        assert!(quiet.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        assert!(!dribbles.0.end_wait() && dribbles.0.begin_wait(idle));
        let _more = enter(&connections).expect("somebody gives way");
        assert!(dribbles.0.end_wait() && !quiet.0.end_wait());
    }

    #[test]
    fn a_wait_for_the_rest_of_a_request_is_as_old_as_its_first_byte() {
        let connections = Arc::new(Slots::new(2));
        let dribbles = enter(&connections).expect("room");
        let later = enter(&connections).expect("room");
        assert!(
            dribbles.0.begin_wait(WaitingFor::TheRest) && later.0.begin_wait(WaitingFor::TheRest)
        );
        // One more byte came.
        assert!(!dribbles.0.end_wait() && dribbles.0.begin_wait(WaitingFor::TheRest));
        let _more = enter(&connections).expect("somebody gives way");
        assert!(dribbles.0.end_wait() && !later.0.end_wait());
        // A complete request is being answered; the wait for the next one starts anew.
        later.0.work();
        assert!(enter(&connections).is_none());
    }

    #[test]
    fn where_descriptors_run_out_only_an_idle_one_gives_way() {
        let connections = Arc::new(Slots::new(9));
        let three: Vec<_> = (0..3).filter_map(|_| enter(&connections)).collect();
        let [request, older, newer] = &three[..] else { panic!("there is room for three") };
        assert!(request.0.begin_wait(WaitingFor::TheRest));
        assert!(older.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        assert!(newer.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        connections.relieve();
        assert!(older.0.end_wait());
        connections.relieve();
        assert!(newer.0.end_wait());
        connections.relieve();
        assert!(!request.0.end_wait());
    }

    #[test]
    fn stopping_ends_those_that_are_idle_and_those_that_become_so() {
        let connections = Arc::new(Slots::new(2));
        let mut idle = enter(&connections).expect("room");
        let busy = enter(&connections).expect("room");
        assert!(idle.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        connections.stop(false);
        assert_eq!(idle.1.read(&mut [0]).expect("it ends in order"), 0);
        assert!(busy.0.begin_wait(WaitingFor::TheRest), "a request on its way may come");
        assert!(!busy.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        assert!(
            !busy.0.begin_wait(WaitingFor::FirstRequest { since: Instant::now(), greeted: false })
        );
    }

    #[test]
    fn stopping_may_let_those_that_have_sent_nothing_send_a_request() {
        let connections = Arc::new(Slots::new(3));
        let mut idle = enter(&connections).expect("room");
        let [first, later] = [(); 2].map(|()| enter(&connections).expect("room"));
        assert!(idle.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
        assert!(
            first.0.begin_wait(WaitingFor::FirstRequest { since: Instant::now(), greeted: false })
        );
        connections.stop(true);
        assert_eq!(idle.1.read(&mut [0]).expect("it ends in order"), 0);
        assert!(!first.0.end_wait() && first.0.begin_wait(WaitingFor::TheRest));
        assert!(
            later.0.begin_wait(WaitingFor::FirstRequest { since: Instant::now(), greeted: false })
        );
        assert!(!first.0.begin_wait(WaitingFor::AnotherRequest { since: Instant::now() }));
    }
}
