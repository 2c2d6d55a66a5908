//! Requests are read alike however they come in pieces, and served only where a second reader sees
//! the same request.
//!
//! An input is what a client sends on one connection before it closes its side. It is sent twice:
//! at once, and in pieces whose sizes are drawn from its hash. The pieces are packets
//! (`SOCK_SEQPACKET`), whose borders the kernel keeps: each read of the server gets one of them,
//! whenever it comes, so that nothing depends on time.

use std::{
    borrow::Cow,
    io::{ErrorKind, Read},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use socket2::{Domain, SockAddr, Socket, Type};
use websse::Message;
use websse::http::{AtOnce, Handler, HttpServer, Limits, Request, Response};

use crate::reader::{self, BODY_BYTES, HEAD_BYTES, HEADERS, Not, TARGET_BYTES};

/// No answer takes so long, on however busy a machine.
const DEADLINE: Duration = Duration::from_secs(20);
/// Where the server has handlers; the second one's may block, and the third one's write their bodies
/// part by part.
const PATHS: [&str; 3] = ["/", "/slow", "/stream"];
/// Where it takes PUT, with a parameter behind it.
const ITEMS: &str = "/item/";

/// Sends an input at once and in pieces, and compares all there is to compare.
pub fn check(wire: &[u8]) {
    let mut draw = Draw::new(wire);
    let longest = [1, 3, 40, HEAD_BYTES][draw.below(4)];
    let whole = Outcome::of(wire, Type::STREAM, || usize::MAX);
    let parts = Outcome::of(wire, Type::SEQPACKET, || 1 + draw.below(longest));
    assert_eq!(whole, parts, "at once, and in pieces of up to {longest} bytes");
    whole.check(wire);
}

/// Sends an input in two pieces, for each way to cut it.
pub fn check_each_cut(wire: &[u8]) {
    let whole = Outcome::of(wire, Type::STREAM, || usize::MAX);
    for cut in 1..wire.len() {
        let mut sizes = [cut].into_iter();
        let parts = Outcome::of(wire, Type::SEQPACKET, || sizes.next().unwrap_or(usize::MAX));
        assert_eq!(whole, parts, "at once, and in two pieces, the first of {cut} bytes");
    }
}

/// What became of a connection.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What the handlers were given.
    seen: Vec<Seen>,
    /// What the client was sent, without what may differ.
    answers: String,
}

/// A request, equal to another if all its parts are.
#[derive(Debug)]
struct Seen(Request);

impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Outcome {
    /// Sends `wire` in pieces of these sizes over a connection of its own.
    fn of(wire: &[u8], kind: Type, mut size: impl FnMut() -> usize) -> Self {
        let hub = Hub::get();
        let socket = Socket::new(Domain::UNIX, kind, None).expect("descriptors can be had");
        socket.connect(&address(kind)).expect("the server listens");
        let mut sent = 0;
        while sent < wire.len() {
            // A packet larger than the room in the server's buffer would lose its end.
            let room = if kind == Type::STREAM { usize::MAX } else { HEAD_BYTES };
            let length = size().min(room.saturating_sub(sent).max(1)).min(wire.len() - sent);
            if !send(&socket, &wire[sent..sent + length]) {
                break;
            }
            sent += length;
        }
        // A reader of packets can see a shutdown before what was sent before it; an empty packet is
        // read as the end as well, and keeps its place.
        if kind == Type::STREAM {
            // Fails where the server has closed.
            let _ = socket.shutdown(Shutdown::Write);
        } else {
            send(&socket, &[]);
        }
        let answers = receive(&socket);
        let seen = std::mem::take(&mut *hub.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let seen = seen.into_iter().map(Seen).collect();
        Self { seen, answers: without_variations(&answers) }
    }

    /// What was served is what the second reader reads, and nothing was passed over.
    fn check(&self, wire: &[u8]) {
        let mut seen = self.seen.iter();
        let mut at = 0;
        let mut keep_alive = true;
        for status in self.statuses() {
            assert!(keep_alive, "{status} after the connection's last answer");
            let read = reader::read(&wire[at..]);
            if matches!(status, 400 | 413 | 414 | 417 | 431 | 505) {
                assert!(read.is_err(), "{status} for {read:?}");
                keep_alive = false;
                continue;
            }
            let request = read.unwrap_or_else(|not| panic!("{status} for what is not {not:?}"));
            assert_eq!(status, expected_status(&request), "{request:?}");
            let by_hand = Request::new(&request.method, &request.target).expect("it was served");
            compare_target(&by_hand, &request);
            if status == 200 {
                compare(&seen.next().expect("a handler answered").0, &request);
            }
            at += request.end;
            keep_alive = request.keep_alive;
        }
        assert!(seen.next().is_none(), "a handler's answer is missing");
        if keep_alive {
            let rest = reader::read(&wire[at..]).err();
            assert_eq!(rest, Some(Not::Complete), "no answer to {}", wire[at..].escape_ascii());
        }
    }

    /// Those of the final answers. No line of a body ends with CRLF.
    fn statuses(&self) -> impl Iterator<Item = u16> {
        let lines = self.answers.split('\n').filter_map(|line| line.strip_suffix('\r'));
        let lines = lines.filter_map(|line| line.strip_prefix("HTTP/1.1 "));
        lines.map(|line| line[..3].parse().expect("a status is a number"))
    }
}

/// Sends all of a piece; false where the server has refused what came before, and closed.
fn send(socket: &Socket, piece: &[u8]) -> bool {
    loop {
        match socket.send_with_flags(piece, libc::MSG_NOSIGNAL).map_err(|error| error.kind()) {
            Ok(length) if length == piece.len() => return true,
            // The fuzzer has a timer.
            Err(ErrorKind::Interrupted) => {}
            Err(ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => return false,
            other => panic!("{other:?} for a piece of {} bytes", piece.len()),
        }
    }
}

/// Everything until the server closes.
fn receive(socket: &Socket) -> Vec<u8> {
    socket.set_read_timeout(Some(DEADLINE)).expect("a time-out can be set");
    let mut answers = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut ended = false;
    loop {
        match (&*socket).read(&mut buffer) {
            // The server's end can be seen too early likewise, but not twice.
            Ok(0) if ended => return answers,
            Ok(0) => ended = true,
            Ok(length) => answers.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The server has not read all of the input; its answers come all the same.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => panic!("no end after {}: {error}", answers.escape_ascii()),
        }
    }
}

/// A client is told to go on only where its body has not come yet.
fn without_variations(answers: &[u8]) -> String {
    let answers = std::str::from_utf8(answers).expect("answers are UTF-8");
    let answers = answers.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
    answers.split_inclusive('\n').filter(|line| !line.starts_with("Date: ")).collect()
}

fn expected_status(request: &reader::Request) -> u16 {
    match &*request.method {
        _ if request.path == "*" => 204,
        "PUT" if is_item(&request.path) => 200,
        "OPTIONS" if is_item(&request.path) => 204,
        _ if is_item(&request.path) => 405,
        _ if !PATHS.contains(&&*request.path) => 404,
        "GET" | "HEAD" | "POST" => 200,
        "OPTIONS" => 204,
        _ => 405,
    }
}

fn is_item(path: &str) -> bool {
    path.strip_prefix(ITEMS).is_some_and(|item| !item.is_empty() && !item.contains('/'))
}

fn compare_target(seen: &Request, read: &reader::Request) {
    assert_eq!(seen.method(), read.method);
    assert_eq!(seen.path(), read.path);
    assert_eq!(owned(seen.query()), reader::pairs(&read.query));
}

fn owned<'r>(pairs: impl Iterator<Item = (Cow<'r, str>, Cow<'r, str>)>) -> Vec<(String, String)> {
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn compare(seen: &Request, read: &reader::Request) {
    compare_target(seen, read);
    if let Some(item) = read.path.strip_prefix(ITEMS) {
        assert_eq!(seen.param("id").as_deref(), Some(item));
    }
    assert_eq!(seen.body(), read.body);
    assert_eq!(seen.host().map(str::to_owned), read.host());
    for name in ["host", "content-length", "transfer-encoding", "connection", "content-type"] {
        assert_eq!(seen.headers(name).count(), read.values(name).count(), "{name}");
    }
    for (name, _) in &read.fields {
        assert!(seen.headers(name).eq(read.values(name)), "{name} in {seen:?}");
    }
    if let Some(form) = seen.form() {
        assert_eq!(owned(form), reader::pairs(&read.body));
    }
}

/// The server under test, one for the whole process.
struct Hub {
    _http: HttpServer,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Hub {
    fn get() -> &'static Self {
        static HUB: OnceLock<Hub> = OnceLock::new();
        HUB.get_or_init(Self::new)
    }

    fn new() -> Self {
        let limits = Limits::default()
            .head_bytes(HEAD_BYTES)
            .target_bytes(TARGET_BYTES)
            .headers(HEADERS)
            .body_bytes(BODY_BYTES);
        let seen = Arc::<Mutex<Vec<Request>>>::default();
        let mut http = HttpServer::new().limits(limits);
        let probe = Probe { seen: Arc::clone(&seen) };
        for (path, may_block) in PATHS.into_iter().zip([false, true, false]) {
            http = if may_block {
                http.get(path, probe.clone()).post(path, probe.clone())
            } else {
                http.get(path, AtOnce(probe.clone())).post(path, AtOnce(probe.clone()))
            };
        }
        http = http.route("PUT", &format!("{ITEMS}:id"), AtOnce(probe));
        for kind in [Type::STREAM, Type::SEQPACKET] {
            let listener = Socket::new(Domain::UNIX, kind, None).expect("descriptors can be had");
            listener.bind(&address(kind)).expect("the name is free");
            listener.listen(128).expect("it listens");
            let listener = UnixListener::from(OwnedFd::from(listener));
            http = http.serve(listener).expect("there are threads");
        }
        Self { _http: http, seen }
    }
}

/// A name of this process, in no directory.
fn address(kind: Type) -> SockAddr {
    let name = format!("\0websse-fuzz-{}-{kind:?}", std::process::id());
    SockAddr::unix(name).expect("the name is short")
}

/// A handler that notes what it is given.
#[derive(Clone)]
struct Probe {
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Handler for Probe {
    fn handle(&self, request: &Request) -> Response {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        if request.path() == PATHS[2] {
            let body = request.body().len().to_string();
            return Response::events(move |out| {
                out.send(&Message::new("one"))?;
                out.send(&Message::new(body))
            });
        }
        Response::text(200, request.path())
    }
}

/// Numbers drawn from an input: its FNV-1a hash, then xorshift.
struct Draw(u64);

impl Draw {
    fn new(input: &[u8]) -> Self {
        let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        Self(input.iter().fold(0xcbf2_9ce4_8422_2325, mix) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % limit
    }
}
