//! Finds the handler for a request.

use std::{fmt, ops::Range, sync::Arc};

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
    /// Answers for paths without a route.
    fallback: Option<Arc<dyn Handler>>,
}

#[derive(Clone)]
struct Route {
    path: String,
    /// In the order of the methods.
    handlers: Vec<(String, Arc<dyn Handler>)>,
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
            self.routes.push(Route { path: path.clone(), handlers: Vec::new() });
            self.routes.len() - 1
        });
        &mut self.routes[at]
    }

    pub(super) fn add(&mut self, method: &str, path: &str, handler: Arc<dyn Handler>) {
        let handlers = &mut self.route(path).handlers;
        match handlers.binary_search_by(|(known, _)| (**known).cmp(method)) {
            Ok(at) => handlers[at].1 = handler,
            Err(at) => handlers.insert(at, (method.to_owned(), handler)),
        }
    }

    pub(super) fn set_fallback(&mut self, handler: Arc<dyn Handler>) {
        self.fallback = Some(handler);
    }

    /// The route of exactly this path; else one with a parameter, and where the parameter is; else
    /// the longest `/*` route above it.
    fn route_of(&self, path: &str) -> Option<(&Route, Range<usize>)> {
        let is_exact = |route: &&Route| route.path == path && route.param().is_none();
        if let Some(route) = self.routes.iter().find(is_exact) {
            return Some((route, 0..0));
        }
        let with_param =
            self.routes.iter().filter_map(|route| Some((route, route.match_param(path)?)));
        let is_above = |route: &&Route| {
            let above = route.path.strip_suffix('*').filter(|above| above.ends_with('/'));
            above.is_some_and(|above| path.starts_with(above))
        };
        let above = || self.routes.iter().filter(is_above).max_by_key(|route| route.path.len());
        with_param.max_by_key(|(_, value)| value.start).or_else(|| Some((above()?, 0..0)))
    }

    /// Finds the handler, and notes the parameter in the request's path.
    pub(super) fn find(&self, request: &mut Request) -> Routed<'_> {
        if request.path() == "*" {
            return Routed::Answer(Response::new(204).header("Allow", "GET, HEAD, POST, OPTIONS"));
        }
        let Some((route, value)) = self.route_of(request.path()) else {
            if let Some(fallback) = &self.fallback {
                return Routed::Handler(&**fallback);
            }
            let text = format!("nothing at {}", Quoted(request.path()));
            return Routed::Answer(Response::text(404, text));
        };
        if let Some(handler) = route.handler(request.method()) {
            if let Some(name) = route.param() {
                let value = request.path()[value].to_owned();
                request.set_param(&route.path[name], &value);
            }
            return Routed::Handler(handler);
        }
        let allow = route.allow();
        if request.method() == "OPTIONS" {
            return Routed::Answer(Response::new(204).header("Allow", allow));
        }
        let methods = allow.trim_end_matches(", OPTIONS");
        let text = format!("{} is not for {}; use {methods}", request.method(), route.path);
        Routed::Answer(Response::text(405, text).header("Allow", allow))
    }
}

impl Route {
    /// The handler of GET answers HEAD as well, unless there is another one for it.
    fn handler(&self, method: &str) -> Option<&dyn Handler> {
        let find = |method: &str| self.handlers.iter().find(|(known, _)| known == method);
        let found = find(method).or_else(|| if method == "HEAD" { find("GET") } else { None });
        found.map(|(_, handler)| &**handler)
    }

    fn allow(&self) -> String {
        let mut allow = String::new();
        for (method, _) in self.handlers.iter().filter(|(method, _)| method != "OPTIONS") {
            allow += method;
            let has_head = method == "GET" && !self.handlers.iter().any(|(it, _)| it == "HEAD");
            allow += if has_head { ", HEAD, " } else { ", " };
        }
        allow + "OPTIONS"
    }

    /// Where the name of the parameter is, if this path has one.
    fn param(&self) -> Option<Range<usize>> {
        let begin = self.path.find("/:")? + 2;
        let end = self.path[begin..].find('/').map_or(self.path.len(), |length| begin + length);
        Some(begin..end)
    }

    /// Where its value is in a path that fits: all of one part, and not empty.
    fn match_param(&self, path: &str) -> Option<Range<usize>> {
        let name = self.param()?;
        let begin = name.start - 1;
        let value = path.strip_prefix(&self.path[..begin])?.strip_suffix(&self.path[name.end..])?;
        (!value.is_empty() && !value.contains('/')).then(|| begin..begin + value.len())
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.routes.iter().map(|route| (&route.path, route.allow()));
        f.debug_map().entries(paths).finish()
    }
}
