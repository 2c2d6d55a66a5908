//! What is answered is answered once and whole, and ends where it says.

use std::{
    io::Read,
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use support::{Client, Hub, SOON};
use websse::{
    Message, PublishError, Server, TryPublishError,
    http::{HttpServer, Limits, Policy, Request, Response},
};
#[cfg(feature = "json")]
use {support::running, websse::http::Handler};

/// A hub with one more route.
fn hub(limits: Limits, route: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Hub {
    Hub::with(&["", "probe"], |builder| builder, |http| http.limits(limits).get("/page", route))
}

#[test]
fn a_response_that_was_given_up_halfway_is_not_begun_again() {
    let size = 24 << 20;
    let large = move |_: &Request| Response::text(200, "x".repeat(size));
    let hub = hub(Limits::default().write_timeout(Duration::from_millis(300)), large);
    let mut socket = TcpStream::connect(hub.addr()).unwrap();
    std::io::Write::write_all(&mut socket, b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // The client reads nothing until the server has given up; nobody can tell it when.
    std::thread::sleep(Duration::from_millis(1500));
    socket.set_read_timeout(Some(SOON)).unwrap();
    let mut got = Vec::new();
    // Ends with the connection, in order or by a reset.
    let _ = socket.read_to_end(&mut got);
    let heads = got.windows(9).filter(|window| window == b"HTTP/1.1 ").count();
    assert_eq!(heads, 1, "{} bytes came", got.len());
    assert!(got.len() < size, "it was not taken in time");
    hub.assert_still_serves();
}

#[test]
fn a_large_answer_arrives_whole_although_more_comes_behind_the_request() {
    let size = 2 << 20;
    let large = move |_: &Request| Response::text(200, "x".repeat(size - 1));
    let hub = hub(Limits::default(), large);
    for more in ["\r\n", "GET /page HTTP/1.1\r\nHost: a\r\n\r\n"] {
        for _ in 0..5 {
            let mut client = hub.ask("GET /page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            assert_eq!(client.head().field("connection"), Some("close"));
            client.send(more);
            let mut got = 0;
            while got < size {
                got += client.piece().len();
            }
            assert_eq!(got, size);
        }
    }
}

#[test]
fn answers_that_have_no_body_are_sent_without_one() {
    for status in [204, 304] {
        let hub = hub(Limits::default(), move |request| {
            Response::text(status, format!("{:?}", request.query().count()))
        });
        let twice = "GET /page HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2);
        let mut client = hub.ask(twice);
        for _ in 0..2 {
            let head = client.head();
            assert_eq!(head.status, status);
            assert_eq!(head.field("content-length"), None);
        }
    }
}

#[test]
fn a_status_that_is_none_is_a_mistake_of_the_program() {
    for status in [0, 7, 100, 199, 600, 65_535] {
        let hub = hub(Limits::default(), move |_| Response::new(status));
        let answer = hub.ask("GET /page HTTP/1.1\r\nHost: a\r\n\r\n").answer();
        assert_eq!(answer.status, 500, "{status}");
    }
}

#[test]
fn http_1_0_ends_with_each_answer() {
    let hub = hub(Limits::default(), |_| Response::text(200, "x"));
    for field in ["", "Connection: keep-alive\r\n", "Connection: keep-alive, close\r\n"] {
        let mut client = hub.ask(format!("GET /page HTTP/1.0\r\n{field}\r\n"));
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (200, Some("close")), "{field:?}");
        client.assert_closed();
    }
}

#[test]
fn shutting_down_twice_does_not_touch_the_next_owner_of_the_port() {
    let hub = hub(Limits::default(), |_| Response::new(200));
    let address = hub.addr();
    assert_eq!(hub.http.shutdown(SOON), 0);
    let next = TcpListener::bind(address).unwrap();
    assert_eq!(hub.http.shutdown(SOON), 0);
    drop(hub);
    next.set_nonblocking(true).unwrap();
    let visitor = next.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(visitor, Err(std::io::ErrorKind::WouldBlock));
}

#[test]
fn a_second_shutdown_with_less_time_counts() {
    let hub = Hub::new(&["", "probe"]);
    let mut stuck = hub.listen("");
    // More than its socket takes, also where its buffer grows once more, and less than would hold up
    // publishers.
    let mut in_a_row = 0;
    while in_a_row < 4 {
        hub.publish(Message::new("x".repeat(100_000)));
        support::eventually(SOON, 0, || hub.server.stats().queued);
        let is_stuck = support::are_behind_for_a_while(&hub.server, 1);
        in_a_row = if is_stuck { in_a_row + 1 } else { 0 };
    }
    std::thread::scope(|scope| {
        let first = scope.spawn(|| hub.server.shutdown(Duration::from_secs(20)));
        support::eventually(SOON, false, || is_open(&hub.server));
        let start = Instant::now();
        let second = hub.server.shutdown(Duration::from_millis(100));
        let took = start.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
        // Only one of the two has the report.
        let first = first.join().unwrap();
        assert_eq!(first.cut_streams + second.cut_streams, 1, "{:?}", hub.server.stats());
    });
    stuck.drain(SOON);
}

/// Whether the server still accepts messages.
fn is_open(server: &Server) -> bool {
    let tried = server.try_publish(Message::new("").event("probe"));
    !matches!(tried, Err(TryPublishError::Refused(PublishError::ShutDown)))
}

#[test]
fn a_client_that_connects_and_says_nothing_is_let_go() {
    let hub =
        hub(Limits::default().head_timeout(Duration::from_millis(200)), |_| Response::new(200));
    let mut silent = Client::connect(hub.addr());
    silent.assert_closed();
}

#[test]
fn a_route_can_be_for_all_paths_under_it() {
    let named = |name: &'static str| {
        move |request: &Request| Response::text(200, format!("{name} {}", request.path()))
    };
    let hub = Hub::with(
        &[],
        |builder| builder,
        |http| {
            let http =
                http.get("/*", named("all")).get("/a", named("a")).get("/a/*", named("under"));
            http.get("/a/b/c*", named("star")).post("/a/b/*", named("post"))
        },
    );
    for (request, status, text) in [
        ("GET /", 200, "all /"),
        ("GET /x/y", 200, "all /x/y"),
        ("GET /a", 200, "a /a"),
        ("GET /a/", 200, "under /a/"),
        ("GET /a/x", 200, "under /a/x"),
        ("GET /a/%2e./x", 200, "under /a/../x"),
        ("GET /ab", 200, "all /ab"),
        ("GET /a/b/c*", 200, "star /a/b/c*"),
        ("POST /a/b/cd", 200, "post /a/b/cd"),
        // As for a path of its own: the route is found, the method is not.
        ("GET /a/b/cd", 405, "GET is not for /a/b/*; use POST"),
        ("POST /a/x", 405, "POST is not for /a/*; use GET, HEAD"),
    ] {
        let answer = hub.ask(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).answer();
        assert_eq!((answer.status, answer.text().trim_end()), (status, text), "{request}");
    }
}

#[test]
fn a_route_can_be_for_any_method_and_for_one_part_of_a_path() {
    let named = |name: &'static str| {
        move |request: &Request| {
            let id = request.param("id").unwrap_or_default();
            Response::text(200, format!("{name} {id}"))
        }
    };
    let routes = |http: HttpServer| {
        let deleted = |request: &Request| {
            Response::text(200, format!("delete {}", request.param("number").unwrap_or_default()))
        };
        let http = http.get("/jobs/:id", named("get")).route("DELETE", "/jobs/:number", deleted);
        let http =
            http.get("/jobs/new", named("new")).route("PUT", "/jobs/:id/name", named("name"));
        let http = http.get("/:id/7", named("seven")).get("/all/*", named("all"));
        http.route("HEAD", "/head", named("head")).fallback(|request: &Request| {
            Response::text(404, format!("fallback {}", request.method()))
        })
    };
    let hub = Hub::with(&[], |builder| builder, routes);
    for (request, status, text) in [
        ("GET /jobs/a%20b?id=x", 200, "get a b"),
        ("GET /jobs/:id?id=x", 200, "get :id"),
        ("DELETE /jobs/7", 200, "delete 7"),
        ("GET /jobs/new?id=x", 200, "new x"),
        ("DELETE /jobs/new", 405, "DELETE is not for /jobs/new; use GET, HEAD"),
        ("PUT /jobs/7", 405, "PUT is not for /jobs/:id; use DELETE, GET, HEAD"),
        ("PUT /jobs/7/name", 200, "name 7"),
        ("GET /x/7", 200, "seven x"),
        ("GET /jobs/7/7", 404, "fallback GET"),
        ("GET /jobs/7%2F7", 404, "fallback GET"),
        ("GET /jobs/", 404, "fallback GET"),
        ("BREW /tea", 404, "fallback BREW"),
        ("GET /head", 405, "GET is not for /head; use HEAD"),
        ("GET /all/7?id=8", 200, "seven all"),
        ("GET /all/8?id=9", 200, "all 9"),
    ] {
        let answer = hub.ask(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).answer();
        assert_eq!((answer.status, answer.text().trim_end()), (status, text), "{request}");
    }
}

#[test]
fn a_page_may_send_what_its_route_takes_only_if_its_origin_is_allowed() {
    let policy = Policy::default().allow_origin("https://app.example.org").unwrap();
    let gone = |_: &Request| Response::text(200, "gone");
    let http = |http: HttpServer| http.policy(policy).route("DELETE", "/jobs/:id", gone);
    let hub = Hub::with(&[], |builder| builder, http);
    let ask = |method: &str, fields: &str| {
        hub.ask(format!("{method} /jobs/7 HTTP/1.1\r\nHost: hub\r\n{fields}\r\n")).answer()
    };
    let app = "Origin: https://app.example.org\r\n";
    let asks = format!("{app}Access-Control-Request-Method: DELETE\r\n");
    let answer = ask("OPTIONS", &asks);
    assert_eq!(answer.field("access-control-allow-methods"), Some("DELETE, OPTIONS"));
    for (fields, status) in [(app, 200), ("", 200), ("Origin: https://evil.example\r\n", 403)] {
        assert_eq!(ask("DELETE", fields).status, status, "{fields}");
    }
}

/// A batch is published by work that may wait, and so is a health check.
#[cfg(feature = "json")]
#[test]
fn an_answer_not_yet_known_gets_the_status_and_the_body_of_the_program() {
    let server = running();
    let (send, health) = (server.send_message_handler(), server.health_handler());
    let http = HttpServer::new()
        .post("/send", move |request: &Request| {
            send.handle(request).with_status(202).with_body(&b"taken"[..])
        })
        .get("/healthz", move |request: &Request| {
            health.handle(request).with_body(&b"well"[..]).with_status(299)
        })
        .bind("127.0.0.1:0")
        .unwrap();
    let ask = |raw: &str| {
        let answer = Client::ask(http.local_addr().unwrap(), raw).answer();
        (answer.status, answer.text())
    };
    let post = |line: &str| {
        let head = "POST /send HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-ndjson";
        ask(&format!("{head}\r\nContent-Length: {}\r\n\r\n{line}", line.len()))
    };
    let mut listener = server.subscribe([""]).unwrap();
    assert_eq!(post(r#"{"data":"x"}"#), (202, "taken".to_owned()));
    assert_eq!(listener.next_event(SOON).unwrap().data(), "x");
    let (status, text) = post(r#"{"event":"unknown"}"#);
    assert!(status == 422 && text.contains("\"unknown\" is not registered"), "{status}: {text}");
    assert_eq!(ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), (299, "well".to_owned()));
    server.shutdown(SOON);
    let (status, text) = ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(status == 503 && text.contains("the broadcaster does not run"), "{status}: {text}");
}
