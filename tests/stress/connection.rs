//! A connection to a stream, which may be read at any pace.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use support::{Client, Got};

/// How long a read waits; whoever waits longer looks meanwhile whether all is over.
pub(crate) const LOOK: Duration = Duration::from_millis(20);
/// Connecting to a busy server takes its time.
const PATIENCE: Duration = Duration::from_secs(20);
/// The receive buffer of a client on a small device. With the usual one the kernel keeps some 64 KiB
/// more of what a slow client does not read.
const SMALL_BUFFER: usize = 4096;

/// Connects, again and again if need be, and sends a request.
#[track_caller]
pub(crate) fn open(addr: SocketAddr, request: &str, has_small_buffer: bool) -> Client {
    let end = Instant::now() + PATIENCE;
    loop {
        let connected = if has_small_buffer {
            Client::try_connect_narrow(addr, SMALL_BUFFER)
        } else {
            Client::try_connect(addr)
        };
        match connected.and_then(|mut client| client.try_send(request).map(|()| client)) {
            Ok(client) => {
                client.wait_at_most(LOOK);
                return client;
            }
            // No port left, or the backlog is full: both pass.
            Err(_) if Instant::now() < end => thread::sleep(LOOK),
            Err(error) => panic!("cannot connect: {error}"),
        }
    }
}

/// Waits for the head; false where the connection ends before.
#[track_caller]
pub(crate) fn wait_for_head(client: &mut Client) -> bool {
    let end = Instant::now() + PATIENCE;
    while !client.has_head() {
        assert!(Instant::now() < end, "expected a head");
        if client.read(256) == Got::End {
            return false;
        }
    }
    true
}
