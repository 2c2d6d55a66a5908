//! What is published is what a browser reads; what is refused could not have been read; a listener
//! that comes back gets exactly what it has missed, or is told.
//!
//! An input is text in parts, with the byte FF between them: the id that a listener comes back with,
//! then event type, id, reconnection time and data of each message. An id to come back with that
//! begins with `@` is one of the server's own form: `@2` is what the second event got. If the input
//! begins with `#`, a channel is the fifth part of each message.

use std::{io::Read, time::Duration};

use websse::{
    Channels, EventId, Frame, Message, PublishError, Server, Subscription,
    http::{Handler, Request},
};

use crate::{
    event_source::{EventSource, is_digits, with_line_feeds},
    history::{History, is_generated, with_gaps_read},
};

/// Limits of the server under test; small, so that they are soon reached.
const FRAME_BYTES: usize = 400;
const KEPT_OF_A_TYPE: usize = 2;
const DEADLINE: Duration = Duration::from_secs(20);
/// Names that no type can have, since they mean something else.
const RESERVED: [&str; 5] = ["*", "stream-gap", "stream-open", "open", "error"];

/// Publishes an input's messages, by a form and from the program in turn, for listeners: one that
/// was there before, and two that come back, to all types and to the first.
pub fn check(input: &[u8]) {
    let (input, of_a_message) = match input.strip_prefix(b"#") {
        Some(input) => (input, 5),
        None => (input, 4),
    };
    let parts: Vec<_> = input.split(|&byte| byte == 0xff).map(String::from_utf8_lossy).collect();
    let server =
        Server::builder().history_events(KEPT_OF_A_TYPE).max_frame_bytes(FRAME_BYTES).build();
    server.register_event("").expect("the general type can be registered");
    server.run().expect("there are threads");
    let all = || Channels::all();
    let live = server.subscription(["*"]).channels(all()).open();
    let mut live = live.expect("the server runs");
    let preamble = live.next().expect("a stream begins at once");
    let run = preamble.id().unwrap_or_default();
    let run = run.strip_suffix("-0").expect("nothing was published yet");

    let mut history = History::new(run, KEPT_OF_A_TYPE);
    for (number, fields) in parts[1..].chunks(of_a_message).enumerate() {
        let field = |at: usize| fields.get(at).map_or("", |field| field);
        let (event, id, retry, data) = (field(0), field(1), field(2), field(3));
        let channel = if of_a_message > 4 { field(4) } else { "" };
        let draft = Draft { event, id, retry, data, channel };
        draft.publish(number % 2 == 0, &server, &mut history);
    }
    let last_id = match parts[0].strip_prefix('@') {
        Some(sequence) => format!("{run}-{sequence}"),
        None => parts[0].to_string(),
    };
    let come_back = |kind: &str, channels| {
        let listener = server.subscription([kind]).channels(channels).last_event_id(&*last_id);
        listener.open().expect("the type is registered")
    };
    let back = come_back("*", all());
    let kind = parts.get(1).filter(|kind| server.event_exists(kind)).map_or("message", |kind| kind);
    let channel = parts.get(5).filter(|_| of_a_message > 4).map_or("", |channel| channel);
    let channel = if is_good_channel(channel) { channel } else { "" };
    let one = Channels::new([channel]).expect("it was checked");
    let back_to_one = come_back(kind, one);
    let report = server.shutdown(DEADLINE);
    assert_eq!(report.undelivered, 0);

    assert_eq!(read(Some(preamble.clone()), live), history.live(), "as it was published");
    assert_eq!(read(None, back), history.after(&last_id, None), "all after {last_id:?}");
    let kind = if kind.is_empty() { "message" } else { kind };
    let expected = history.after(&last_id, Some((kind, channel)));
    assert_eq!(read(None, back_to_one), expected, "{kind:?}, {channel:?} after {last_id:?}");
}

/// A channel that a client may name; empty is the common one.
fn is_good_channel(name: &str) -> bool {
    let is_break = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
    name.len() <= 256 && name != "*" && !name.chars().any(is_break)
}

/// All that a listener gets until its end. Its first block is ended here, so that it counts as well where
/// no event ends it.
fn read(first: Option<Frame>, mut listener: Subscription) -> EventSource {
    let first = first.or_else(|| listener.next()).expect("a stream begins at once");
    let mut stream = [first.as_bytes(), b"\n"].concat();
    listener.into_reader().read_to_end(&mut stream).expect("a subscription does not fail");
    assert!(!stream.contains(&b'\r'), "lines end with LF: {}", stream.escape_ascii());
    with_gaps_read(EventSource::read(&stream))
}

