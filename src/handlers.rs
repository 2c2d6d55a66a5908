//! Handlers for the server's HTTP side: the event stream, publishing, figures and health.

mod figures;
mod send;
mod stream;

pub use self::{
    figures::{FiguresHandler, HealthHandler},
    send::SendMessageHandler,
    stream::EventStreamHandler,
};
