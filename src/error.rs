//! One small error type per operation. Each says what was wrong and what would be right. If its
//! text has that of an error within it, that error is not its source, so that in a chain of errors
//! each is shown once.

use std::{error::Error, fmt, io};

use crate::{
    message::{Message, MessageError, channel::TooMany, event_types::RegisterError, is_general},
    quoted::Quoted,
};

fn not_registered(name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if is_general(name) {
        return f.write_str("the general event type is not registered; register \"\" first");
    }
    let name = Quoted(name);
    write!(f, "event type {name} is not registered; register it first, or look for a typo")
}

fn too_many_channels(limit: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "there are {limit} channels, and no more are allowed")
}

/// [`Server::publish`](crate::Server::publish) did not accept a message. No client receives it.
///
/// ```
/// use websse::{Message, PublishError, Server};
///
/// let server = Server::new();
/// server.register_event("")?;
/// assert_eq!(server.publish(Message::new("too early")), Err(PublishError::NotRunning));
/// # Ok::<(), websse::RegisterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// No such event type. Call [`register_event`](crate::Server::register_event) first; the
    /// general type is named `""` or `message`.
    EventNotRegistered(String),
    /// The message cannot be sent.
    Message(MessageError),
    /// The framed event, with every `data:` prefix, is larger than the server allows
    /// ([`Builder::max_frame_bytes`](crate::Builder::max_frame_bytes)).
    TooLarge {
        /// Size of the framed event in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The message is the first one of its channel, and there are as many channels as the server
    /// allows ([`Builder::max_channels`](crate::Builder::max_channels)). A channel ends when nobody
    /// listens to it and none of its events is kept.
    TooManyChannels {
        /// The limit.
        limit: usize,
    },
    /// The broadcaster does not run yet. Call [`run`](crate::Server::run) first.
    NotRunning,
    /// The server was shut down, or is about to be.
    ShutDown,
    /// The call came from the broadcaster's own thread, which would wait for ever for room in the
    /// queue; or from a thread that talks to Redis or commits to a history on disk, for example by a
    /// logger. No other code of yours runs there. The error prevents a deadlock.
    OnBroadcaster,
    /// Redis, over which nodes share their events, takes no message now, or refuses this one; the
    /// text gives the reason, for people. The message was not published. Try again later.
    RedisUnavailable(String),
    /// The disk, which keeps the history, did not take the message; the text gives the reason, for
    /// people. The message was not published. Try again later.
    #[cfg(feature = "durable")]
    DiskUnavailable(String),
    /// The message was sent to Redis, and the answer was lost. Until the message arrives, it is
    /// unknown whether it is published; publishing it again may publish it twice. With a history on
    /// disk: the server ended before it answered.
    OutcomeUnknown,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventNotRegistered(name) => not_registered(name, f),
            Self::Message(error) => error.fmt(f),
            Self::TooLarge { size, limit } => {
                write!(f, "the framed event has {size} bytes, the limit is {limit}")
            }
            Self::TooManyChannels { limit } => too_many_channels(*limit, f),
            Self::NotRunning => f.write_str("the server does not run yet; call run first"),
            Self::ShutDown => f.write_str("the server was shut down or dropped"),
            Self::OnBroadcaster => {
                f.write_str("the broadcaster's own thread cannot publish; use another thread")
            }
            #[cfg(feature = "durable")]
            Self::DiskUnavailable(reason) => {
                write!(f, "the disk does not take the event: {reason}; try again later")
            }
            Self::RedisUnavailable(reason) => {
                write!(f, "not published, Redis cannot be written: {reason}")
            }
            Self::OutcomeUnknown => {
                f.write_str("Redis did not answer: the message may be published or not")
            }
        }
    }
}

impl Error for PublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Message(error) => error.source(),
            _ => None,
        }
    }
}

impl From<TooMany> for PublishError {
    fn from(TooMany { limit }: TooMany) -> Self {
        Self::TooManyChannels { limit }
    }
}

impl From<TooMany> for SubscribeError {
    fn from(TooMany { limit }: TooMany) -> Self {
        Self::TooManyChannels { limit }
    }
}

impl From<MessageError> for PublishError {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

/// [`Server::try_publish`](crate::Server::try_publish) did not accept a message.
///
/// ```
/// use websse::{Message, PublishError, Server, TryPublishError};
///
/// let refused = Server::new().try_publish(Message::new("to nobody"));
/// let error = PublishError::EventNotRegistered("message".into());
/// assert_eq!(refused, Err(TryPublishError::Refused(error)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryPublishError {
    /// The publish queue has no room now. This is the message, to try again or to drop.
    Full(Message),
    /// The message would not be accepted later either.
    Refused(PublishError),
}

impl fmt::Display for TryPublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(_) => f.write_str("the publish queue is full"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl Error for TryPublishError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Full(_) => None,
            Self::Refused(error) => error.source(),
        }
    }
}

