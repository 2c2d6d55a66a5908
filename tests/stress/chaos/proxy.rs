//! A bad network between client and server: it delays, breaks up and cuts.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::thread::{self, Scope};
use std::time::Duration;

use super::{Run, STACK};
use crate::plan::Random;
use support::{SOON, is_nothing_yet};

/// How often a relay that waits looks whether all is over.
const LOOK: Duration = Duration::from_millis(10);
/// How many bytes go one by one when it is their turn.
const SINGLE: usize = 150;

/// Ends the proxy when dropped, in a test that fails too.
pub(crate) struct Proxy<'r> {
    run: &'r Run,
}

impl Drop for Proxy<'_> {
    fn drop(&mut self) {
        self.run.over.store(true, Ordering::Release);
        // So that `accept` returns.
        let _ = TcpStream::connect_timeout(&self.run.addr, SOON);
    }
}

/// Takes connections on threads of `scope` and passes them on to `server`.
pub(crate) fn begin<'s>(
    scope: &'s Scope<'s, '_>,
    listener: TcpListener,
    server: SocketAddr,
    run: &'s Run,
) -> Proxy<'s> {
    let relay = move |number: u64, client: TcpStream| {
        let random = Random::new(run.plan.seed.rotate_left(32), number);
        // Whichever side fails, both end.
        let _ = Relay { run, random }.run(client, server);
    };
    scope.spawn(move || {
        for (number, client) in (0..).zip(listener.incoming()) {
            if run.is_over() {
                return;
            }
            let Ok(client) = client else { continue };
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(scope, move || relay(number, client))
                .unwrap();
        }
    });
    Proxy { run }
}

struct Relay<'r> {
    run: &'r Run,
    random: Random,
}

impl Relay<'_> {
    fn run(&mut self, mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
        let mut server = TcpStream::connect_timeout(&server, SOON)?;
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(LOOK))?;
            socket.set_write_timeout(Some(SOON))?;
        }
        let mut piece = [0; 4096];
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let count = self.read(&mut client, &mut piece, &mut |_| true)?;
            request.extend_from_slice(&piece[..count]);
            self.pass_on(&mut server, &piece[..count])?;
        }
        let longest = if self.random.one_in(8) { 400 } else { 100_000 };
        let mut left = self.random.below(longest);
        loop {
            let is_there = |client: &TcpStream| -> io::Result<bool> {
                client.set_nonblocking(true)?;
                let gone = matches!(client.peek(&mut [0]), Ok(0));
                client.set_nonblocking(false)?;
                Ok(!gone)
            };
            let mut look = |_: &TcpStream| is_there(&client).unwrap_or(false);
            let count = self.read(&mut server, &mut piece, &mut look)?;
            if !self.run.is_calm() && left <= count {
                // In the middle of whatever it is; what is unread makes it a reset.
                return self.pass_on(&mut client, &piece[..left]);
            }
            left = left.saturating_sub(count);
            self.pass_on(&mut client, &piece[..count])?;
        }
    }

    /// Reads a piece of any size; fails at the end, and where nobody wants it any more.
    fn read(
        &mut self,
        from: &mut TcpStream,
        piece: &mut [u8],
        is_wanted: &mut dyn FnMut(&TcpStream) -> bool,
    ) -> io::Result<usize> {
        let most = 1 + self.random.below(piece.len());
        while !self.run.is_over() && is_wanted(from) {
            match from.read(&mut piece[..most]) {
                Ok(0) => break,
                Err(error) if is_nothing_yet(&error) => {}
                read => return read,
            }
        }
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn pass_on(&mut self, to: &mut TcpStream, piece: &[u8]) -> io::Result<()> {
        if self.random.one_in(8) {
            // The delay of the network.
            thread::sleep(Duration::from_millis(self.random.below(20) as u64));
        }
        let single = if self.random.one_in(10) { piece.len().min(SINGLE) } else { 0 };
        for byte in &piece[..single] {
            to.write_all(&[*byte])?;
        }
        to.write_all(&piece[single..])
    }
}
