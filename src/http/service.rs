//! The threads of one listener.

use std::{
    cell::Cell,
    collections::HashMap,
    fmt, io,
    sync::Arc,
    thread::{self, JoinHandle, ThreadId},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    body::Budget,
    connection::{Buffers, serve},
    leader::Leadership,
    limits::Limits,
    listener::Acceptor,
    policy::Policy,
    refusals::Refusals,
    router::Router,
    slots::Slots,
};
use crate::{
    logs::{self, Level},
    panics::survive,
};

/// The pauses after errors of `accept` that follow each other, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long threads may take to notice that their connections were cut.
const AFTER_CUT: Duration = Duration::from_millis(250);
/// Trouble with accepting is told to the log this often at most.
const WARNED: Duration = Duration::from_secs(10);

/// What holds for the connections of a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) policy: Policy,
    pub(super) refusals: Refusals,
}

/// A listener with its rules and threads.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) rules: Rules,
    pub(super) bodies: Budget,
    pub(super) connections: Arc<Slots>,
    pub(super) leadership: Leadership,
    pub(super) acceptor: Acceptor,
    /// The threads that have not ended. Held while one is started, so that it cannot end before
    /// it stands here.
    threads: Mutex<HashMap<ThreadId, JoinHandle<()>>>,
    /// When the log was last told of trouble with accepting.
    warned: Mutex<Option<Instant>>,
}

impl Service {
    /// Starts to listen.
    pub(super) fn start(rules: Rules, acceptor: Acceptor) -> io::Result<Arc<Self>> {
        let service = Arc::new(Self {
            bodies: Budget::new(rules.limits.bodies_bytes),
            connections: Arc::new(Slots::new(rules.limits.connections)),
            leadership: Leadership::default(),
            acceptor,
            threads: Mutex::default(),
            warned: Mutex::default(),
            rules,
        });
        service.leadership.pass(|| service.spawn())?;
        Ok(service)
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let service = Arc::clone(self);
        let mut thread = thread::Builder::new().name("websse-http".to_owned());
        if let Some(bytes) = self.rules.limits.stack_bytes {
            thread = thread.stack_size(bytes);
        }
        let mut threads = self.threads.lock();
        let thread = thread.spawn(move || service.work())?;
        threads.insert(thread.thread().id(), thread);
        Ok(())
    }

    /// What each thread does.
    fn work(self: &Arc<Self>) {
        let mut buffers = Buffers::new(self.rules.limits.head_bytes);
        while self.leadership.wait() {
            if !self.accept_while_in_turn(&mut buffers) {
                self.leadership.end();
                break;
            }
        }
        self.threads.lock().remove(&thread::current().id());
    }

    /// Accepts and serves until the turn has been passed on; false when all are to stop.
    fn accept_while_in_turn(self: &Arc<Self>, buffers: &mut Buffers) -> bool {
        let leader = Leader { service: self, held: Cell::new(true) };
        let mut pause = FIRST_PAUSE;
        while leader.held.get() {
            let accepted = self.acceptor.accept();
            if self.leadership.is_stopping() {
                return false;
            }
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.leadership.pause(Instant::now() + pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    self.warn(&leader, format_args!("cannot accept connections: {error}"));
                    continue;
                }
            };
            pause = FIRST_PAUSE;
            let spare = accepted.spare;
            // Should this crate have a bug that panics, it costs the connection, not the turn.
            let _ = survive(|| serve(self, &leader, accepted, buffers));
            if spare {
                self.acceptor.restore_reserve();
                self.warn(&leader, format_args!("no descriptors left; connections are refused"));
            }
        }
        true
    }

    /// Tells the log of trouble with accepting, which comes again and again. A logger is code of the
    /// embedding program: the turn is passed on first.
    fn warn(self: &Arc<Self>, leader: &Leader<'_>, trouble: fmt::Arguments<'_>) {
        if !logs::enabled(Level::Warn) {
            return;
        }
        let now = Instant::now();
        let is_new = |last: Instant| now.saturating_duration_since(last) >= WARNED;
        let before = {
            let mut warned = self.warned.lock();
            if !warned.is_none_or(is_new) {
                return;
            }
            // Once the turn is passed on, the next one may have the same trouble.
            warned.replace(now)
        };
        if leader.pass().is_ok() {
            logs::write(Level::Warn, trouble);
        } else {
            *self.warned.lock() = before;
        }
    }

    /// Stops listening and ends connections that are idle.
    pub(super) fn stop(&self) {
        // Once only: later the address may belong to somebody else.
        if self.leadership.stop() {
            self.acceptor.close();
        }
        self.connections.stop();
    }

    /// Waits until `end` for what is being worked on, then cuts it off; returns the number of
    /// threads that run still, in code of the embedding program. A thread does not wait for itself.
    pub(super) fn finish(&self, end: Instant) -> usize {
        let own = self.own_threads();
        if self.leadership.wait_ended(own, Some(end)) > 0 {
            self.connections.cut();
        }
        let left = self.leadership.wait_ended(own, Some(Instant::now() + AFTER_CUT));
        if left == 0 {
            self.join(own);
        }
        left
    }

    /// Waits until the listening has been stopped and everything is done.
    pub(super) fn wait(&self) {
        self.leadership.wait_ended(self.own_threads(), None);
    }

    /// 1 on a thread of this service, which does not wait for itself.
    fn own_threads(&self) -> usize {
        usize::from(self.threads.lock().contains_key(&thread::current().id()))
    }

    /// Joins threads that have nothing left to do but to end.
    fn join(&self, own: usize) {
        let current = thread::current().id();
        let threads = std::mem::take(&mut *self.threads.lock());
        for (id, thread) in threads {
            // A panic there was told on stderr by the panic hook.
            if own == 0 || id != current {
                let _ = thread.join();
            }
        }
    }
}

/// The turn to accept, as its thread holds it.
pub(super) struct Leader<'s> {
    service: &'s Arc<Service>,
    held: Cell<bool>,
}

impl Leader<'_> {
    /// Passes the turn on; on an error it is still held.
    pub(super) fn pass(&self) -> io::Result<()> {
        if self.held.get() {
            self.service.leadership.pass(|| self.service.spawn())?;
            self.held.set(false);
        }
        Ok(())
    }
}
