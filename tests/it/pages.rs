//! What web pages may do: of the server's own origin, of others, and under names that are not the
//! server's.

use std::time::Duration;

use websse::http::{HttpServer, Limits, Policy, Request};

use support::{Answer, Hub};

fn hub(policy: Policy) -> Hub {
    Hub::with(&["", "probe"], |builder| builder, |http| http.policy(policy))
}

/// A policy that allows these origins.
fn pages(origins: &[&str]) -> Policy {
    let allow = |policy: Policy, origin: &&str| policy.allow_origin(*origin);
    origins.iter().try_fold(Policy::default(), allow).unwrap()
}

/// A policy with these names of the server.
fn names(hosts: &[&str]) -> Policy {
    let allow = |policy: Policy, host: &&str| policy.allow_host(*host);
    hosts.iter().try_fold(Policy::default(), allow).unwrap()
}

fn ask(hub: &Hub, request: &str, fields: &str) -> Answer {
    let raw = format!("{request} HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n");
    let mut client = hub.ask(raw);
    // A stream's end is not waited for.
    client.head()
}

#[test]
fn a_page_of_another_origin_may_not_publish() {
    let open = Policy::default;
    let listed = || pages(&["https://App.example.org:443/", "http://b:3000", "http://localhost:5"]);
    let any = || pages(&["*"]);
    for (policy, fields, status) in [
        // No page: curl and other programs.
        (open(), "Host: hub\r\n", 200),
        (open(), "Host: hub:8080\r\nOrigin: http://hub:8080\r\n", 200),
        (open(), "Host: HUB\r\nOrigin: https://hub\r\n", 200),
        (open(), "Host: hub:80\r\nOrigin: http://hub\r\n", 200),
        (open(), "Host: hub:443\r\nOrigin: https://hub\r\n", 200),
        (open(), "Host: hub\r\nOrigin: http://hub:80\r\n", 200),
        (open(), "Host: hub.\r\nOrigin: http://hub\r\n", 200),
        (open(), "Host: hub:8080\r\nOrigin: http://hub.:8080\r\n", 200),
        (open(), "Host: localhost:5\r\nOrigin: http://app.localhost:5\r\n", 200),
        (open(), "Host: hub:443\r\nOrigin: http://hub\r\n", 403),
        (open(), "Host: hub:80\r\nOrigin: https://hub\r\n", 403),
        (open(), "Host: hub\r\nOrigin: http://hub..\r\n", 403),
        (open(), "Host: hub\r\nOrigin: https://evil.example\r\n", 403),
        (open(), "Host: hub\r\nOrigin: http://hub:8080\r\n", 403),
        (open(), "Host: hub\r\nOrigin: http://xhub\r\n", 403),
        (open(), "Host: hub\r\nOrigin: null\r\n", 403),
        (open(), "Host: hub\r\nOrigin: hub\r\n", 403),
        (open(), "Host: hub\r\nOrigin: http://evil\r\nOrigin: http://hub\r\n", 403),
        (open(), "Host: hub\r\nOrigin: http://hubÿ\r\n", 403),
        // Behind a proxy that changes the host, as the browser tells.
        (open(), "Host: 10.0.0.1\r\nOrigin: https://hub\r\nSec-Fetch-Site: same-origin\r\n", 200),
        (open(), "Host: 10.0.0.1\r\nOrigin: https://hub\r\nSec-Fetch-Site: same-site\r\n", 403),
        (listed(), "Host: hub\r\nOrigin: https://app.example.org\r\n", 200),
        (listed(), "Host: hub\r\nOrigin: http://b:3000\r\n", 200),
        (listed(), "Host: hub\r\nOrigin: https://app.example.org.\r\n", 200),
        (listed(), "Host: hub\r\nOrigin: https://app.example.org:443\r\n", 200),
        (listed(), "Host: hub\r\nOrigin: http://app.localhost:5\r\n", 200),
        (listed(), "Host: hub\r\nOrigin: http://b\r\n", 403),
        (listed(), "Host: hub\r\nOrigin: http://app.example.org\r\n", 403),
        (listed(), "Host: hub\r\nOrigin: https://app.example.org.evil\r\n", 403),
        (any(), "Host: hub\r\nOrigin: https://evil.example\r\n", 200),
        (any(), "Host: hub\r\nOrigin: null\r\n", 200),
    ] {
        let hub = hub(policy);
        let answer = ask(&hub, "POST /send?data=x", fields);
        assert_eq!(answer.status, status, "{fields:?}");
        let published = u64::from(status == 200);
        support::eventually(support::SOON, published, || hub.server.stats().published);
    }
}

