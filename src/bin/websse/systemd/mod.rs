//! What systemd and the command tell each other.
//!
//! | file | owns |
//! |---|---|
//! | `handed_over` | the sockets that systemd listens on for the command |
//! | `notifier` | that the command listens, works and ends |

mod handed_over;
mod notifier;

pub(crate) use self::{handed_over::HandedOver, notifier::Notifier};
