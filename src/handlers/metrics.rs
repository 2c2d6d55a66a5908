//! The server's stats, metrics and health over HTTP.

use std::{
    fmt::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(feature = "durable")]
use crate::broadcast::stats::DurableStats;
use crate::{
    broadcast::{
        shared::Shared,
        stats::{RedisStats, Stats},
        subscribers::{MOST_TYPES, json_counts},
    },
    handlers::access::{Action, Authorize, Denied},
    http::{Handler, Hint, HttpServer, Refusals, Request, Response, StreamsOfOwn},
    message::json_text::json_string,
    server::{Dropped, Server},
};

/// How long the broadcaster may take to answer; if it takes longer, it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(1);

impl Server {
    /// Returns a handler that answers GET with the server's metrics in the text format of
    /// Prometheus (version 0.0.4). They are those of [`stats`](Self::stats) and
    /// [`subscribers_by_type`](Self::subscribers_by_type).
    ///
    /// ```
    /// # use websse::{Server, http::HttpServer};
    /// # let server = Server::new();
    /// let http = HttpServer::new();
    /// let metrics = server.metrics_handler().with_http(&http);
    /// let http = http.get("/metrics", metrics);
    /// ```
    pub fn metrics_handler(&self) -> MetricsHandler {
        self.metrics_in(metrics, "text/plain; version=0.0.4; charset=utf-8")
    }

    /// Returns a handler that answers GET with the server's stats as a JSON object. `?channel=NAME`
    /// adds how many clients listen to this channel by its name: `{"listeners":3}`.
    ///
    /// ```
    /// # use websse::{Server, http::HttpServer};
    /// # let server = Server::new();
    /// let http = HttpServer::new().get("/stats", server.stats_handler());
    /// ```
    pub fn stats_handler(&self) -> MetricsHandler {
        self.metrics_in(json, "application/json")
    }

    fn metrics_in(&self, write: Format, content_type: &'static str) -> MetricsHandler {
        MetricsHandler {
            shared: Arc::clone(self.shared()),
            authorize: Authorize::default(),
            refusals: Refusals::default(),
            streams_of_own: StreamsOfOwn::default(),
            write,
            content_type,
            most_types: MOST_TYPES,
        }
    }

    /// Returns a handler for load balancers and service managers. It answers GET with status 200 if
    /// the broadcaster answers and the publish queue has room, and with 503 if that is not so for a
    /// second. One of several nodes also answers 503 while the shared log is not connected, would
    /// refuse an event, or would not let events be read for clients that come back, and says which;
    /// its streams stay open meanwhile. The log is asked at most once a second.
    ///
    /// ```
    /// # use websse::{Server, http::HttpServer};
    /// # let server = Server::new();
    /// let http = HttpServer::new().get("/healthz", server.health_handler());
    /// ```
    pub fn health_handler(&self) -> HealthHandler {
        let shared = Arc::clone(self.shared());
        HealthHandler { shared, dropped: self.dropped("health_handler") }
    }
}

/// Reports metrics or stats; made by [`Server::metrics_handler`] and [`Server::stats_handler`].
///
/// ```
/// use websse::{Denied, Server, http::{Handler, HttpServer, Request}};
///
/// let server = Server::new();
/// let http = HttpServer::new();
/// let handler = server.stats_handler().with_http(&http).authorize(|request, _| {
///     match request.header("authorization") {
///         Some(b"Bearer let-me-in") => Ok(()),
///         _ => Err(Denied::unauthorized("a token is needed")),
///     }
/// });
/// let request = Request::new("GET", "/stats").expect("a good target");
/// assert_eq!(handler.handle(&request).status(), 401);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a handler does nothing until it is mounted"]
pub struct MetricsHandler {
    shared: Arc<Shared>,
    authorize: Authorize,
    refusals: Refusals,
    streams_of_own: StreamsOfOwn,
    write: Format,
    content_type: &'static str,
    most_types: usize,
}

type Format = fn(&mut String, &Figures) -> fmt::Result;