#[test]
fn a_page_is_told_whether_it_may_read() {
    const EVIL: &str = "Host: hub\r\nOrigin: https://evil.example\r\n";
    const LISTED: &str = "Host: hub\r\nOrigin: https://app.example.org\r\n";
    let open = hub(Policy::default());
    let listed = hub(pages(&["https://app.example.org"]));
    let any = hub(pages(&["*"]));
    let origin = Some("https://app.example.org");
    for path in ["GET /event", "POST /send", "GET /nothing", "HEAD /event"] {
        for (hub, fields, allowed, credentials, vary) in [
            (&open, EVIL, None, None, None),
            (&listed, EVIL, None, None, Some("Origin")),
            (&listed, "Host: hub\r\n", None, None, Some("Origin")),
            (&listed, LISTED, origin, Some("true"), Some("Origin")),
            (&any, EVIL, Some("*"), None, None),
            (&any, "Host: hub\r\n", None, None, None),
        ] {
            let answer = ask(hub, path, fields);
            let name = format!("{path} {fields:?}");
            assert_eq!(answer.field("access-control-allow-origin"), allowed, "{name}");
            assert_eq!(answer.field("access-control-allow-credentials"), credentials, "{name}");
            assert_eq!(answer.field("vary"), vary, "{name}");
        }
    }
}

#[test]
fn a_browser_asks_before_it_sends_what_a_form_could_not() {
    let hub = hub(pages(&["https://app.example.org"]));
    for (path, methods) in [("/event", "GET, HEAD, OPTIONS"), ("/send", "POST, OPTIONS")] {
        let preflight = |origin: &str| {
            let fields = format!(
                "Host: hub\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
                 Access-Control-Request-Headers: authorization\r\n"
            );
            ask(&hub, &format!("OPTIONS {path}"), &fields)
        };
        let answer = preflight("https://app.example.org");
        assert_eq!(answer.status, 204);
        assert_eq!(answer.field("access-control-allow-origin"), Some("https://app.example.org"));
        assert_eq!(answer.field("access-control-allow-methods"), Some(methods));
        let fields = answer.field("access-control-allow-headers").unwrap();
        assert!(fields.contains("Authorization") && fields.contains("Content-Type"), "{fields}");
        assert_eq!(answer.field("access-control-max-age"), Some("600"));
        let answer = preflight("https://evil.example");
        assert_eq!(answer.field("access-control-allow-origin"), None);
        assert_eq!(answer.field("access-control-allow-methods"), None);
    }
}

#[test]
fn a_server_with_names_answers_to_them_only() {
    let hub = hub(names(&["localhost", "Hub.example."]));
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("localhost.", 200),
        ("app.localhost:8080", 200),
        ("hub.example", 200),
        ("HUB.example.:8080", 200),
        // No name was resolved for these.
        ("127.0.0.1:80", 200),
        ("192.0.2.7", 200),
        ("[::1]:8080", 200),
        ("[2001:db8::1]", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example:80", 403),
        ("evillocalhost", 403),
        ("sub.hub.example", 403),
        ("hub.example..", 403),
        ("127.0.0.1.evil.example", 403),
        ("127.1", 403),
        ("[::1", 403),
        ("", 403),
    ] {
        for request in ["GET /event", "POST /send?data=x", "GET /nothing"] {
            let status = if status == 200 && request.ends_with("nothing") { 404 } else { status };
            let answer = ask(&hub, request, &format!("Host: {host}\r\n"));
            assert_eq!(answer.status, status, "{request} to {host}");
        }
    }
    let rebound = ask(&hub, "POST /send?data=x", "Host: evil\r\nOrigin: http://evil\r\n");
    assert_eq!(rebound.status, 403, "its own origin, under a name that is not the server's");
}

