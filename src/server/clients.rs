//! Commands to single clients, and subscriptions within the program.

use std::sync::Arc;

use super::Server;
use crate::{
    broadcast::client::{ClientId, SendToError, UnknownClient},
    error::SubscribeError,
    message::Message,
    server::{
        hooks::Publisher,
        subscription::{Subscription, SubscriptionBuilder},
    },
};

impl Server {
    /// Sends a message to one client, whatever types it listens to. The message is queued like a
    /// published one, and arrives after those published before. If the client is still being sent
    /// events that it missed, the message comes after them. Blocks while the publish queue is full.
    ///
    /// The message is not kept for clients that reconnect, and has no id: a client reconnects with
    /// the id of an event.
    ///
    /// # Errors
    /// [`SendToError`] if there is no such client, or if the message could not be published.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let mut subscription = server.subscribe([""])?;
    /// server.send_to(subscription.id(), Message::new("for you alone"))?;
    /// let event = subscription.find(|frame| frame.is_event()).expect("sent above");
    /// assert_eq!(event.as_bytes(), b"data: for you alone\n\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_to(
        &self,
        client: ClientId,
        message: impl Into<Message>,
    ) -> Result<(), SendToError> {
        self.shared.send_to(client, &message.into())
    }

    /// Disconnects a client. It gets what was published and [sent](Self::send_to) before, as far as
    /// its socket has taken it by then, and nothing of what follows. Blocks while the publish queue
    /// is full.
    ///
    /// A browser's `EventSource` reconnects by itself, as another client, and gets what it missed;
    /// [`authorize`](crate::EventStreamHandler::authorize) can refuse it.
    ///
    /// # Errors
    /// [`UnknownClient`] if there is no such client, for example after a
    /// [shutdown](Self::shutdown).
    ///
    /// ```
    /// # use websse::{Disconnect, Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let mut subscription = server.subscribe([""])?;
    /// server.send_to(subscription.id(), Message::new("bye"))?;
    /// server.disconnect(subscription.id())?;
    /// assert_eq!(subscription.by_ref().filter(|frame| frame.is_event()).count(), 1);
    /// assert_eq!(subscription.end_reason(), Some(Disconnect::ClosedByServer));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn disconnect(&self, client: ClientId) -> Result<(), UnknownClient> {
        self.shared.disconnect(client)
    }

    /// Returns a handle that publishes to this server without keeping it alive.
    ///
    /// ```
    /// # use std::{thread, time::Duration};
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let publisher = server.publisher();
    /// let clock = thread::spawn(move || {
    ///     while publisher.publish(Message::new("tick")).is_ok() {
    ///         thread::sleep(Duration::from_millis(1));
    ///     }
    /// });
    /// drop(server);
    /// clock.join().expect("it ends with the server");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publisher(&self) -> Publisher {
        Publisher::new(Arc::clone(&self.shared))
    }

    /// Subscribes within the program to these event types. `*` means all types; without any, the
    /// subscription is to the general type. It receives every event published from now on.
    ///
    /// # Errors
    /// [`SubscribeError`] if a type is not registered or the server does not run.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let events = server.subscribe([""])?.filter(|frame| frame.is_event());
    /// let data = events.map(|event| event.data());
    /// let listener = std::thread::spawn(move || data.collect::<Vec<_>>());
    /// server.publish(Message::new("hello"))?;
    /// drop(server);
    /// assert_eq!(listener.join().expect("it does not panic"), ["hello"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe<I>(&self, types: I) -> Result<Subscription, SubscribeError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.subscription(types).open()
    }

    /// Subscribes within the program from an earlier event on, chosen by `last_event_id` or
    /// `replay`.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("news")?;
    /// # server.run()?;
    /// server.publish(Message::new("one").event("news"))?;
    /// server.publish(Message::new("two").event("news"))?;
    /// let mut news = server.subscription(["news"]).replay(1).open()?;
    /// let event = news.find(|frame| frame.is_event()).expect("published above");
    /// assert!(event.as_bytes().starts_with(b"event: news\ndata: two\n"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscription<I>(&self, types: I) -> SubscriptionBuilder<'_>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let types = types.into_iter().map(|name| name.as_ref().to_owned()).collect();
        SubscriptionBuilder::new(&self.shared, types)
    }
}
