//! Those who listen: one by one, or within the program.

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
    /// Sends a message to one client, whatever it listens to. It takes its place among the published
    /// events, and comes after those that were published before; a client that is still being sent
    /// what it has missed gets it after that. Blocks while the publish queue is full.
    ///
    /// It is not kept for clients that come back, and has no id: what the client comes back with is
    /// the id of an event.
    ///
    /// # Errors
    /// [`SendToError`] where there is no such client, or the message could not be published.
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
    #[expect(clippy::needless_pass_by_value, reason = "a message is sent once")]
    pub fn send_to(&self, client: ClientId, message: Message) -> Result<(), SendToError> {
        self.shared.send_to(client, &message)
    }

    /// Disconnects a client. It gets what was published and [sent](Self::send_to) before, as far as
    /// its socket has taken it by then, and nothing of what follows. Blocks while the publish queue is
    /// full.
    ///
    /// A browser's `EventSource` comes back by itself, as another client, and gets what it has missed;
    /// [`authorize`](crate::EventStreamHandler::authorize) can keep it out.
    ///
    /// # Errors
    /// [`UnknownClient`] where there is no such client, as after a [shutdown](Self::shutdown).
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

    /// Publishes to this server without keeping it alive.
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

    /// Listens within the program: to these event types, or to all with `*`; without any, to the
    /// general type. Every event published from now on is received.
    ///
    /// # Errors
    /// [`SubscribeError`] where a type is not registered or the server does not run.
    ///
    /// ```
    /// # use websse::{Message, Server};
    /// # let server = Server::new();
    /// # server.register_event("")?;
    /// # server.run()?;
    /// let events = server.subscribe([""])?.filter(|frame| frame.is_event());
    /// let listener = std::thread::spawn(move || events.map(|event| event.data()).collect::<Vec<_>>());
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

    /// Listens within the program from an earlier event on: `last_event_id` or `replay` say which.
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
