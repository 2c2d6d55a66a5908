//! Finds the handler for a request.

use std::{fmt, sync::Arc};

use super::{Request, Response};
use crate::quoted::Quoted;

/// Answers requests. Any closure `Fn(&Request) -> Response` that threads can share is a handler.
///
/// A handler runs on its connection's own thread and may block. If it panics, its client gets
/// status 500 and the server goes on.
///
/// Give a closure's argument its type, `|request: &Request|`. Otherwise the compiler reports that
/// the *implementation of `FnOnce` is not general enough*.
///
/// A handler can be wrapped, to check or to add something:
///
/// ```
/// use websse::{Server, http::{Handler, HttpServer, Request, Response}};
///
/// let server = Server::new();
/// let stream = server.event_stream_handler();
/// let http = HttpServer::new().get("/event", move |request: &Request| {
///     match request.header("authorization") {
///         Some(b"Bearer let-me-in") => stream.handle(request).header("Vary", "Authorization"),
///         _ => Response::text(401, "a token is needed").header("WWW-Authenticate", "Bearer"),
///     }
/// });
/// ```
///
/// Your own type can be a handler too:
///
/// ```
/// use websse::http::{Handler, HttpServer, Request, Response};
///
/// struct Version(&'static str);
///
/// impl Handler for Version {
///     fn handle(&self, _: &Request) -> Response {
///         Response::text(200, self.0)
///     }
///
///     fn may_block(&self) -> bool {
///         false
///     }
/// }
///
/// let http = HttpServer::new().get("/version", Version("1.2"));
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Answers a request.
    fn handle(&self, request: &Request) -> Response;

    /// Whether [`handle`](Self::handle) may block; default true. Return false only if it never
    /// blocks and takes microseconds. It then runs without a change of threads, but no new client
    /// is accepted meanwhile.
    fn may_block(&self) -> bool {
        true
    }

    /// Whether it answers requests for any host, also if the [policy](super::Policy::allow_host)
    /// has names; default false. Return true only if the answer is of no use to a page of another
    /// origin. Health checks often ask by an address or a name of their own.
    fn answers_any_host(&self) -> bool {
        false
    }
}

impl<F> Handler for F
where
    F: Fn(&Request) -> Response + Send + Sync + 'static,
{
    fn handle(&self, request: &Request) -> Response {
        self(request)
    }
}

/// Routes by path.
#[derive(Clone, Default)]
pub(super) struct Router {
    routes: Vec<Route>,
}

#[derive(Clone)]
struct Route {
    path: String,
    get: Option<Arc<dyn Handler>>,
    post: Option<Arc<dyn Handler>>,
}

/// Where a request goes.
pub(super) enum Routed<'r> {
    Handler(&'r dyn Handler),
    /// The router answers by itself.
    Answer(Response),
}

impl Router {
    /// The route of a path; makes one if there is none. A missing slash at the beginning is added.
    fn route(&mut self, path: &str) -> &mut Route {
        let path = &format!("/{}", path.strip_prefix('/').unwrap_or(path));
        let at = self.routes.iter().position(|route| route.path == *path);
        let at = at.unwrap_or_else(|| {
            self.routes.push(Route { path: path.clone(), get: None, post: None });
            self.routes.len() - 1
        });
        &mut self.routes[at]
    }

    pub(super) fn get(&mut self, path: &str, handler: Arc<dyn Handler>) {
        self.route(path).get = Some(handler);
    }

    pub(super) fn post(&mut self, path: &str, handler: Arc<dyn Handler>) {
        self.route(path).post = Some(handler);
    }

    /// The route of exactly this path; else the longest `/*` route above it.
    fn route_of(&self, path: &str) -> Option<&Route> {
        let exact = self.routes.iter().find(|route| route.path == path);
        let is_above = |route: &&Route| {
            let above = route.path.strip_suffix('*').filter(|above| above.ends_with('/'));
            above.is_some_and(|above| path.starts_with(above))
        };
        let above = || self.routes.iter().filter(is_above).max_by_key(|route| route.path.len());
        exact.or_else(above)
    }

    pub(super) fn find(&self, request: &Request) -> Routed<'_> {
        if request.path() == "*" {
            return Routed::Answer(Response::new(204).header("Allow", "GET, HEAD, POST, OPTIONS"));
        }
        let Some(route) = self.route_of(request.path()) else {
            let text = format!("nothing at {}", Quoted(request.path()));
            return Routed::Answer(Response::text(404, text));
        };
        let handler = match request.method() {
            "GET" | "HEAD" => &route.get,
            "POST" => &route.post,
            "OPTIONS" => return Routed::Answer(Response::new(204).header("Allow", route.allow())),
            _ => &None,
        };
        if let Some(handler) = handler {
            return Routed::Handler(&**handler);
        }
        let allow = route.allow();
        let methods = allow.trim_end_matches(", OPTIONS");
        let text = format!("{} is not for {}; use {methods}", request.method(), route.path);
        Routed::Answer(Response::text(405, text).header("Allow", allow))
    }
}

impl Route {
    fn allow(&self) -> &'static str {
        match (&self.get, &self.post) {
            (Some(_), Some(_)) => "GET, HEAD, POST, OPTIONS",
            (Some(_), None) => "GET, HEAD, OPTIONS",
            (None, Some(_)) => "POST, OPTIONS",
            (None, None) => "OPTIONS",
        }
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.routes.iter().map(|route| (&route.path, route.allow()));
        f.debug_map().entries(paths).finish()
    }
}
