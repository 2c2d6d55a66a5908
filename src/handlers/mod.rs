//! Handlers for the HTTP server: the event stream, publishing, stats and health.
//!
//! | file | owns |
//! |---|---|
//! | `event_stream` | GET: the parameters of a stream, refusals, handing the socket over |
//! | `parameters` | the names of a stream's parameters, and near misses of them |
//! | `send_message` | POST: a message, or many, from the query and the body |
//! | `metrics` | Prometheus, JSON and health |
//! | `access` | `authorize`: what the embedding program decides |
//!
//! The only folder that imports both `http` and `broadcast`; nothing of `redis`.

mod access;
mod event_stream;
mod metrics;
mod parameters;
mod send_message;

pub use self::{
    access::{Action, Denied},
    event_stream::EventStreamHandler,
    metrics::{HealthHandler, MetricsHandler},
    send_message::SendMessageHandler,
};
