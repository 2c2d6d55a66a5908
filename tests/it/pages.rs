//! What web pages may do: of the server's own origin, of others, and under names that are not the
//! server's.

use websse::http::Policy;

use support::{Answer, Hub};

fn hub(policy: Policy) -> Hub {
    Hub::with(&["", "probe"], |builder| builder, |http| http.policy(policy))
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
    let listed = || open().allow_origin("https://App.example.org/").allow_origin("http://b:3000");
    let any = || open().allow_origin("*");
    for (policy, fields, status) in [
        // No page: curl and other programs.
        (open(), "Host: hub\r\n", 200),
        (open(), "Host: hub:8080\r\nOrigin: http://hub:8080\r\n", 200),
        (open(), "Host: HUB\r\nOrigin: https://hub\r\n", 200),
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
    let listed = hub(Policy::default().allow_origin("https://app.example.org"));
    let any = hub(Policy::default().allow_origin("*"));
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
    let hub = hub(Policy::default().allow_origin("https://app.example.org"));
    for path in ["/event", "/send"] {
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
        assert_eq!(answer.field("access-control-allow-methods"), Some("GET, POST"));
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
    let policy = || Policy::default().allow_host("localhost").allow_host("127.0.0.1");
    let hub = hub(policy().allow_host("[::1]"));
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:8080", 200),
        ("[::2]:8080", 403),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example:80", 403),
        ("127.0.0.2", 403),
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
    let policy = Policy::default().allow_host("localhost").allow_host("[::1]");
    let hub = hub(policy);
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
        ("http://[::2]", "Host: [::1]\r\n", 403),
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
    for (target, status) in [("http://localhost/event", 200), ("http://evil.example/event", 403)] {
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
