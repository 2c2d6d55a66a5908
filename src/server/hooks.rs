//! The embedding program's hooks, and the thread that calls them.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    broadcast::{
        client::{Client, ClientId, SendToError, UnknownClient},
        hook_queue::{Connected, HookEvent},
        shared::Shared,
        stats::Disconnect,
    },
    error::{PublishError, TryPublishError},
    logs::{self, Level},
    message::{Message, published::Published},
    panics::{AtEnd, survive},
};

/// Publishes to a server without keeping it alive. [`Server::publisher`](crate::Server::publisher)
/// makes one, and hooks get one. After the server is shut down or dropped, it refuses everything.
///
/// ```
/// # use websse::{Message, PublishError, Server};
/// let server = Server::new();
/// server.register_event("tick")?;
/// server.run()?;
/// let publisher = server.publisher();
/// publisher.publish(Message::new("1").event("tick"))?;
/// publisher.try_publish(Message::new("2").event("tick"))?;
/// let client = server.subscribe(["tick"])?;
/// publisher.send_to(client.id(), Message::new("welcome").event("tick"))?;
/// publisher.disconnect(client.id())?;
/// drop(server);
/// let late = publisher.publish(Message::new("3").event("tick"));
/// assert_eq!(late, Err(PublishError::ShutDown));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

impl Publisher {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// As [`Server::publish`](crate::Server::publish).
    ///
    /// # Errors
    /// As there.
    pub fn publish(&self, message: impl Into<Message>) -> Result<Published, PublishError> {
        self.shared.publish(&message.into())
    }

    /// As [`Server::try_publish`](crate::Server::try_publish).
    ///
    /// # Errors
    /// As there.
    pub fn try_publish(&self, message: impl Into<Message>) -> Result<Published, TryPublishError> {
        self.shared.try_publish(message.into())
    }

    /// As [`Server::send_to`](crate::Server::send_to).
    ///
    /// # Errors
    /// As there.
    pub fn send_to(
        &self,
        client: ClientId,
        message: impl Into<Message>,
    ) -> Result<(), SendToError> {
        self.shared.send_to(client, &message.into())
    }

    /// As [`Server::disconnect`](crate::Server::disconnect).
    ///
    /// # Errors
    /// As there.
    pub fn disconnect(&self, client: ClientId) -> Result<(), UnknownClient> {
        self.shared.disconnect(client)
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

type OnConnect = dyn Fn(&Publisher, &Client) + Send + Sync;
type OnDisconnect = dyn Fn(&Publisher, &Client, Disconnect) + Send + Sync;

/// The hooks that the embedding program has set.
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
    /// Whether a hook is set, or the log is enabled for clients that come and go.
    pub(crate) fn are_wanted(&self) -> bool {
        self.connect.is_some() || self.disconnect.is_some() || logs::enabled(Level::Info)
    }

    /// The loop of the hooks' thread.
    pub(crate) fn run(&self, shared: Arc<Shared>) {
        let hook_queue = Arc::clone(&shared.hook_queue);
        let _end = AtEnd(|| hook_queue.end());
        let publisher = Publisher::new(shared);
        let mut told = HashMap::new();
        while let Some(event) = publisher.shared.hook_queue.next() {
            // The logger may panic as well; only the panic hook reports that.
            survive(|| self.tell(&publisher, event, &mut told));
        }
    }

    fn tell(
        &self,
        publisher: &Publisher,
        event: HookEvent,
        told: &mut HashMap<ClientId, Arc<Client>>,
    ) {
        match event {
            HookEvent::Connected(Connected { id, peer, subscribed, last_event_id, attached }) => {
                let events = publisher.shared.types.names_of(&subscribed.types);
                let channels = subscribed.channels.names();
                let client = Client { id, peer, events, last_event_id, channels, attached };
                let client = Arc::new(client);
                told.insert(id, Arc::clone(&client));
                if let Some(hook) = &self.connect {
                    call("on_connect", || hook(publisher, &client));
                }
                let events = &client.events;
                logs::write(Level::Debug, format_args!("{} listens to {events:?}", Named(&client)));
            }
            HookEvent::Disconnected(id, reason) => {
                let Some(client) = told.remove(&id) else { return };
                if let Some(hook) = &self.disconnect {
                    call("on_disconnect", || hook(publisher, &client, reason));
                }
                let level = match reason {
                    Disconnect::Behind | Disconnect::Stalled | Disconnect::Error => Level::Info,
                    _ => Level::Debug,
                };
                logs::write(level, format_args!("{} is gone: {reason}", Named(&client)));
            }
        }
    }
}

fn call(name: &str, hook: impl FnOnce()) {
    if survive(hook).is_none() {
        logs::write(Level::Error, format_args!("a hook panicked: {name}"));
    }
}

/// A client as the log names it.
struct Named<'c>(&'c Client);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Client { id, peer, .. } = self.0;
        write!(f, "client {id}")?;
        peer.map_or(Ok(()), |peer| write!(f, " ({peer})"))
    }
}