impl MetricsHandler {
    /// Adds the number of requests that this HTTP server has refused, by status, and the number of
    /// streams that the program writes itself. If it is called several times, the last server counts.
    pub fn with_http(self, http: &HttpServer) -> Self {
        Self { refusals: http.refusals(), streams_of_own: http.streams_of_own(), ..self }
    }

    /// If more event types are registered than this, figures by type tell only of those to which
    /// the most clients listen, as many as this. Default: 1000.
    ///
    /// ```
    /// # let server = websse::Server::new();
    /// let metrics = server.metrics_handler().most_types(50);
    /// ```
    pub fn most_types(self, most_types: usize) -> Self {
        Self { most_types, ..self }
    }

    /// Lets `decide` allow or refuse a reader, by [`Action::Stats`]. If there are several, all must
    /// agree: they are called in their order, and the first refusal is the answer.
    pub fn authorize(
        self,
        decide: impl Fn(&Request, Action<'_>) -> Result<(), Denied> + Send + Sync + 'static,
    ) -> Self {
        Self { authorize: self.authorize.and(decide), ..self }
    }
}

impl Handler for MetricsHandler {
    fn handle(&self, request: &Request) -> Response {
        if let Err(denied) = self.authorize.decide(request, Action::Stats) {
            return denied.response();
        }
        let figures = Figures {
            stats: self.shared.stats(),
            uptime: self.shared.uptime(),
            clients: self.shared.subscribers_by_type(self.most_types),
            refused: self.refusals.counts().into_iter().collect(),
            listeners: request
                .query()
                .find(|(name, _)| name == "channel")
                .map(|(_, channel)| self.shared.listeners(&channel)),
            streams_of_own: self.streams_of_own.open(),
        };
        let mut text = String::new();
        let written = (self.write)(&mut text, &figures);
        debug_assert!(written.is_ok(), "a string takes everything");
        Response::new(200)
            .header("Content-Type", self.content_type)
            .header("Cache-Control", "no-store")
            .with_body(text.into_bytes())
    }
}

struct Figures {
    stats: Stats,
    uptime: Duration,
    /// By event type.
    clients: Vec<(String, usize)>,
    /// By status.
    refused: Vec<(u16, u64)>,
    /// Of the channel that the request names.
    listeners: Option<usize>,
    streams_of_own: usize,
}

fn reasons(stats: &Stats) -> [(&'static str, u64); 7] {
    let disconnected = &stats.disconnected;
    [
        ("closed_by_peer", disconnected.closed_by_peer),
        ("behind", disconnected.behind),
        ("stalled", disconnected.stalled),
        ("error", disconnected.error),
        ("closed_by_server", disconnected.closed_by_server),
        ("expired", disconnected.expired),
        ("shutdown", disconnected.shutdown),
    ]
}

fn metrics(text: &mut String, figures: &Figures) -> fmt::Result {
    let stats = &figures.stats;
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
        writeln!(text, "# HELP websse_{name} {help}\n# TYPE websse_{name} {kind}")?;
        samples
            .iter()
            .try_for_each(|(labels, value)| writeln!(text, "websse_{name}{labels} {value}"))
    };
    let mut one =
        |name: &str, kind, help, value| family(name, kind, help, &[(String::new(), value)]);
    #[expect(clippy::cast_precision_loss, reason = "the format's numbers are floating")]
    let (count, number) = (|count: u64| count as f64, |number: usize| number as f64);

    one(
        "uptime_seconds",
        "gauge",
        "Time since the server was made.",
        figures.uptime.as_secs_f64(),
    )?;
    one("streams", "gauge", "Clients that listen over a connection.", number(stats.streams))?;
    let help = "Answers that the program is writing.";
    one("streams_of_own", "gauge", help, number(figures.streams_of_own))?;
    one("subscriptions", "gauge", "Listeners within the program.", number(stats.subscriptions))?;
    one("channels", "gauge", "Channels beside the common one.", number(stats.channels))?;
    one("behind", "gauge", "Streams for which something waits.", number(stats.behind))?;
    one("queued", "gauge", "Messages that wait for the broadcaster.", number(stats.queued))?;
    one("published_total", "counter", "Events published.", count(stats.published))?;
    one(
        "direct_messages_total",
        "counter",
        "Messages sent to one client.",
        count(stats.direct_messages),
    )?;
    one("deliveries_total", "counter", "Events handed to clients.", count(stats.deliveries))?;
    one("delivered_bytes_total", "counter", "Bytes of these.", count(stats.delivered_bytes))?;
    one("resumed_total", "counter", "Clients that came back with an id.", count(stats.resumed))?;
    one("gaps_total", "counter", "Clients told of a gap (stream-gap).", count(stats.gaps))?;
    one(
        "missed_notifications_total",
        "counter",
        "Clients that no hook was told of.",
        count(stats.missed_notifications),
    )?;

    #[cfg(feature = "durable")]
    if let Some(log) = &stats.durable {
        let help = "Whether the disk took what it was given last: 1 or 0.";
        one("durable_writable", "gauge", help, f64::from(u8::from(log.writable)))?;
        let help = "What the history takes on the disk at most.";
        one("durable_disk_bytes", "gauge", help, count(log.disk_bytes))?;
        one("durable_segments", "gauge", "The files of it.", number(log.segments))?;
        let help = "Messages accepted that the disk does not have yet.";
        one("durable_in_memory", "gauge", help, number(log.in_memory))?;
        for (name, help, value) in durable_counts(log) {
            one(&format!("durable_{name}_total"), "counter", help, count(value))?;
        }
    }

    if let Some(log) = &stats.redis {
        let connected = f64::from(u8::from(log.connected));
        one("redis_connected", "gauge", "Whether Redis is connected: 1 or 0.", connected)?;
        let help = "For how long this node has not read everything.";
        one("redis_lag_seconds", "gauge", help, log.lag.as_secs_f64())?;
        one("redis_returning", "gauge", "Clients that are served from it.", number(log.returning))?;
        for (name, help, value) in log_counts(log) {
            one(&format!("redis_{name}_total"), "counter", help, count(value))?;
        }
    }

    let label = |name: &str, value: &str| format!("{{{name}=\"{}\"}}", escaped(value));
    let clients = figures.clients.iter();
    let clients = clients.map(|(kind, clients)| (label("type", kind), number(*clients)));
    let help = "Clients by event type; * is those that listen to all.";
    family("clients", "gauge", help, &clients.collect::<Vec<_>>())?;
    let reasons = reasons(stats).map(|(reason, total)| (label("reason", reason), count(total)));
    family("disconnected_total", "counter", "Clients disconnected.", &reasons)?;
    let refused = figures.refused.iter();
    let refused =
        refused.map(|(status, total)| (label("status", &status.to_string()), count(*total)));
    let help = "Requests answered with a status of 400 or more.";
    family("http_refused_total", "counter", help, &refused.collect::<Vec<_>>())
}

/// Counts since the start: a name, a description, the number.
fn log_counts(log: &RedisStats) -> [(&'static str, &'static str, u64); 9] {
    [
        ("appended", "Messages appended.", log.appended),
        ("refused", "Messages that Redis did not take.", log.refused),
        ("outcome_unknown", "Messages for which it did not answer.", log.outcome_unknown),
        ("read", "Entries read.", log.read),
        ("malformed", "Entries that are no events.", log.malformed),
        ("unknown_types", "Entries of types not registered here.", log.unknown_types),
        ("reconnects", "Connections lost for reading.", log.reconnects),
        ("breaks", "Times when events may have been lost.", log.breaks),
        ("gaps", "Clients told of a gap that Redis has.", log.gaps),
    ]
}

/// Counts since the start, as [`log_counts`].
#[cfg(feature = "durable")]
fn durable_counts(log: &DurableStats) -> [(&'static str, &'static str, u64); 4] {
    [
        ("appended", "Messages accepted.", log.appended),
        ("refused", "Messages that the disk did not take.", log.refused),
        ("commits", "Times when messages were written.", log.commits),
        ("flushes", "Times when the disk was told to keep them.", log.flushes),
    ]
}

/// A label's value, escaped for its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn json(text: &mut String, figures: &Figures) -> fmt::Result {
    let stats = &figures.stats;
    let object = |fields: Vec<String>| format!("{{{}}}", fields.join(","));
    let field = |name: &str, value: String| format!("{}:{value}", json_string(name));
    // `*` is no type: it counts the clients of all types.
    let types = figures.clients.iter().map(|(name, _)| &**name).filter(|&name| name != "*");
    let types: Vec<String> = types.map(json_string).collect();
    let reasons = reasons(stats).map(|(reason, count)| field(reason, count.to_string()));
    let refused = figures.refused.iter();
    let refused = refused.map(|(status, count)| field(&status.to_string(), count.to_string()));
    let mut fields = vec![
        field("version", json_string(env!("CARGO_PKG_VERSION"))),
        field("uptime", format!("{:.3}", figures.uptime.as_secs_f64())),
        field("types", format!("[{}]", types.join(","))),
        field("clients", json_counts(&figures.clients)),
        field("streams", stats.streams.to_string()),
        field("streams_of_own", figures.streams_of_own.to_string()),
        field("subscriptions", stats.subscriptions.to_string()),
        field("channels", stats.channels.to_string()),
        field("behind", stats.behind.to_string()),
        field("queued", stats.queued.to_string()),
        field("published", stats.published.to_string()),
        field("direct_messages", stats.direct_messages.to_string()),
        field("deliveries", stats.deliveries.to_string()),
        field("delivered_bytes", stats.delivered_bytes.to_string()),
        field("resumed", stats.resumed.to_string()),
        field("gaps", stats.gaps.to_string()),
        field("missed_notifications", stats.missed_notifications.to_string()),
        field("disconnected", object(reasons.to_vec())),
        field("refused", object(refused.collect())),
    ];
    fields.extend(figures.listeners.map(|listeners| field("listeners", listeners.to_string())));
    #[cfg(feature = "durable")]
    if let Some(log) = &stats.durable {
        let mut of_log = vec![
            field("writable", log.writable.to_string()),
            field("disk_bytes", log.disk_bytes.to_string()),
            field("segments", log.segments.to_string()),
            field("in_memory", log.in_memory.to_string()),
        ];
        of_log.extend(durable_counts(log).map(|(name, _, value)| field(name, value.to_string())));
        fields.push(field("durable", object(of_log)));
    }
    if let Some(log) = &stats.redis {
        let mut of_log = vec![
            field("connected", log.connected.to_string()),
            field("lag", format!("{:.3}", log.lag.as_secs_f64())),
            field("returning", log.returning.to_string()),
        ];
        of_log.extend(log_counts(log).map(|(name, _, value)| field(name, value.to_string())));
        fields.push(field("redis", object(of_log)));
    }
    writeln!(text, "{}", object(fields))
}

