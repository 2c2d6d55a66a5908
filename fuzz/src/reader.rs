//! A second reader of requests, written from RFC 9112 and the crate's promises: what the server
//! serves has to be what this one reads, byte for byte, or somebody could smuggle a request. It is
//! slow and plain, and reads only what has come whole.

/// The limits of the server under test; small, so that they are soon reached.
pub(crate) const HEAD_BYTES: usize = 512;
pub(crate) const TARGET_BYTES: usize = 100;
pub(crate) const HEADERS: usize = 6;
pub(crate) const BODY_BYTES: usize = 300;
/// What a request line may have beside its target.
const METHOD_BYTES: usize = 32;
/// A line that announces a chunk, its end included.
const CHUNK_LINE_BYTES: usize = 256;

/// A request as it stands on the wire.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it came.
    pub(crate) target: String,
    /// Of a target that is a URL.
    authority: Option<String>,
    /// Percent-decoded.
    pub(crate) path: String,
    /// As it came.
    pub(crate) query: Vec<u8>,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
    /// Where it ends on the wire.
    pub(crate) end: usize,
}

/// Why what stands on the wire is not a request to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Not {
    /// More has to come.
    Complete,
    /// It is to be refused.
    Good(&'static str),
}

/// Reads the first request.
pub(crate) fn read(wire: &[u8]) -> Result<Request, Not> {
    let mut at = 0;
    while wire[at..].starts_with(b"\r\n") {
        at += 2;
    }
    let start = at;
    let first = line(wire, &mut at)?;
    let mut fields = Vec::new();
    loop {
        match line(wire, &mut at)? {
            [] => break,
            line => fields.push(line),
        }
    }
    ensure(at - start <= HEAD_BYTES, "the head is too long")?;
    ensure(first.len() < TARGET_BYTES + METHOD_BYTES, "the request line is too long")?;
    ensure(fields.len() <= HEADERS, "too many header fields")?;
    let [method, target, version] = first.split(|&byte| byte == b' ').collect::<Vec<_>>()[..]
    else {
        return Err(Not::Good("a request line has three parts"));
    };
    ensure(is_token(method), "the method is a token")?;
    let is_1_1 = version == b"HTTP/1.1";
    ensure(is_1_1 || version == b"HTTP/1.0", "the version is 1.0 or 1.1")?;
    ensure(target.len() <= TARGET_BYTES, "the target is too long")?;
    let (authority, path, query) = split_target(method, target)?;
    let fields = fields.into_iter().map(field).collect::<Result<_, _>>()?;
    let mut request = Request {
        method: text(method)?,
        target: text(target)?,
        authority: authority.map(text).transpose()?,
        path: text(&percent_decode(path))?,
        query: query.to_vec(),
        fields,
        body: Vec::new(),
        keep_alive: is_1_1,
        end: 0,
    };
    text(&percent_decode(query))?;
    request.check_fields(is_1_1)?;
    request.body = body(&request, is_1_1, wire, &mut at)?;
    request.end = at;
    Ok(request)
}

impl Request {
    pub(crate) fn values<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r [u8]> {
        self.fields.iter().filter(move |field| field.0 == name).map(|field| &*field.1)
    }

    /// The URL's own, else that of the field (RFC 9112, section 3.2.2).
    pub(crate) fn host(&self) -> Option<String> {
        let field = self.values("host").next().map(|host| text(host).expect("it was checked"));
        self.authority.clone().or(field)
    }

    fn check_fields(&mut self, is_1_1: bool) -> Result<(), Not> {
        let hosts: Vec<_> = self.values("host").collect();
        ensure(hosts.len() == 1 || hosts.is_empty() && !is_1_1, "one Host")?;
        ensure(hosts.concat().iter().copied().all(is_host_byte), "Host is a host")?;
        let expectation = self.values("expect").next().unwrap_or(b"100-continue");
        ensure(expectation.eq_ignore_ascii_case(b"100-continue"), "an unknown expectation")?;
        let options = self.values("connection").collect::<Vec<_>>().join(&b","[..]);
        let mut options = options.split(|&byte| byte == b',');
        self.keep_alive &= !options.any(|word| trim(word).eq_ignore_ascii_case(b"close"));
        Ok(())
    }
}

/// The body, from `at` on.
fn body(request: &Request, is_1_1: bool, wire: &[u8], at: &mut usize) -> Result<Vec<u8>, Not> {
    let lengths: Vec<_> = request.values("content-length").collect();
    let encodings: Vec<_> = request.values("transfer-encoding").collect();
    match (&lengths[..], &encodings[..]) {
        ([], []) => Ok(Vec::new()),
        ([digits], []) => {
            let digits = text(digits)?;
            ensure(crate::event_source::is_digits(&digits), "Content-Length is digits")?;
            let length = digits.parse().unwrap_or(usize::MAX);
            ensure(length <= BODY_BYTES, "the body is too large")?;
            take(wire, at, length).map(<[u8]>::to_vec)
        }
        ([], [coding]) if is_1_1 && coding.eq_ignore_ascii_case(b"chunked") => chunks(wire, at),
        _ => Err(Not::Good("the body's end is told once, and in a known way")),
    }
}

