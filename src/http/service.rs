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

/// The pauses after consecutive errors of `accept`: the first one and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long threads may take to notice that their connections were cut.
const AFTER_CUT: Duration = Duration::from_millis(250);
/// An error of `accept` is logged at most once in this time.
const WARNED: Duration = Duration::from_secs(10);

/// The rules for the connections of a listener.
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
    /// The threads that have not ended. Locked while a thread is started, so that it cannot end
    /// before it is entered here.
    threads: Mutex<HashMap<ThreadId, JoinHandle<()>>>,
    /// When an error of `accept` was last logged.
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

    /// The loop of each thread.
    fn work(self: &Arc<Self>) {
        let mut buffers = Buffers::new(self.rules.limits.head_bytes);
        while self.leadership.wait() {
            if !self.accept_as_leader(&mut buffers) {
                self.leadership.end();
                break;
            }
        }
        self.threads.lock().remove(&thread::current().id());
    }

    /// Accepts and serves until leadership is passed on; false if all threads must stop.
    fn accept_as_leader(self: &Arc<Self>, buffers: &mut Buffers) -> bool {
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
            // If a bug in this crate panics, it costs the connection, not the leadership.
            let _ = survive(|| serve(self, &leader, accepted, buffers));
            if spare {
                self.acceptor.restore_reserve();
                self.warn(&leader, format_args!("no descriptors left; connections are refused"));
            }
        }
        true
    }

    /// Logs trouble with accepting, which can occur again and again. A logger is code of the
    /// embedding program, so leadership is passed on first.
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
            // Set before leadership is passed on, since the next leader may have the same trouble.
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
        // Once only: later the address may belong to another program.
        if self.leadership.stop() {
            self.acceptor.close();
        }
        self.connections.stop();
    }

    /// Waits until `end` for requests in progress, then cuts their connections. Returns the number
    /// of threads that still run, in code of the embedding program. A thread does not wait for
    /// itself.
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

    /// Waits until the listening was stopped and everything is done.
    pub(super) fn wait(&self) {
        self.leadership.wait_ended(self.own_threads(), None);
    }

    /// 1 on a thread of this service, which does not wait for itself; else 0.
    fn own_threads(&self) -> usize {
        usize::from(self.threads.lock().contains_key(&thread::current().id()))
    }

    /// Joins threads that have nothing left to do but end.
    fn join(&self, own: usize) {
        let current = thread::current().id();
        let threads = std::mem::take(&mut *self.threads.lock());
        for (id, thread) in threads {
            // The panic hook has reported a panic there.
            if own == 0 || id != current {
                let _ = thread.join();
            }
        }
    }
}

/// The leadership, as its thread holds it.
pub(super) struct Leader<'s> {
    service: &'s Arc<Service>,
    held: Cell<bool>,
}

impl Leader<'_> {
    /// Passes leadership on; on an error it is still held.
    pub(super) fn pass(&self) -> io::Result<()> {
        if self.held.get() {
            self.service.leadership.pass(|| self.service.spawn())?;
            self.held.set(false);
        }
        Ok(())
    }
}
