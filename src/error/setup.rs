//! What can be wrong before anything is published.

use std::{error::Error, fmt, io};

/// A [`Message`](crate::Message) or an [`EventId`](crate::EventId) cannot be what was asked for.
///
/// A line break in these fields would let a publisher write lines of its own into the stream, and
/// clients ignore an id that holds NUL
/// ([HTML standard, 9.2.6](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation)).
///
/// ```
/// use websse::{EventId, MessageError};
///
/// assert_eq!(EventId::new(""), Err(MessageError::IdLength(0)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// The event type holds CR, LF or NUL. Use a name of one line.
    EventType,
    /// The id is empty or longer than 256 bytes. Leave the id out, or use a shorter one.
    IdLength(usize),
    /// The id holds a control character, or begins or ends with a blank. Browsers send an id back
    /// as a header field, where it would arrive changed or not at all.
    IdCharacters,
    /// The id has the form of those that the server makes itself (13 characters `0-9a-z`, a
    /// hyphen, digits), and would be mistaken for one. Put a letter behind the last digit.
    IdReserved,
    /// A message to one client has an id. Leave it out: the client would come back with it, and it is
    /// no position in the order of events.
    IdToOne,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventType => {
                f.write_str("an event type is one line of text: no CR, LF or NUL in it")
            }
            Self::IdLength(length) => {
                write!(f, "an id has 1 to 256 bytes, this one has {length}")
            }
            Self::IdCharacters => f.write_str(
                "an id has no control characters, and neither begins nor ends with a blank",
            ),
            Self::IdReserved => f.write_str(
                "an id of 13 characters 0-9a-z, a hyphen and digits is reserved for the server",
            ),
            Self::IdToOne => f.write_str("a message to one client has no id"),
        }
    }
}

impl Error for MessageError {}

/// [`Server::register_event`](crate::Server::register_event) refuses a name.
///
/// ```
/// use websse::{RegisterError, Server};
///
/// let refused = Server::new().register_event("stream-gap");
/// assert_eq!(refused, Err(RegisterError::Reserved("stream-gap".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name holds CR, LF or NUL, which would break the stream's lines.
    LineBreak(String),
    /// `*`, `stream-gap`, `open` and `error` have a meaning of their own for the server or for
    /// browsers. Use another name.
    Reserved(String),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineBreak(name) => write!(
                f,
                "cannot register {name:?}: an event type is one line of text, without CR, LF or NUL"
            ),
            Self::Reserved(name) => {
                write!(f, "cannot register {name:?}: the name is reserved, use another")
            }
        }
    }
}

impl Error for RegisterError {}

/// [`Server::run`](crate::Server::run) cannot start the broadcaster.
///
/// ```
/// use std::time::Duration;
/// use websse::{RunError, Server};
///
/// let server = Server::new();
/// server.shutdown(Duration::from_secs(1));
/// assert!(matches!(server.run(), Err(RunError::ShutDown)));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// It runs already: one server has one broadcaster thread.
    AlreadyRunning,
    /// The server was shut down, which is final. Make a new one.
    ShutDown,
    /// The operating system gave no thread. The server may be run again later.
    Thread(io::Error),
    /// The event type of [`Builder::presence`](crate::Builder::presence) cannot be registered.
    Presence(RegisterError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning => f.write_str("the server runs already"),
            Self::ShutDown => f.write_str("the server was shut down; make a new one"),
            Self::Thread(error) => write!(f, "cannot start a thread: {error}"),
            Self::Presence(error) => error.fmt(f),
        }
    }
}

impl Error for RunError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Thread(error) => Some(error),
            Self::Presence(error) => Some(error),
            Self::AlreadyRunning | Self::ShutDown => None,
        }
    }
}