fn chunks(wire: &[u8], at: &mut usize) -> Result<Vec<u8>, Not> {
    let mut body = Vec::new();
    loop {
        let line = chunk_line(wire, at)?;
        let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
        let digits = text(digits.trim_ascii_end())?;
        ensure((1..=8).contains(&digits.len()), "a chunk's size has 1 to 8 digits")?;
        ensure(digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "the digits are hexadecimal")?;
        let size = usize::from_str_radix(&digits, 16).unwrap_or(usize::MAX);
        if size == 0 {
            break;
        }
        ensure(body.len() + size <= BODY_BYTES, "the body is too large")?;
        body.extend_from_slice(take(wire, at, size)?);
        ensure(chunk_line(wire, at)?.is_empty(), "a chunk ends where its size says")?;
    }
    loop {
        match chunk_line(wire, at)? {
            [] => return Ok(body),
            trailer => field(trailer)?,
        };
    }
}

fn chunk_line<'w>(wire: &'w [u8], at: &mut usize) -> Result<&'w [u8], Not> {
    let line = line(wire, at)?;
    ensure(line.len() + 2 <= CHUNK_LINE_BYTES, "a line of a chunked body is too long")?;
    ensure(is_clean(line), "control characters beside the data")?;
    Ok(line)
}

/// A line without its CRLF.
fn line<'w>(wire: &'w [u8], at: &mut usize) -> Result<&'w [u8], Not> {
    let rest = &wire[*at..];
    let length = rest.windows(2).position(|two| two == b"\r\n").ok_or(Not::Complete)?;
    *at += length + 2;
    Ok(&rest[..length])
}

fn take<'w>(wire: &'w [u8], at: &mut usize, length: usize) -> Result<&'w [u8], Not> {
    let taken = wire[*at..].get(..length).ok_or(Not::Complete)?;
    *at += length;
    Ok(taken)
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), Not> {
    let colon = line.iter().position(|&byte| byte == b':');
    let (name, value) = line.split_at(colon.ok_or(Not::Good("a header field has a colon"))?);
    ensure(is_token(name), "a field's name is a token")?;
    ensure(is_clean(value), "control characters in a field")?;
    Ok((text(&name.to_ascii_lowercase())?, trim(&value[1..]).to_vec()))
}

/// Host and port, path and query of a target, not decoded.
type Parts<'t> = (Option<&'t [u8]>, &'t [u8], &'t [u8]);

fn split_target<'t>(method: &[u8], target: &'t [u8]) -> Result<Parts<'t>, Not> {
    ensure(text(target)?.chars().all(|c| c > ' ' && c != '\x7f' && c != '#'), "not in a target")?;
    if method == b"OPTIONS" && target == b"*" {
        return Ok((None, target, b""));
    }
    let mut rest = target;
    let mut host = None;
    for scheme in [&b"http://"[..], b"https://"] {
        if let Some((start, authority)) = target.split_at_checked(scheme.len())
            && start.eq_ignore_ascii_case(scheme)
        {
            let end = authority.iter().position(|byte| b"/?".contains(byte));
            let end = end.unwrap_or(authority.len());
            ensure(end > 0 && authority[0] != b':', "a URL has a host")?;
            ensure(
                authority[..end].iter().copied().all(is_host_byte),
                "a URL has a host and a port",
            )?;
            (host, rest) = (Some(&authority[..end]), &authority[end..]);
        }
    }
    let is_path = rest.len() < target.len() || rest.starts_with(b"/");
    ensure(is_path, "a target is a path or a URL")?;
    let mark = rest.iter().position(|&byte| byte == b'?').unwrap_or(rest.len());
    let path = if mark == 0 { b"/" } else { &rest[..mark] };
    Ok((host, path, rest.get(mark + 1..).unwrap_or_default()))
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

/// The pairs of a form, decoded (URL standard, 5.1).
pub(crate) fn pairs(form: &[u8]) -> Vec<(String, String)> {
    let decode = |part: &[u8]| {
        let spaced: Vec<u8> = part.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        text(&percent_decode(&spaced)).expect("it was checked as a whole")
    };
    let pairs = form.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
    let split = |pair: &[u8]| {
        let mark = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        (decode(&pair[..mark]), decode(pair.get(mark + 1..).unwrap_or_default()))
    };
    pairs.map(split).collect()
}

fn percent_decode(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut decoded, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let code = match bytes[at..] {
            [b'%', high, low, ..] => digit(high).zip(digit(low)),
            _ => None,
        };
        decoded.push(code.map_or(bytes[at], |(high, low)| high * 16 + low));
        at += if code.is_some() { 3 } else { 1 };
    }
    decoded
}

fn text(bytes: &[u8]) -> Result<String, Not> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Not::Good("not UTF-8"))
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

/// No control characters but tabs.
fn is_clean(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || !byte.is_ascii_control())
}

fn is_token(name: &[u8]) -> bool {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !name.is_empty() && name.iter().all(fits)
}

fn ensure(holds: bool, reason: &'static str) -> Result<(), Not> {
    if holds { Ok(()) } else { Err(Not::Good(reason)) }
}
