//! The TLS of one client, as cheap as can be: what the crowd uses is missing elsewhere on the machine.
//!
//! It believes any certificate, and looks at no signature, only at what made it: ECDSA with P-256, or
//! the servers that are compared would not have done the same. It offers what browsers offer first,
//! X25519 and AES with 128 bits, and nothing else.

use std::{
    collections::HashMap,
    fmt::{self, Display},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, Error, HandshakeKind, NamedGroup,
    SignatureScheme,
    client::{
        ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue,
        UnbufferedClientConnection,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
    version::{TLS12, TLS13},
};

use super::protocol::Tls;

/// A record with its head and what encryption adds, of either version.
pub(crate) const LONGEST_RECORD: usize = 5 + (16 << 10) + 2048;

/// What encryption adds to a request at most.
const ADDED: usize = 128;
const SUITES: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];

/// See the [module](self).
pub(crate) struct Session {
    connection: UnbufferedClientConnection,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    /// The beginning of a record.
    kept: Vec<u8>,
    has_asked: bool,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// With its first words ready to be sent.
    pub(crate) fn start(tls: Tls) -> Result<Box<Self>, String> {
        let name = ServerName::try_from("localhost").map_err(told)?;
        let connection = UnbufferedClientConnection::new(config(tls)?, name).map_err(told)?;
        let (unsent, kept) = (Vec::new(), Vec::new());
        let mut session = Box::new(Self { connection, unsent, kept, has_asked: false });
        session.take(&mut [], &[], &mut |_| Ok(()))?;
        Ok(session)
    }

    pub(crate) fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.unsent.drain(..bytes);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
    }

    /// Puts the beginning of a record to where the rest of it will follow; tells how long it is.
    pub(crate) fn put_back(&self, buffer: &mut [u8]) -> usize {
        buffer[..self.kept.len()].copy_from_slice(&self.kept);
        self.kept.len()
    }

    /// Takes what has come, with what was [put back](Self::put_back), and asks as soon as it can.
    pub(crate) fn take(
        &mut self,
        bytes: &mut [u8],
        request: &[u8],
        hear: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut at = 0;
        loop {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut bytes[at..]);
            at += discard;
            match state.map_err(told)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        hear(record.map_err(told)?.payload)?;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(&mut self.unsent, 512, |room| match data.encode(room) {
                        Err(EncodeError::InsufficientSize(error)) => Err(error.required_size),
                        outcome => Ok(outcome.map_err(told)),
                    })?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(mut traffic) => {
                    if !self.has_asked {
                        self.has_asked = true;
                        append(&mut self.unsent, request.len() + ADDED, |room| {
                            Ok(traffic.encrypt(request, room).map_err(told))
                        })?;
                    }
                    break;
                }
                ConnectionState::BlockedHandshake | ConnectionState::Closed => break,
                ConnectionState::PeerClosed => {}
                other => return Err(format!("unexpected: {other:?}")),
            }
        }
        self.kept.clear();
        self.kept.extend_from_slice(&bytes[at..]);
        if self.kept.len() > LONGEST_RECORD {
            return Err("an endless record".to_owned());
        }
        Ok(())
    }

    pub(crate) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Appends what `write` puts into so much room; it may ask for another size.
fn append(
    bytes: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, String>, usize>,
) -> Result<(), String> {
    let before = bytes.len();
    loop {
        bytes.resize(before + room, 0);
        match write(&mut bytes[before..]) {
            Err(required) if required > room => room = required,
            Err(required) => return Err(format!("no room of {required} bytes")),
            Ok(outcome) => {
                bytes.truncate(before + outcome?);
                return Ok(());
            }
        }
    }
}

fn told(error: impl Display) -> String {
    format!("TLS: {error}")
}

/// One for each kind of clients.
fn config(tls: Tls) -> Result<Arc<ClientConfig>, String> {
    static CONFIGS: OnceLock<Mutex<HashMap<Tls, Arc<ClientConfig>>>> = OnceLock::new();
    let mut configs =
        CONFIGS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = configs.get(&tls) {
        return Ok(Arc::clone(known));
    }
    // A session is only resumed with the very verifier that it began with.
    let first = new_config(tls.is_12)?;
    for resumes in [false, true] {
        let mut config = first.clone();
        config.resumption = Resumption::store(Arc::new(Sessions { are_resumed: resumes }));
        configs.insert(Tls { resumes, ..tls }, Arc::new(config));
    }
    configs.get(&tls).map(Arc::clone).ok_or_else(|| "no configuration".to_owned())
}

fn new_config(is_12: bool) -> Result<ClientConfig, String> {
    let default = ring::default_provider();
    let is_offered = |suite: CipherSuite| SUITES.contains(&suite);
    let provider = CryptoProvider {
        cipher_suites: default
            .cipher_suites
            .into_iter()
            .filter(|s| is_offered(s.suite()))
            .collect(),
        kx_groups: vec![ring::kx_group::X25519],
        ..default
    };
    let versions = if is_12 { [&TLS12] } else { [&TLS13] };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .map_err(told)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[derive(Debug)]
struct AnyCertificate;

impl AnyCertificate {
    fn check(signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ECDSA_NISTP256_SHA256 {
            return Err(Error::General(format!("signed by {:?}", signed.scheme)));
        }
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check(signed)
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::check(signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// The sessions of all clients of this process, to which each adds its own; some take one.
#[derive(Debug)]
struct Sessions {
    are_resumed: bool,
}

#[derive(Debug, Default)]
struct Kept {
    of_12: Option<Tls12ClientSessionValue>,
    of_13: Vec<Tls13ClientSessionValue>,
}

fn kept<T>(of: impl FnOnce(&mut Kept) -> T) -> T {
    static KEPT: OnceLock<Mutex<Kept>> = OnceLock::new();
    of(&mut KEPT.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner))
}

impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, session: Tls12ClientSessionValue) {
        kept(|kept| kept.of_12 = Some(session));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.are_resumed.then(|| kept(|kept| kept.of_12.clone())).flatten()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        kept(|kept| kept.of_12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        kept(|kept| kept.of_13.push(ticket));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.are_resumed.then(|| kept(|kept| kept.of_13.pop())).flatten()
    }
}
