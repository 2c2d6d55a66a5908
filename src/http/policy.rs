//! Which web pages may use a server, and which host names it answers to.

use super::{Request, Response, target::split_scheme};
use crate::quoted::Quoted;

/// Which web pages may use an [`HttpServer`](super::HttpServer) through their visitors' browsers,
/// and which host names it answers to.
///
/// By default, pages of other origins cannot read the server's answers, and their POSTs are refused
/// (403). Otherwise every page on the web could publish to a server on its visitor's machine. A
/// request that does not come from a page, such as curl's, has no `Origin` and passes.
///
/// ```
/// use websse::http::{HttpServer, Policy};
///
/// let policy = Policy::default().allow_origin("https://app.example.org").allow_host("localhost");
/// let http = HttpServer::new().policy(policy).bind("127.0.0.1:0")?;
/// # drop(http);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Policy {
    origins: Vec<String>,
    any_origin: bool,
    /// Empty: every host.
    hosts: Vec<String>,
}

impl Policy {
    /// Allows the pages of an origin, such as `https://app.example.org` or `http://localhost:3000`,
    /// to read the answers and to send POSTs, with their visitor's cookies (CORS, Fetch standard,
    /// 3.2). `*` allows all pages, without cookies.
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        let origin = origin.into();
        if origin == "*" {
            self.any_origin = true;
        } else {
            self.origins.push(origin.trim_end_matches('/').to_ascii_lowercase());
        }
        self
    }

    /// Answers requests for this [host](Request::host), a name or an address without a port. Once a
    /// host is allowed, requests for any other are refused (403). This protects a server that only
    /// its own machine or network can reach: a page cannot use it by pointing a host name at it
    /// (DNS rebinding).
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into().to_ascii_lowercase());
        self
    }

    /// Answers a request that is not allowed, and one that asks whether another would be
    /// (preflight).
    pub(super) fn answer(&self, request: &Request, grant: &Grant) -> Option<Response> {
        let authority = request.host().unwrap_or_default().to_ascii_lowercase();
        let host = host_of(&authority);
        if !self.hosts.is_empty() && !self.hosts.iter().any(|known| known == host) {
            let host = Quoted(host);
            let text = format!("{host} is not one of this server's names; it has to allow them");
            return Some(Response::text(403, text));
        }
        let origin = text(request, "origin").to_ascii_lowercase();
        match request.method() {
            "POST" if !origin.is_empty() && *grant == Grant::None => {
                // If a proxy changes `Host`, the browser's own header field still tells.
                let own = split_scheme(&origin).is_some_and(|(_, own)| own == authority)
                    || text(request, "sec-fetch-site") == "same-origin";
                let text = || {
                    format!("a page of {} may not publish here; allow its origin", Quoted(&origin))
                };
                (!own).then(|| Response::text(403, text()))
            }
            "OPTIONS" if request.header("access-control-request-method").is_some() => {
                let response = Response::new(204)
                    .header("Access-Control-Allow-Methods", "GET, POST")
                    .header(
                        "Access-Control-Allow-Headers",
                        "Authorization, Cache-Control, Content-Type, Last-Event-ID",
                    )
                    .header("Access-Control-Max-Age", "600");
                (*grant != Grant::None).then_some(response)
            }
            _ => None,
        }
    }

    /// What the page that sent the request may do.
    pub(super) fn grant(&self, request: &Request) -> Grant {
        let origin = text(request, "origin");
        if self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin)) {
            Grant::Origin(origin.to_owned())
        } else if self.any_origin && !origin.is_empty() {
            Grant::Any
        } else {
            Grant::None
        }
    }

    /// Whether answers depend on the page.
    fn varies(&self) -> bool {
        !self.origins.is_empty()
    }

    /// Adds the header fields that the browser needs.
    pub(super) fn mark(&self, response: Response, grant: &Grant) -> Response {
        let response = if self.varies() { response.header("Vary", "Origin") } else { response };
        match grant {
            Grant::None => response,
            Grant::Any => response.header("Access-Control-Allow-Origin", "*"),
            Grant::Origin(origin) => response
                .header("Access-Control-Allow-Origin", origin.clone())
                .header("Access-Control-Allow-Credentials", "true"),
        }
    }
}

/// What a page of another origin may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Only what every browser allows by itself.
    None,
    Any,
    /// What a page of this origin may do, with its visitor's cookies.
    Origin(String),
}

/// A header field's value; if it is not text, a value that matches nothing.
fn text<'r>(request: &'r Request, name: &str) -> &'r str {
    request.header(name).map_or("", |value| std::str::from_utf8(value).unwrap_or("?"))
}

/// The host of an authority, without its port.
fn host_of(authority: &str) -> &str {
    let port = authority.rfind(':').filter(|&colon| !authority[colon..].contains(']'));
    &authority[..port.unwrap_or(authority.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_no_part_of_a_host() {
        for (authority, host) in [
            ("example.org", "example.org"),
            ("example.org:80", "example.org"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::1]:8080", "[::1]"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }
}
