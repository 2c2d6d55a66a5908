//! Encodes a message into the bytes of the wire, once; all streams and the history share them.
//!
//! The format is that of the HTML standard, section 9.2.5: lines of `field: value`, each ended by
//! LF, and a blank line that dispatches the event. Most clients get each frame as a chunk (RFC
//! 9112, section 7.1): a frame's memory is the whole chunk, and clients without chunks get the
//! inner part.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use crate::{
    decimal::Decimal,
    error::PublishError,
    message::{GENERAL, Message, MessageError, id::EventId, is_general, json_text::json_string},
};

/// One block of a stream as it goes over the wire: an event, what the stream begins with, or a
/// comment that keeps it alive. Cloning shares the bytes.
///
/// [`is_event`](Self::is_event) says which. The other methods return what a client reads in the
/// block (HTML standard, section 9.2.6). An event is a published one or a `stream-gap`.
///
/// ```
/// # use websse::{Message, Server};
/// # let server = Server::new();
/// # server.register_event("")?;
/// # server.run()?;
/// let mut subscription = server.subscribe([""])?;
/// server.publish(Message::new("two\nlines"))?;
/// let event = subscription.find(|frame| frame.is_event()).expect("published above");
/// assert!(event.as_bytes().starts_with(b"data: two\ndata: lines\nid: "));
/// assert_eq!(event.event(), "message");
/// assert_eq!(event.data(), "two\nlines");
/// assert_eq!(event.retry(), None);
/// println!("its id is {}", event.id().expect("a server with a history gives ids"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A message becomes a frame without a server as well, for a socket of the program's own:
///
/// ```
/// use websse::{Frame, Message};
///
/// let frame = Frame::try_from(&Message::new("42 %").event("progress"))?;
/// assert_eq!(frame.as_bytes(), b"event: progress\ndata: 42 %\n\n");
/// # Ok::<(), websse::MessageError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Arc<[u8]>);

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// The block of a message, with an id only if the message has one. Fails as [`Message::check`].
impl TryFrom<&Message> for Frame {
    type Error = MessageError;

    fn try_from(message: &Message) -> Result<Self, MessageError> {
        let mut block = Vec::new();
        push_block(&mut block, message, Some(message.data()))?;
        Ok(Self::from_block(&block))
    }
}

/// How the parts of a response's body follow each other (RFC 9112, sections 6.3 and 7.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Coding {
    /// One after the other; the body ends with the connection.
    #[default]
    Plain,
    /// Each as a chunk.
    Chunked,
}

impl Coding {
    /// A part of a body as it goes over the wire.
    pub(crate) fn encode(self, part: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => part.to_vec(),
            Self::Chunked => {
                let mut buffer = Vec::with_capacity(CHUNK_LINE + part.len() + 2);
                begin_chunk(&mut buffer);
                buffer.extend_from_slice(part);
                let start = end_chunk(&mut buffer);
                buffer.split_off(start)
            }
        }
    }
}

/// Room for the line before a chunk: its size in hexadecimal digits, and CRLF.
const CHUNK_LINE: usize = 2 * size_of::<usize>() + 2;

/// Leaves room for the line before a chunk.
fn begin_chunk(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(CHUNK_LINE, 0);
}

/// Writes the line before the data that follows that room, and the line end behind them. Returns
/// where the chunk begins.
fn end_chunk(buffer: &mut Vec<u8>) -> usize {
    let mut size = buffer.len() - CHUNK_LINE;
    let mut start = CHUNK_LINE - 2;
    buffer[start..CHUNK_LINE].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        buffer[start] = b"0123456789abcdef"[size % 16];
        size /= 16;
        if size == 0 {
            break;
        }
    }
    buffer.extend_from_slice(b"\r\n");
    start
}

impl Frame {
    /// The bytes of the block. An event ends with a blank line, as does a first block that is one
    /// ([`stream-open`](crate::Server::event_stream_handler)); any other first block and a comment end
    /// with their last line.
    pub fn as_bytes(&self) -> &[u8] {
        let line = self.0.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        &self.0[line..self.0.len() - 2]
    }

