//! Connections that hold a thread: how many there may be, and how to end them from outside.

use std::{collections::HashMap, io, net::Shutdown, sync::Arc};

use parking_lot::Mutex;

use crate::socket::Socket;

#[derive(Debug)]
pub(super) struct Connections {
    limit: usize,
    /// Held for `shutdown` of a socket, which does not block, and never longer.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sockets: HashMap<u64, Entry>,
    next: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<Socket>,
    /// It waits for a request that may never come.
    idle: bool,
}

impl Connections {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// Counts a connection in, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>, socket: &Arc<Socket>) -> Option<Ticket> {
        let mut state = self.state.lock();
        if state.sockets.len() >= self.limit {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.sockets.insert(number, Entry { socket: Arc::clone(socket), idle: false });
        Some(Ticket { connections: Arc::clone(self), number })
    }

    /// Ends the connections that are idle, and each other one as soon as it becomes so.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopping = true;
        state.sockets.values().filter(|entry| entry.idle).for_each(Entry::end);
    }

    /// Ends all connections, whatever they do; a thread that waits for its client goes on.
    pub(super) fn cut(&self) {
        self.state.lock().sockets.values().for_each(Entry::end);
    }
}

impl Entry {
    fn end(&self) {
        // One that the client has ended already has nothing left to end.
        let _: io::Result<()> = self.socket.shutdown(Shutdown::Both);
    }
}

/// A connection's place among those counted; dropping it counts the connection out.
#[derive(Debug)]
pub(super) struct Ticket {
    connections: Arc<Connections>,
    number: u64,
}

impl Ticket {
    /// Notes whether the connection waits for a request; false means that it is to end instead.
    pub(super) fn set_idle(&self, idle: bool) -> bool {
        let mut state = self.connections.state.lock();
        if let Some(entry) = state.sockets.get_mut(&self.number) {
            entry.idle = idle;
        }
        !(idle && state.stopping)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connections.state.lock().sockets.remove(&self.number);
    }
}