/// Reports whether the server works; made by [`Server::health_handler`].
///
/// ```
/// use websse::{HealthHandler, Server, http::HttpServer};
///
/// let server = Server::new();
/// let handler: HealthHandler = server.health_handler();
/// let http = HttpServer::new().get("/healthz", handler.clone()).get("/livez", handler);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a handler does nothing until it is mounted"]
pub struct HealthHandler {
    shared: Arc<Shared>,
    dropped: Dropped,
}

impl HealthHandler {
    /// How the server works, or why it does not. It may block for some seconds.
    fn check(&self) -> Result<String, String> {
        let until = Instant::now() + PATIENCE;
        match self.shared.log() {
            _ if !self.shared.answers(until) => {
                Err("the broadcaster does not run, or took nothing for a second".to_owned())
            }
            None => Ok("ok".to_owned()),
            Some(log) => log.is_ready(until),
        }
    }
}

impl Handler for HealthHandler {
    fn handle(&self, _: &Request) -> Response {
        let handler = self.clone();
        Response::deferred(move || {
            let answer = match handler.check() {
                Ok(text) => Response::text(200, text),
                Err(text) => {
                    let answer = Response::text(503, text).header("Retry-After", "1");
                    answer.warning(handler.dropped.warning())
                }
            };
            answer.header("Cache-Control", "no-store")
        })
    }

    fn may_block(&self, _: Hint) -> bool {
        false
    }

    fn answers_any_host(&self) -> bool {
        true
    }
}
