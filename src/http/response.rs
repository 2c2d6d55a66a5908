//! A response, and its form on the wire.

use std::{borrow::Cow, fmt, io};

use super::{
    body_writer::{BodyWriter, Writing},
    date::Date,
};
use crate::{decimal::Decimal, socket::Socket};

/// A complete response: status, header fields, body.
///
/// The server adds `Date`, `Content-Length` and `Connection`.
///
/// ```
/// use websse::http::Response;
///
/// let page = Response::html("<p>hello").header("Cache-Control", "no-store");
/// let gone = Response::text(410, "moved to the attic");
/// let picture = Response::new(200).header("Content-Type", "image/png").with_body(&b"..."[..]);
/// assert_eq!((page.status(), gone.status()), (200, 410));
/// assert_eq!(gone.body(), b"moved to the attic\n");
/// assert_eq!(picture.header_value("content-type"), Some("image/png"));
/// ```
#[must_use = "a response does nothing until a handler returns it"]
pub struct Response {
    status: u16,
    fields: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    body: Body,
    close: bool,
    /// The client should see that the body ends early, where its coding can tell.
    cut: bool,
    /// A header field cannot be sent.
    invalid: bool,
    /// Why it refuses the request for now, if its status does not show that.
    refused: Option<Cow<'static, str>>,
    /// What the log should be told beside.
    warning: Option<Box<str>>,
}

/// What follows the head.
pub(crate) enum Body {
    Bytes(Cow<'static, [u8]>),
    /// Work that may block; it returns the response.
    Deferred(Deferred),
    /// Takes the socket over, non-blocking, together with the head to send.
    TakeOver(TakeOver),
    /// The program writes it, on the connection's own thread.
    Written(Writing),
}

/// How a client learns where a body ends (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    Bytes(usize),
    /// By the last chunk.
    Chunks,
    /// By the end of the connection.
    Connection,
}

pub(crate) type Deferred = Box<dyn FnOnce() -> Response + Send>;
pub(crate) type TakeOver = Box<dyn FnOnce(Socket, &[u8]) + Send>;

impl Response {
    /// A response without a body.
    pub fn new(status: u16) -> Self {
        let body = Body::Bytes(Cow::Borrowed(b""));
        Self {
            status,
            fields: Vec::new(),
            body,
            close: false,
            cut: false,
            invalid: false,
            refused: None,
            warning: None,
        }
    }

