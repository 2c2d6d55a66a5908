//! A request, and the strict parsing of its head (RFC 9112).

mod lookup;

#[cfg(feature = "tls")]
use std::sync::Arc;
use std::{borrow::Cow, net::SocketAddr, ops::Range};

pub(crate) use self::lookup::LAST_EVENT_ID;
use super::{
    limits::Limits,
    response::Refusal,
    target::{Target, is_host_byte, is_utf8_once_decoded, parameters},
};
#[cfg(feature = "tls")]
use crate::tls::Certificate;

/// A request, complete with its body.
///
/// ```
/// use websse::http::{Request, Response};
///
/// let hello = |request: &Request| {
///     let name = request.query().find(|(key, _)| key == "name");
///     Response::text(200, format!("hello {}", name.map_or("you".into(), |(_, name)| name)))
/// };
/// let request = Request::new("GET", "/hello?name=J%C3%BCrgen")?;
/// assert_eq!(hello(&request).body(), "hello Jürgen\n".as_bytes());
///
/// let request = Request::new("POST", "/a%20b?c=d")?
///     .with_header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
///     .with_header("X-Number", "1")
///     .with_body("name=J%C3%BCrgen");
/// assert_eq!((request.method(), request.path()), ("POST", "/a b"));
/// assert_eq!(request.header("x-number"), request.headers("x-number").next());
/// assert!(request.has_form() && !request.has_type("application/json"));
/// assert_eq!(request.form().map(Iterator::count), Some(1));
/// assert_eq!((request.body().len(), request.peer(), request.host()), (16, None, None));
/// assert_eq!(Request::new("GET", "http://a:80/b")?.host(), Some("a:80"));
/// # Ok::<(), websse::http::RequestError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    /// Host and port, if the target is a whole URL.
    authority: Option<String>,
    /// Percent-decoded.
    path: String,
    /// As it arrived, without the question mark.
    query: String,
    /// Names and values of the header fields, one after the other.
    text: Vec<u8>,
    fields: Vec<Field>,
    body: Vec<u8>,
    peer: Option<SocketAddr>,
    fate: Fate,
    takes_chunks: bool,
    /// The parameter that the route found in the path: its name and its value.
    param: Option<(String, String)>,
    #[cfg(feature = "tls")]
    is_secure: bool,
    #[cfg(feature = "tls")]
    peer_certificate: Option<Arc<Certificate>>,
}

/// The position of a header field in the request's text.
#[derive(Clone, Debug)]
struct Field {
    name: Range<usize>,
    value: Range<usize>,
}

/// What can happen to the connection of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// There is none: the request was made by hand.
    None,
    /// It must be closed after the response, because descriptors have run out.
    Close,
    /// A stream can take it over.
    Open,
}

impl Request {
    /// A request without a connection, to test handlers with.
    ///
    /// # Errors
    /// [`RequestError`] if no client could send the target.
    pub fn new(method: &str, target: &str) -> Result<Self, RequestError> {
        let target =
            Target::parse(method, target).map_err(|refusal| RequestError(refusal.reason))?;
        Ok(Self {
            method: method.to_owned(),
            authority: target.authority,
            path: target.path,
            query: target.query,
            text: Vec::new(),
            fields: Vec::new(),
            body: Vec::new(),
            peer: None,
            fate: Fate::None,
            takes_chunks: false,
            param: None,
            #[cfg(feature = "tls")]
            is_secure: false,
            #[cfg(feature = "tls")]
            peer_certificate: None,
        })
    }