/// A message as somebody might want to publish it; empty is none.
#[derive(Clone, Copy, Debug)]
struct Draft<'i> {
    event: &'i str,
    id: &'i str,
    retry: &'i str,
    data: &'i str,
    channel: &'i str,
}

impl Draft<'_> {
    fn publish(self, by_form: bool, server: &Server, history: &mut History) {
        let can_be_type = self.has_good_event() && !RESERVED.contains(&self.event);
        assert_eq!(server.register_event(self.event).is_ok(), can_be_type, "{self:?}");
        let id = EventId::new(self.id);
        assert_eq!(id.is_ok(), self.has_good_id(), "{self:?}");
        let retry = is_digits(self.retry).then(|| self.retry.parse().ok()).flatten();
        let retry = retry.filter(|&millis: &u64| millis < 1 << 31);
        let has_good_data = !self.data.contains('\0');

        let is_good =
            (self.id.is_empty() || id.is_ok()) && (self.retry.is_empty() || retry.is_some());
        let can_be_to = is_good_channel(self.channel);
        let frame = self.naive_frame(retry);
        let status = match () {
            () if !is_good || !can_be_type || !has_good_data || !can_be_to => 422,
            () if frame.len() > FRAME_BYTES => 413,
            () => 200,
        };
        let published = if by_form || !is_good {
            self.publish_by_form(server)
        } else {
            let mut message = Message::new(self.data).event(self.event).channel(self.channel);
            let is_good = self.has_good_event() && has_good_data && can_be_to;
            assert_eq!(message.check().is_ok(), is_good, "{self:?}");
            message = id.into_iter().fold(message, Message::id);
            message = retry.map(Duration::from_millis).into_iter().fold(message, Message::retry);
            match server.publish(message) {
                Ok(_) => 200,
                Err(PublishError::TooLarge { .. }) => 413,
                Err(PublishError::Message(_) | PublishError::EventNotRegistered(_)) => 422,
                Err(error) => panic!("{error} for {self:?}"),
            }
        };
        assert_eq!(published, status, "{self:?}");
        if status == 200 {
            let [event] = &EventSource::read(frame.as_bytes()).events[..] else {
                panic!("one event in {frame:?}");
            };
            history.push(event, self.channel, self.id, retry);
        }
    }

    fn publish_by_form(self, server: &Server) -> u16 {
        let fields = [
            ("event", self.event),
            ("id", self.id),
            ("retry", self.retry),
            ("data", self.data),
            ("channel", self.channel),
        ];
        // Empty is the same as none, but for a number.
        let fields =
            fields.into_iter().filter(|(name, value)| *name != "retry" || !value.is_empty());
        let encode = |byte| format!("%{byte:02X}");
        let encode = |text: &str| text.bytes().map(encode).collect::<Vec<_>>().concat();
        let pairs = fields.map(|(name, value)| format!("{name}={}", encode(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let request = Request::new("POST", "/send").expect("a good target");
        let request = request.with_header("Content-Type", "application/x-www-form-urlencoded");
        server.send_message_handler().client_channels().handle(&request.with_body(body)).status()
    }

    /// The message in an event stream, written as it is but for line endings in the data.
    fn naive_frame(self, retry: Option<u64>) -> String {
        let line = |name: &str, value: &str| format!("{name}: {value}\n");
        let is_general = matches!(self.event, "" | "message");
        let mut frame = if is_general { String::new() } else { line("event", self.event) };
        frame.extend(with_line_feeds(self.data).split('\n').map(|data| line("data", data)));
        frame.extend(retry.map(|retry| line("retry", &retry.to_string())));
        frame.extend((!self.id.is_empty()).then(|| line("id", self.id)));
        frame + "\n"
    }

    /// A type that arrives as it is. NUL does too, and is refused all the same.
    fn has_good_event(self) -> bool {
        let source = EventSource::read(format!("event: {}\ndata\n\n", self.event).as_bytes());
        let name = if self.event.is_empty() { "message" } else { self.event };
        let arrives = matches!(&source.events[..], [event] if event.kind == name);
        arrives && !self.event.contains('\0')
    }

    /// An id that arrives as it is, and comes back as it is in a header field. Some that would are
    /// refused all the same.
    fn has_good_id(self) -> bool {
        let source = EventSource::read(format!("id: {}\ndata\n\n", self.id).as_bytes());
        let arrives = matches!(&source.events[..], [event] if event.last_event_id == self.id);
        let field = self.id.trim_matches([' ', '\t']);
        let returns =
            field == self.id && !field.chars().any(|c| c < ' ' && c != '\t' || c == '\x7f');
        let is_refused = self.id.is_empty()
            || self.id.len() > 256
            || !self.id.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            || is_generated(self.id);
        arrives && returns && !is_refused
    }
}
