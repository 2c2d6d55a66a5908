//! The certificate, and where it is shown.

use std::io;

use log::{error, info, warn};
use websse::http::{HttpServer, Limits, Listener, Policy, Request, Response, TlsConfig};

use crate::{
    listen::{Address, Bound, Place},
    systemd::HandedOver,
    timestamp::rfc3339,
};

/// What the flags of TLS say.
#[derive(Clone, Default)]
pub(crate) struct Https {
    cert: Option<String>,
    key: Option<String>,
    /// Once both were read.
    tls: Option<TlsConfig>,
    redirect: Option<Place>,
}

impl Https {
    pub(crate) fn set_cert(&mut self, path: &str) {
        self.cert = Some(path.to_owned());
    }

    /// The flag of the certificate is set before.
    pub(crate) fn set_key(&mut self, path: &str) -> Result<(), String> {
        let cert = self.cert.as_ref().ok_or("only together with --tls-cert")?;
        self.tls = Some(TlsConfig::from_pem_files(cert, path).map_err(|error| error.to_string())?);
        self.key = Some(path.to_owned());
        Ok(())
    }

    pub(crate) fn set_client_authorities(&mut self, path: &str) -> Result<(), String> {
        let tls = self.tls.take().ok_or("only together with --tls-cert and --tls-key")?;
        self.tls = Some(tls.client_authorities(path).map_err(|error| error.to_string())?);
        Ok(())
    }

    pub(crate) fn set_redirect(&mut self, place: Place) -> Result<(), String> {
        #[cfg(unix)]
        if let Place::Unix(_) = place {
            return Err("http:// has no Unix-domain socket; give [HOST:]PORT".to_owned());
        }
        self.redirect = Some(place);
        Ok(())
    }

    pub(crate) fn is_given(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn redirects(&self) -> bool {
        self.redirect.is_some()
    }

    /// Says so if there is a certificate without a key.
    pub(crate) fn lacks_half(&self) -> Option<String> {
        let cert = self.cert.as_ref().filter(|_| self.tls.is_none())?;
        Some(format!("--tls-cert {cert}: only together with --tls-key"))
    }

    pub(crate) fn key_path(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// For `--check`: whose certificate it is, and until when it is valid.
    pub(crate) fn shown(&self) -> String {
        let Some(certificate) = self.tls.as_ref().and_then(TlsConfig::certificate) else {
            return String::new();
        };
        let names: Vec<_> = certificate.names().collect();
        let until = certificate.valid_until().map_or("unknown".to_owned(), rfc3339);
        format!("# the certificate of {} is valid until {until}\n", names.join(", "))
    }

    /// Reads the files again.
    pub(crate) fn read_again(&self) {
        let Some(tls) = &self.tls else { return };
        match tls.reload() {
            Ok(()) => info!("read the certificate again"),
            Err(error) => error!("the old certificate stays in use: {error}"),
        }
    }

    /// The host by which clients find this address: one that the certificate is for.
    pub(crate) fn host(&self, address: &str) -> String {
        let certificate = self.tls.as_ref().and_then(TlsConfig::certificate);
        let Some((host, port)) = address.rsplit_once(':') else { return address.to_owned() };
        let ip = host.trim_start_matches('[').trim_end_matches(']');
        let names: Vec<_> =
            certificate.iter().flat_map(|certificate| certificate.names()).collect();
        let fits = |name: &&&str| !name.contains(['*', '@', ':', '/']);
        match names.iter().find(fits) {
            Some(name) if !names.contains(&ip) => format!("{name}:{port}"),
            _ => address.to_owned(),
        }
    }

    pub(crate) fn serve(&self, http: HttpServer, listener: Listener) -> io::Result<HttpServer> {
        match &self.tls {
            Some(tls) => http.serve_tls(listener, tls.clone()),
            None => http.serve(listener),
        }
    }

    /// Listens where `http://` is answered by `https://`. `bound` is where TLS is spoken.
    pub(crate) fn redirect(
        &self,
        bound: &[Bound],
        limits: &Limits,
        policy: &Policy,
        handed: &mut HandedOver,
    ) -> Result<Option<HttpServer>, String> {
        let Some(place) = &self.redirect else { return Ok(None) };
        let port = bound.iter().find_map(|one| match &one.address {
            Address::Tcp(address) if one.is_https => Some(address.port()),
            _ => None,
        });
        let answer = move |request: &Request| redirection(request, port);
        let mut http =
            HttpServer::new().limits(limits.clone()).policy(policy.clone()).fallback(answer);
        let cannot = |error: io::Error| format!("cannot listen on {place}: {error}");
        for mut one in place.listen(0o660, std::slice::from_ref(place), handed).map_err(cannot)? {
            if let Some(listener) = one.listener.take() {
                http = http.serve(listener).map_err(|error| error.to_string())?;
            }
        }
        if port.is_none() {
            warn!("--redirect-http names the port 443: no TCP port speaks TLS here");
        }
        Ok(Some(http))
    }
}

/// The same URL with `https`. The method stays, and the body is sent again (RFC 9110, section
/// 15.4.9).
fn redirection(request: &Request, port: Option<u16>) -> Response {
    let Some(host) = request.host() else {
        return Response::text(400, "no Host; use https://");
    };
    let name = match host.rsplit_once(':') {
        Some((name, _)) if name.starts_with('[') == name.ends_with(']') => name,
        _ => host,
    };
    let port = port.filter(|port| *port != 443).map_or(String::new(), |port| format!(":{port}"));
    let path: String = request.path().split('/').map(crate::encode).collect::<Vec<_>>().join("/");
    let query = match request.raw_query() {
        "" => String::new(),
        query => format!("?{query}"),
    };
    let url = format!("https://{name}{port}{path}{query}");
    Response::text(308, format!("use {url}")).header("Location", url)
}
