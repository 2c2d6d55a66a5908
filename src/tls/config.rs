//! Certificates and their keys, and when they are read anew.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{ProducesTickets, WebPkiClientVerifier},
};

use super::Certificate;
use crate::logs::{self, Level};

/// How often the files are looked at, when a client connects.
const LOOK: Duration = Duration::from_secs(60);

/// What a TLS listener needs: its certificate and key, and whom it asks for theirs. For
/// [`HttpServer::bind_tls`](crate::http::HttpServer::bind_tls).
///
/// TLS 1.3 and 1.2 are spoken, and HTTP/1.1 over it (ALPN; RFC 7301). A client that comes back can
/// resume its session by a ticket (RFC 8446, section 2.2; RFC 5077). With TLS 1.2 that costs the
/// server half of a handshake; with 1.3 it saves little more than the signature. Early data is
/// never taken: it could be replayed.
///
/// A handshake needs a thread: a connection is one of
/// [`Limits::connections`](crate::http::Limits::connections) until a stream takes it over. As many
/// are computed at a time as the machine has processors, less one for all else.
///
/// The files are looked at once a minute, when a client connects, and read again if one of them has
/// changed; [`reload`](Self::reload) does it at once. Connections that exist keep what they have.
/// If a new file is wrong, that is logged as an error, and the old one stays in use.
///
/// A clone is the same: what one reads anew, all use.
///
/// ```no_run
/// use websse::http::{HttpServer, TlsConfig};
///
/// let tls = TlsConfig::from_pem_files("fullchain.pem", "privkey.pem")?;
/// let http = HttpServer::new().bind_tls("0.0.0.0:443", tls.clone())?;
/// tls.reload()?;
/// # drop(http);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct TlsConfig {
    files: Option<Files>,
    shared: Arc<Shared>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Files {
    chain: PathBuf,
    key: PathBuf,
    authorities: Option<PathBuf>,
}

struct Shared {
    /// Never held while a file is looked at or read.
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    certificate: Option<Arc<Certificate>>,
    /// What the files looked like when they were last read, and when that was looked at.
    stamps: Vec<Option<Stamp>>,
    looked: Instant,
    /// What was wrong with them then.
    trouble: Option<String>,
}

/// What tells that a file was replaced or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    number: u64,
}

/// What was read of the files.
struct Loaded {
    config: ServerConfig,
    certificate: Option<Arc<Certificate>>,
    stamps: Vec<Option<Stamp>>,
}

