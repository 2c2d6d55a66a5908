//! Handlers for the HTTP server: the event stream, publishing, stats and health.

mod access;
mod event_stream;
mod metrics;
mod send_message;

pub use self::{
    access::{Action, Denied},
    event_stream::EventStreamHandler,
    metrics::{FiguresHandler, HealthHandler},
    send_message::SendMessageHandler,
};