    /// The bytes for clients with this coding.
    pub(crate) fn coded(&self, coding: Coding) -> &[u8] {
        match coding {
            Coding::Plain => self.as_bytes(),
            Coding::Chunked => &self.0,
        }
    }

    /// Whether this block is an event, of a program or a `stream-gap`: it has data, even if only an
    /// empty line. The first block is none, even where it is a
    /// [`stream-open`](crate::SubscriptionBuilder::stream_open).
    pub fn is_event(&self) -> bool {
        self.fields("data").next().is_some() && self.event() != OPEN
    }

    /// The event type; `message` for the general one, and for a block that is not an event.
    pub fn event(&self) -> &str {
        self.fields("event").next().map_or(GENERAL, text)
    }

    /// The data as clients see it, with `\n` between its lines; empty for a block that is not an
    /// event.
    pub fn data(&self) -> String {
        self.fields("data").map(text).collect::<Vec<_>>().join("\n")
    }

    /// The reconnection time, which the first block has, and an event whose publisher set one.
    pub fn retry(&self) -> Option<Duration> {
        let millis = self.fields("retry").next().map(text)?;
        millis.parse().ok().map(Duration::from_millis)
    }

    /// The id. In the first block it is the position where the stream begins. `None` if there is
    /// none, for example without a [history](crate::Builder::history_events).
    pub fn id(&self) -> Option<&str> {
        self.fields("id").next().map(text)
    }

    /// The id, where it stands last.
    pub(crate) fn last_id(&self) -> Option<&str> {
        let lines = self.as_bytes().strip_suffix(b"\n\n")?;
        let begin = lines.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        std::str::from_utf8(&lines[begin..]).ok()?.strip_prefix("id: ")
    }

    /// The values of a field, in their order, from the lines that begin with its whole name.
    fn fields(&self, field: &'static str) -> impl Iterator<Item = &[u8]> {
        split_lines(self.as_bytes()).filter_map(move |line| {
            let value = line.strip_prefix(field.as_bytes())?.strip_prefix(b":")?;
            Some(value.strip_prefix(b" ").unwrap_or(value))
        })
    }

    /// The size of the block.
    pub(crate) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// What it takes of the memory.
    pub(crate) fn memory(&self) -> usize {
        shared(self.0.len())
    }

    /// Takes a complete block.
    pub(crate) fn from_block(block: &[u8]) -> Self {
        Self(Coding::Chunked.encode(block).into())
    }
}

/// A part of a frame as text; every block is made of text.
fn text(part: &[u8]) -> &str {
    std::str::from_utf8(part).unwrap_or_default()
}

/// The memory that an allocation of this size takes: allocators keep the size beside it, round it
/// up, and give out no small pieces.
pub(crate) const fn allocated(bytes: usize) -> usize {
    const WORD: usize = size_of::<usize>();
    let size = (bytes + WORD).next_multiple_of(2 * WORD);
    if size < 4 * WORD { 4 * WORD } else { size }
}

/// The memory that shared bytes take: two counters are beside them.
pub(crate) const fn shared(bytes: usize) -> usize {
    allocated(2 * size_of::<usize>() + bytes)
}

/// A message's lines, encoded by its publisher. The broadcaster knows the order and adds the end,
/// with an id if the message has none.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) lines: Vec<u8>,
    pub(crate) id: Option<EventId>,
}

impl Encoded {
    /// Encodes a message, unless its frame would take more than `limit` bytes. The size is computed
    /// before anything is allocated.
    pub(crate) fn new(message: &Message, limit: usize) -> Result<Self, PublishError> {
        message.check()?;
        let size = framed_size(message);
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let mut lines = Vec::with_capacity(size);
        push_message(&mut lines, message, Some(message.data()));
        debug_assert_eq!(lines.len() + 1, size);
        Ok(Self { lines, id: message.event_id().cloned() })
    }

    /// Any text in place of an encoded message.
    #[cfg(test)]
    pub(crate) fn raw(lines: &[u8]) -> Self {
        Self { lines: lines.to_vec(), id: None }
    }

