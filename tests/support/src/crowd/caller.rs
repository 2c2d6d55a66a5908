//! A blocking client: one connection, requests one after the other.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug)]
pub struct Caller {
    socket: BufReader<TcpStream>,
    line: Vec<u8>,
}

impl Caller {
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { socket: BufReader::new(socket), line: Vec::new() })
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.get_mut().write_all(bytes)
    }

    /// Sends a `POST` with this body, for a connection that goes on after the answer.
    pub fn post(&mut self, target: &str, body: &str) -> io::Result<()> {
        let length = body.len();
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: hub\r\nContent-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.send(request.as_bytes())
    }

    /// Asks for a stream.
    pub fn subscribe(&mut self, target: &str) -> io::Result<()> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: hub\r\n\r\n").as_bytes())
    }

    /// Reads a response head, blank line included, and returns the status and `Content-Length`.
    pub fn head(&mut self) -> io::Result<(u16, usize)> {
        let status_line = self.next_line()?;
        let status = std::str::from_utf8(status_line)
            .ok()
            .and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok())
            .ok_or_else(|| io::Error::other("no status line"))?;
        let mut length = 0;
        loop {
            let line = self.next_line()?.to_ascii_lowercase();
            if line == b"\r\n" {
                return Ok((status, length));
            }
            if let Some(value) = line.strip_prefix(b"content-length: ") {
                let value = std::str::from_utf8(value).map_err(io::Error::other)?;
                length = value.trim_end().parse().map_err(io::Error::other)?;
            }
        }
    }

    /// Reads a whole answer that says its length, and returns its status.
    pub fn answer(&mut self) -> io::Result<u16> {
        let (status, length) = self.head()?;
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body)?;
        Ok(status)
    }

    /// The next line, line feed included.
    pub fn next_line(&mut self) -> io::Result<&[u8]> {
        self.line.clear();
        self.socket.read_until(b'\n', &mut self.line)?;
        if self.line.ends_with(b"\n") {
            Ok(&self.line)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// Waits until something has arrived, and leaves it unread.
    pub fn wait_readable(&self) -> io::Result<()> {
        self.socket.get_ref().peek(&mut [0]).map(drop)
    }

    /// Says that nothing more follows.
    pub fn finish(&self) -> io::Result<()> {
        self.socket.get_ref().shutdown(Shutdown::Write)
    }

    /// Reads to the end and returns how much that was.
    pub fn drain(&mut self) -> io::Result<u64> {
        io::copy(&mut self.socket, &mut io::sink())
    }
}
