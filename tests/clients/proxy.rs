//! A proxy that cuts connections in the middle of events, by FIN and by RST in turn.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use support::{SOON, eventually};

/// How often the thread that accepts looks whether it still shall.
const LOOK: Duration = Duration::from_millis(1);
/// After how many bytes of a stream it is cut. The preamble has some 50, an event some 300.
const LIVES: [usize; 9] = [3000, 5000, 20, 4000, 600, 8000, 100, 2000, 350];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Fin,
    Rst,
}

/// How often something has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Streams whose preamble was passed on.
    pub(crate) streams: usize,
    /// Requests with a last id, in the header or in the query.
    pub(crate) resumed: usize,
    /// Streams that were cut within an event, or within the preamble.
    pub(crate) fin_within: usize,
    pub(crate) rst_within: usize,
    /// Pieces of a stream with a comment that is empty.
    pub(crate) heartbeats: usize,
}

/// Ends all when dropped.
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    /// Where requests are passed on to.
    server: Mutex<SocketAddr>,
    accepts: AtomicBool,
    listens: AtomicBool,
    /// Streams are cut when they have had their bytes.
    is_bad: AtomicBool,
    is_over: AtomicBool,
    connections: AtomicUsize,
    streams: AtomicUsize,
    /// What is passed on now: the server's side, and whether the client's shall end by RST.
    open: Mutex<HashMap<usize, (TcpStream, Arc<AtomicBool>)>>,
    counts: Mutex<Counts>,
}

impl Proxy {
    pub(crate) fn begin(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server: Mutex::new(server),
            accepts: AtomicBool::new(true),
            listens: AtomicBool::new(true),
            is_bad: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            open: Mutex::default(),
            counts: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.accept(listener)
        });
        Proxy { addr, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.shared.counts.lock().unwrap()
    }

    /// From now on connections are refused; those that are open stay.
    pub(crate) fn refuse(&self) {
        self.shared.accepts.store(false, SeqCst);
        eventually(SOON, false, || self.shared.listens.load(SeqCst));
    }

    /// Takes connections again, and passes them on to this server.
    pub(crate) fn accept(&self, server: SocketAddr) {
        *self.shared.server.lock().unwrap() = server;
        self.shared.accepts.store(true, SeqCst);
    }

    pub(crate) fn be_bad(&self, is_bad: bool) {
        self.shared.is_bad.store(is_bad, SeqCst);
    }

    /// Cuts all that is open, wherever it is.
    pub(crate) fn cut(&self, cut: Cut) {
        for (server, by_rst) in self.shared.open.lock().unwrap().values() {
            by_rst.store(cut == Cut::Rst, SeqCst);
            // Fails where the server has ended it.
            let _ = server.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        self.cut(Cut::Fin);
    }
}

impl Shared {
    fn accept(self: &Arc<Shared>, first: TcpListener) {
        let addr = first.local_addr().unwrap();
        let mut listener = Some(first);
        while !self.is_over.load(SeqCst) {
            if !self.accepts.load(SeqCst) {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(addr).ok();
            }
            self.listens.store(listener.is_some(), SeqCst);
            if let Some(listener) = &listener {
                listener.set_nonblocking(true).unwrap();
                while let Ok((client, _)) = listener.accept() {
                    let shared = Arc::clone(self);
                    // Whichever side fails, both end.
                    thread::spawn(move || shared.relay(client).is_ok());
                }
            }
            thread::sleep(LOOK);
        }
    }

    fn relay(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nonblocking(false)?;
        client.set_nodelay(true)?;
        client.set_write_timeout(Some(SOON))?;
        let head = read_head(&mut client)?;
        let addr = *self.server.lock().unwrap();
        let mut server = TcpStream::connect_timeout(&addr, SOON)?;
        let by_rst = Arc::new(AtomicBool::new(false));
        let number = self.connections.fetch_add(1, SeqCst);
        self.open.lock().unwrap().insert(number, (server.try_clone()?, Arc::clone(&by_rst)));
        let passed_on = self.pass_on(&head, &mut server, &mut client, &by_rst);
        self.open.lock().unwrap().remove(&number);
        passed_on?;
        if !by_rst.load(SeqCst) {
            // Unread, it would make this a reset.
            client.read_exact(&mut [0])?;
            client.shutdown(Shutdown::Both)?;
        }
        Ok(())
    }

    /// Until the server ends it, or it is to be cut: then in the middle of an event.
    fn pass_on(
        &self,
        head: &[u8],
        server: &mut TcpStream,
        client: &mut TcpStream,
        by_rst: &AtomicBool,
    ) -> io::Result<()> {
        server.write_all(head)?;
        let resumes = has_last_id(&head.to_ascii_lowercase());
        self.counts.lock().unwrap().resumed += usize::from(resumes);
        let mut response = Vec::new();
        let mut piece = [0; 4096];
        let mut end = None;
        let mut is_odd = false;
        let mut is_open = false;
        loop {
            let count = match server.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // The server has ended it, or the test has.
                Ok(0) | Err(_) => return Ok(()),
                Ok(count) => count,
            };
            let before = response.len();
            response.extend_from_slice(&piece[..count]);
            if end.is_none() && is_stream(&response) {
                let number = self.streams.fetch_add(1, SeqCst);
                is_odd = !number.is_multiple_of(2);
                end = Some(body_at(&response) + LIVES[number % LIVES.len()]);
            }
            if let Some(end) = end
                && self.is_bad.load(SeqCst)
                && response.len() > end
            {
                let mut most = end.max(before + 1);
                if response[..most].ends_with(b"\n\n") {
                    most -= 1;
                }
                client.write_all(&response[before..most])?;
                by_rst.store(is_odd, SeqCst);
                let mut counts = self.counts.lock().unwrap();
                let Counts { fin_within, rst_within, .. } = &mut *counts;
                *(if by_rst.load(SeqCst) { rst_within } else { fin_within }) += 1;
                return Ok(());
            }
            client.write_all(&response[before..])?;
            let mut counts = self.counts.lock().unwrap();
            let fresh = &response[before.saturating_sub(2)..];
            counts.heartbeats += usize::from(find(fresh, b"\n:\n").is_some());
            let body = &response[body_at(&response)..];
            let at = find(body, b"\nid: ").map_or(body.len(), |at| at + 1);
            if end.is_some() && !is_open && body[at..].contains(&b'\n') {
                is_open = true;
                counts.streams += 1;
            }
        }
    }
}

/// Reads the head of a request but for its last line feed, so that a reset is possible: the
/// system sends one where a connection is closed with something unread. Each connection is for one
/// request.
fn read_head(client: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    head.push(b'\n');
    // A stream is the last response of its connection; other responses have to be, for this proxy.
    if !head.starts_with(b"GET /event")
        && let Some(at) = find(&head, b"keep-alive")
    {
        head.splice(at..at + 10, *b"close");
    }
    Ok(head)
}

/// Whether a head in small letters has a last id that is not empty.
fn has_last_id(head: &[u8]) -> bool {
    [&b"\r\nlast-event-id: "[..], b"&lasteventid="].iter().any(|sign| {
        let at = find(head, sign).map(|at| at + sign.len());
        at.is_some_and(|at| head[at] > b' ')
    })
}

fn is_stream(response: &[u8]) -> bool {
    find(&response[..body_at(response)], b"text/event-stream").is_some()
}

/// 0 as long as the head is not complete.
fn body_at(response: &[u8]) -> usize {
    find(response, b"\r\n\r\n").map_or(0, |at| at + 4)
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
