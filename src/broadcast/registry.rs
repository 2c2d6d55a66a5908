//! The mutex-guarded map of clients with the senders of their mailboxes.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;

use crate::{
    broadcast::{
        client::ClientId, mailbox::Pending, per_address::AddressSlot, subscription_sets::Key,
    },
    error::SubscribeError,
    message::{channels::Attached, listening::Listening, subscribed::Subscribed},
};

/// The key of a client that is not in the broadcaster's table.
const NOWHERE: Key = Key::MAX;

/// How a client listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Over a connection.
    Stream,
    /// By a [`Subscription`](crate::Subscription).
    Subscription,
}

/// Every client that listens, or is about to listen.
#[derive(Debug)]
pub(crate) struct Registry {
    max_streams: usize,
    /// How many of them listen to what.
    listening: Listening,
    /// Guards the map and what is derived from it. Never held across a socket call, a send that
    /// could block, or code of the embedding program.
    clients: Mutex<Clients>,
}

#[derive(Debug, Default)]
struct Clients {
    map: HashMap<ClientId, Client>,
    /// What the clients subscribe to, each with the number of these clients. Equal subscriptions
    /// share one allocation.
    subscribed: HashMap<Arc<Subscribed>, u32>,
    next_id: u64,
    streams: usize,
    closed: bool,
}

#[derive(Debug)]
struct Client {
    subscribed: Arc<Subscribed>,
    /// Has no room while a stream is caught up, which makes it small.
    mailbox: Sender<Pending>,
    kind: Kind,
    /// Its key in the broadcaster's table; [`NOWHERE`] before the broadcaster has admitted it.
    key: Key,
    /// Boxed, since most clients have none.
    address_slot: Option<Box<AddressSlot>>,
}

impl Registry {
    pub(crate) fn new(max_streams: usize) -> Arc<Self> {
        let (listening, clients) = Default::default();
        Arc::new(Self { max_streams, listening, clients })
    }

    /// Registers a client and gives it a seat.
    pub(crate) fn register(
        self: &Arc<Self>,
        kind: Kind,
        subscribed: Subscribed,
        address_slot: Option<AddressSlot>,
    ) -> Result<Seat, SubscribeError> {
        let (sender, mailbox) = match kind {
            Kind::Stream => bounded(0),
            Kind::Subscription => unbounded(),
        };
        let mut clients = self.clients.lock();
        if clients.closed {
            return Err(SubscribeError::ShutDown);
        }
        if kind == Kind::Stream {
            if clients.streams >= self.max_streams {
                return Err(SubscribeError::Full { limit: self.max_streams });
            }
            clients.streams += 1;
        }
        let subscribed = clients.intern(subscribed);
        self.listening.add(&subscribed);
        let id = ClientId(clients.next_id);
        clients.next_id += 1;
        let client = Client {
            subscribed: Arc::clone(&subscribed),
            mailbox: sender,
            kind,
            key: NOWHERE,
            address_slot: address_slot.map(Box::new),
        };
        clients.map.insert(id, client);
        drop(clients);
        let (attached, registry) = (Attached::default(), Some(Arc::clone(self)));
        Ok(Seat {
            id,
            subscribed,
            mailbox,
            peer: None,
            attached,
            until: None,
            generation: 0,
            registry,
        })
    }

    /// Notes a client's key in the broadcaster's table.
    pub(crate) fn seated(&self, id: ClientId, key: Key) {
        if let Some(client) = self.clients.lock().map.get_mut(&id) {
            client.key = key;
        }
    }

    /// A client's key in the broadcaster's table.
    pub(crate) fn key(&self, id: ClientId) -> Option<Key> {
        let key = self.clients.lock().map.get(&id)?.key;
        (key != NOWHERE).then_some(key)
    }

    pub(crate) fn has(&self, id: ClientId) -> bool {
        self.clients.lock().map.contains_key(&id)
    }

    /// Puts frames into mailboxes, under one lock for all of them.
    pub(crate) fn send(&self, pending: impl IntoIterator<Item = (ClientId, Pending)>) {
        let clients = self.clients.lock();
        for (id, pending) in pending {
            if let Some(client) = clients.map.get(&id) {
                // The broadcaster holds a receiver of each mailbox for as long as the client is
                // registered.
                let sent = client.mailbox.try_send(pending);
                debug_assert!(sent.is_ok(), "what is sent to has a mailbox with room");
            }
        }
    }

    /// Replaces a client's empty mailbox by one with room, or without.
    pub(crate) fn replace_mailbox(&self, id: ClientId, room: bool) -> Option<Receiver<Pending>> {
        let (sender, mailbox) = if room { unbounded() } else { bounded(0) };
        let mut clients = self.clients.lock();
        let client = clients.map.get_mut(&id)?;
        debug_assert!(client.mailbox.is_empty(), "nothing may be lost");
        let old = std::mem::replace(&mut client.mailbox, sender);
        drop(clients);
        drop(old);
        Some(mailbox)
    }