    /// The size of the frame, without an id that the server adds.
    pub(crate) fn len(&self) -> usize {
        self.lines.len() + 1
    }
}

/// Completes a frame: adds an id with this position in the order, and the blank line. `buffer` is
/// used only for its memory.
pub(crate) fn seal(lines: &[u8], place: Option<(&str, u64)>, buffer: &mut Vec<u8>) -> Frame {
    begin_chunk(buffer);
    buffer.extend_from_slice(lines);
    if let Some((epoch, sequence)) = place {
        buffer.extend_from_slice(b"id: ");
        buffer.extend_from_slice(epoch.as_bytes());
        buffer.push(b'-');
        buffer.extend_from_slice(Decimal::new(sequence).as_bytes());
        buffer.push(b'\n');
    }
    buffer.push(b'\n');
    let start = end_chunk(buffer);
    Frame(buffer[start..].into())
}

/// A comment that keeps proxies from cutting a silent connection (HTML standard, 9.2.7). A blank
/// line behind it would be an empty event to clients such as httpx-sse 0.4.3.
pub(crate) const HEARTBEAT: &[u8] = b":\n";

/// The event that tells a browser what is not for its program.
pub(crate) const OPEN: &str = "stream-open";

/// How blocks that are for the client itself are written: the first one, and those with which the
/// server ends a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Own {
    /// Without a blank line, so that no client hands out an empty event for it. The first event's
    /// block ends it.
    #[default]
    Lines,
    /// As an event `stream-open`, for which no program has to listen: Firefox 153 and `WebKitGTK` 2.50
    /// note the id of no block without data. A comment comes before it, since `WebKit` continues half a
    /// line of the connection before.
    Event,
}

impl Own {
    fn begin(self) -> String {
        match self {
            Self::Lines => String::new(),
            Self::Event => format!("event: {OPEN}\ndata: {{}}\n"),
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Lines => "",
            Self::Event => "\n",
        }
    }

    /// The beginning of a stream's first block: a comment, so that clients and proxies see the body
    /// start at once; and the reconnection time, since a client may still have one from an earlier
    /// refusal.
    pub(crate) fn preamble(self, retry_millis: u64) -> String {
        format!(": websse\n{}retry: {retry_millis}\n", self.begin())
    }

    /// The end of the first block: the client's position, so that the client can resume from it even
    /// if it is cut off before its first event.
    pub(crate) fn position(self, id: Option<&str>) -> String {
        format!("{}{}", id.map_or_else(String::new, |id| format!("id: {id}\n")), self.end())
    }

    /// A block that tells a client its position once more.
    #[cfg(feature = "redis")]
    pub(crate) fn new_position(self, id: &str) -> String {
        self.begin() + &self.position(Some(id))
    }

    /// Sets the client's reconnection time, and nothing else.
    pub(crate) fn retry(self, millis: u64) -> String {
        format!("{}retry: {millis}\n{}", self.begin(), self.end())
    }

    /// A stream that gives a reason and ends. The reconnection time is random, so that clients
    /// refused together do not return together. Each line of the reason is a comment: it may be made
    /// of what the client sent, and must add no field.
    pub(crate) fn refusal(self, reason: &str) -> String {
        let retry = 2000 + RandomState::new().hash_one(0) % 8000;
        let lines = split_lines(reason.as_bytes()).map(text);
        let comments: String = lines.flat_map(|line| [": ", line, "\n"]).collect();
        format!("{comments}{}retry: {retry}\n{}", self.begin(), self.end())
    }
}

/// The event that tells a client that it has missed something.
pub(crate) const GAP: &str = "stream-gap";

/// Tells a client that reconnected with the id `requested` that the history begins at `oldest`. The
/// event has no id of its own, so the client's position stays that of the first block.
pub(crate) fn gap(requested: &str, oldest: Option<&str>) -> Frame {
    let oldest = oldest.map_or_else(|| "null".to_owned(), json_string);
    let data = format!("{{\"requested\":{},\"oldest\":{oldest}}}", json_string(requested));
    Frame::from_block(format!("event: {GAP}\ndata: {data}\n\n").as_bytes())
}

