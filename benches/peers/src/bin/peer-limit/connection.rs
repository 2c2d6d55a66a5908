//! A connection, and what its socket has not taken yet.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind},
    rc::Rc,
};

use mio::{Interest, Poll, Token};

use crate::{batch::Records, wire::Wire};

pub struct Connection {
    pub wire: Wire,
    pub role: Role,
    watched: Watched,
}

pub enum Role {
    /// What has come of its request's head.
    Head(Vec<u8>),
    Publisher(Records),
    Stream(Option<Box<Behind>>),
}

/// Only what has to be waited for is watched: an idle stream costs nothing.
#[derive(Clone, Copy, PartialEq)]
pub enum Watched {
    Nothing,
    Input,
    Room,
}

pub struct Behind {
    queue: VecDeque<Rc<Vec<u8>>>,
    /// What is written of the first.
    written: usize,
    bytes: usize,
}

impl Connection {
    pub fn new(wire: Wire) -> Self {
        Self { wire, role: Role::Head(Vec::new()), watched: Watched::Nothing }
    }

    /// How many bytes wait for this client.
    pub fn behind(&self) -> usize {
        match &self.role {
            Role::Stream(Some(behind)) => behind.bytes,
            _ => 0,
        }
    }

    /// Writes to a stream, as much as its socket takes now.
    pub fn send(&mut self, bytes: &Rc<Vec<u8>>, poll: &Poll, slot: usize) -> io::Result<()> {
        let Role::Stream(behind) = &mut self.role else { return Ok(()) };
        if let Some(behind) = behind {
            behind.bytes += bytes.len();
            behind.queue.push_back(Rc::clone(bytes));
            return Ok(());
        }
        let written = match self.wire.write(bytes) {
            Ok(written) if written == bytes.len() && self.wire.is_clear() => return Ok(()),
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let queue = VecDeque::from([Rc::clone(bytes)]);
        *behind = Some(Box::new(Behind { queue, written, bytes: bytes.len() - written }));
        self.watch(poll, slot, Watched::Room)
    }

    /// Writes what waits. A short write shows that the socket is full as an error does, and an
    /// event follows when it is not.
    pub fn catch_up(&mut self) -> io::Result<()> {
        let Role::Stream(behind) = &mut self.role else { return Ok(()) };
        let Some(Behind { queue, written, bytes }) = behind.as_deref_mut() else { return Ok(()) };
        while let Some(first) = queue.front() {
            match self.wire.write(&first[*written..]) {
                Ok(more) => {
                    *written += more;
                    *bytes -= more;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if *written < first.len() {
                return Ok(());
            }
            queue.pop_front();
            *written = 0;
        }
        self.wire.flush()?;
        if self.wire.is_clear() {
            *behind = None;
        }
        Ok(())
    }

    /// Each change from now on is an event, and so is what is there already.
    pub fn watch(&mut self, poll: &Poll, slot: usize, watched: Watched) -> io::Result<()> {
        let interest = match watched {
            _ if watched == self.watched => return Ok(()),
            Watched::Nothing => return Ok(()),
            Watched::Input => Interest::READABLE,
            Watched::Room => Interest::WRITABLE,
        };
        let registry = poll.registry();
        if self.watched == Watched::Nothing {
            registry.register(self.wire.socket(), Token(slot), interest)?;
        } else {
            registry.reregister(self.wire.socket(), Token(slot), interest)?;
        }
        self.watched = watched;
        Ok(())
    }
}
