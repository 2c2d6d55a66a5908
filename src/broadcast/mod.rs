//! The one thread that writes all streams, and what it owns.

pub(crate) mod arrival;
pub(crate) mod broadcaster;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod history;
pub(crate) mod hook_queue;
pub(crate) mod inbox;
pub(crate) mod local_sink;
pub(crate) mod log;
pub(crate) mod mailbox;
pub(crate) mod options;
pub(crate) mod per_address;
pub(crate) mod registry;
pub(crate) mod shared;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod subscribers;
pub(crate) mod subscription_sets;