/// Appends the block of a message, with these data.
pub(crate) fn push_block(
    bytes: &mut Vec<u8>,
    message: &Message,
    data: Option<&str>,
) -> Result<(), MessageError> {
    message.check()?;
    push_message(bytes, message, data);
    bytes.push(b'\n');
    Ok(())
}

/// Appends the lines of a valid message, with these data.
fn push_message(bytes: &mut Vec<u8>, message: &Message, data: Option<&str>) {
    if !is_general(message.event_type()) {
        push_line(bytes, "event: ", message.event_type());
    }
    if let Some(data) = data {
        split_lines(data.as_bytes()).for_each(|line| push_line(bytes, "data: ", line));
    }
    if let Some(retry) = message.retry {
        bytes.extend_from_slice(b"retry: ");
        bytes.extend_from_slice(Decimal::new(retry).as_bytes());
        bytes.push(b'\n');
    }
    if let Some(id) = message.event_id() {
        push_line(bytes, "id: ", id.as_str());
    }
}

/// Appends a comment, whatever the text is: each of its lines is one.
pub(crate) fn push_comment(bytes: &mut Vec<u8>, text: &str) {
    split_lines(text.as_bytes()).for_each(|line| push_line(bytes, ": ", line));
}

fn push_line(bytes: &mut Vec<u8>, field: &str, value: impl AsRef<[u8]>) {
    bytes.extend_from_slice(field.as_bytes());
    bytes.extend_from_slice(value.as_ref());
    bytes.push(b'\n');
}

/// Splits at CR, LF and CRLF. There is always at least one line. A text that ends with a line
/// ending has an empty last line, so that the client gets back what was published.
fn split_lines(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = line_end(text) else {
            return rest.take();
        };
        let (line, tail) = text.split_at(end);
        rest = Some(tail.strip_prefix(b"\r\n").unwrap_or(&tail[1..]));
        Some(line)
    })
}

/// The position of the first CR or LF. Checks many bytes at a time, since most lines are long.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let is_end = |byte: u8| byte == b'\r' || byte == b'\n';
    let is_plain = |chunk: &&[u8; 32]| !chunk.iter().fold(false, |end, &byte| end | is_end(byte));
    let plain = bytes.as_chunks().0.iter().take_while(is_plain).count() * 32;
    bytes[plain..].iter().position(|&byte| is_end(byte)).map(|end| plain + end)
}

fn framed_size(message: &Message) -> usize {
    let event = message.event_type();
    let event = if is_general(event) { 0 } else { lines_size("event: ", 1, event.len()) };
    let (lines, text) = split_lines(message.data().as_bytes())
        .fold((0, 0), |(lines, bytes), text| (lines + 1, bytes + text.len()));
    let data = lines_size("data: ", lines, text);
    let id = message.event_id().map_or(0, |id| lines_size("id: ", 1, id.as_str().len()));
    let retry = message.retry.map_or(0, |millis| {
        lines_size("retry: ", 1, millis.checked_ilog10().map_or(1, |log| log as usize + 1))
    });
    [event, data, id, retry].into_iter().fold(1, usize::saturating_add)
}

