//! A subscription as the body of a response: the bytes of its frames.

use std::io::{self, Read};

use super::Subscription;
use crate::message::frame::Frame;

/// A subscription as bytes, for a server that reads the body of a response from a [`Read`]; made by
/// [`Subscription::into_reader`].
///
/// It reads the frames one after the other, each to its last byte. A read returns bytes of at most
/// one frame, and waits if there are none. It returns 0 when the subscription has ended, and never
/// an error; [`get_ref`](Self::get_ref) has the [reason](Subscription::end_reason). Dropping the
/// reader ends the subscription.
///
/// A server that gathers what it reads before it sends it holds events back. Try yours, or write to
/// the connection by [`Subscription::stream_to`], which flushes each frame.
///
/// ```
/// use std::{io::Read, time::Duration};
/// use websse::{Disconnect, Message, Server};
///
/// let server = Server::new();
/// server.register_event("tick")?;
/// server.run()?;
/// let mut body = server.subscribe(["tick"])?.into_reader();
/// server.publish(Message::new("1").event("tick"))?;
/// server.shutdown(Duration::from_secs(1));
/// let mut text = String::new();
/// body.read_to_string(&mut text)?;
/// assert!(text.contains("event: tick\ndata: 1\n"));
/// assert_eq!(body.get_ref().end_reason(), Some(Disconnect::Shutdown));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SubscriptionReader {
    subscription: Subscription,
    /// The frame that `read` has begun to return, and how many of its bytes.
    begun: Option<(Frame, usize)>,
}

impl SubscriptionReader {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self { subscription, begun: None }
    }

    /// The subscription that is read: its [id](Subscription::id), and why it
    /// [ended](Subscription::end_reason).
    pub fn get_ref(&self) -> &Subscription {
        &self.subscription
    }
}

impl Read for SubscriptionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let next = || Some((self.subscription.next()?, 0));
        let Some((frame, read)) = self.begun.take().or_else(next) else {
            return Ok(0);
        };
        let rest = &frame.as_bytes()[read..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        if length < rest.len() {
            self.begun = Some((frame, read + length));
        }
        Ok(length)
    }
}
