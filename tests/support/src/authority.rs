//! An authority of the tests' own, the certificates that it issues, and clients that trust it.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

pub use rcgen::{self, date_time_ymd};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
pub use rustls;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use websse::http::TlsConfig;

use crate::{Client, tls::Session};

pub const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these host names, addresses and so on.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_with(names, |_| {})
    }

    /// The same, with more that is said in it.
    pub fn issue_with(&self, names: &[&str], say: impl FnOnce(&mut CertificateParams)) -> Issued {
        self.issue_for(&KeyPair::generate().unwrap(), names, say)
    }

    /// The same, for a key that is there.
    pub fn issue_for(
        &self,
        key: &KeyPair,
        names: &[&str],
        say: impl FnOnce(&mut CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        say(&mut params);
        let certificate = params.signed_by(key, &self.0).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client that trusts it, in these versions, and shows that certificate. It does not come back
    /// to a session unless it is told how.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Issued>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(own.chain(), own.private_key()).unwrap(),
        };
        config.resumption = Resumption::disabled();
        config
    }
}

impl Issued {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.certificate.as_bytes()).map(Result::unwrap).collect()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap()
    }

    /// The files `chain.pem` and `key.pem` in a folder. Only their owner may read the key.
    pub fn write_to(&self, folder: &Path) -> [PathBuf; 2] {
        let files = ["chain.pem", "key.pem"].map(|name| folder.join(name));
        fs::write(&files[0], &self.certificate).unwrap();
        fs::write(&files[1], &self.key).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&files[1], std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        files
    }

    /// A server's configuration, read of files in this folder.
    pub fn server(&self, folder: &Path) -> TlsConfig {
        let [chain, key] = self.write_to(folder);
        TlsConfig::from_pem_files(chain, key).unwrap()
    }
}

impl Client {
    /// A connection over which TLS is spoken in this way, with a server that has this name. The
    /// handshake comes with the first write.
    pub fn try_connect_tls(
        addr: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> io::Result<Client> {
        Ok(Client::try_connect(addr)?.secured(config, name))
    }

    /// Speaks TLS in this way from now on.
    #[must_use]
    pub fn secured(mut self, config: &Arc<ClientConfig>, name: &str) -> Client {
        let name = match name.parse::<IpAddr>() {
            Ok(address) => ServerName::from(address),
            Err(_) => ServerName::try_from(name.to_owned()).unwrap(),
        };
        self.session = Some(Session::new(config, name));
        self
    }

    /// Its side of TLS.
    pub fn tls(&mut self) -> &mut ClientConnection {
        self.session.as_mut().unwrap().connection()
    }

    /// Shakes hands, if that was not yet done.
    ///
    /// # Errors
    /// Those of the socket, and of TLS.
    pub fn shake_hands(&mut self) -> io::Result<()> {
        self.try_send("")
    }
}
