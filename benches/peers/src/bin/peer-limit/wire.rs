//! A socket, and its TLS if it has any.

use std::{
    io::{self, ErrorKind, Read, Write},
    sync::Arc,
};

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};

pub struct Wire {
    socket: TcpStream,
    session: Option<Box<ServerConnection>>,
}

impl Wire {
    pub fn new(socket: TcpStream, config: Option<&Arc<ServerConfig>>) -> io::Result<Self> {
        let session = config.map(|config| {
            let mut session =
                ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
            // It is only written to when it has nothing left.
            session.set_buffer_limit(None);
            Ok::<_, io::Error>(Box::new(session))
        });
        Ok(Self { socket, session: session.transpose()? })
    }

    /// Past the TLS.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether everything that was written is with the system.
    pub fn is_clear(&self) -> bool {
        self.session.as_ref().is_none_or(|session| !session.wants_write())
    }

    /// Sends what TLS has not sent, as far as the socket takes it.
    pub fn flush(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        while session.wants_write() {
            match session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Does what the handshake needs, too.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(session) = &mut self.session else { return self.socket.read(buffer) };
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            let read = session.read_tls(&mut self.socket)?;
            session.process_new_packets().map_err(io::Error::other)?;
            self.flush()?;
            if read == 0 {
                return Ok(0);
            }
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if !self.is_clear() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let Some(session) = &mut self.session else { return self.socket.write(bytes) };
        let written = session.writer().write(bytes)?;
        self.flush()?;
        Ok(written)
    }
}
