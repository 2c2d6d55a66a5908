//! Who may listen and publish: the embedding program's decision, with each kind of caller on each
//! endpoint.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use websse::{
    Action, Denied, Message, Server,
    http::{Handler, HttpServer, Policy, Request},
};

use support::{Client, Hub, SOON};

/// Anybody may listen to `free`, and to the general type; the rest is for who knows the token, and
/// `closed` is for nobody.
fn decide(request: &Request, action: Action<'_>) -> Result<(), Denied> {
    let closed = match action {
        Action::Subscribe { events, .. }
            if events.iter().all(|kind| ["free", "message"].contains(kind)) =>
        {
            return Ok(());
        }
        Action::Subscribe { events, .. } => events.contains(&"closed"),
        Action::Publish { event, .. } => event == "closed",
        _ => false,
    };
    match request.header("authorization") {
        None => Err(Denied::unauthorized("say who you are")),
        Some(b"Bearer right") if closed => Err(Denied::forbidden("closed for you")),
        Some(b"Bearer right") => Ok(()),
        Some(b"Bearer soon") => Err(Denied::try_later("too many", Duration::from_millis(1500))),
        Some(_) => Err(Denied::unauthorized("nobody has this token")),
    }
}

fn hub() -> Hub {
    support::watch_for_panics();
    let server = Server::new();
    server.register_events(["", "free", "a", "closed", "probe"]).unwrap();
    server.run().unwrap();
    let http = HttpServer::new()
        .get("/event", server.event_stream_handler().authorize(decide))
        .post("/send", server.send_message_handler().authorize(decide))
        .bind("127.0.0.1:0")
        .unwrap();
    Hub { server, http }
}

