//! What the fuzz targets claim, as functions that panic where it is not so.
//!
//! They see the crate as its users do, over real sockets and by its public face: nothing is opened
//! up for them, and the seeds run wherever the tests do.

mod event_source;
mod history;
mod reader;
pub mod request;
pub mod round_trip;
pub mod stored;
