//! Which web pages may use a server, and which host names it answers to.

use std::{fmt, sync::Arc};

use super::{
    Request, Response,
    host::{Host, Origin},
};
use crate::quoted::Quoted;

/// Which web pages may use an [`HttpServer`](super::HttpServer) through their visitors' browsers,
/// and which host names it answers to.
///
/// By default, pages of other origins cannot read the server's answers, and their POSTs are refused
/// (403). Otherwise every page on the web could publish to a server on its visitor's machine. A
/// request that does not come from a page, such as curl's, has no `Origin` and passes.
///
/// A final dot, a scheme's own port and upper case make no difference in a host or an origin, and
/// all names below `localhost` count as `localhost` (RFC 6761).
///
/// ```
/// use websse::http::{HttpServer, Policy};
///
/// let policy = Policy::default().allow_host("localhost")?.allow_origin("https://app.example")?;
/// let http = HttpServer::new().policy(policy).bind("127.0.0.1:0")?;
/// # drop(http);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "it does nothing until a server has it"]
pub struct Policy {
    origins: Vec<Origin>,
    any_origin: bool,
    /// Empty: every host.
    hosts: Vec<Host>,
    forwards: Option<Forwards>,
}

/// Whether a request was forwarded by a proxy that is trusted.
#[derive(Clone)]
struct Forwards(Arc<IsForwarded>);

type IsForwarded = dyn Fn(&Request) -> bool + Send + Sync;

impl fmt::Debug for Forwards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwards")
    }
}