    /// Adds a header field.
    pub fn with_header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.push_field(name, value.as_ref());
        self
    }

    /// Sets the body.
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The method, as it arrived.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The requested host, with its port if that was sent. It is taken from the target if that is a
    /// whole URL, else from `Host` (RFC 9112, section 3.2.2). `None` if there is neither, as
    /// HTTP/1.0 allows.
    pub fn host(&self) -> Option<&str> {
        let field = || std::str::from_utf8(self.header("host")?).ok();
        self.authority.as_deref().or_else(field)
    }

    /// The path, percent-decoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The parameters of the query, decoded, in their order.
    pub fn query(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        parameters(self.query.as_bytes())
    }

    /// The query as it arrived, without the question mark.
    pub fn raw_query(&self) -> &str {
        &self.query
    }

    /// The parameters of an `application/x-www-form-urlencoded` body, decoded, in their order;
    /// `None` if the body has another type, or is not UTF-8 once decoded.
    pub fn form(&self) -> Option<impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)>> {
        let decodes = self.has_form() && is_utf8_once_decoded(&self.body);
        decodes.then(|| parameters(&self.body))
    }

    /// Whether the type of the body is `application/x-www-form-urlencoded`.
    pub fn has_form(&self) -> bool {
        self.has_type("application/x-www-form-urlencoded")
    }

    /// Whether the body has this media type, with any parameters.
    pub fn has_type(&self, media_type: &str) -> bool {
        let kind = self.header("content-type").unwrap_or_default();
        let kind = kind.split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes())
    }

    /// The value of a header field, or the first of several. The case of the name does not matter.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let field = self.fields.iter().find(|field| self.is_named(field, name))?;
        Some(&self.text[field.value.clone()])
    }

    /// All values of a header field, in their order.
    pub fn headers<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
        let named = self.fields.iter().filter(move |field| self.is_named(field, name));
        named.map(|field| &self.text[field.value.clone()])
    }

    /// The body; empty if there is none.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The client's address; `None` over a Unix-domain socket.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// Whether the request came over TLS to this server. What a proxy in front of it says is not asked.
    #[cfg(feature = "tls")]
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The client's certificate, if the listener
    /// [asks for one](super::TlsConfig::client_authorities).
    #[cfg(feature = "tls")]
    pub fn peer_certificate(&self) -> Option<&Certificate> {
        self.peer_certificate.as_deref()
    }

    #[cfg(feature = "tls")]
    pub(super) fn set_secure(&mut self, peer_certificate: Option<Arc<Certificate>>) {
        self.is_secure = true;
        self.peer_certificate = peer_certificate;
    }

    /// Whether the answer may come in chunks (RFC 9112, section 7.1). HTTP/1.0 does not know them, and
    /// clients that say `Connection: close`, for example PHP's streams, hold chunks back.
    pub(crate) fn takes_chunks(&self) -> bool {
        self.takes_chunks
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate
    }

    pub(super) fn set_body(&mut self, body: Vec<u8>) {
        self.body = body;
    }

    fn is_named(&self, field: &Field, name: &str) -> bool {
        self.text[field.name.clone()].eq_ignore_ascii_case(name.as_bytes())
    }

    fn push_field(&mut self, name: &str, value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(name.as_bytes());
        let middle = self.text.len();
        self.text.extend_from_slice(value);
        self.fields.push(Field { name: start..middle, value: middle..self.text.len() });
    }
}

/// [`Request::new`] got a target that no client could send.
///
/// ```
/// let error = websse::http::Request::new("GET", "no slash").unwrap_err();
/// println!("{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestError(Cow<'static, str>);

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RequestError {}

/// A complete head, parsed.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) request: Request,
    pub(super) framing: Framing,
    /// Whether the client can use the connection again.
    pub(super) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// Finds the end of the head in `bytes`, after its blank line. Starts at `scanned`, and sets it to
/// the position that it has reached.
pub(super) fn find_end(bytes: &[u8], scanned: &mut usize) -> Option<usize> {
    let from = *scanned;
    *scanned = bytes.len().saturating_sub(2).max(from);
    let line_ends = (from..bytes.len()).filter(|&at| bytes[at] == b'\n');
    line_ends.map(|at| at + 1).find_map(|next| match bytes[next..] {
        // A bare line feed also ends the head, so that it can be refused at once.
        [b'\n', ..] => Some(next + 1),
        [b'\r', b'\n', ..] => Some(next + 2),
        _ => None,
    })
}