impl TlsConfig {
    /// Reads a certificate with its chain, and its key, from files in PEM (RFC 7468): what certbot
    /// and lego call `fullchain.pem` and `privkey.pem`. The key may be ECDSA, RSA or Ed25519, in
    /// PKCS #8, SEC 1 or PKCS #1, and must not be encrypted.
    ///
    /// The cryptography is that of the process's default
    /// [`CryptoProvider`](rustls::crypto::CryptoProvider), or of `ring` if there is none.
    ///
    /// # Errors
    /// A file that cannot be read, has no such thing in it, or has the key of another certificate.
    /// The text names the file.
    pub fn from_pem_files(
        certificate_chain: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> io::Result<Self> {
        Self::read(Files { chain: certificate_chain.into(), key: key.into(), authorities: None })
    }

    /// Answers only clients with a certificate of one of these authorities (mutual TLS). Their
    /// certificates are in this file, in PEM. A handler gets a client's by
    /// [`Request::peer_certificate`](crate::http::Request::peer_certificate).
    ///
    /// # Errors
    /// Those of [`from_pem_files`](Self::from_pem_files);
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if this was made of a `rustls::ServerConfig`,
    /// which has a verifier of its own.
    pub fn client_authorities(self, file: impl Into<PathBuf>) -> io::Result<Self> {
        let Some(files) = self.files else {
            let text = "a rustls::ServerConfig has its own verifier of clients: set that";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        Self::read(Files { authorities: Some(file.into()), ..files })
    }

    /// Reads the files again, for connections that begin from now on. Does nothing if this was made
    /// of a `rustls::ServerConfig`.
    ///
    /// # Errors
    /// Those of [`from_pem_files`](Self::from_pem_files). What was read before stays in use.
    pub fn reload(&self) -> io::Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        let loaded = files.load(self.tickets());
        let mut state = self.shared.state.lock();
        state.looked = Instant::now();
        match loaded {
            Ok(loaded) => {
                state.take(loaded);
                Ok(())
            }
            Err(error) => {
                state.trouble = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// The certificate in use, without its chain. `None` if this was made of a `rustls::ServerConfig`.
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.shared.state.lock().certificate.clone()
    }

    /// What a new connection uses. May read files.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        if let Some(files) = &self.files {
            self.look(files);
        }
        Arc::clone(&self.shared.state.lock().config)
    }

    /// Whether the next connection has to look at the files, which may take long.
    pub(crate) fn is_look_due(&self) -> bool {
        self.files.is_some() && self.shared.state.lock().looked.elapsed() >= LOOK
    }

    /// Looks at the files if that is due, and reads them if they have changed.
    fn look(&self, files: &Files) {
        {
            let mut state = self.shared.state.lock();
            if state.looked.elapsed() < LOOK {
                return;
            }
            // Other connections need not wait for this one.
            state.looked = Instant::now();
        }
        let stamps = files.stamps();
        {
            let state = self.shared.state.lock();
            if state.stamps == stamps && state.trouble.is_none() {
                return;
            }
        }
        let loaded = files.load(self.tickets());
        let mut state = self.shared.state.lock();
        let trouble = match loaded {
            Ok(loaded) => {
                state.take(loaded);
                drop(state);
                logs::write(Level::Info, format_args!("uses a new certificate"));
                return;
            }
            Err(error) => error.to_string(),
        };
        let is_new = state.trouble.as_ref() != Some(&trouble);
        state.trouble = Some(trouble.clone());
        drop(state);
        if is_new {
            logs::write(Level::Error, format_args!("the old certificate stays in use: {trouble}"));
        }
    }

    /// The tickets of before, so that clients can resume. Where clients have certificates there are
    /// new ones: an authority may be gone.
    fn tickets(&self) -> Option<Arc<dyn ProducesTickets>> {
        let asks_clients = self.files.as_ref().is_some_and(|files| files.authorities.is_some());
        (!asks_clients).then(|| Arc::clone(&self.shared.state.lock().config.ticketer))
    }

    fn read(files: Files) -> io::Result<Self> {
        let loaded = files.load(None)?;
        Ok(Self::new(Some(files), loaded))
    }

    fn new(files: Option<Files>, loaded: Loaded) -> Self {
        let Loaded { config, certificate, stamps } = loaded;
        let state = State {
            config: Arc::new(config),
            certificate,
            stamps,
            looked: Instant::now(),
            trouble: None,
        };
        Self { files, shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }
}

/// For what PEM files do not say: another verifier of clients, several certificates, other
/// versions. Its ALPN protocols become `http/1.1`, and early data is never taken.
impl From<ServerConfig> for TlsConfig {
    fn from(mut config: ServerConfig) -> Self {
        set_protocols(&mut config);
        Self::new(None, Loaded { config, certificate: None, stamps: Vec::new() })
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").field("files", &self.files).finish_non_exhaustive()
    }
}

impl State {
    fn take(&mut self, loaded: Loaded) {
        let Loaded { config, certificate, stamps } = loaded;
        self.config = Arc::new(config);
        (self.certificate, self.stamps, self.trouble) = (certificate, stamps, None);
    }
}

impl Files {
    fn load(&self, tickets: Option<Arc<dyn ProducesTickets>>) -> io::Result<Loaded> {
        // Before they are read: what changes meanwhile is seen the next time.
        let stamps = self.stamps();
        let chain = certificates(&self.chain)?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| wrong_pem(&self.key, "private key that is not encrypted", error))?;
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(ring::default_provider()));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &self.authorities {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| wrong(file, &error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| wrong(file, &error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let certificate = chain.first().map(|first| Arc::new(Certificate::new(first)));
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let chain = self.chain.display();
                wrong(&self.key, &format!("it is not the key of the certificate in {chain}"))
            }
            rustls::Error::InvalidCertificate(_) => wrong(&self.chain, &error),
            _ => wrong(&self.key, &error),
        })?;
        config.ticketer = match tickets {
            Some(tickets) => tickets,
            None => ring::Ticketer::new().map_err(io::Error::other)?,
        };
        set_protocols(&mut config);
        Ok(Loaded { config, certificate, stamps })
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        let files = [Some(&self.chain), Some(&self.key), self.authorities.as_ref()];
        files.into_iter().flatten().map(|file| Stamp::of(file)).collect()
    }
}

