//! A listener with its rules and threads, and which of the threads leads.

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle, ThreadId},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    body::Budget, leader::Leadership, limits::Limits, listener::Acceptor, policy::Policy,
    refusals::Refusals, router::Router, slots::Slots, streams_of_own::StreamsOfOwn,
};
use crate::logs::{self, Level};

/// At most one line is logged in this time about a lack of threads.
const WARNED: Duration = Duration::from_secs(10);
/// How long threads may take to notice that their connections were cut.
const AFTER_CUT: Duration = Duration::from_millis(250);

/// The rules for the connections of a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) router: Router,
    pub(super) limits: Limits,
    pub(super) policy: Policy,
    pub(super) refusals: Refusals,
    pub(super) streams_of_own: StreamsOfOwn,
}

/// A listener with its rules and threads.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) rules: Rules,
    pub(super) bodies: Budget,
    pub(super) connections: Arc<Slots>,
    pub(super) leadership: Leadership,
    pub(super) acceptor: Acceptor,
    /// What each thread does.
    work: fn(&Arc<Self>),
    /// The threads that have not ended. Locked while a thread is started, so that it cannot end
    /// before it is entered here.
    threads: Mutex<HashMap<ThreadId, JoinHandle<()>>>,
    /// When an error of `accept` was last logged.
    pub(super) warned: Mutex<Option<Instant>>,
    /// A thread could not be started, and nobody was told of it yet.
    lacked_thread: AtomicBool,
    /// When a lack of threads was last logged.
    warned_of_threads: Mutex<Option<Instant>>,
}

impl Service {
    /// Starts to listen.
    pub(super) fn start(
        rules: Rules,
        acceptor: Acceptor,
        work: fn(&Arc<Self>),
    ) -> io::Result<Arc<Self>> {
        let service = Arc::new(Self {
            bodies: Budget::new(rules.limits.bodies_bytes),
            connections: Arc::new(Slots::new(rules.limits.connections)),
            leadership: Leadership::default(),
            acceptor,
            work,
            threads: Mutex::default(),
            warned: Mutex::default(),
            lacked_thread: AtomicBool::new(false),
            warned_of_threads: Mutex::default(),
            rules,
        });
        service.leadership.pass(|| service.spawn())?;
        Ok(service)
    }

    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let service = Arc::clone(self);
        let mut thread = thread::Builder::new().name("websse-http".to_owned());
        let stack = self.rules.limits.stack_bytes;
        if let Some(bytes) = stack {
            thread = thread.stack_size(bytes);
        }
        let with_stack = |error: io::Error| match stack {
            Some(bytes) => {
                let text = format!("no thread with a stack of {bytes} bytes can start: {error}");
                io::Error::new(error.kind(), text)
            }
            None => error,
        };
        let mut threads = self.threads.lock();
        let thread = thread.spawn(move || service.run()).map_err(with_stack)?;
        threads.insert(thread.thread().id(), thread);
        Ok(())
    }

    /// Logs that threads could not be started. A logger is code of the embedding program: the next
    /// thread calls it that has passed leadership on, as the leader that lacked a thread could not.
    fn warn_of_threads(&self) {
        if !logs::enabled(Level::Warn) || !self.lacked_thread.load(Relaxed) {
            return;
        }
        self.lacked_thread.store(false, Relaxed);
        let now = Instant::now();
        let before = self.warned_of_threads.lock().replace(now);
        let is_new = |last: Instant| now.saturating_duration_since(last) >= WARNED;
        if before.is_none_or(is_new) {
            let text = format_args!("no threads left for a while; connections were refused");
            logs::write(Level::Warn, text);
        }
    }

    fn run(self: &Arc<Self>) {
        (self.work)(self);
        self.threads.lock().remove(&thread::current().id());
    }

    /// Stops listening and ends connections that are idle.
    pub(super) fn stop(&self) {
        // Once only: later the address may belong to another program.
        if self.leadership.stop() {
            self.acceptor.close();
        }
        // A client that has a connection already would not come to the next process.
        self.connections.stop(self.acceptor.is_shared());
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

impl<'s> Leader<'s> {
    /// For the thread that leads.
    pub(super) fn new(service: &'s Arc<Service>) -> Self {
        Self { service, held: Cell::new(true) }
    }

    pub(super) fn leads(&self) -> bool {
        self.held.get()
    }

    /// Lets a thread wait to become the leader, if none does. For a thread that does not lead.
    pub(super) fn keep_reserve(&self) {
        self.service.leadership.keep_reserve(|| self.service.spawn());
    }

    /// Passes leadership on; on an error it is still held.
    pub(super) fn pass(&self) -> io::Result<()> {
        if self.held.get() {
            let passed = self.service.leadership.pass(|| self.service.spawn());
            if passed.is_err() && logs::enabled(Level::Warn) {
                self.service.lacked_thread.store(true, Relaxed);
            }
            passed?;
            self.held.set(false);
            self.service.warn_of_threads();
        }
        Ok(())
    }
}
