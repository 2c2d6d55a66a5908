//! The embedding program's hooks, and the thread that calls them.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    client::{Client, ClientId},
    error::{PublishError, SendToError, TryPublishError, UnknownClient},
    hub::Hub,
    message::Message,
    notices::{Connected, Notice, Notices},
    panics::survive,
    stats::Disconnect,
};

/// Publishes to a server without keeping it alive; [`Server::publisher`](crate::Server::publisher)
/// makes one, and hooks are given one. Once the server is shut down or dropped it is refused.
///
/// ```
/// # use websse::{Message, PublishError, Server};
/// let server = Server::new();
/// server.register_event("tick")?;
/// server.run()?;
/// let publisher = server.publisher();
/// publisher.publish(Message::new("1").event("tick"))?;
/// drop(server);
/// let late = publisher.publish(Message::new("2").event("tick"));
/// assert_eq!(late, Err(PublishError::ShutDown));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Publisher {
    hub: Arc<Hub>,
}

impl Publisher {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// As [`Server::publish`](crate::Server::publish).
    ///
    /// # Errors
    /// As there.
    #[expect(clippy::needless_pass_by_value, reason = "a message is published once")]
    pub fn publish(&self, message: Message) -> Result<(), PublishError> {
        self.hub.publish(&message)
    }

    /// As [`Server::try_publish`](crate::Server::try_publish).
    ///
    /// # Errors
    /// As there.
    pub fn try_publish(&self, message: Message) -> Result<(), TryPublishError> {
        self.hub.try_publish(message)
    }

    /// As [`Server::send_to`](crate::Server::send_to).
    ///
    /// # Errors
    /// As there.
    #[expect(clippy::needless_pass_by_value, reason = "a message is sent once")]
    pub fn send_to(&self, client: ClientId, message: Message) -> Result<(), SendToError> {
        self.hub.send_to(client, &message)
    }

    /// As [`Server::disconnect`](crate::Server::disconnect).
    ///
    /// # Errors
    /// As there.
    pub fn disconnect(&self, client: ClientId) -> Result<(), UnknownClient> {
        self.hub.disconnect(client)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

type OnConnect = dyn Fn(&Publisher, &Client) + Send + Sync;
type OnDisconnect = dyn Fn(&Publisher, &Client, Disconnect) + Send + Sync;

/// What the embedding program wants to be told.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) connect: Option<Arc<OnConnect>>,
    pub(crate) disconnect: Option<Arc<OnDisconnect>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("connect", &self.connect.is_some())
            .field("disconnect", &self.disconnect.is_some())
            .finish()
    }
}

impl Hooks {
    pub(crate) fn is_empty(&self) -> bool {
        self.connect.is_none() && self.disconnect.is_none()
    }

    /// What the hooks' thread does.
    pub(crate) fn run(&self, hub: Arc<Hub>) {
        let _end = End(Arc::clone(&hub.notices));
        let publisher = Publisher::new(hub);
        let mut told = HashMap::new();
        while let Some(notice) = publisher.hub.notices.next() {
            // It must not panic, but what it calls may.
            survive(|| self.tell(&publisher, notice, &mut told));
        }
    }

    fn tell(
        &self,
        publisher: &Publisher,
        notice: Notice,
        told: &mut HashMap<ClientId, Arc<Client>>,
    ) {
        match notice {
            Notice::Connected(Connected { id, peer, subscribed, last_event_id }) => {
                let events = publisher.hub.types.names_of(&subscribed);
                let client = Arc::new(Client { id, peer, events, last_event_id });
                told.insert(id, Arc::clone(&client));
                if let Some(hook) = &self.connect {
                    hook(publisher, &client);
                }
            }
            Notice::Disconnected(id, reason) => {
                if let Some(client) = told.remove(&id)
                    && let Some(hook) = &self.disconnect
                {
                    hook(publisher, &client, reason);
                }
            }
        }
    }
}

/// Says that the hooks' thread has ended, however it does.
struct End(Arc<Notices>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end();
    }
}
