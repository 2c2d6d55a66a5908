//! Publishes to `websse` as the bare loop takes them: as records instead of requests, so that both can
//! be compared in what comes behind that.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use anyhow::{Result, ensure};
use websse::{Message, Server};

use super::publisher::SWITCHED;

/// Type or channel, and length.
const RECORD_HEAD: usize = 6;

/// Takes records on a port of its own, one connection after the other.
pub(crate) fn listen(server: &Arc<Server>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = Arc::clone(server);
    thread::Builder::new().name("records".into()).spawn(move || {
        for socket in listener.incoming() {
            if let Err(error) = socket.map_err(Into::into).and_then(|socket| take(&socket, &server))
            {
                eprintln!("    websse: records: {error:#}");
            }
        }
    })?;
    Ok(address)
}

/// Publishes all that comes on a connection.
fn take(mut socket: &TcpStream, server: &Server) -> Result<()> {
    let mut input = BufReader::with_capacity(64 << 10, socket);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        ensure!(input.read_line(&mut line)? > 0, "no request");
    }
    socket.write_all(SWITCHED)?;
    let mut data = Vec::new();
    loop {
        let mut head = [0; RECORD_HEAD];
        match input.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome?,
        }
        let [low, high, length @ ..] = head;
        let kind = u16::from_le_bytes([low, high]);
        data.resize(u32::from_le_bytes(length) as usize, 0);
        input.read_exact(&mut data)?;
        let message = Message::new(std::str::from_utf8(&data)?).event("t0");
        // There is one type, and the channels are behind it.
        let message = if kind == 0 { message } else { message.channel(format!("c{kind}")) };
        server.publish(message)?;
    }
}
