//! What waits for the hooks of the embedding program: clients that came, and clients that left.
//!
//! The broadcaster never waits here. While the hooks are slow, events gather. Above [`MOST`], a
//! client that leaves before its arrival was reported is dropped from the queue and counted. So
//! every queued arrival belongs to a connected client, and every queued departure to a client that
//! was connected when the oldest queued event came. The queue holds at most `MOST` events, and two
//! for each connected client.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::{
    broadcast::{client::ClientId, stats::Disconnect},
    message::{channels::Attached, subscribed::Subscribed},
    panics::survive,
};

/// Above this many events, clients are dropped from the queue.
const MOST: usize = 8192;

#[derive(Debug)]
pub(crate) enum HookEvent {
    Connected(Connected),
    Disconnected(ClientId, Disconnect),
}

/// A client that listens from now on.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) id: ClientId,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) subscribed: Arc<Subscribed>,
    pub(crate) last_event_id: Option<String>,
    pub(crate) attached: Attached,
}

#[derive(Debug, Default)]
pub(crate) struct HookQueue {
    /// Held to add or take an event; never while a hook runs.
    state: Mutex<State>,
    /// The hooks' thread waits here for an event, and a shutdown waits for the end of that thread.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// By number, in the order they came. The numbers of dropped events are missing.
    waiting: HashMap<u64, HookEvent>,
    oldest: u64,
    next: u64,
    /// The clients whose arrival is queued, with the number of that event.
    unreported: HashMap<ClientId, u64>,
    /// How many clients the hooks have missed.
    missed: u64,
    /// No more events come.
    closed: bool,
    /// After this time no hook is called.
    until: Option<Instant>,
    ended: bool,
}

impl HookQueue {
    pub(crate) fn connected(&self, connected: Connected) {
        let mut state = self.state.lock();
        let number = state.next;
        state.unreported.insert(connected.id, number);
        state.push(HookEvent::Connected(connected));
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn disconnected(&self, id: ClientId, reason: Disconnect) {
        let mut state = self.state.lock();
        if state.waiting.len() >= MOST
            && let Some(number) = state.unreported.remove(&id)
        {
            let untold = state.waiting.remove(&number);
            state.missed += 1;
            drop(state);
            // What the program attached is dropped without the lock; the panic hook reports a panic.
            survive(|| drop(untold));
            return;
        }
        state.push(HookEvent::Disconnected(id, reason));
        drop(state);
        self.changed.notify_all();
    }

    /// Waits for the next event. `None` if no more is to be reported.
    pub(crate) fn next(&self) -> Option<HookEvent> {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.closed {
            self.changed.wait(&mut state);
        }
        if state.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        let event = pop(&mut state)?;
        if let HookEvent::Connected(connected) = &event {
            state.unreported.remove(&connected.id);
        }
        Some(event)
    }

    /// Whether anything is still to be reported.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.lock().waiting.is_empty()
    }

    /// How many clients the hooks have missed since the start.
    pub(crate) fn missed(&self) -> u64 {
        self.state.lock().missed
    }

    /// Hooks may be called until `deadline`.
    pub(crate) fn stop(&self, deadline: Instant) {
        let mut state = self.state.lock();
        state.until = Some(state.until.map_or(deadline, |until| until.min(deadline)));
        drop(state);
        self.changed.notify_all();
    }

    /// No more events come.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    /// The hooks' thread is about to end.
    pub(crate) fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for the end of the hooks' thread, at most until its deadline. Returns whether it has
    /// ended, and how many events are left.
    pub(crate) fn wait_ended(&self) -> (bool, usize) {
        // A thread that has nothing to do takes a moment to end.
        let soon = Instant::now() + Duration::from_millis(50);
        let mut state = self.state.lock();
        while !state.ended {
            let until = state.until.map(|until| until.max(soon));
            match until {
                Some(until) if self.changed.wait_until(&mut state, until).timed_out() => break,
                Some(_) => {}
                None => self.changed.wait(&mut state),
            }
        }
        (state.ended, state.waiting.len())
    }
}

impl State {
    fn push(&mut self, event: HookEvent) {
        self.waiting.insert(self.next, event);
        self.next += 1;
    }
}