impl Stamp {
    /// `None` if there is no such file.
    fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        #[cfg(unix)]
        let number = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let number = 0;
        Some(Self { modified: metadata.modified().ok(), length: metadata.len(), number })
    }
}

fn set_protocols(config: &mut ServerConfig) {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
}

/// The certificates in a file; at least one.
fn certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let wrong = |error| wrong_pem(file, "certificate", error);
    let read = CertificateDer::pem_file_iter(file).map_err(wrong)?;
    let read = read.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if read.is_empty() { Err(wrong(pem::Error::NoItemsFound)) } else { Ok(read) }
}

fn wrong_pem(file: &Path, what: &str, error: pem::Error) -> io::Error {
    match error {
        pem::Error::Io(error) => {
            let file = file.display();
            io::Error::new(error.kind(), format!("cannot read {file}: {error}"))
        }
        pem::Error::NoItemsFound => {
            wrong(file, &format!("there is no {what} in it, as PEM (-----BEGIN …)"))
        }
        error => wrong(file, &error),
    }
}

fn wrong(file: &Path, error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use support::{Scratch, authority::Authority};

    use super::*;

    /// The last name of the certificate that a new connection gets.
    fn name(tls: &TlsConfig) -> Option<String> {
        tls.current();
        tls.certificate()?.names().last().map(str::to_owned)
    }

    fn a_minute_passes(tls: &TlsConfig) {
        tls.shared.state.lock().looked -= LOOK;
    }

    #[test]
    fn files_that_have_changed_are_noticed_within_a_minute_and_wrong_ones_change_nothing() {
        let scratch = Scratch::new("tls-look");
        let authority = Authority::new("tests");
        let issue = |name: &str| authority.issue(&["localhost", name]);
        let [chain, key] = issue("first.example").write_to(&scratch.0);
        let tls = TlsConfig::from_pem_files(&chain, key).expect("good files");
        let look = |tls: &TlsConfig| {
            a_minute_passes(tls);
            name(tls)
        };
        issue("second.example").write_to(&scratch.0);
        assert_eq!(name(&tls).as_deref(), Some("first.example"), "a minute has not passed");
        assert_eq!(look(&tls).as_deref(), Some("second.example"));
        assert_eq!(name(&tls).as_deref(), Some("second.example"));

        let trouble = || tls.shared.state.lock().trouble.clone();
        fs::remove_file(&chain).expect("it is there");
        for _ in 0..2 {
            assert_eq!(look(&tls).as_deref(), Some("second.example"), "it stays in use");
            assert!(trouble().is_some_and(|text| text.contains("chain.pem")));
        }
        // Half of a pair, while it is being replaced: the certificate first, or the key.
        let third = issue("third.example");
        fs::write(&chain, &third.certificate).expect("a folder that can be written to");
        assert_eq!(look(&tls).as_deref(), Some("second.example"));
        assert!(trouble().is_some_and(|text| text.contains("it is not the key")));
        third.write_to(&scratch.0);
        assert_eq!(look(&tls).as_deref(), Some("third.example"));
        assert_eq!(trouble(), None);

        // What has not changed is not read: the very same is in use.
        let before = tls.current();
        assert!(!tls.is_look_due());
        a_minute_passes(&tls);
        assert!(tls.is_look_due());
        assert!(Arc::ptr_eq(&before, &tls.current()));
        assert!(!tls.is_look_due());
    }

    #[test]
    fn a_configuration_of_the_embedders_has_no_files_and_takes_no_early_data() {
        let scratch = Scratch::new("tls-own");
        let files = Authority::new("tests").issue(&["localhost"]).write_to(&scratch.0);
        let read = TlsConfig::from_pem_files(&files[0], &files[1]).expect("good files");
        let mut own = ServerConfig::clone(&read.current());
        own.alpn_protocols = vec![b"h2".to_vec()];
        own.max_early_data_size = 1 << 14;
        let tls = TlsConfig::from(own);
        assert!(tls.certificate().is_none() && tls.reload().is_ok());
        assert_eq!(tls.current().alpn_protocols, [b"http/1.1"]);
        assert_eq!(tls.current().max_early_data_size, 0);
        let refused = tls.client_authorities("ca.pem").expect_err("it has a verifier of its own");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