#[test]
fn each_caller_gets_what_was_decided_on_each_endpoint() {
    let hub = hub();
    let right = "Authorization: Bearer right\r\n";
    let wrong = "Authorization: Bearer wrong\r\n";
    let malformed = "Authorization: right\r\n";
    let soon = "Authorization: Bearer soon\r\n";
    for (request, field, status) in [
        ("GET /event", "", 200),
        ("GET /event?event=free", "", 200),
        ("GET /event?event=&event=free", wrong, 200),
        ("GET /event?event=a", right, 200),
        ("GET /event?event=a", "", 401),
        ("GET /event?event=a", wrong, 401),
        ("GET /event?event=a", malformed, 401),
        ("GET /event?event=*", "", 401),
        ("GET /event?event=*", right, 200),
        ("GET /event?event=free&event=a", "", 401),
        ("GET /event?event=closed", right, 403),
        // Whether a type exists is told to who may listen to it.
        ("GET /event?event=unknown", "", 401),
        ("GET /event?event=unknown", right, 400),
        ("HEAD /event?event=a", "", 401),
        ("POST /send?event=free&data=x", "", 401),
        ("POST /send?event=a&data=x", "", 401),
        ("POST /send?event=a&data=x", wrong, 401),
        ("POST /send?event=a&data=x", malformed, 401),
        ("POST /send?event=a&data=x", right, 200),
        ("POST /send?data=x", right, 200),
        ("POST /send?event=closed&data=x", right, 403),
        ("POST /send?event=unknown&data=x", "", 401),
        ("POST /send?event=unknown&data=x", right, 422),
        ("POST /send?event=a&data=x", soon, 429),
    ] {
        let raw = format!(
            "{request} HTTP/1.1\r\nHost: a\r\n{field}Content-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let mut client = hub.ask(raw);
        let answer = client.head();
        assert_eq!(answer.status, status, "{request} with {field:?}");
        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(answer.field("www-authenticate"), challenge, "{request} with {field:?}");
        // Not before the time is over, in whole seconds.
        let later = (status == 429).then_some("2");
        assert_eq!(answer.field("retry-after"), later, "{request} with {field:?}");
    }
}

#[test]
fn a_stream_refused_for_now_lets_browsers_come_back() {
    let hub = hub();
    let mut client =
        hub.ask("GET /event?event=a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer soon\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 200);
    answer.assert_stream();
    for (name, value) in [("cache-control", "no-cache, no-transform"), ("x-accel-buffering", "no")]
    {
        assert_eq!(answer.field(name), Some(value), "{name}");
    }
    let body = String::from_utf8(answer.body).unwrap();
    let retry = body.strip_prefix(": too many\nretry: ").and_then(|rest| rest.strip_suffix('\n'));
    assert!(retry.is_some_and(|retry| retry.parse::<u64>().is_ok()), "{body:?}");
    client.assert_closed();
    let browser = "GET /event?event=a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer soon\r\n\
        User-Agent: Mozilla/5.0\r\n\r\n";
    let body = hub.ask(browser).answer().text();
    let begin = ": too many\nevent: stream-open\ndata: {}\nretry: ";
    assert!(body.starts_with(begin) && body.ends_with("\n\n"), "{body:?}");
}

/// A browser that may not read it would give up for good.
#[test]
fn a_page_may_read_a_refusal_for_now_and_one_of_its_host() {
    const ORIGIN: &str = "Origin: https://app.example.org\r\n";
    let policy = Policy::default().allow_origin("https://app.example.org").unwrap();
    let policy = policy.allow_host("hub").unwrap();
    let hub =
        Hub::with(&["", "probe"], |builder| builder.max_streams(0), |http| http.policy(policy));
    for (host, status, begin) in [("hub", 200, ": "), ("evil.example", 403, "\"evil.example\"")] {
        let raw = format!("GET /event HTTP/1.1\r\nHost: {host}\r\n{ORIGIN}\r\n");
        let mut client = hub.ask(raw);
        let answer = client.head();
        assert_eq!(answer.status, status, "{host}");
        let allowed = answer.field("access-control-allow-origin");
        assert_eq!(allowed, Some("https://app.example.org"), "{host}");
        assert_eq!(answer.field("access-control-allow-credentials"), Some("true"), "{host}");
        assert_eq!(answer.field("vary"), Some("Origin"), "{host}");
        assert!(client.piece().starts_with(begin.as_bytes()), "{host}");
    }
}

/// The reason may be made of what the client sent.
#[test]
fn a_reason_of_several_lines_adds_no_field_to_the_stream() {
    support::watch_for_panics();
    let server = Server::new();
    server.register_events(["", "probe"]).unwrap();
    server.run().unwrap();
    let soon = |request: &Request, _: Action<'_>| {
        let why = request.query().find(|(name, _)| name == "why").unwrap().1.into_owned();
        Err(Denied::try_later(why, Duration::from_secs(1)))
    };
    let http = HttpServer::new().get("/event", server.event_stream_handler().authorize(soon));
    let hub = Hub { server, http: http.bind("127.0.0.1:0").unwrap() };
    for (why, comments) in [
        ("no%0Adata:%20x%0A%0A", ": no\n: data: x\n: \n: \n"),
        ("no%0Did:%20x%0D%0Aevent:%20y", ": no\n: id: x\n: event: y\n"),
        ("", ": \n"),
    ] {
        let raw = format!("GET /event?why={why} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let body = hub.ask(raw).answer().text();
        let retry = body.strip_prefix(comments).and_then(|rest| rest.strip_prefix("retry: "));
        let retry = retry.and_then(|rest| rest.strip_suffix('\n'));
        assert!(retry.is_some_and(|retry| retry.parse::<u64>().is_ok()), "{why}: {body:?}");
    }
}

#[test]
fn a_decision_that_takes_its_time_holds_nobody_else_up() {
    let decided = Arc::new(AtomicBool::new(false));
    let waits = Arc::clone(&decided);
    let decide = move |request: &Request, _: Action<'_>| {
        if request.header("x-slow").is_some() {
            support::eventually(SOON, true, || waits.load(Ordering::Relaxed));
        }
        Ok(())
    };
    support::watch_for_panics();
    let server = Server::new();
    server.register_events(["", "probe"]).unwrap();
    server.run().unwrap();
    let http = HttpServer::new()
        .get("/event", server.event_stream_handler().authorize(decide.clone()))
        .post("/send", server.send_message_handler().authorize(decide))
        .bind("127.0.0.1:0")
        .unwrap();
    let hub = Hub { server, http };
    let mut slow = hub.ask("GET /event HTTP/1.1\r\nHost: a\r\nX-Slow: 1\r\n\r\n");
    let mut publisher = hub
        .ask("POST /send?data=slow HTTP/1.1\r\nHost: a\r\nX-Slow: 1\r\nContent-Length: 0\r\n\r\n");
    for _ in 0..10 {
        hub.assert_still_serves();
    }
    decided.store(true, Ordering::Relaxed);
    slow.stream_head();
    assert_eq!(publisher.answer().status, 200);
    hub.publish(Message::new("quick"));
}

#[test]
fn of_several_decisions_all_have_to_agree_in_their_order() {
    support::watch_for_panics();
    let server = Server::new();
    server.register_events(["", "probe"]).unwrap();
    server.run().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    // Refuses where the request names it.
    let decision = |name: &'static str, denied: fn(&'static str) -> Denied| {
        let asked = Arc::clone(&asked);
        move |request: &Request, _: Action<'_>| {
            asked.lock().unwrap().push(name);
            let mut refusing = request.headers("x-refuse");
            if refusing.any(|one| one == name.as_bytes()) { Err(denied(name)) } else { Ok(()) }
        }
    };
    let first = || decision("first", Denied::forbidden);
    let second = || decision("second", Denied::unauthorized);
    let third = || decision("third", Denied::forbidden);
    let stream = server.event_stream_handler().authorize(first()).authorize(second());
    let send = server.send_message_handler().authorize(first()).authorize(second());
    let stats = server.stats_handler().authorize(first()).authorize(second());
    let metrics = server.metrics_handler().authorize(first()).authorize(second());
    let http = HttpServer::new()
        .get("/event", stream.authorize(third()))
        .post("/send", send.authorize(third()))
        .get("/stats", stats.clone().authorize(third()))
        .get("/metrics", metrics.authorize(third()))
        .bind("127.0.0.1:0")
        .unwrap();
    let hub = Hub { server, http };
    for request in ["GET /event", "POST /send?data=x", "GET /stats", "GET /metrics"] {
        for (refusing, status, expected) in [
            (&[][..], 200, &["first", "second", "third"][..]),
            (&["first"], 403, &["first"]),
            (&["second"], 401, &["first", "second"]),
            (&["third"], 403, &["first", "second", "third"]),
            (&["third", "second"], 401, &["first", "second"]),
            (&["third", "second", "first"], 403, &["first"]),
        ] {
            asked.lock().unwrap().clear();
            let fields = refusing.iter().map(|name| format!("X-Refuse: {name}\r\n"));
            let fields = fields.collect::<String>();
            let raw = format!("{request} HTTP/1.1\r\nHost: a\r\n{fields}Connection: close\r\n\r\n");
            assert_eq!(hub.ask(raw).head().status, status, "{request}, refused by {refusing:?}");
            assert_eq!(*asked.lock().unwrap(), expected, "{request}, refused by {refusing:?}");
        }
    }
    // A copy that asks one more leaves the handler as it was.
    let request = Request::new("GET", "/stats").unwrap().with_header("X-Refuse", "third");
    assert_eq!(stats.handle(&request).status(), 200);
}

