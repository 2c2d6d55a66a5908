//! TLS between hubs and clients, where `TESTS_OVER_TLS` is set: the tests are the same.
//!
//! Over it a client is as strict: an end without `close_notify` is an error.

use std::{
    collections::HashSet,
    env,
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};
use socket2::Socket;
use websse::http::{HttpServer, TlsConfig};

/// The listeners of this process that speak TLS.
static SECURED: LazyLock<Mutex<HashSet<SocketAddr>>> = LazyLock::new(Mutex::default);

static CONFIGS: LazyLock<(TlsConfig, Arc<ClientConfig>)> = LazyLock::new(|| {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).unwrap();
    let chain = vec![own.cert.der().clone()];
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server.into(), Arc::new(client))
});

/// Binds a free port of loopback, for HTTPS where that is wanted.
pub(crate) fn bind(http: HttpServer) -> io::Result<HttpServer> {
    const FREE: &str = "127.0.0.1:0";
    if env::var_os("TESTS_OVER_TLS").is_none() {
        return http.bind(FREE);
    }
    let http = http.bind_tls(FREE, CONFIGS.0.clone())?;
    SECURED.lock().unwrap().extend(http.local_addr());
    Ok(http)
}

pub(crate) fn is_spoken_at(address: SocketAddr) -> bool {
    SECURED.lock().unwrap().contains(&address)
}

/// A port that is given back may be another's.
pub(crate) fn forget(address: Option<SocketAddr>) {
    if let Some(address) = address {
        SECURED.lock().unwrap().remove(&address);
    }
}

/// The client's side of a TLS connection.
pub(crate) struct Session(Box<ClientConnection>);

impl Session {
    /// For a connection to this address, if TLS is spoken there.
    pub(crate) fn to(address: SocketAddr) -> Option<Session> {
        is_spoken_at(address).then(|| Session::new(&CONFIGS.1, address.ip().into()))
    }

    pub(crate) fn new(config: &Arc<ClientConfig>, name: ServerName<'static>) -> Session {
        Session(Box::new(ClientConnection::new(Arc::clone(config), name).unwrap()))
    }

    pub(crate) fn connection(&mut self) -> &mut ClientConnection {
        &mut self.0
    }

    pub(crate) fn read(&mut self, mut socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            // The server may have ended by now, and what it said before is still to be read.
            while self.0.wants_write() && self.0.write_tls(&mut socket).is_ok() {}
            self.0.read_tls(&mut socket)?;
            self.0.process_new_packets().map_err(io::Error::other)?;
        }
    }

    pub(crate) fn write_all(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<()> {
        self.begin(socket)?;
        for piece in bytes.chunks(16 * 1024) {
            self.0.writer().write_all(piece)?;
            self.flush(socket)?;
        }
        self.flush(socket)
    }

    fn begin(&mut self, mut socket: &Socket) -> io::Result<()> {
        while self.0.is_handshaking() {
            self.0.complete_io(&mut socket)?;
        }
        Ok(())
    }

    /// Says that no more will be sent.
    pub(crate) fn finish(&mut self, socket: &Socket) -> io::Result<()> {
        self.begin(socket)?;
        self.0.send_close_notify();
        self.flush(socket)
    }

    fn flush(&mut self, mut socket: &Socket) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(&mut socket)?;
        }
        Ok(())
    }
}
