//! What a server tells of itself: metrics for Prometheus, the same as JSON, and its health.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use websse::{Action, Denied, Message, Server, http::HttpServer, http::Request};

use support::{Hub, SOON, eventually};

/// A hub with everything mounted, and an event type whose name has to be escaped.
const TYPES: [&str; 4] = ["", "a", "probe", "q\"b\\s"];

fn hub() -> Hub {
    support::watch_for_panics();
    let server = Server::builder().history_events(2).build();
    server.register_events(TYPES).unwrap();
    server.run().unwrap();
    let http = HttpServer::new();
    let metrics = server.metrics_handler().with_http(&http);
    let stats = server.stats_handler().with_http(&http);
    let http = http
        .get("/event", server.event_stream_handler())
        .post("/send", server.send_message_handler())
        .get("/metrics", metrics)
        .get("/stats", stats)
        .get("/healthz", server.health_handler())
        .bind("127.0.0.1:0")
        .unwrap();
    Hub { server, http }
}

fn get(hub: &Hub, path: &str) -> support::Answer {
    hub.ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).answer()
}

/// The value of a sample in the text format.
fn sample(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map(|value| value.parse().unwrap())
}

/// Some of everything happens: clients of several types, one that resumes, one that has missed
/// something, one that leaves, one that is sent something alone and disconnected, refused requests.
fn busy(hub: &Hub) -> [support::Client; 4] {
    let mut first = hub.listen("?event=a");
    let mut both = hub.listen("?event=a&event=q%22b%5Cs");
    let all = hub.listen("?event=*");
    for number in 0..3 {
        hub.publish(Message::new(format!("{number}")).event("a"));
    }
    let ids: Vec<_> = (0..3).map(|_| first.event().id.unwrap()).collect();
    let _ = both.event();
    let resumed = hub.listen(&format!("?event=a&last_event_id={}", ids[1]));
    let mut gap = hub.listen("?event=a&last_event_id=of-another-run");
    assert_eq!(gap.event().event.as_deref(), Some("stream-gap"));
    drop(gap);
    for bad in ["/event?event=unknown", "/event?replay=x", "/nothing"] {
        assert!(get(hub, bad).status >= 400);
    }
    hub.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").answer();
    let alone = hub.server.subscribe(["probe"]).unwrap();
    hub.server.send_to(alone.id(), Message::new("hello")).unwrap();
    hub.server.disconnect(alone.id()).unwrap();
    assert_eq!(alone.filter(websse::Frame::is_event).count(), 1);
    eventually(SOON, 4, || hub.server.stats().streams);
    [first, both, all, resumed]
}

