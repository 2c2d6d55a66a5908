//! Server-Sent Events as the answer to one request.

use std::{
    fmt,
    io::{self, ErrorKind},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use super::{Response, body_writer::BodyWriter};
use crate::{
    YEAR,
    message::{
        Message,
        frame::{HEARTBEAT, push_block, push_comment},
    },
};

impl Response {
    /// A stream of events for this request alone, which `write` writes: the tokens of a language
    /// model, the progress of a task, a tool's results. Nothing is added to what it sends: no first
    /// block, no ids, no heartbeats.
    ///
    /// It is a [`stream`](Self::stream) of the type `text/event-stream`; all that is said there about
    /// its thread, its end and its limit holds here. [`BodyWriter`] tells about time-outs.
    ///
    /// ```
    /// use std::time::Duration;
    /// use websse::{Message, http::{HttpServer, Request, Response}};
    ///
    /// let http = HttpServer::new().post("/count", |_: &Request| {
    ///     Response::events(|out| {
    ///         for n in 1..=3 {
    ///             out.send(&Message::new(n.to_string()))?;
    ///             out.wait(Duration::from_millis(100))?; // ends all if the client leaves
    ///         }
    ///         out.send_last(&Message::new("[DONE]"))
    ///     })
    /// });
    /// ```
    pub fn events<W>(write: W) -> Self
    where
        W: FnOnce(&mut EventWriter<'_>) -> io::Result<()> + Send + 'static,
    {
        Self::event_stream().written(move |body| {
            let (block, sent) = (Vec::new(), Instant::now());
            write(&mut EventWriter { body: body.reborrow(), block, heartbeat: None, sent })
        })
    }
}

/// Writes events for [`Response::events`]. Each call that sends is one write to the socket.
///
/// ```
/// use std::time::Duration;
/// use websse::{EventId, Message, http::Response};
///
/// let response = Response::events(|out| {
///     // A client can resume after an id only if there is data beside it, even if it is empty.
///     out.send(&Message::new("").id(EventId::new("call-7-0").expect("a valid id")))?;
///     out.send(&Message::new("{\"done\":0.5}").event("progress"))?;
///     out.send_without_data(&Message::new("").retry(Duration::from_millis(500)))?;
///     out.comment("thinking")?;
///     out.send_raw("data:by hand\n\n")
/// });
/// let text = "data: \nid: call-7-0\n\nevent: progress\ndata: {\"done\":0.5}\n\n\
///             retry: 500\n\n: thinking\ndata:by hand\n\n";
/// assert_eq!(String::from_utf8_lossy(&response.write_body()?), text);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct EventWriter<'c> {
    body: BodyWriter<'c>,
    /// Used only for its memory.
    block: Vec<u8>,
    heartbeat: Option<(Duration, Heartbeat)>,
    /// When something was sent last.
    sent: Instant,
}

enum Heartbeat {
    Comment,
    Event(Message),
}

impl EventWriter<'_> {
    /// Sends an event: `event`, `data`, `retry` and `id`, in this order, those that the message has.
    /// There is always a `data` line, even if it is empty.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) for a message that is not
    /// [valid](Message::check); nothing is sent then. Otherwise as [`BodyWriter::send`].
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        self.encode(message, Some(message.data()))?;
        self.send_block()
    }

    /// Sends the last event together with the end of the stream, in one write. Many clients hand
    /// their answer out only at its end; they get it at once, even if the closure returns later.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_last(&mut self, message: &Message) -> io::Result<()> {
        self.encode(message, Some(message.data()))?;
        self.body.send_last(&self.block)
    }

    /// Sends the event type, the reconnection time and the id of a message, those that it has, and no
    /// data. Clients take `retry` and the id of such a block, most of them, and hand out no event.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_without_data(&mut self, message: &Message) -> io::Result<()> {
        self.encode(message, None)?;
        self.send_block()
    }

    /// Sends a comment, which no client hands out. Each line of the text is one.
    ///
    /// # Errors
    /// As [`BodyWriter::send`].
    pub fn comment(&mut self, text: &str) -> io::Result<()> {
        self.block.clear();
        push_comment(&mut self.block, text);
        self.send_block()
    }

    /// Sends bytes as they are: whole blocks, each with a blank line at its end.
    ///
    /// # Errors
    /// As [`BodyWriter::send`].
    pub fn send_raw(&mut self, blocks: impl AsRef<[u8]>) -> io::Result<()> {
        self.sent = Instant::now();
        self.body.send(blocks)
    }

    /// Lets [`recv`](Self::recv) send a comment whenever nothing was sent for this time, so that
    /// nothing in between takes the connection for dead. A few clients accept no comment:
    /// `google-genai` and `gradio_client`, for Python.
    pub fn heartbeat(&mut self, every: Duration) {
        self.heartbeat = Some((every, Heartbeat::Comment));
    }

    /// As [`heartbeat`](Self::heartbeat), with a message in place of the comment.
    pub fn heartbeat_with(&mut self, every: Duration, message: Message) {
        self.heartbeat = Some((every, Heartbeat::Event(message)));
    }

    /// Takes the next item from a channel of your program, and sends [heartbeats](Self::heartbeat)
    /// meanwhile. `None` when the channel's senders are gone.
    ///
    /// # Errors
    /// When the client [is gone](Self::is_gone), within 0.1 s. The senders find the channel closed
    /// once the closure has returned.
    ///
    /// ```
    /// use std::{sync::mpsc, thread, time::Duration};
    /// use websse::{Message, http::Response};
    ///
    /// let response = Response::events(|out| {
    ///     let (sender, tokens) = mpsc::channel();
    ///     thread::spawn(move || ["Hel", "lo"].into_iter().try_for_each(|it| sender.send(it)));
    ///     out.heartbeat(Duration::from_secs(15));
    ///     while let Some(token) = out.recv(&tokens)? {
    ///         out.send(&Message::new(token))?;
    ///     }
    ///     Ok(())
    /// });
    /// assert_eq!(response.write_body()?, b"data: Hel\n\ndata: lo\n\n");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn recv<T>(&mut self, from: &Receiver<T>) -> io::Result<Option<T>> {
        loop {
            let every = self.heartbeat.as_ref().map_or(YEAR, |(every, _)| *every);
            let silence = every.saturating_sub(self.sent.elapsed());
            match self.body.recv_for(from, silence)? {
                Err(RecvTimeoutError::Timeout) => self.beat()?,
                received => return Ok(received.ok()),
            }
        }
    }

    /// As [`BodyWriter::is_gone`].
    pub fn is_gone(&mut self) -> bool {
        self.body.is_gone()
    }

    /// Sleeps for this time, unless the client leaves.
    ///
    /// # Errors
    /// At once when the client [is gone](Self::is_gone).
    pub fn wait(&mut self, time: Duration) -> io::Result<()> {
        self.body.wait(time)
    }

    /// As [`BodyWriter::has_no_end`].
    pub fn has_no_end(&mut self) {
        self.body.has_no_end();
    }

    fn beat(&mut self) -> io::Result<()> {
        match self.heartbeat.take() {
            Some((every, Heartbeat::Event(message))) => {
                self.send(&message)?;
                self.heartbeat_with(every, message);
                Ok(())
            }
            comment => {
                self.heartbeat = comment;
                self.send_raw(HEARTBEAT)
            }
        }
    }

    fn encode(&mut self, message: &Message, data: Option<&str>) -> io::Result<()> {
        self.block.clear();
        push_block(&mut self.block, message, data)
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))
    }

    fn send_block(&mut self) -> io::Result<()> {
        self.sent = Instant::now();
        self.body.send(&self.block)
    }
}

impl fmt::Debug for EventWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}