/// [`Policy::allow_host`] or [`Policy::allow_origin`] got a text that no request can match.
///
/// ```
/// let error = websse::http::Policy::default().allow_host("*.example.org").unwrap_err();
/// println!("{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError(String);

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    /// Allows the pages of an origin, such as `https://app.example.org` or `http://localhost:3000`,
    /// to read the answers and to send POSTs, with their visitor's cookies (CORS, Fetch standard,
    /// 3.2). `*` allows all pages, without cookies.
    ///
    /// # Errors
    /// [`PolicyError`] for what no browser sends as an origin: a path, a pattern, a list, a name
    /// that is not ASCII. Of such a name give the A-label (`xn--…`, RFC 5890).
    pub fn allow_origin(mut self, origin: impl AsRef<str>) -> Result<Self, PolicyError> {
        match origin.as_ref() {
            "*" => self.any_origin = true,
            origin => self.origins.push(Origin::setting(origin).map_err(PolicyError)?),
        }
        Ok(self)
    }

    /// Answers requests for this [host](Request::host), a name or an address without a port. Once a
    /// host is allowed, requests for any other are refused (403). This protects a server that only
    /// its own machine or network can reach: a page cannot use it by pointing a host name at it
    /// (DNS rebinding).
    ///
    /// Three kinds of requests cannot be of such a page, or do it no good, and pass: those for an IP
    /// address; those by HTTP/1.0 without `Host`, as some health checks are; and those to a handler
    /// that [answers any host](super::Handler::answers_any_host), as the one for health does.
    ///
    /// # Errors
    /// [`PolicyError`] for what can be no request's host: a port, a scheme, a pattern, a list, an
    /// IPv6 address without brackets, a name that is not ASCII.
    pub fn allow_host(mut self, host: impl AsRef<str>) -> Result<Self, PolicyError> {
        self.hosts.push(Host::setting(host.as_ref()).map_err(PolicyError)?);
        Ok(self)
    }

    /// Takes the host that the page asked for from the first value of `X-Forwarded-Host`, if the
    /// request has that field and `is_forwarded` says that a trusted proxy sent it. The proxy must
    /// set the field itself, or remove what a client sent. This is for proxies that change `Host`:
    /// what they change it to must be an IP address or [allowed](Self::allow_host) too, as a browser
    /// on a trusted machine can send the field, but no other `Host` than its page's. The function
    /// must not block.
    ///
    /// ```
    /// use websse::http::{Policy, Request};
    ///
    /// let by_own_proxy = |request: &Request| request.peer().is_some_and(|p| p.ip().is_loopback());
    /// let policy = Policy::default().allow_host("hub.example")?.trust_forwarded_host(by_own_proxy);
    /// # Ok::<(), websse::http::PolicyError>(())
    /// ```
    pub fn trust_forwarded_host(
        mut self,
        is_forwarded: impl Fn(&Request) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.forwards = Some(Forwards(Arc::new(is_forwarded)));
        self
    }

    /// Answers a request that is not allowed, and one that asks whether another would be
    /// (preflight). `any_host`: its handler answers requests for any host. `allow`: the methods of
    /// its route.
    pub(super) fn answer(
        &self,
        request: &Request,
        grant: &Grant,
        any_host: bool,
        allow: Option<&str>,
    ) -> Option<Response> {
        let forwarded = self.forwarded_host(request);
        let authority = forwarded.or_else(|| request.host());
        let asked = [request.host(), forwarded];
        let foreign = || asked.into_iter().flatten().find(|authority| !self.answers(authority));
        if !any_host && let Some(authority) = foreign() {
            let authority = Quoted(authority);
            let text = format!(
                "{authority} is not one of this server's names; Policy::allow_host, or \
                 --allow-host of the command, would allow it"
            );
            return Some(Response::text(403, text));
        }
        let origin = text(request, "origin");
        match request.method() {
            "GET" | "HEAD" => None,
            "OPTIONS" => {
                let asks = request.header("access-control-request-method").is_some();
                (asks && *grant != Grant::None).then(|| preflight(allow))
            }
            _ if !origin.is_empty() && *grant == Grant::None => {
                let is_own = Origin::read(origin)
                    .is_some_and(|origin| authority.is_some_and(|own| origin.is_of(own)));
                // If a proxy changes `Host`, the browser's own header field still tells.
                let is_own = is_own || text(request, "sec-fetch-site") == "same-origin";
                let text = || {
                    format!(
                        "a page of {} may not publish here; Policy::allow_origin, or \
                         --cors-origin of the command, would allow it",
                        Quoted(origin)
                    )
                };
                (!is_own).then(|| Response::text(403, text()))
            }
            _ => None,
        }
    }

    /// The host with its port that a trusted proxy was asked for, if one says so.
    fn forwarded_host<'r>(&self, request: &'r Request) -> Option<&'r str> {
        let Forwards(is_forwarded) = self.forwards.as_ref()?;
        let value = std::str::from_utf8(request.header("x-forwarded-host")?).ok()?;
        let first = value.split(',').next().map(str::trim).filter(|first| !first.is_empty())?;
        is_forwarded(request).then_some(first)
    }

    /// Whether requests for this host are answered.
    fn answers(&self, authority: &str) -> bool {
        self.hosts.is_empty()
            || match Host::of(authority) {
                Host::Address(_) => true,
                host @ Host::Name(_) => self.hosts.contains(&host),
            }
    }

    /// What the page with this origin may do.
    pub(super) fn grant(&self, origin: Option<&[u8]>) -> Grant {
        let origin = origin.map_or("", |origin| std::str::from_utf8(origin).unwrap_or("?"));
        let is_listed = || Origin::read(origin).is_some_and(|read| self.origins.contains(&read));
        if !self.origins.is_empty() && is_listed() {
            Grant::Origin(origin.to_owned())
        } else if self.any_origin && !origin.is_empty() {
            Grant::Any
        } else {
            Grant::None
        }
    }

    /// Whether a page's origin makes a difference.
    pub(super) fn looks_at_origins(&self) -> bool {
        self.any_origin || self.varies()
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

/// What a page of another origin may send: the methods of the route, if there is one.
fn preflight(allow: Option<&str>) -> Response {
    Response::new(204)
        .header("Access-Control-Allow-Methods", allow.unwrap_or("GET, POST").to_owned())
        .header(
            "Access-Control-Allow-Headers",
            "Authorization, Cache-Control, Content-Type, Last-Event-ID",
        )
        .header("Access-Control-Max-Age", "600")
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