/// Addresses as two header fields tell them, for two limits of one handler.
fn told_by(name: &'static str) -> impl Fn(&Request) -> Option<IpAddr> {
    move |request| {
        let number = std::str::from_utf8(request.header(name)?).ok()?.parse().ok()?;
        Some(Ipv4Addr::new(192, 0, 2, number).into())
    }
}

#[test]
fn of_several_limits_for_an_address_all_hold() {
    support::watch_for_panics();
    let server = Server::new();
    server.register_events(["", "probe"]).unwrap();
    server.run().unwrap();
    let stream = server
        .event_stream_handler()
        .streams_per_address(1, told_by("x-host"))
        .streams_per_address(2, told_by("x-network"));
    let http = HttpServer::new().get("/event", stream).bind("127.0.0.1:0").unwrap();
    let hub = Hub { server, http };
    let listen = |fields: &str| {
        let mut client = hub.ask(format!("GET /event HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
        assert_eq!(client.head().status, 200);
        client
    };
    let refused = |client: &mut Client| {
        let beginning = client.piece();
        beginning.starts_with(b": ") && !beginning.starts_with(b": websse\n")
    };
    let mut streams = [
        listen("X-Host: 1\r\nX-Network: 1\r\n"),
        listen("X-Host: 2\r\nX-Network: 1\r\n"),
        listen("X-Host: 3\r\n"),
        listen("X-Network: 2\r\n"),
    ];
    for stream in &mut streams {
        assert!(!refused(stream));
    }
    assert!(refused(&mut listen("X-Host: 1\r\n")), "over the first limit");
    assert!(refused(&mut listen("X-Host: 4\r\nX-Network: 1\r\n")), "over the second limit");
    // What is refused by the one does not count for the other.
    assert!(!refused(&mut listen("X-Host: 4\r\nX-Network: 3\r\n")));
    let [first, ..] = streams;
    drop(first);
    support::eventually(SOON, false, || refused(&mut listen("X-Host: 1\r\n")));
    support::eventually(SOON, false, || refused(&mut listen("X-Host: 5\r\nX-Network: 1\r\n")));
}