/// Refuses an incomplete head if its request line is too long, or if the buffer is full.
pub(super) fn refuse_unfinished(bytes: &[u8], limits: &Limits) -> Option<Refusal> {
    if has_long_line(bytes, limits) {
        return Some(target_too_long(limits));
    }
    (bytes.len() >= limits.head_bytes).then(|| head_too_long(limits))
}

/// Room in a request line for the method, the version and the spaces.
const METHOD_BYTES: usize = 32;

/// Whether the request line, complete or not, is too long for a target within the limit. It is
/// called for a complete head too, so that the answer is the same however the bytes were split.
fn has_long_line(bytes: &[u8], limits: &Limits) -> bool {
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    line > longest_line(limits)
}

/// The longest request line that is accepted.
pub(super) fn longest_line(limits: &Limits) -> usize {
    limits.target_bytes.saturating_add(METHOD_BYTES)
}

fn target_too_long(limits: &Limits) -> Refusal {
    let limit = limits.target_bytes;
    Refusal::new(414, format!("the request target is longer than {limit} bytes"))
}

fn head_too_long(limits: &Limits) -> Refusal {
    let limit = limits.head_bytes;
    Refusal::new(431, format!("the request head is longer than {limit} bytes"))
}

/// Parses a complete head.
pub(super) fn parse(
    bytes: &[u8],
    limits: &Limits,
    peer: Option<SocketAddr>,
    fate: Fate,
) -> Result<Head, Refusal> {
    if has_long_line(bytes, limits) {
        return Err(target_too_long(limits));
    }
    if bytes.len() > limits.head_bytes {
        return Err(head_too_long(limits));
    }
    // The parser accepts bare line feeds; a proxy in front may not, and see another request.
    let is_bare = |pair: &[u8]| pair[1] == b'\n' && pair[0] != b'\r';
    if bytes.starts_with(b"\n") || bytes.windows(2).any(is_bare) {
        return Err(bare_line_feed());
    }
    let mut fields = vec![httparse::EMPTY_HEADER; limits.headers];
    let mut parsed = httparse::Request::new(&mut fields);
    match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(malformed()),
        Err(error) => return Err(refuse(error, bytes, limits)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(malformed());
    };
    if target.len() > limits.target_bytes {
        return Err(target_too_long(limits));
    }
    let Target { authority, path, query } = Target::parse(method, target)?;
    let mut request = Request {
        method: method.to_owned(),
        authority,
        path,
        query,
        text: Vec::with_capacity(bytes.len()),
        fields: Vec::with_capacity(parsed.headers.len()),
        body: Vec::new(),
        peer,
        fate,
        takes_chunks: false,
        param: None,
        #[cfg(feature = "tls")]
        is_secure: false,
        #[cfg(feature = "tls")]
        peer_certificate: None,
    };
    for field in parsed.headers.iter() {
        request.push_field(field.name, field.value);
    }
    let is_1_1 = version == 1;
    check_host(&request, is_1_1)?;
    let framing = Framing::of(&request, is_1_1, limits)?;
    // HTTP/1.0 has no keep-alive that all its clients agree on.
    let keep_alive = is_1_1 && !has_token(&request, "connection", "close");
    request.takes_chunks = keep_alive;
    Ok(Head { framing, keep_alive, expects_continue: expects(&request, is_1_1)?, request })
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The number of bytes; 0 without a body.
    Length(usize),
    Chunked,
}

impl Framing {
    /// Reads the framing from the head. An ambiguous head is refused: a proxy in front might read
    /// it differently and see another request (request smuggling).
    pub(super) fn of(request: &Request, is_1_1: bool, limits: &Limits) -> Result<Self, Refusal> {
        let mut lengths = request.headers("content-length");
        let mut encodings = request.headers("transfer-encoding");
        match (lengths.next(), encodings.next()) {
            (None, None) => Ok(Self::Length(0)),
            (Some(_), Some(_)) => Err(Refusal::new(
                400,
                "a request has either Content-Length or Transfer-Encoding, not both",
            )),
            (Some(length), None) => {
                if lengths.next().is_some() {
                    return Err(Refusal::new(400, "more than one Content-Length"));
                }
                // One that this machine cannot count is too large for any limit.
                let length = parse_length(length)?.filter(|length| *length <= limits.body_bytes);
                length.map(Self::Length).ok_or_else(|| too_large(limits))
            }
            (None, Some(encoding)) => {
                let only = encodings.next().is_none();
                if is_1_1 && only && encoding.eq_ignore_ascii_case(b"chunked") {
                    Ok(Self::Chunked)
                } else {
                    Err(Refusal::new(
                        400,
                        "the only Transfer-Encoding understood is chunked, on HTTP/1.1",
                    ))
                }
            }
        }
    }
}