    /// Plain text in UTF-8. A line feed is added at the end, for reading in a terminal.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        Self::new(status)
            .known_header("Content-Type", "text/plain; charset=utf-8")
            .with_body(text.into_bytes())
    }

    /// An HTML page, with status 200.
    pub fn html(page: impl Into<Cow<'static, str>>) -> Self {
        let body = match page.into() {
            Cow::Borrowed(page) => Cow::Borrowed(page.as_bytes()),
            Cow::Owned(page) => Cow::Owned(page.into_bytes()),
        };
        Self::new(200).known_header("Content-Type", "text/html; charset=utf-8").with_body(body)
    }

    /// A value as JSON; a 500 if it cannot be written so. Needs the feature `json`.
    ///
    /// ```
    /// let answer = websse::http::Response::json(201, &vec![1, 2]);
    /// assert_eq!((answer.status(), answer.body()), (201, &b"[1,2]"[..]));
    /// ```
    #[cfg(feature = "json")]
    pub fn json(status: u16, value: &(impl serde::Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => {
                Self::new(status).known_header("Content-Type", "application/json").with_body(body)
            }
            Err(error) => Self::text(500, format!("the program's answer is no JSON: {error}")),
        }
    }

    /// Sets the status. Where the library's answer is [not known yet](Self::status), it has this
    /// status unless it turns out to refuse the request.
    pub fn with_status(self, status: u16) -> Self {
        self.changed(move |response| Self { status, ..response })
    }

    /// Sets the body. Where the library's answer is [not known yet](Self::status), it has this body
    /// unless it turns out to refuse the request.
    pub fn with_body(self, body: impl Into<Cow<'static, [u8]>>) -> Self {
        let body = Body::Bytes(body.into());
        self.changed(move |response| Self { body, ..response })
    }

    /// Changes it now, or when the work that makes it is done. A refusal that comes of this work stays
    /// as it is, as the program could not look at it first.
    fn changed(self, change: impl FnOnce(Self) -> Self + Send + 'static) -> Self {
        match self.body {
            Body::Deferred(work) => {
                let work = move || {
                    let response = work();
                    if response.refuses() { response } else { response.changed(change) }
                };
                Self { body: Body::Deferred(Box::new(work)), ..self }
            }
            _ => change(self),
        }
    }

    /// Adds a header field.
    ///
    /// A response becomes a 500 that gives the reason if it has:
    ///
    /// - a name that is not a token, or that the server sets itself (`Content-Length`,
    ///   `Transfer-Encoding`, `Connection`, `Date`);
    /// - a value with control characters, which could add header fields of its own;
    /// - a status outside 200 to 599.
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        let (name, value) = (name.into(), value.into());
        self.invalid |= !can_be_sent(&name, &value);
        self.fields.push((name, value));
        self
    }

    /// Adds a header field of which the crate knows that it can be sent.
    pub(crate) fn known_header(
        mut self,
        name: &'static str,
        value: impl Into<Cow<'static, str>>,
    ) -> Self {
        let value = value.into();
        debug_assert!(can_be_sent(name, &value), "{name}: {value}");
        self.fields.push((Cow::Borrowed(name), value));
        self
    }

    /// The status; 200 as long as it is not known, for example while the publish queue is full.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of a header field set before.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// The body, as far as it is known before the response is sent; empty for a stream.
    pub fn body(&self) -> &[u8] {
        match &self.body {
            Body::Bytes(bytes) => bytes,
            Body::Deferred(_) | Body::TakeOver(_) | Body::Written(_) => &[],
        }
    }

    /// A response that `work` makes, which may block.
    pub(crate) fn deferred(work: impl FnOnce() -> Self + Send + 'static) -> Self {
        let body = Body::Deferred(Box::new(work));
        Self { body, ..Self::new(200) }
    }

    /// A response whose body has no end of its own. `take` takes the socket over and writes the head,
    /// and the body as chunks if the request [takes them](super::Request::takes_chunks).
    pub(crate) fn take_over(self, take: impl FnOnce(Socket, &[u8]) + Send + 'static) -> Self {
        Self { body: Body::TakeOver(Box::new(take)), close: true, ..self }
    }

    /// A response whose body the program writes.
    pub(super) fn written(
        self,
        write: impl FnOnce(&mut BodyWriter<'_>) -> io::Result<()> + Send + 'static,
    ) -> Self {
        Self { body: Body::Written(Writing::new(write)), ..self }
    }

    /// The head of every answer that is an event stream.
    pub(crate) fn event_stream() -> Self {
        Self::new(200)
            // UTF-8 is the only one (HTML, 9.2.1), but Python's requests takes Latin-1 where none is
            // named.
            .known_header("Content-Type", "text/event-stream; charset=utf-8")
            // Proxies and compression would delay events.
            .known_header("Cache-Control", "no-cache, no-transform")
            .known_header("X-Accel-Buffering", "no")
    }

    /// Adds the header fields that the program gave to the response while it was not known.
    pub(super) fn with_fields_of(mut self, before: Self) -> Self {
        self.fields.extend(before.fields);
        self.close |= before.close;
        self
    }

    /// Closes the connection after this response.
    pub(crate) fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// Closes the connection behind the body without saying that the body is complete, if the request
    /// takes chunks. A client that comes back only after an error so does.
    pub(crate) fn cut(mut self) -> Self {
        (self.close, self.cut) = (true, true);
        self
    }

    /// Marks this as a refusal, with its reason, for the log.
    pub(crate) fn refusing(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.refused = Some(reason.into());
        self
    }

    /// Has a warning logged when this refusal was sent.
    pub(crate) fn warning(mut self, warning: Option<String>) -> Self {
        self.warning = warning.map(String::into_boxed_str);
        self
    }

    /// Whether this refuses the request, as far as it is known.
    pub(super) fn refuses(&self) -> bool {
        self.status >= 400 || self.refused.is_some()
    }

    /// Whether this refuses the request, or may do so or break off once its work is done.
    pub(super) fn may_refuse(&self) -> bool {
        let may_fail = matches!(self.body, Body::Deferred(_) | Body::Written(_));
        self.refuses() || self.invalid || may_fail
    }

    /// Why this refuses the request, if its status does not show that.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    pub(super) fn warns(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn closes(&self) -> bool {
        self.close
    }

    /// Splits off the body. A response that cannot be sent is replaced by one that says why.
    pub(super) fn split(self) -> (Self, Body) {
        if self.invalid || !(200..600).contains(&self.status) {
            let text =
                "the program made a response with a status or a header field that cannot be sent";
            return Self::text(500, text).split();
        }
        let mut head = self;
        let body = std::mem::replace(&mut head.body, Body::Bytes(Cow::Borrowed(b"")));
        (head, body)
    }

    /// 204 and 304 end with their head (RFC 9112, section 6.3).
    pub(super) fn may_have_body(&self) -> bool {
        !matches!(self.status, 204 | 304)
    }

    /// Writes the head.
    pub(super) fn write_head(&self, length: Length, close: bool, out: &mut Vec<u8>) {
        let mut push = |parts: &[&str]| push(out, parts);
        let status = Decimal::new(self.status.into());
        push(&["HTTP/1.1 ", status.as_str(), " ", reason(self.status), "\r\n"]);
        Date::now().with(|date| push(&["Date: ", date, "\r\n"]));
        for (name, value) in &self.fields {
            push(&[name, ": ", value, "\r\n"]);
        }
        match length {
            Length::Bytes(length) if self.may_have_body() => {
                push(&["Content-Length: ", Decimal::new(length as u64).as_str(), "\r\n"]);
            }
            Length::Chunks => push(&["Transfer-Encoding: chunked\r\n"]),
            Length::Bytes(_) | Length::Connection => {}
        }
        if close {
            push(&["Connection: close\r\n"]);
        }
        push(&["\r\n"]);
    }
}

