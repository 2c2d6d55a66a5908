//! Server-Sent Events for synchronous programs.

mod audience;
mod broadcaster;
mod builder;
mod error;
mod feed;
mod frame;
mod groups;
mod handlers;
pub mod http;
mod inbox;
mod mail;
mod message;
mod registry;
#[cfg(test)]
mod scripted;
mod server;
mod socket;
mod stats;
mod stream;
mod subscription;
mod types;

pub use broadcaster::ShutdownReport;
pub use builder::Builder;
pub use error::{
    MessageError, PublishError, RegisterError, RunError, StreamError, SubscribeError,
    TryPublishError,
};
pub use frame::Frame;
pub use handlers::{EventStreamHandler, SendMessageHandler};
pub use message::{EventId, Message};
pub use server::Server;
pub use stats::{Disconnect, Disconnected, Stats};
pub use subscription::{RecvTimeoutError, Subscription};
