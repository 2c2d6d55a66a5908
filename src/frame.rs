//! From message to wire bytes: encoded once, then shared by everyone who sends or keeps them.
//!
//! The format is that of the HTML standard, section 9.2.5: lines of `field: value`, each ended by
//! LF, and a blank line that dispatches the event.

use std::sync::Arc;

use crate::{
    error::PublishError,
    message::{Message, is_general},
};

/// Whole blocks of a stream as they go over the wire: an event, or a comment such as a heartbeat.
/// Cloning shares the bytes.
///
/// ```
/// # use websse::{Message, Server};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let mut subscription = server.subscribe([""])?;
/// server.publish(Message::new("two\nlines"))?;
/// let event = subscription.find(|frame| frame.is_event()).expect("published above");
/// assert_eq!(event.as_bytes(), b"data: two\ndata: lines\n\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Arc<[u8]>);

impl Frame {
    /// The bytes; they end with a blank line.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is an event, and not a comment that only keeps the connection alive.
    pub fn is_event(&self) -> bool {
        !self.0.starts_with(b":")
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes blocks that are complete already: a comment, a response head, several frames in one.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Frames a message, unless that would take more than `limit` bytes; the size is known before
    /// a byte of it is allocated.
    pub(crate) fn encode(message: &Message, limit: usize) -> Result<Self, PublishError> {
        message.check()?;
        let size = framed_size(message);
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let mut bytes = Vec::with_capacity(size);
        if !is_general(message.event_type()) {
            push_line(&mut bytes, "event: ", message.event_type());
        }
        for line in lines(message.data()) {
            push_line(&mut bytes, "data: ", line);
        }
        if let Some(id) = message.event_id() {
            push_line(&mut bytes, "id: ", id.as_str());
        }
        if let Some(retry) = message.retry_millis() {
            push_line(&mut bytes, "retry: ", &retry.to_string());
        }
        bytes.push(b'\n');
        debug_assert_eq!(bytes.len(), size);
        Ok(Self(bytes.into()))
    }
}

/// A comment that keeps proxies from cutting a silent connection (HTML standard, 9.2.7).
pub(crate) const HEARTBEAT: &[u8] = b":\n\n";

/// What a stream begins with: a comment, so that clients and proxies see the body start at once,
/// and the reconnection time, since a client may still hold one from an earlier refusal.
pub(crate) fn preamble(retry_millis: u64) -> String {
    format!(": websse\nretry: {retry_millis}\n\n")
}

fn push_line(bytes: &mut Vec<u8>, field: &str, value: &str) {
    bytes.extend_from_slice(field.as_bytes());
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(b'\n');
}

/// Splits at CR, LF and CRLF; there is always at least one line, and a text that ends with a line
/// ending has an empty last one, so that the client gets back what was published.
fn lines(data: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.bytes().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            return rest.take();
        };
        let (line, tail) = text.split_at(end);
        rest = Some(tail.strip_prefix("\r\n").unwrap_or(&tail[1..]));
        Some(line)
    })
}

fn framed_size(message: &Message) -> usize {
    let line = |field: &str, value: usize| field.len() + value + 1;
    let event = message.event_type();
    let event = if is_general(event) { 0 } else { line("event: ", event.len()) };
    let data: usize = lines(message.data()).map(|text| line("data: ", text.len())).sum();
    let id = message.event_id().map_or(0, |id| line("id: ", id.as_str().len()));
    let retry = message.retry_millis().map_or(0, |millis| {
        line("retry: ", millis.checked_ilog10().map_or(1, |log| log as usize + 1))
    });
    event + data + id + retry + 1
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::EventId;

    fn encoded(message: &Message) -> String {
        let frame = Frame::encode(message, usize::MAX).expect("the message is valid");
        String::from_utf8(frame.as_bytes().to_vec()).expect("frames are UTF-8")
    }

    #[test]
    fn every_line_ending_starts_a_data_line() {
        for (data, framed) in [
            ("", "data: \n\n"),
            ("a", "data: a\n\n"),
            (" a", "data:  a\n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\rb", "data: a\ndata: b\n\n"),
            ("a\r\nb", "data: a\ndata: b\n\n"),
            ("a\n\rb", "data: a\ndata: \ndata: b\n\n"),
            ("a\n", "data: a\ndata: \n\n"),
            ("\r\n", "data: \ndata: \n\n"),
            ("a\nevent: b\n\nid: 1", "data: a\ndata: event: b\ndata: \ndata: id: 1\n\n"),
        ] {
            assert_eq!(encoded(&Message::new(data)), framed, "{data:?}");
        }
    }

    #[test]
    fn the_fields_of_a_message_come_in_one_order() {
        let id = EventId::new("7").expect("a valid id");
        let message = Message::new("x").event("e").id(id).retry(Duration::from_millis(1500));
        assert_eq!(encoded(&message), "event: e\ndata: x\nid: 7\nretry: 1500\n\n");
        for millis in [0, 9, 10, 99, 100, u64::MAX] {
            let message = Message::new("").retry(Duration::from_millis(millis));
            assert_eq!(encoded(&message), format!("data: \nretry: {millis}\n\n"));
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_framed_size() {
        let message = Message::new("\n".repeat(10));
        let size = 11 * "data: \n".len() + 1;
        assert!(Frame::encode(&message, size).is_ok());
        let error = PublishError::TooLarge { size, limit: size - 1 };
        assert_eq!(Frame::encode(&message, size - 1), Err(error));
    }
}
