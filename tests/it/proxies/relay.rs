//! What stands behind the proxy: a relay before the hub, or a server that gives no answers.
use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// How long a byte takes in the relay: the race is open for twice that.
pub(crate) const LATENCY: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Proxy,
    Server,
}

/// The end of a connection.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) by: Side,
    pub(crate) lived: Duration,
}

/// Before a server, with latency: its address, and which side closes each connection.
pub(crate) fn relay(server: SocketAddr) -> (SocketAddr, Receiver<Closed>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (closed, ends) = channel();
    // Ends with the test's process.
    thread::spawn(move || {
        for proxy in listener.incoming() {
            let proxy = proxy.unwrap();
            // Away: the proxy finds out in the same way.
            let Ok(server) = TcpStream::connect(server) else { continue };
            let sockets = [proxy.try_clone().unwrap(), server.try_clone().unwrap()];
            let start = Instant::now();
            pass(proxy, server, (Side::Proxy, start, closed.clone()));
            let [proxy, server] = sockets;
            pass(server, proxy, (Side::Server, start, closed.clone()));
        }
    });
    (address, ends)
}

/// Passes on what comes, and its end, each after the latency.
fn pass(
    mut from: TcpStream,
    mut to: TcpStream,
    (by, start, closed): (Side, Instant, Sender<Closed>),
) {
    let (queue, queued) = channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        // A reset is an end too.
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if queue.send((Instant::now() + LATENCY, bytes[..count].to_vec())).is_err() {
                return;
            }
        }
        // Nobody may be interested.
        let _ = closed.send(Closed { by, lived: start.elapsed() });
        let _ = queue.send((Instant::now() + LATENCY, Vec::new()));
    });
    thread::spawn(move || {
        for (due, bytes) in queued {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() {
                // The other side may have closed it too.
                let _ = to.shutdown(Shutdown::Write);
            } else if to.write_all(&bytes).is_err() {
                return;
            }
        }
    });
}

/// A server that closes the connection when it has read a POST, of which it tells.
pub(crate) fn one_that_leaves_posts_without_an_answer() -> (SocketAddr, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (posted, posts) = channel();
    // Ends with the test's process.
    thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, posted) = (connection.unwrap(), posted.clone());
            thread::spawn(move || {
                let mut request = Vec::new();
                let mut bytes = [0; 4096];
                let is_whole = |request: &[u8]| {
                    let body = request.starts_with(b"POST");
                    request.ends_with(if body { b"data=a" } else { b"\r\n\r\n" })
                };
                while !is_whole(&request) {
                    match connection.read(&mut bytes) {
                        Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
                        _ => return,
                    }
                }
                if request.starts_with(b"POST") {
                    // The test may have its result.
                    let _ = posted.send(());
                } else {
                    let answer =
                        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                    // A check does not wait for it.
                    let _ = connection.write_all(answer.as_bytes());
                }
            });
        }
    });
    (address, posts)
}