/// The host of a whole URL is meant, and the field ignored (RFC 9112, section 3.2.2).
#[test]
fn a_whole_url_is_asked_of_its_own_host_whatever_the_field_says() {
    let hub = hub(names(&["localhost"]));
    for (url, host, status) in [
        ("http://evil.example", "Host: localhost\r\n", 403),
        ("http://localhost", "Host: localhost\r\n", 200),
        ("http://localhost", "Host: evil.example\r\n", 200),
        ("HTTP://LocalHost:8080", "Host: evil.example\r\n", 200),
        // As a proxy that ends TLS may pass it on.
        ("https://localhost", "Host: localhost\r\n", 200),
        ("http://[::1]:80", "Host: evil.example\r\n", 200),
        ("http://localhost:", "Host:\r\n", 200),
        ("http://evil.example:80", "Host: localhost:80\r\n", 403),
        ("hTTpS://evil.example", "Host: localhost\r\n", 403),
        ("http://[::2]", "Host: evil.example\r\n", 200),
        ("http://localhost.evil.example", "Host: localhost\r\n", 403),
        ("http://localhos%74", "Host: localhost\r\n", 403),
        // Nobody's name, or more than a name (RFC 9110, sections 4.2.1 and 4.2.4).
        ("http://", "Host: localhost\r\n", 400),
        ("http://:80", "Host: localhost\r\n", 400),
        ("http://::1", "Host: [::1]\r\n", 400),
        ("http://localhost@evil.example", "Host: localhost\r\n", 400),
        ("http://evil.example@localhost", "Host: localhost\r\n", 400),
        ("http://user:word@localhost:80", "Host: localhost\r\n", 400),
        ("http://localhost\\evil.example", "Host: localhost\r\n", 400),
        ("http://localhost", "", 400),
        ("http://localhost", "Host: localhost\r\nHost: localhost\r\n", 400),
    ] {
        for request in ["GET {}/event", "GET {}?event=", "POST {}/send?data=x", "OPTIONS {}/event"]
        {
            let expected = match (status, request) {
                (200, "OPTIONS {}/event") => 204,
                (200, "GET {}?event=") => 404,
                _ => status,
            };
            let request = request.replace("{}", url);
            let answer = ask(&hub, &request, host);
            assert_eq!(answer.status, expected, "{request} with {host:?}: {answer:?}");
        }
    }
    for (target, status) in
        [("http://localhost/event", 200), ("http://evil.example/event", 403), ("/event", 200)]
    {
        let mut client = hub.ask(format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(client.head().status, status, "{target} on 1.0, without Host");
    }
}

#[test]
fn the_origin_of_a_page_is_compared_with_the_host_that_is_meant() {
    let hub = hub(Policy::default());
    for (url, host, origin, status) in [
        ("http://other", "hub", "http://hub", 403),
        ("http://hub", "proxy", "http://hub", 200),
        ("http://HUB:8080", "proxy", "http://hub:8080", 200),
        ("http://[::1]:8080", "proxy", "http://[::1]:8080", 200),
        ("http://hub", "hub", "http://evil.example", 403),
        ("http://hub:81", "hub", "http://hub", 403),
    ] {
        let fields = format!("Host: {host}\r\nOrigin: {origin}\r\n");
        let answer = ask(&hub, &format!("POST {url}/send?data=x"), &fields);
        assert_eq!(answer.status, status, "{url} with {fields:?}");
    }
}

#[test]
fn a_health_check_is_answered_by_whatever_name_it_asks() {
    support::watch_for_panics();
    let server = websse::Server::new();
    server.register_events(["", "probe"]).unwrap();
    server.run().unwrap();
    let http = HttpServer::new()
        .policy(names(&["hub.example"]))
        .get("/event", server.event_stream_handler())
        .get("/healthz", server.health_handler())
        .bind("127.0.0.1:0")
        .unwrap();
    let hub = Hub { server, http };
    for (request, status) in [
        ("GET /healthz HTTP/1.1\r\nHost: cluster_1\r\n", 200),
        ("HEAD /healthz HTTP/1.1\r\nHost: evil.example\r\n", 200),
        // As HAProxy asks.
        ("OPTIONS / HTTP/1.0\r\n", 404),
        ("OPTIONS /healthz HTTP/1.0\r\n", 204),
        ("GET /healthz HTTP/1.0\r\n", 200),
        ("GET /event HTTP/1.0\r\nHost: cluster_1\r\n", 403),
        ("GET /nothing HTTP/1.1\r\nHost: cluster_1\r\n", 403),
    ] {
        let mut client = hub.ask(format!("{request}\r\n"));
        assert_eq!(client.head().status, status, "{request}");
    }
}

#[test]
fn a_trusted_proxy_tells_the_host_that_it_was_asked_for() {
    let forwarded = |request: &Request| request.header("x-by").is_some();
    let policy = || names(&["hub.example", "inner"]).trust_forwarded_host(forwarded);
    let hub = hub(policy());
    for (fields, status) in [
        ("X-By: proxy\r\nHost: inner\r\nX-Forwarded-Host: hub.example\r\n", 200),
        ("X-By: proxy\r\nHost: 192.0.2.7:80\r\nX-Forwarded-Host: hub.example\r\n", 200),
        ("X-By: proxy\r\nHost: inner\r\nX-Forwarded-Host: HUB.example:80 , inner\r\n", 200),
        ("X-By: proxy\r\nHost: hub.example\r\nX-Forwarded-Host: evil.example\r\n", 403),
        ("X-By: proxy\r\nHost: inner\r\nX-Forwarded-Host: evil.example, hub.example\r\n", 403),
        ("X-By: proxy\r\nHost: hub.example\r\n", 200),
        ("X-By: proxy\r\nHost: hub.example\r\nX-Forwarded-Host:\r\n", 200),
        // A page at a rebound name can send the field, on a machine that is trusted.
        ("X-By: proxy\r\nHost: evil.example\r\nX-Forwarded-Host: hub.example\r\n", 403),
        // Whoever else says so is not heard.
        ("Host: evil.example\r\nX-Forwarded-Host: hub.example\r\n", 403),
        ("Host: hub.example\r\nX-Forwarded-Host: evil.example\r\n", 200),
    ] {
        assert_eq!(ask(&hub, "POST /send?data=x", fields).status, status, "{fields}");
        // The page that came from the same host is the server's own.
        let own = format!("{fields}Origin: http://hub.example\r\n");
        assert_eq!(ask(&hub, "POST /send?data=x", &own).status, status, "{own}");
        let other = format!("{fields}Origin: http://evil.example\r\n");
        assert_eq!(ask(&hub, "POST /send?data=x", &other).status, 403, "{other}");
    }
}

#[test]
fn a_setting_that_can_never_match_is_refused_with_what_would_be_right() {
    for (host, right) in [
        ("", "there is no host"),
        (".", "such as hub.example"),
        ("hub.example:8080", "a host has none: hub.example"),
        ("[::1]:80", "a host has none: [::1]"),
        ("https://hub.example", "no scheme"),
        ("hub.example/", "more than a host"),
        ("user@hub.example", "more than a host"),
        ("2001:db8::5", "in brackets: [2001:db8::5]"),
        ("[2001:db8::5", "not an IPv6 address"),
        ("[hub]", "not an IPv6 address"),
        ("b\u{fc}cher.example", "xn--"),
        ("*.example.org", "pattern"),
        ("*", "pattern"),
        (".example.org", "not a host name"),
        ("a..b", "not a host name"),
        ("a.example,b.example", "list"),
        ("a.example b.example", "list"),
        ("127.1", "not an IPv4 address"),
        ("127.0.0.256", "not an IPv4 address"),
    ] {
        let error = Policy::default().allow_host(host).unwrap_err().to_string();
        assert!(error.contains(right) && error.lines().count() == 1, "{host}: {error}");
    }
    for (origin, right) in [
        ("", "such as https://example.org"),
        ("null", "such as https://example.org"),
        ("app.example.org", "such as https://example.org"),
        ("://app.example.org", "such as https://example.org"),
        ("https://", "there is no host"),
        ("file:///", "there is no host"),
        ("https://app.example.org/path", "more than an origin"),
        ("https://app.example.org//", "more than an origin"),
        ("https://app.example.org?x", "more than an origin"),
        ("https://user@app.example.org", "more than an origin"),
        ("https://*.example.org", "pattern"),
        ("https://a.example,https://b.example", "list"),
        ("https://a.example https://b.example", "list"),
        ("https://b\u{fc}cher.example", "xn--"),
        ("https://app.example.org:", "port"),
        ("https://app.example.org:0443", "port"),
        ("https://app.example.org:65536", "port"),
        ("https://2001:db8::5", "not a host name"),
    ] {
        let error = Policy::default().allow_origin(origin).unwrap_err().to_string();
        assert!(error.contains(right) && error.lines().count() == 1, "{origin}: {error}");
    }
    drop(names(&["hub.example", "hub.example.", "my_service", "xn--bcher-kva.example", "[::5]"]));
    drop(pages(&["https://a.example:8443", "http://[::1]:3000", "chrome-extension://abcdef", "*"]));
}

/// Without these fields a page would see an error of the network, and no status.
#[test]
fn a_page_may_read_an_early_refusal_too() {
    const ORIGIN: &str = "Origin: https://app.example.org\r\n";
    let limits = Limits::default().head_timeout(Duration::from_millis(300));
    let limits = limits.body_timeout(Duration::from_millis(300)).bodies_bytes(600_000);
    let listed = pages(&["https://app.example.org"]);
    let hub =
        Hub::with(&["", "probe"], |builder| builder, |http| http.limits(limits).policy(listed));
    let long = "a".repeat(9000);
    let post = format!("POST /send HTTP/1.1\r\nHost: a\r\n{ORIGIN}");
    let get = format!("GET /event HTTP/1.1\r\nHost: a\r\n{ORIGIN}");
    for (name, raw, status) in [
        ("a large body", format!("{post}Content-Length: 2000000\r\n\r\nx"), 413),
        ("a large chunk", format!("{post}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n"), 413),
        ("a malformed chunk", format!("{post}Transfer-Encoding: chunked\r\n\r\nx\r\n"), 400),
        (
            "too many bodies",
            format!("{post}Content-Length: 700000\r\n\r\n{}", "x".repeat(700_000)),
            503,
        ),
        ("a slow body", format!("{post}Content-Length: 9\r\n\r\nx"), 408),
        ("a long target", format!("GET /event?{long} HTTP/1.1\r\nHost: a\r\n{ORIGIN}\r\n"), 414),
        ("a long target, its head cut", format!("GET /event?{long} HTTP/1.1\r\n{ORIGIN}"), 414),
        ("many fields", format!("{get}{}\r\n", "X: y\r\n".repeat(100)), 431),
        ("a long head", format!("{get}X: {long}{long}\r\n\r\n"), 431),
        ("a slow head", get.clone(), 408),
        ("a malformed field", format!("{get}X y\r\n\r\n"), 400),
        (
            "no Host",
            "GET /event HTTP/1.1\r\noRIGIN:https://app.example.org \r\n\r\n".to_owned(),
            400,
        ),
        ("two lengths", format!("{post}Content-Length: 0\r\nContent-Length: 1\r\n\r\n"), 400),
        ("a fragment", format!("GET /a#b HTTP/1.1\r\nHost: a\r\n{ORIGIN}\r\n"), 400),
        ("another version", format!("GET / HTTP/2.0\r\nHost: a\r\n{ORIGIN}\r\n"), 505),
        ("an expectation", format!("{post}Expect: more\r\n\r\n"), 417),
    ] {
        let mut client = hub.connect();
        // It is answered before all of it was read.
        let _ = client.try_send(&raw);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        let allowed = answer.field("access-control-allow-origin");
        assert_eq!(allowed, Some("https://app.example.org"), "{name}: {answer:?}");
        assert_eq!(answer.field("access-control-allow-credentials"), Some("true"), "{name}");
        assert_eq!(answer.field("vary"), Some("Origin"), "{name}");

        let evil = raw.replace("https://app.example.org", "https://evil.example");
        let mut client = hub.connect();
        let _ = client.try_send(&evil);
        let answer = client.answer();
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(answer.field("access-control-allow-origin"), None, "{name}: {answer:?}");
        assert_eq!(answer.field("vary"), Some("Origin"), "{name}");
    }
    hub.assert_still_serves();
}

/// What comes after a request's head is not looked at for the page that sent it.
#[test]
fn a_body_or_the_request_before_gives_no_page_away() {
    const ORIGIN: &str = "Origin: https://app.example.org\r\n";
    let hub = hub(pages(&["https://app.example.org"]));
    let post = "POST /send HTTP/1.1\r\nHost: a\r\n";
    let good = format!("{post}{ORIGIN}Content-Length: 0\r\n\r\n");
    for raw in [
        format!("{post}Transfer-Encoding: chunked\r\n\r\nx\r\n{ORIGIN}\r\n"),
        format!("{post}Content-Length: 2000000\r\n\r\n\r\n{ORIGIN}\r\n"),
        format!("GET /event HTTP/1.1\r\n\r\n{ORIGIN}\r\n"),
        format!("{good}GET /event HTTP/1.1\r\n\r\n"),
        format!("{good}\x16\x03\x01{ORIGIN}"),
    ] {
        let mut client = hub.ask(&raw);
        let mut answer = client.answer();
        if raw.starts_with(&good) {
            assert_eq!(
                answer.field("access-control-allow-origin"),
                Some("https://app.example.org")
            );
            answer = client.answer();
        }
        assert!(answer.status >= 400, "{raw:?}: {answer:?}");
        assert_eq!(answer.field("access-control-allow-origin"), None, "{raw:?}");
    }
}

/// The browser hides the answer to a request whose target is too long unless its head is read.
#[test]
fn a_long_target_is_refused_once_its_page_is_known_in_however_many_pieces_it_comes() {
    let hub = hub(pages(&["*"]));
    let mut client = hub.ask(format!("GET /event?{}", "a".repeat(9000)));
    for piece in [" HTTP/1.1\r\nHost: a\r\n", "Ori", "gin: https://any.example", "\r\n"] {
        client.send(piece);
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("access-control-allow-origin")), (414, Some("*")));
}