#[inline(never)]
fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

/// The header fields that the server sets itself.
const OWN_FIELDS: [&str; 4] = ["Content-Length", "Transfer-Encoding", "Connection", "Date"];

/// Whether a program may set this header field.
fn can_be_sent(name: &str, value: &str) -> bool {
    is_token(name)
        && !OWN_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name))
        && !value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
}

/// Whether a name can be that of a header field (RFC 9110, section 5.6.2).
pub(super) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(is_token_byte)
}

/// Whether a byte can be part of a token, such as a method.
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// A refused request: a status and one line of text. The connection is closed after it, since the
/// start of the next request is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: Cow<'static, str>,
}

impl Refusal {
    pub(super) fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { status, reason: reason.into() }
    }

    pub(super) fn response(&self) -> Response {
        let response = Response::text(self.status, self.reason.clone()).close();
        if self.status == 503 { response.known_header("Retry-After", "1") } else { response }
    }
}

/// The name of a status (RFC 9110, section 15); an unknown one has none.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_cannot_be_sent_makes_a_500() {
        for (name, value) in [
            ("X", "a\r\nSet-Cookie: b"),
            ("X", "a\0"),
            ("X Y", "a"),
            ("", "a"),
            ("content-length", "5"),
        ] {
            let (head, _) = Response::new(200).header(name, value).split();
            assert_eq!(head.status(), 500, "{name:?}: {value:?}");
        }
    }
}