    /// Removes a client. Returns what it had of its address's limit.
    pub(crate) fn remove(&self, id: ClientId) -> Option<AddressSlot> {
        let mut clients = self.clients.lock();
        let client = clients.map.remove(&id)?;
        if client.kind == Kind::Stream {
            clients.streams -= 1;
        }
        self.listening.remove(&client.subscribed);
        if let Some(users) = clients.subscribed.get_mut(&client.subscribed) {
            *users -= 1;
            if *users == 0 {
                clients.subscribed.remove(&client.subscribed);
            }
        }
        if clients.map.is_empty() {
            clients.map.shrink_to_fit();
            clients.subscribed.shrink_to_fit();
        } else if clients.subscribed.len() < clients.subscribed.capacity() / 8 {
            let twice = clients.subscribed.len() * 2;
            clients.subscribed.shrink_to(twice);
        }
        drop(clients);
        client.address_slot.map(|slot| *slot)
    }

    /// Refuses clients from now on.
    pub(crate) fn close(&self) {
        self.clients.lock().closed = true;
    }

    /// Removes all clients, so that no thread waits for a mailbox that is not filled any more.
    pub(crate) fn clear(&self) {
        let mut clients = self.clients.lock();
        clients.closed = true;
        clients.streams = 0;
        clients.subscribed = HashMap::new();
        let gone = std::mem::take(&mut clients.map);
        for client in gone.values() {
            self.listening.remove(&client.subscribed);
        }
        drop(clients);
        drop(gone);
    }

    /// How many clients listen to what.
    pub(crate) fn listening(&self) -> &Listening {
        &self.listening
    }

    /// How many clients there are: streams, and subscriptions.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let clients = self.clients.lock();
        (clients.streams, clients.map.len() - clients.streams)
    }
}

impl Clients {
    fn intern(&mut self, subscribed: Subscribed) -> Arc<Subscribed> {
        let known = self.subscribed.get_key_value(&subscribed).map(|(known, _)| Arc::clone(known));
        let shared = known.unwrap_or_else(|| Arc::new(subscribed));
        *self.subscribed.entry(Arc::clone(&shared)).or_default() += 1;
        shared
    }
}

/// A client's registration. Dropping it removes the client, unless the broadcaster took it over.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) id: ClientId,
    pub(crate) subscribed: Arc<Subscribed>,
    pub(crate) mailbox: Receiver<Pending>,
    pub(crate) peer: Option<SocketAddr>,
    /// For the hooks.
    pub(crate) attached: Attached,
    /// When its stream ends.
    pub(crate) until: Option<Instant>,
    /// How many types had been unregistered when its types were found.
    pub(crate) generation: usize,
    registry: Option<Arc<Registry>>,
}

impl Seat {
    /// Removes the client. Returns what it had of its address's limit.
    pub(crate) fn give_up(mut self) -> Option<AddressSlot> {
        self.registry.take().and_then(|registry| registry.remove(self.id))
    }

    /// Leaves the client registered. The caller must remove it later.
    pub(crate) fn take(mut self) -> (ClientId, Arc<Subscribed>, Receiver<Pending>) {
        self.registry = None;
        (self.id, Arc::clone(&self.subscribed), self.mailbox.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(registry) = self.registry.take() {
            registry.remove(self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_subscriptions_are_one_and_end_with_their_last_client() {
        let registry = Registry::new(10);
        let take = |numbers: &[u32]| {
            registry.register(Kind::Stream, Subscribed::of_types(numbers), None).expect("room")
        };
        let (one, two, other) = (take(&[1, 2]), take(&[1, 2]), take(&[3]));
        assert!(Arc::ptr_eq(&one.subscribed, &two.subscribed));
        assert!(!Arc::ptr_eq(&one.subscribed, &other.subscribed));
        assert_eq!(registry.clients.lock().subscribed.len(), 2);
        let (id, _subscribed, _mailbox) = one.take();
        drop(two);
        assert_eq!(registry.clients.lock().subscribed.len(), 2);
        registry.remove(id);
        assert_eq!(registry.clients.lock().subscribed.len(), 1);
        assert_eq!(registry.counts(), (1, 0));
    }

    #[test]
    fn a_seat_that_nobody_took_is_free_again() {
        let registry = Registry::new(1);
        let seat =
            registry.register(Kind::Stream, Subscribed::all_types(), None).expect("room for one");
        let full = registry.register(Kind::Stream, Subscribed::all_types(), None).map(drop);
        assert_eq!(full, Err(SubscribeError::Full { limit: 1 }));
        assert!(registry.register(Kind::Subscription, Subscribed::all_types(), None).is_ok());
        drop(seat);
        assert!(registry.register(Kind::Stream, Subscribed::all_types(), None).is_ok());
        registry.close();
        let closed = registry.register(Kind::Stream, Subscribed::all_types(), None).map(drop);
        assert_eq!(closed, Err(SubscribeError::ShutDown));
    }
}