/// [`Server::publish_all`](crate::Server::publish_all) did not accept all messages.
///
/// ```
/// use websse::{Message, Server};
///
/// let batch = [Message::new("one"), Message::new("two")];
/// let error = Server::new().publish_all(&batch).unwrap_err();
/// assert_eq!((error.index, error.accepted), (0, 0));
/// println!("{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishAllError {
    /// The index of the first refused message, from 0; 0 also for no messages, if the server does
    /// not run.
    pub index: usize,
    /// How many messages before it were published: 0, unless the server was shut down meanwhile, or
    /// Redis failed. Do not publish these again.
    pub accepted: usize,
    /// How many, behind those, may or may not be published, as Redis did not answer
    /// ([`OutcomeUnknown`](PublishError::OutcomeUnknown)): to publish them again may publish them
    /// twice. What comes behind these was not published.
    pub unknown: usize,
    /// Why it was refused.
    pub error: PublishError,
}

impl PublishAllError {
    /// Whether some of the messages may be published: then the batch must not be sent again whole.
    pub(crate) fn is_partial(&self) -> bool {
        self.accepted + self.unknown > 0
    }
}

impl fmt::Display for PublishAllError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, accepted, unknown, error } = self;
        write!(f, "message {} of the batch: {error}; {accepted} were accepted", index + 1)?;
        let next = accepted + unknown + 1;
        if !self.is_partial() {
            Ok(())
        } else if *unknown == 0 {
            write!(f, ": do not send it all again, only from message {next} on")
        } else {
            write!(
                f,
                ", the next {unknown} may be: do not send these again, or they may come twice; what \
                 follows, from message {next} on, was not published"
            )
        }
    }
}

impl Error for PublishAllError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// A client cannot listen, [over HTTP](crate::Server::event_stream_handler) or
/// [by `subscribe`](crate::Server::subscribe).
///
/// ```
/// use websse::{Server, SubscribeError};
///
/// let refused = Server::new().subscribe(["news"]).err();
/// assert_eq!(refused, Some(SubscribeError::EventNotRegistered("news".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// No such event type. Call [`register_event`](crate::Server::register_event) first; the
    /// general type is named `""` or `message`, and `*` means all types.
    EventNotRegistered(String),
    /// The number of clients has reached the limit
    /// ([`Builder::max_streams`](crate::Builder::max_streams)). Try again later.
    Full {
        /// The limit.
        limit: usize,
    },
    /// There are as many channels as the server allows
    /// ([`Builder::max_channels`](crate::Builder::max_channels)), and the client names another. Try
    /// again later.
    TooManyChannels {
        /// The limit.
        limit: usize,
    },
    /// The broadcaster does not run yet. Call [`run`](crate::Server::run) first.
    NotRunning,
    /// The server was shut down, or is about to be.
    ShutDown,
    /// Redis could not be read since the server runs, or has not been read
    /// far enough. Try again later.
    RedisUnavailable,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventNotRegistered(name) => not_registered(name, f),
            Self::Full { limit } => write!(f, "{limit} clients listen already, the most allowed"),
            Self::TooManyChannels { limit } => too_many_channels(*limit, f),
            Self::NotRunning => f.write_str("the server does not run yet; call run first"),
            Self::ShutDown => f.write_str("the server was shut down or dropped"),
            Self::RedisUnavailable => f.write_str("Redis was not read far enough; try again later"),
        }
    }
}

impl Error for SubscribeError {}

/// [`Subscription::stream_to`](crate::Subscription::stream_to) cannot continue.
///
/// ```
/// # use websse::{Server, StreamError};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let mut listener = server.subscribe([""])?;
/// let no_room: &mut [u8] = &mut [];
/// assert!(matches!(listener.stream_to(no_room), Err(StreamError::Io(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamError {
    /// The sink cannot flush ([`io::ErrorKind::Unsupported`]): the bytes would stay in a buffer
    /// while the client waits. Use a sink that can be flushed.
    StreamingNotSupported(io::Error),
    /// Writing failed, usually because the client has left.
    Io(io::Error),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StreamingNotSupported(_) => {
                f.write_str("streaming is not supported: the sink cannot flush")
            }
            Self::Io(error) => write!(f, "the stream broke off: {error}"),
        }
    }
}

impl Error for StreamError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::StreamingNotSupported(error) => Some(error),
            Self::Io(error) => error.source(),
        }
    }
}

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
    /// The operating system gave no thread. `run` may be called again later.
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
            Self::Thread(error) => error.source(),
            Self::Presence(error) => error.source(),
            Self::AlreadyRunning | Self::ShutDown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_that_names_the_culprit() {
        let shown = [
            MessageError::IdLength(300).to_string(),
            RegisterError::LineBreak("a\nb".into()).to_string(),
            PublishError::EventNotRegistered("a\nb".into()).to_string(),
            SubscribeError::EventNotRegistered("a\r\nb".into()).to_string(),
            PublishError::TooLarge { size: 9, limit: 8 }.to_string(),
        ];
        let culprits = ["300", r"a\nb", r"a\nb", r"a\r\nb", "9"];
        for (text, culprit) in shown.iter().zip(culprits) {
            assert!(text.contains(culprit), "{text:?} should name {culprit:?}");
            assert_eq!(text.lines().count(), 1, "{text:?}");
        }
    }
}