/// Takes the oldest event. Many numbers before it may be missing, so the lock is released in
/// between for other threads.
fn pop(state: &mut MutexGuard<'_, State>) -> Option<HookEvent> {
    while state.oldest < state.next {
        let number = state.oldest;
        state.oldest += 1;
        if let Some(event) = state.waiting.remove(&number) {
            return Some(event);
        }
        if number.is_multiple_of(1024) {
            MutexGuard::bump(state);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(hook_queue: &HookQueue, id: u64) {
        let subscribed = Arc::new(Subscribed::all_types());
        let (id, attached) = (ClientId(id), Attached::default());
        let last_event_id = None;
        hook_queue.connected(Connected { id, peer: None, subscribed, last_event_id, attached });
    }

    /// The next event: a client's number, and whether it came.
    fn next(hook_queue: &HookQueue) -> Option<(u64, bool)> {
        Some(match hook_queue.next()? {
            HookEvent::Connected(client) => (client.id.0, true),
            HookEvent::Disconnected(id, _) => (id.0, false),
        })
    }

    #[test]
    fn what_waits_is_bounded_and_whoever_was_told_of_is_told_of_again() {
        const CLIENTS: u64 = 1000;
        let hook_queue = HookQueue::default();
        let disconnect = |id| hook_queue.disconnected(ClientId(id), Disconnect::ClosedByPeer);
        for id in 0..CLIENTS {
            connect(&hook_queue, id);
        }
        let told: Vec<_> = (0..CLIENTS / 2).map(|_| next(&hook_queue)).collect();
        assert_eq!(told, (0..CLIENTS / 2).map(|id| Some((id, true))).collect::<Vec<_>>());
        // A hook hangs for long, while clients come and go.
        for id in 0..100 * CLIENTS {
            disconnect(id);
            connect(&hook_queue, id + CLIENTS);
        }
        let waiting = hook_queue.state.lock().waiting.len();
        let most = MOST + 2 * usize::try_from(CLIENTS).expect("it is small");
        assert!((MOST..=most).contains(&waiting), "{waiting} wait");
        (100 * CLIENTS..101 * CLIENTS).for_each(disconnect);
        hook_queue.close();
        let mut here: Vec<bool> = (0..101 * CLIENTS).map(|id| id < CLIENTS / 2).collect();
        let mut ended = 0;
        while let Some((id, comes)) = next(&hook_queue) {
            let was_here = std::mem::replace(&mut here[usize::try_from(id).expect("small")], comes);
            assert!(was_here != comes, "client {id} twice, or the wrong way round");
            ended += u64::from(!comes);
        }
        assert!(!here.contains(&true), "each end is told");
        assert_eq!(ended + hook_queue.missed(), 101 * CLIENTS);
        assert!(hook_queue.state.lock().unreported.is_empty());
    }

    #[test]
    fn what_a_program_attached_is_dropped_without_the_lock_and_may_panic() {
        struct Looks(Arc<HookQueue>, std::sync::mpsc::Sender<bool>);
        impl Drop for Looks {
            fn drop(&mut self) {
                self.1.send(self.0.state.is_locked()).expect("the test waits");
                panic!("on purpose");
            }
        }
        let hook_queue = Arc::<HookQueue>::default();
        let most = u64::try_from(MOST).expect("it is small");
        (0..most).for_each(|id| connect(&hook_queue, id));
        let (tell, is_locked) = std::sync::mpsc::channel();
        let attached = Attached(Some(Arc::new(Looks(Arc::clone(&hook_queue), tell))));
        let (id, subscribed) = (ClientId(most), Arc::new(Subscribed::all_types()));
        let (peer, last_event_id) = (None, None);
        hook_queue.connected(Connected { id, peer, subscribed, last_event_id, attached });
        hook_queue.disconnected(id, Disconnect::ClosedByPeer);
        assert_eq!((is_locked.try_recv(), hook_queue.missed()), (Ok(false), 1));
    }

    #[test]
    fn after_the_deadline_nothing_more_is_told() {
        let hook_queue = HookQueue::default();
        connect(&hook_queue, 0);
        connect(&hook_queue, 1);
        assert_eq!(next(&hook_queue), Some((0, true)));
        hook_queue.stop(Instant::now());
        assert_eq!(next(&hook_queue), None);
        assert_eq!(hook_queue.wait_ended(), (false, 1), "a hook is busy");
        hook_queue.end();
        assert_eq!(hook_queue.wait_ended(), (true, 1));
    }
}
