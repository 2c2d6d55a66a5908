//! The limits and times of a server.

use std::{sync::Arc, time::Duration};

use crate::broadcast::{
    history::HistoryLimits, inbox::QueueLimits, log::LogFactory, subscribers::SubscriberLimits,
};

const MIB: usize = 1024 * 1024;
const MAX_CHANNELS: usize = 100_000;

/// How many of the channels may be those to which nobody listens: room is left for others.
pub(crate) fn idle_channels(max_channels: usize) -> usize {
    max_channels - max_channels.div_ceil(4)
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) queue: QueueLimits,
    pub(crate) subscribers: SubscriberLimits,
    pub(crate) history: HistoryLimits,
    pub(crate) max_frame_bytes: usize,
    pub(crate) max_streams: usize,
    pub(crate) max_channels: usize,
    /// Milliseconds.
    pub(crate) retry: u64,
    /// The event type that publishes the number of clients.
    pub(crate) presence: Option<String>,
    /// How to open the log that several nodes share.
    #[cfg_attr(
        not(any(feature = "outside-log", test)),
        expect(dead_code, reason = "no log opens")
    )]
    pub(crate) log: Option<Arc<dyn LogFactory>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: QueueLimits { messages: 1024, bytes: 16 * MIB },
            subscribers: SubscriberLimits {
                mailbox_bytes: MIB,
                mailboxes_bytes: 256 * MIB,
                stall_timeout: Duration::from_secs(10),
                heartbeat: Duration::from_secs(15),
                reconnect_spread: Duration::ZERO,
            },
            history: HistoryLimits {
                events: 1024,
                bytes: MIB,
                all_bytes: 64 * MIB,
                channels: idle_channels(MAX_CHANNELS),
            },
            max_frame_bytes: MIB,
            max_streams: 10_000,
            max_channels: MAX_CHANNELS,
            retry: 3000,
            presence: None,
            log: None,
        }
    }
}
