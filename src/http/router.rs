//! Finds the handler for a request.

use std::{fmt, io, ops::Range, sync::Arc};

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
/// }
///
/// let http = HttpServer::new().get("/version", Version("1.2"));
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Answers a request.
    fn handle(&self, request: &Request) -> Response;

    /// Whether it answers requests for any host, also if the [policy](super::Policy::allow_host)
    /// has names; default false. Return true only if the answer is of no use to a page of another
    /// origin. Health checks often ask by an address or a name of their own.
    fn answers_any_host(&self) -> bool {
        false
    }

    /// Whether [`handle`](Self::handle) may block. If not, it never blocks and takes microseconds:
    /// the accepting thread calls it, and accepts no new client meanwhile.
    ///
    /// Only handlers of this crate say so. Others cannot, since [`Hint`] has no name outside of it:
    ///
    /// ```compile_fail,E0050
    /// use websse::http::{Handler, Request, Response};
    ///
    /// struct Quick;
    ///
    /// impl Handler for Quick {
    ///     fn handle(&self, _: &Request) -> Response {
    ///         Response::new(200)
    ///     }
    ///
    ///     fn may_block(&self) -> bool {
    ///         false
    ///     }
    /// }
    /// ```
    #[doc(hidden)]
    fn may_block(&self, _: Hint) -> bool {
        true
    }
}

/// An argument that makes a method of a public trait one for this crate alone.
#[derive(Clone, Copy, Debug)]
pub struct Hint;

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
    /// What is wrong with the first handler that has the method and the path of an earlier one.
    twice: Option<String>,
}

#[derive(Clone)]
struct Route {
    path: String,
    /// In the order of the methods.
    handlers: Vec<Mounted>,
}

#[derive(Clone)]
struct Mounted {
    method: String,
    /// The route's, but for the name of the parameter.
    path: String,
    handler: Arc<dyn Handler>,
}

/// Where a request goes.
pub(super) enum Routed<'r> {
    Handler(&'r dyn Handler),
    /// The router answers by itself.
    Answer(Response),
}

impl Router {
    pub(super) fn add(&mut self, method: &str, path: &str, handler: Arc<dyn Handler>) {
        let path = format!("/{}", path.strip_prefix('/').unwrap_or(path));
        let mounted = Mounted { method: method.to_owned(), path, handler };
        let same = |route: &&mut Route| shape(&route.path).eq(shape(&mounted.path));
        let Some(route) = self.routes.iter_mut().find(same) else {
            let path = mounted.path.clone();
            self.routes.push(Route { path, handlers: vec![mounted] });
            return;
        };
        match route.handlers.binary_search_by(|known| (*known.method).cmp(method)) {
            Ok(at) => {
                let (first, second) = (&route.handlers[at].path, &mounted.path);
                let second = format!("{method} {second}");
                let (first, second) = (Quoted(first), Quoted(&second));
                self.twice.get_or_insert(format!(
                    "there are two handlers for {second}, the first at {first}; remove one"
                ));
            }
            Err(at) => route.handlers.insert(at, mounted),
        }
    }

    /// # Errors
    /// `InvalidInput` if two handlers have the same method and path.
    pub(super) fn check(&self) -> io::Result<()> {
        let error = |text: &String| io::Error::new(io::ErrorKind::InvalidInput, text.clone());
        self.twice.as_ref().map_or(Ok(()), |text| Err(error(text)))
    }

    pub(super) fn set_fallback(&mut self, handler: Arc<dyn Handler>) {
        self.fallback = Some(handler);
    }

    /// The route of exactly this path; else one with a parameter, and where the parameter is; else
    /// the longest `/*` route above it.
    fn route_of(&self, path: &str) -> Option<(&Route, Range<usize>)> {
        let is_exact = |route: &&Route| route.path == path && param(path).is_none();
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
        if let Some(Mounted { path, handler, .. }) = route.handler(request.method()) {
            if let Some(name) = param(path) {
                let value = request.path()[value].to_owned();
                request.set_param(&path[name], &value);
            }
            return Routed::Handler(&**handler);
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
    fn handler(&self, method: &str) -> Option<&Mounted> {
        let find = |method: &str| self.handlers.iter().find(|known| known.method == method);
        find(method).or_else(|| if method == "HEAD" { find("GET") } else { None })
    }

    fn allow(&self) -> String {
        let mut allow = String::new();
        let methods = || self.handlers.iter().map(|known| &*known.method);
        for method in methods().filter(|&method| method != "OPTIONS") {
            allow += method;
            let has_head = method == "GET" && !methods().any(|it| it == "HEAD");
            allow += if has_head { ", HEAD, " } else { ", " };
        }
        allow + "OPTIONS"
    }

    /// Where its value is in a path that fits: all of one part, and not empty.
    fn match_param(&self, path: &str) -> Option<Range<usize>> {
        let name = param(&self.path)?;
        let begin = name.start - 1;
        let value = path.strip_prefix(&self.path[..begin])?.strip_suffix(&self.path[name.end..])?;
        (!value.is_empty() && !value.contains('/')).then(|| begin..begin + value.len())
    }
}

/// Where the name of the parameter is, if this path has one.
fn param(path: &str) -> Option<Range<usize>> {
    let begin = path.find("/:")? + 2;
    let end = path[begin..].find('/').map_or(path.len(), |length| begin + length);
    Some(begin..end)
}

/// A path without the name of its parameter.
fn shape(path: &str) -> impl Iterator<Item = &str> {
    let name = param(path).unwrap_or(0..0);
    [&path[..name.start], &path[name.end..]].into_iter()
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.routes.iter().map(|route| (&route.path, route.allow()));
        f.debug_map().entries(paths).finish()
    }
}
