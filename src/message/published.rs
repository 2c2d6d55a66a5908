//! What a publisher learns of a message that was accepted.

use std::fmt;

use super::id::{Epoch, EventId, generated_id};

/// What [`Server::publish`](crate::Server::publish) returns: the event's id, and how many clients
/// listened.
///
/// ```
/// use websse::{EventId, Message, Server};
///
/// let server = Server::new();
/// server.register_event("")?;
/// server.run()?;
/// let listener = server.subscribe([""])?;
/// let published = server.publish(Message::new("paid").id(EventId::new("order-17")?))?;
/// assert_eq!((published.id().as_deref(), published.listeners()), (Some("order-17"), 1));
/// # drop(listener);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Published {
    id: Id,
    listeners: usize,
}

#[derive(Clone, PartialEq, Eq)]
enum Id {
    None,
    Own(EventId),
    /// Its text is made when somebody asks for it.
    Generated(Epoch, u64),
    Entry(Box<str>),
}

impl Published {
    /// The event's id as clients are sent it: its publisher's own, or the server's; over Redis
    /// that of its entry. `None` if the server keeps no
    /// [history](crate::Builder::history_events): then it gives no ids.
    ///
    /// A client that comes back with it as its `Last-Event-ID` gets what was published after it.
    pub fn id(&self) -> Option<String> {
        match &self.id {
            Id::None => None,
            Id::Own(id) => Some(id.as_str().to_owned()),
            Id::Generated(epoch, number) => Some(generated_id(epoch.as_str(), *number)),
            Id::Entry(id) => Some(id.to_string()),
        }
    }

    /// How many clients listened to the event when it was published, at this node. Those that came or
    /// left in that moment may be among them or not.
    ///
    /// In a [channel](crate::Message::channel) these are the clients that listen to it by its name,
    /// whichever event types they name, and those that listen to the event's type in all channels.
    pub fn listeners(&self) -> usize {
        self.listeners
    }

    pub(crate) fn with_own_id(id: EventId, listeners: usize) -> Self {
        Self { id: Id::Own(id), listeners }
    }

    /// With the id that the server gives to the event of this number, if it gives any.
    pub(crate) fn numbered(epoch: Option<Epoch>, number: u64, listeners: usize) -> Self {
        let id = epoch.map_or(Id::None, |epoch| Id::Generated(epoch, number));
        Self { id, listeners }
    }

    pub(crate) fn entry(entry: String, listeners: usize) -> Self {
        Self { id: Id::Entry(entry.into_boxed_str()), listeners }
    }
}

/// As `{"id":"order-17","listeners":1}`; an event without an id has `null`. Needs the feature
/// `json`.
#[cfg(feature = "json")]
impl serde::Serialize for Published {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Published", 2)?;
        out.serialize_field("id", &self.id())?;
        out.serialize_field("listeners", &self.listeners)?;
        out.end()
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { listeners, .. } = self;
        f.debug_struct("Published").field("id", &self.id()).field("listeners", listeners).finish()
    }
}