#[test]
fn metrics_and_json_agree_with_the_stats() {
    let hub = hub();
    let clients = busy(&hub);
    // The last event may be on its way to somebody.
    eventually(SOON, 0, || hub.server.stats().behind);
    let stats = hub.server.stats();
    assert_eq!((stats.published, stats.resumed, stats.gaps), (3, 2, 1));
    assert_eq!(hub.server.event_types(), ["a", "message", "probe", "q\"b\\s"]);

    let answer = get(&hub, "/metrics");
    assert_eq!(answer.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    #[expect(clippy::cast_precision_loss, reason = "the figures are small")]
    for (name, value) in [
        ("streams", 4.0),
        ("streams_of_own", 0.0),
        ("subscriptions", 0.0),
        ("channels", 0.0),
        ("behind", 0.0),
        ("queued", 0.0),
        ("published_total", 3.0),
        ("direct_messages_total", 1.0),
        ("missed_notifications_total", 0.0),
        ("deliveries_total", stats.deliveries as f64),
        ("delivered_bytes_total", stats.delivered_bytes as f64),
        ("resumed_total", 2.0),
        ("gaps_total", 1.0),
        ("clients{type=\"a\"}", 3.0),
        ("clients{type=\"message\"}", 0.0),
        ("clients{type=\"q\\\"b\\\\s\"}", 1.0),
        ("clients{type=\"*\"}", 1.0),
        ("disconnected_total{reason=\"closed_by_peer\"}", 1.0),
        ("disconnected_total{reason=\"stalled\"}", 0.0),
        ("disconnected_total{reason=\"closed_by_server\"}", 1.0),
        ("disconnected_total{reason=\"expired\"}", 0.0),
        ("http_refused_total{status=\"400\"}", 3.0),
        ("http_refused_total{status=\"404\"}", 1.0),
    ] {
        assert_eq!(sample(&text, &format!("websse_{name}")), Some(value), "{name} in\n{text}");
    }
    // Three clients had three events each, one more came back and had one, another one two, and a
    // subscription its own message.
    assert_eq!(stats.deliveries, 9 + 1 + 2 + 1);
    assert!(sample(&text, "websse_uptime_seconds").unwrap() > 0.0);

    let answer = get(&hub, "/stats");
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let mut told: Value = serde_json::from_slice(&answer.body).unwrap();
    assert!(told["uptime"].take().as_f64().unwrap() > 0.0);
    let expected = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": null,
        "types": ["a", "message", "probe", "q\"b\\s"],
        "clients": { "*": 1, "a": 3, "message": 0, "probe": 0, "q\"b\\s": 1 },
        "streams": 4,
        "streams_of_own": 0,
        "subscriptions": 0,
        "channels": 0,
        "behind": 0,
        "queued": 0,
        "published": 3,
        "direct_messages": 1,
        "deliveries": stats.deliveries,
        "delivered_bytes": stats.delivered_bytes,
        "resumed": 2,
        "gaps": 1,
        "missed_notifications": 0,
        "disconnected": {
            "closed_by_peer": 1, "behind": 0, "stalled": 0, "error": 0, "closed_by_server": 1,
            "expired": 0, "shutdown": 0,
        },
        "refused": { "400": 3, "404": 1 },
    });
    assert_eq!(told, expected);
    drop(clients);
}

#[test]
#[ignore = "needs `promtool`"]
fn prometheus_accepts_the_metrics() {
    let hub = hub();
    let clients = busy(&hub);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    promtool.stdin.take().unwrap().write_all(&get(&hub, "/metrics").body).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "no advice either");
    drop(clients);
}

#[test]
fn figures_are_for_those_who_may_read_them() {
    let decide = |request: &Request, action: Action<'_>| match request.header("authorization") {
        Some(b"Bearer right") if action == Action::Stats => Ok(()),
        _ => Err(Denied::unauthorized("a token is needed")),
    };
    let server = Server::new();
    let http = HttpServer::new()
        .get("/metrics", server.metrics_handler().authorize(decide))
        .get("/stats", server.stats_handler().authorize(decide))
        .bind("127.0.0.1:0")
        .unwrap();
    let hub = Hub { server, http };
    for path in ["/metrics", "/stats"] {
        assert_eq!(get(&hub, path).status, 401);
        let right =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer right\r\n\r\n");
        assert_eq!(hub.ask(right).answer().status, 200);
    }
}

#[test]
fn health_is_that_of_the_broadcaster() {
    let server = Server::new();
    let http = HttpServer::new().get("/healthz", server.health_handler());
    let hub = Hub { http: http.bind("127.0.0.1:0").unwrap(), server };
    let health = || {
        let answer = get(&hub, "/healthz");
        (answer.status, answer.field("retry-after").map(str::to_owned))
    };
    let ill = (503, Some("1".to_owned()));
    assert_eq!(health(), ill, "it does not run yet");
    hub.server.run().unwrap();
    assert_eq!(health(), (200, None));
    assert!(hub.server.is_healthy(Duration::MAX) && hub.server.is_alive(Duration::MAX));
    hub.server.shutdown(Duration::from_secs(1));
    assert_eq!(health(), ill, "it was shut down");
    assert!(!hub.server.is_healthy(Duration::ZERO) && !hub.server.is_alive(Duration::ZERO));
}