pub(super) fn too_large(limits: &Limits) -> Refusal {
    let limit = limits.body_bytes;
    Refusal::new(413, format!("the request body is larger than {limit} bytes"))
}

/// Accepts digits only. `None`: the number is too large for the machine.
fn parse_length(text: &[u8]) -> Result<Option<usize>, Refusal> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::new(400, "Content-Length is a decimal number of bytes"));
    }
    let digit =
        |length: usize, byte: &u8| length.checked_mul(10)?.checked_add(usize::from(byte - b'0'));
    Ok(text.iter().try_fold(0, digit))
}

/// The value of `Origin` in a head that is not complete, or not well formed: the page that sent it
/// is to be let read the refusal.
pub(super) fn origin_in(bytes: &[u8]) -> Option<&[u8]> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').skip(1);
    let lines = lines.map_while(|line| line.strip_suffix(b"\n"));
    let mut lines = lines.map(<[u8]>::trim_ascii_end).take_while(|line| !line.is_empty());
    lines.find_map(|line| {
        let (name, value) = line.split_at_checked("origin:".len())?;
        name.eq_ignore_ascii_case(b"origin:").then(|| value.trim_ascii())
    })
}

pub(super) fn malformed() -> Refusal {
    Refusal::new(400, "malformed request; an example: GET /event HTTP/1.1")
}

pub(super) fn bare_line_feed() -> Refusal {
    Refusal::new(400, "lines of a request head end with CR and LF")
}

fn refuse(error: httparse::Error, bytes: &[u8], limits: &Limits) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            let limit = limits.headers;
            Refusal::new(431, format!("more than {limit} header fields"))
        }
        httparse::Error::Version => {
            let line = bytes.trim_ascii_start().split(|&byte| byte == b'\r').next();
            let version = line.unwrap_or_default().split(|&byte| byte == b' ').nth(2);
            match version.and_then(|version| version.strip_prefix(b"HTTP/")) {
                Some([b'0'..=b'9', ..]) => Refusal::new(505, "use HTTP/1.1 or HTTP/1.0"),
                _ => malformed(),
            }
        }
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Refusal::new(
            400,
            "malformed header field; it is one line, a name of letters, digits and hyphens, a colon \
             and a value",
        ),
        _ => malformed(),
    }
}

fn check_host(request: &Request, is_1_1: bool) -> Result<(), Refusal> {
    let mut hosts = request.headers("host");
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.iter().copied().all(is_host_byte) => Ok(()),
        (Some(_), None) => Err(Refusal::new(400, "Host is a name or an address, and a port")),
        (None, _) if !is_1_1 => Ok(()),
        (None, _) => Err(Refusal::new(400, "HTTP/1.1 demands a Host header field")),
        (Some(_), Some(_)) => Err(Refusal::new(400, "more than one Host header field")),
    }
}

fn expects(request: &Request, is_1_1: bool) -> Result<bool, Refusal> {
    match request.header("expect") {
        Some(value) if value.eq_ignore_ascii_case(b"100-continue") => Ok(is_1_1),
        Some(_) => Err(Refusal::new(417, "of all expectations only 100-continue can be met")),
        None => Ok(false),
    }
}

/// Whether a header field that is a list contains `token`.
fn has_token(request: &Request, name: &str, token: &str) -> bool {
    request.headers(name).any(|value| {
        value
            .split(|&byte| byte == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

#[cfg(test)]
mod tests;
