//! All errors of the library as one type, for a program that tells no difference.

use std::{error, fmt, io};

use crate::{
    MessageError, PublishAllError, PublishError, RecvTimeoutError, RegisterError, RunError,
    SendToError, StreamError, SubscribeError, TryPublishError, UnknownClient,
    http::{PolicyError, RequestError},
};

macro_rules! errors {
    ($($(#[doc = $doc:literal])+ $(#[cfg($feature:meta)])? $variant:ident($error:ty),)+) => {
        /// Any error of this crate. Each turns into it by `?`, so that a program which only reports
        /// its errors needs no other type.
        ///
        /// A variant holds the error of one operation. `Display` and `Debug` both show that error's
        /// text, since a `main` that returns an error shows its `Debug`; the
        /// [source](std::error::Error::source) is that error's.
        ///
        /// ```
        /// use websse::{Message, Server, http::HttpServer};
        ///
        /// fn main() -> Result<(), websse::Error> {
        ///     let server = Server::new();
        ///     server.register_event("news")?;
        ///     server.run()?;
        ///     let stream = server.event_stream_handler();
        ///     let http = HttpServer::new().get("/event", stream).bind("127.0.0.1:0")?;
        ///     server.publish(Message::new("hello").event("news"))?;
        ///     # drop(http);
        ///     Ok(())
        /// }
        /// ```
        #[non_exhaustive]
        pub enum Error {
            $($(#[doc = $doc])+ $(#[cfg($feature)])? $variant($error),)+
        }

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($(#[cfg($feature)])? Self::$variant(error) => fmt::Display::fmt(error, f),)+
                }
            }
        }

        impl error::Error for Error {
            fn source(&self) -> Option<&(dyn error::Error + 'static)> {
                match self {
                    $($(#[cfg($feature)])? Self::$variant(error) => error::Error::source(error),)+
                }
            }
        }

        $(
            $(#[cfg($feature)])?
            impl From<$error> for Error {
                fn from(error: $error) -> Self {
                    Self::$variant(error)
                }
            }
        )+
    };
}

errors! {
    /// A message or an id is not valid.
    Message(MessageError),
    /// An event type cannot be registered.
    Register(RegisterError),
    /// The server did not start.
    Run(RunError),
    /// A message was not published.
    Publish(PublishError),
    /// A message was not published without waiting.
    TryPublish(TryPublishError),
    /// Not all messages were published.
    PublishAll(PublishAllError),
    /// A message was not sent to one client.
    SendTo(SendToError),
    /// There is no such client.
    UnknownClient(UnknownClient),
    /// A subscription was refused.
    Subscribe(SubscribeError),
    /// A subscription has no frame.
    RecvTimeout(RecvTimeoutError),
    /// A subscription could not be streamed.
    Stream(StreamError),
    /// A policy cannot allow this origin or host.
    Policy(PolicyError),
    /// There can be no such request.
    Request(RequestError),
    /// A text is no message in JSON (feature `json`).
    #[cfg(feature = "json")]
    JsonMessage(crate::JsonError),
    /// A value could not be written as JSON or read from it (feature `json`).
    #[cfg(feature = "json")]
    Json(serde_json::Error),
    /// An address of Redis is not valid (feature `redis`).
    #[cfg(feature = "redis")]
    RedisConfig(crate::redis::RedisConfigError),
    /// The operating system refused something, such as an [address](crate::http::HttpServer::bind).
    Io(io::Error),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::{error::Error as _, time::Duration};

    use super::*;
    use crate::{
        EventId, Message, Server,
        http::{HttpServer, Policy, Request},
    };

    /// Each function of a program that fails, and whose error passes on by `?`.
    fn failures() -> Vec<Result<(), Error>> {
        let server = Server::new();
        server.register_event("").expect("a good name");
        let message = || Message::new("a");
        let id = || EventId::new("a").expect("a good id");
        vec![
            (|| Ok(message().event("a\0").check()?))(),
            (|| Ok(server.register_event("*")?))(),
            (|| Ok(server.publish(message()).map(drop)?))(),
            (|| Ok(server.try_publish(message()).map(drop)?))(),
            (|| Ok(server.publish_all(&[message()]).map(drop)?))(),
            (|| Ok(server.subscribe([""]).map(drop)?))(),
            (|| Ok(Policy::default().allow_host("a b").map(drop)?))(),
            (|| Ok(Request::new("GET", "a b").map(drop)?))(),
            (|| Ok(HttpServer::new().bind("nothing").map(drop)?))(),
            (|| {
                server.run()?;
                let mut listener = server.subscribe([""])?;
                listener.next();
                Ok(listener.recv_timeout(Duration::ZERO).map(drop)?)
            })(),
            (|| Ok(server.subscribe([""])?.stream_to(&mut [][..]).map(drop)?))(),
            (|| Ok(server.send_to(server.subscribe([""])?.id(), message().id(id()))?))(),
            (|| {
                let gone = server.subscribe([""])?.id();
                server.shutdown(Duration::from_secs(5));
                Ok(server.disconnect(gone)?)
            })(),
            (|| Ok(server.run()?))(),
        ]
    }

    #[test]
    fn any_error_of_the_crate_turns_into_it_and_shows_its_text() {
        for failure in failures() {
            let error = failure.expect_err("it fails");
            let text = error.to_string();
            let source = error.source().map_or("none".to_owned(), ToString::to_string);
            assert!(!text.contains(&source), "{source:?} is told twice, also in {text:?}");
            assert_eq!((format!("{error:?}"), text.lines().count()), (text, 1));
        }
    }
}
