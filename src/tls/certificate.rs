//! What a certificate says (RFC 5280).

use std::{
    fmt,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::CertificateDer;
use x509_cert::{
    Certificate as X509,
    der::{Decode, asn1::OctetString},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

/// A certificate: the server's own, or that of a client, which the authorities of
/// [`TlsConfig::client_authorities`](super::TlsConfig::client_authorities) vouch for.
///
/// ```no_run
/// use websse::http::{HttpServer, Request, Response, TlsConfig};
///
/// let tls = TlsConfig::from_pem_files("chain.pem", "key.pem")?.client_authorities("ca.pem")?;
/// let http = HttpServer::new()
///     .get("/", |request: &Request| {
///         let name = request.peer_certificate().and_then(|peer| peer.common_name());
///         Response::text(200, format!("hello {}", name.unwrap_or("you")))
///     })
///     .bind_tls("127.0.0.1:0", tls)?;
/// # drop(http);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Vec<u8>,
    common_name: Option<String>,
    names: Vec<String>,
    valid_until: Option<SystemTime>,
}

impl Certificate {
    pub(super) fn new(der: &CertificateDer<'_>) -> Self {
        let read = X509::from_der(der).ok();
        let tbs = read.as_ref().map(X509::tbs_certificate);
        let common_name = tbs.and_then(|tbs| tbs.subject().common_name().ok().flatten());
        let alternatives = tbs.and_then(|tbs| tbs.get_extension::<SubjectAltName>().ok().flatten());
        let names = alternatives.map_or_else(Vec::new, |(_, SubjectAltName(names))| {
            names.iter().filter_map(text).collect()
        });
        Self {
            der: der.to_vec(),
            common_name: common_name.map(|name| name.value().into_owned()),
            names,
            valid_until: tbs.and_then(|tbs| {
                UNIX_EPOCH.checked_add(tbs.validity().not_after.to_unix_duration())
            }),
        }
    }

    /// The common name of its subject, if there is one (RFC 5280, section 4.1.2.6).
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Its alternative names: host names, e-mail addresses, URIs and IP addresses, in their order
    /// (RFC 5280, section 4.2.1.6).
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Until when it is valid, if that can be read (RFC 5280, section 4.1.2.5).
    pub fn valid_until(&self) -> Option<SystemTime> {
        self.valid_until
    }

    /// All of it, as DER, for what is not here.
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("common_name", &self.common_name)
            .field("names", &self.names)
            .field("valid_until", &self.valid_until)
            .finish_non_exhaustive()
    }
}

fn text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::Rfc822Name(text)
        | GeneralName::DnsName(text)
        | GeneralName::UniformResourceIdentifier(text) => Some(text.to_string()),
        GeneralName::IpAddress(address) => ip_address(address).map(|address| address.to_string()),
        _ => None,
    }
}

fn ip_address(octets: &OctetString) -> Option<IpAddr> {
    let octets = octets.as_bytes();
    let v4 = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(octets).ok().map(IpAddr::from))
}