/// The size of the lines of a field, with the bytes of all `values`. A message of line feeds may
/// take more than a 32-bit host can count, which is too much for any limit.
fn lines_size(field: &str, lines: usize, values: usize) -> usize {
    lines.saturating_mul(field.len() + 1).saturating_add(values)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::id::EventId;

    fn encoded(message: &Message) -> String {
        let encoded = Encoded::new(message, usize::MAX).expect("the message is valid");
        let frame = seal(&encoded.lines, None, &mut Vec::new());
        String::from_utf8(frame.as_bytes().to_vec()).expect("frames are UTF-8")
    }

    #[test]
    fn a_size_that_cannot_be_counted_is_the_largest() {
        assert_eq!(lines_size("data: ", 3, 10), 3 * 7 + 10);
        assert_eq!(lines_size("data: ", usize::MAX / 7 + 1, 0), usize::MAX);
        assert_eq!(lines_size("data: ", usize::MAX / 7, 7), usize::MAX);
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
    fn a_line_ending_is_found_wherever_it_is() {
        for at in 0..100 {
            for ending in [b'\r', b'\n'] {
                let mut line = [b'x'; 100];
                line[at] = ending;
                line[99] = b'\n';
                assert_eq!(line_end(&line), Some(at));
                assert_eq!(line_end(&line[..at]), None);
            }
        }
    }

    #[test]
    fn the_fields_of_a_message_come_in_one_order() {
        let id = EventId::new("7").expect("a valid id");
        let message = Message::new("x").event("e").id(id).retry(Duration::from_millis(1500));
        assert_eq!(encoded(&message), "event: e\ndata: x\nretry: 1500\nid: 7\n\n");
        for millis in [0, 9, 10, 99, 100, 2_147_483_647] {
            let message = Message::new("").retry(Duration::from_millis(millis));
            assert_eq!(encoded(&message), format!("data: \nretry: {millis}\n\n"));
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_framed_size() {
        let message = Message::new("\n".repeat(10));
        let size = 11 * "data: \n".len() + 1;
        assert_eq!(Encoded::new(&message, size).map(|encoded| encoded.len()), Ok(size));
        let error = PublishError::TooLarge { size, limit: size - 1 };
        assert_eq!(Encoded::new(&message, size - 1).map(|encoded| encoded.len()), Err(error));
    }

    #[test]
    fn a_frame_is_completed_with_its_place_in_the_order() {
        let mut buffer = b"of the frame before".to_vec();
        let mut seal = |place| seal(b"data: x\n", place, &mut buffer);
        assert_eq!(seal(None).as_bytes(), b"data: x\n\n");
        let frame = seal(Some(("0123456789abc", 17)));
        assert_eq!(frame.as_bytes(), b"data: x\nid: 0123456789abc-17\n\n");
    }

    #[test]
    fn a_block_is_what_its_fields_say_and_not_what_it_begins_with() {
        for (block, is_event, kind, data, id) in [
            (": websse\nretry: 3000\nid: e-1\n\n", false, "message", "", Some("e-1")),
            (":\n\n", false, "message", "", None),
            (": data: x\n:data: x\n: event: a\n: id: 1\n\n", false, "message", "", None),
            ("retry: 1000\n\n", false, "message", "", None),
            ("id: e-1\n\n", false, "message", "", Some("e-1")),
            ("database: x\nids: 1\nevents: a\n data: x\n\n", false, "message", "", None),
            (": websse\nevent: a\ndata: {}\nid: 7\n\n", true, "a", "{}", Some("7")),
            ("data: \n\n", true, "message", "", None),
            ("data:\ndata:x\n\n", true, "message", "\nx", None),
            ("data: : x\ndata:  y\nretry: 1\n\n", true, "message", ": x\n y", None),
            (
                "event: data: b\ndata: event: a\ndata: id: 9\nid: data: x\n\n",
                true,
                "data: b",
                "event: a\nid: 9",
                Some("data: x"),
            ),
        ] {
            let frame = Frame::from_block(block.as_bytes());
            let seen = (frame.is_event(), frame.event(), &*frame.data(), frame.id());
            assert_eq!(seen, (is_event, kind, data, id), "{block:?}");
        }
    }

    #[test]
    fn a_gap_quotes_whatever_was_requested() {
        let frame = gap("a\"b\\c\u{1}d\né", Some("x-1"));
        let wire = "event: stream-gap\n\
            data: {\"requested\":\"a\\\"b\\\\c\\u0001d\\u000aé\",\"oldest\":\"x-1\"}\n\n";
        assert_eq!(frame.as_bytes(), wire.as_bytes());
        assert_eq!((frame.is_event(), frame.event(), frame.id()), (true, GAP, None));
        assert!(gap("", None).as_bytes().ends_with(b"\"oldest\":null}\n\n"));
    }
}
