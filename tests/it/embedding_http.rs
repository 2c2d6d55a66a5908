//! The HTTP server inside a program: own routes, listeners of every kind, clients that go, and
//! that shutting down, in any order, ends every thread.

use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::{
    Mutex,
    mpsc::{Receiver, channel},
};
use std::time::Duration;
#[cfg(unix)]
use std::{env, fs, process};
use std::{error::Error, io};

use support::{
    Client, Hub, SOON, eventually,
    measure::own_threads_named,
    process::{Running, in_a_process_of_its_own},
    running, shown,
};
use websse::http::{Handler, HttpServer, Limits, Listener, Request, Response};
use websse::{Message, Server};

#[track_caller]
fn assert_no_threads() {
    eventually(SOON, Vec::<String>::new(), || own_threads_named("websse"));
}

const GET: &str = "GET /event HTTP/1.1\r\nHost: a\r\n\r\n";
const POST: &str = "POST /send?data=x HTTP/1.1\r\nHost: a\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn mounted(server: &Server) -> HttpServer {
    HttpServer::new()
        .get("/event", server.event_stream_handler())
        .post("/send", server.send_message_handler())
}

#[test]
fn own_routes_are_served_beside_the_streams() {
    let hub = Hub::with(
        &[""],
        |builder| builder,
        |http| {
            let page = |_: &Request| Response::html("<p>é</p>").header("X-Own", "yes");
            let created = |request: &Request| {
                let size = request.body().len();
                Response::text(201, format!("{size} bytes\n")).header("Location", "/1")
            };
            http.get("/", page).get("/empty", |_: &Request| Response::new(204)).post("/", created)
        },
    );
    let mut listener = hub.listen("");
    let mut client = hub.ask(get("/"));
    let answer = client.answer();
    assert_eq!(answer.line, "HTTP/1.1 200 OK");
    assert_eq!(answer.text(), "<p>é</p>");
    assert_eq!(answer.field("content-length"), Some("9"));
    assert_eq!(answer.field("x-own"), Some("yes"));
    let kind = answer.field("content-type").unwrap_or_default().to_lowercase();
    assert_eq!(kind, "text/html; charset=utf-8");

    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (201, "3 bytes\n"));
    assert_eq!(answer.field("location"), Some("/1"));

    client.send(get("/empty"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.field("content-length")), (204, None));

    client.send(POST);
    assert_eq!(client.answer().status, 200);
    assert_eq!(listener.event().data.as_deref(), Some("x"));
}

#[test]
fn a_route_that_panics_answers_500_and_costs_nobody_else_anything() {
    let panics = |_: &Request| -> Response { panic!("as the test wants") };
    let hub = Hub::with(&["", "probe"], |builder| builder, |http| http.get("/panic", panics));
    let mut listener = hub.listen("");
    for round in 0..20 {
        let answer = hub.ask(get("/panic")).answer();
        assert_eq!(answer.status, 500, "round {round}");
        answer.assert_explained();
        assert!(!answer.text().contains("as the test wants"), "{answer:?}");
    }
    hub.assert_still_serves();
    hub.publish(Message::new("x"));
    assert_eq!(listener.event().data.as_deref(), Some("x"));
}

#[test]
fn a_half_closed_complete_request_is_answered() {
    let hub = Hub::with(
        &[""],
        |builder| builder,
        |http| http.get("/hello", |_: &Request| Response::text(200, "hello")),
    );
    for (name, raw, status) in [
        ("GET", get("/hello"), 200),
        ("POST", POST.to_owned(), 200),
        ("a refusal", get("/nope"), 404),
        ("two", get("/hello") + POST, 200),
    ] {
        let mut client = hub.ask(raw);
        client.half_close();
        assert_eq!(client.answer().status, status, "{name}");
        if name == "two" {
            assert_eq!(client.answer().status, status, "{name}, the second");
        }
        client.assert_closed();
    }
    let mut half = hub.ask("GET /hello HTTP/1.1\r\nHost: a\r\n");
    half.half_close();
    let got = shown(&half.drain(SOON));
    let right = got.is_empty() || got.starts_with("HTTP/1.1 400 ");
    assert!(right, "half a request: expected 400 or nothing, got {got:?}");
}

#[test]
fn a_handler_of_an_own_type_may_block_and_holds_up_nobody() {
    struct Waits(Mutex<Receiver<()>>);
    impl Handler for Waits {
        fn handle(&self, _: &Request) -> Response {
            Response::text(200, format!("{:?}", self.0.lock().unwrap().recv_timeout(SOON)))
        }
    }
    let (go, waits) = channel();
    let waits = Waits(Mutex::new(waits));
    let hub = Hub::with(&[], |builder| builder, |http| http.get("/waits", waits));
    let mut waiting = hub.ask(get("/waits"));
    // It waits by now, or will: either way others are answered before it.
    for _ in 0..10 {
        assert_eq!(hub.ask(get("/nothing")).answer().status, 404);
    }
    go.send(()).unwrap();
    assert_eq!(waiting.answer().text(), "Ok(())\n");
}

#[test]
fn every_bind_serves_the_routes_set_so_far() {
    let server = running();
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    let private = TcpListener::bind("127.0.0.1:0").unwrap();
    let addrs = [&public, &private].map(|listener| listener.local_addr().unwrap());
    let http = HttpServer::new()
        .get("/event", server.event_stream_handler())
        .serve(public)
        .unwrap()
        .post("/send", server.send_message_handler())
        .serve(private)
        .unwrap();
    assert_eq!(http.local_addr(), Some(addrs[0]));

    for (addr, status) in addrs.into_iter().zip([404, 200]) {
        let mut listener = Client::connect(addr);
        listener.send(GET);
        listener.stream_head();
        let mut publisher = Client::connect(addr);
        publisher.send(POST);
        assert_eq!(publisher.answer().status, status, "POST /send on {addr}");
        server.publish(Message::new("y")).unwrap();
        let expected = if status == 200 { "x" } else { "y" };
        assert_eq!(listener.event().data.as_deref(), Some(expected));
    }
}

/// A health check is answered by work that may wait.
#[test]
fn a_field_that_is_added_to_an_answer_not_yet_known_is_sent() {
    let server = running();
    let health = server.health_handler();
    let marked = move |request: &Request| health.handle(request).header("X-Node", "7");
    let http = HttpServer::new().get("/healthz", marked).bind("127.0.0.1:0").unwrap();
    let answer = Client::ask(http.local_addr().unwrap(), get("/healthz")).answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
    assert_eq!(
        (answer.field("x-node"), answer.field("cache-control")),
        (Some("7"), Some("no-store"))
    );
}

#[test]
fn two_handlers_for_the_same_method_and_path_are_refused_by_name() {
    let page = |_: &Request| Response::text(200, "page");
    let jobs = || HttpServer::new().get("/jobs/:id", page).post("/a", page);
    for (http, method, path, first) in [
        (jobs().get("/jobs/:id", page), "GET", "/jobs/:id", "/jobs/:id"),
        (jobs().get("jobs/:number", page), "GET", "/jobs/:number", "/jobs/:id"),
        (jobs().post("/a", page).post("/a", page), "POST", "/a", "/a"),
        (jobs().route("PUT", "/b", page).route("PUT", "/b", page), "PUT", "/b", "/b"),
        (jobs().get("/c/*", page).get("c/*", page), "GET", "/c/*", "/c/*"),
    ] {
        let error = http.bind("127.0.0.1:0").expect_err(path);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        let expected = format!(
            "there are two handlers for \"{method} {path}\", the first at {first:?}; remove one"
        );
        assert_eq!(error.to_string(), expected);
    }
    // What is alike, and yet not the same; and other listeners have the routes before them.
    let http = jobs().get("/jobs/:id/name", page).get("/jobs/*", page).get("/jobs/new", page);
    let http = http.route("HEAD", "/jobs/:id", page).get("/a", page).route("PUT", "/a", page);
    let http = http.bind("127.0.0.1:0").unwrap();
    assert!(http.bind("127.0.0.1:0").unwrap().get("/a", page).bind("127.0.0.1:0").is_err());
}

#[test]
fn what_cannot_be_served_is_named_by_its_address_or_path() {
    let limits = Limits::default().stack_bytes(usize::MAX / 4 * 3);
    let serve = |listener: Listener| {
        let error = HttpServer::new().limits(limits.clone()).serve(listener).unwrap_err();
        assert!(error.source().is_none(), "what the system says is in the text");
        error.to_string()
    };
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let told = serve(tcp.into());
    assert!(told.starts_with(&format!("cannot listen on {address}: ")), "{told}");
    let stack = format!("no thread with a stack of {} bytes can start: ", usize::MAX / 4 * 3);
    assert!(told.contains(&stack), "{told}");
    let largest = HttpServer::new().limits(Limits::default().stack_bytes(usize::MAX));
    let told = largest.bind("127.0.0.1:0").unwrap_err().to_string();
    assert!(told.contains(&stack), "{told}");
    #[cfg(unix)]
    {
        let path = env::temp_dir().join(format!("websse\n-{}.sock", process::id()));
        let _ = fs::remove_file(&path); // left by a test that was killed
        let told = serve(UnixListener::bind(&path).unwrap().into());
        fs::remove_file(&path).unwrap();
        let place = path.to_str().unwrap().replace('\n', "\\n");
        assert!(told.starts_with(&format!("cannot listen on unix:{place}: ")), "{told}");
    }
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_served_like_any_other() {
    let path = env::temp_dir().join(format!("websse-test-{}.sock", process::id()));
    let _ = fs::remove_file(&path); // left by a test that was killed
    let server = running();
    let http = mounted(&server).serve(UnixListener::bind(&path).unwrap()).unwrap();
    assert_eq!(http.local_addr(), None);
    let ask = |raw: &str| {
        let mut client = Client::from(UnixStream::connect(&path).unwrap());
        client.send(raw);
        client
    };
    let mut listener = ask(GET);
    listener.head().assert_stream();
    assert_eq!(listener.preamble().1.raw, b"retry: 3000\n");
    let mut publisher = ask("");
    for _ in 0..2 {
        publisher.send(POST);
        assert_eq!(publisher.answer().line, "HTTP/1.1 200 OK");
        assert_eq!(listener.event().raw, b"data: x\n\n");
    }
    drop(listener);
    eventually(SOON, 0, || server.stats().streams);
    assert_eq!(http.shutdown(SOON), 0);
    assert!(UnixStream::connect(&path).is_err(), "expected nobody to listen");
    fs::remove_file(&path).unwrap();
}

#[test]
fn dropping_the_server_ends_it_though_its_handlers_are_mounted() {
    let server = running();
    let http = mounted(&server).bind("127.0.0.1:0").unwrap();
    let ask = |raw: &str| Client::ask(http.local_addr().unwrap(), raw);
    let mut listener = ask(GET);
    listener.stream_head();
    drop(server);
    listener.assert_stream_ends();

    let mut refused = ask(GET);
    let head = refused.head();
    assert_eq!(head.line, "HTTP/1.1 200 OK", "a refusal for now, not for good");
    head.assert_stream();
    let (reason, _retry) = refused.preamble();
    assert!(!reason.trim().is_empty(), "expected a reason in the comment");
    refused.assert_stream_ends();
    let answer = ask(POST).answer();
    assert_eq!(answer.status, 503);
    assert!(answer.field("retry-after").is_some(), "{answer:?}");
    answer.assert_explained();
}

#[test]
fn before_the_server_runs_clients_are_told_to_come_back() {
    let server = Server::builder().history_events(0).build();
    server.register_event("").unwrap();
    let http = mounted(&server).bind("127.0.0.1:0").unwrap();
    let ask = |raw: &str| Client::ask(http.local_addr().unwrap(), raw);
    assert_eq!(ask(POST).answer().status, 503);
    let mut refused = ask(GET);
    assert_eq!(refused.head().line, "HTTP/1.1 200 OK");
    refused.preamble();
    refused.assert_stream_ends();

    server.run().unwrap();
    let mut listener = ask(GET);
    listener.stream_head();
    assert_eq!(ask(POST).answer().status, 200);
    assert_eq!(listener.event().data.as_deref(), Some("x"));
}

#[test]
fn a_killed_client_is_gone_within_two_seconds_without_a_publish() {
    let hub = Hub::new(&[""]);
    let mut curl = Running::start(Command::new("curl").args(["-skN", &hub.url("/event")]));
    eventually(SOON, 1, || hub.server.stats().streams);
    curl.child.kill().unwrap();
    curl.child.wait().unwrap();
    eventually(Duration::from_secs(2), 0, || hub.server.stats().streams);
}

#[test]
fn shutting_down_in_either_order_ends_every_thread() {
    let itself = "embedding_http::shutting_down_in_either_order_ends_every_thread";
    in_a_process_of_its_own(itself, || {
        for http_first in [true, false] {
            let name = if http_first { "HTTP first" } else { "server first" };
            let server = running();
            let http = mounted(&server).bind("127.0.0.1:0").unwrap();
            let addr = http.local_addr().unwrap();
            let ask = |raw: &str| Client::ask(addr, raw);
            let mut listener = ask(GET);
            listener.stream_head();
            let mut idle = ask(POST);
            assert_eq!(idle.answer().status, 200, "{name}");
            // Waited for, each by a thread.
            let mut waited_for = [
                ask(""),
                ask("GET"),
                ask("POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx"),
                idle,
            ];
            for _ in 0..100 {
                server.publish(Message::new("x")).unwrap();
            }
            assert!(
                !own_threads_named("websse").is_empty(),
                "{name}: expected threads, else this test is blind"
            );

            // It waits so long for the halves of requests, and then no longer.
            let stop_http = || {
                let left = http.shutdown(Duration::from_millis(200));
                assert_eq!(left, 0, "{name}: threads still running");
            };
            let stop_server = || {
                let report = server.shutdown(SOON);
                assert_eq!((report.undelivered, report.cut_streams), (0, 0), "{name}");
            };
            if http_first {
                stop_http();
                stop_server();
            } else {
                stop_server();
                stop_http();
            }
            assert_no_threads();
            for _ in 0..101 {
                assert_eq!(listener.event().data.as_deref(), Some("x"), "{name}");
            }
            listener.assert_stream_ends();
            for client in &mut waited_for {
                client.drain(SOON);
            }
            assert!(TcpStream::connect(addr).is_err(), "{name}: expected nobody to listen");
            http.join();
        }
    });
}

#[test]
fn dropping_everything_in_either_order_ends_every_thread() {
    let itself = "embedding_http::dropping_everything_in_either_order_ends_every_thread";
    in_a_process_of_its_own(itself, || {
        for http_first in [true, false] {
            let server = running();
            let http = mounted(&server).bind("127.0.0.1:0").unwrap();
            let mut clients: Vec<Client> = (0..10)
                .map(|_| {
                    let mut client = Client::connect(http.local_addr().unwrap());
                    client.send(GET);
                    client.stream_head();
                    client
                })
                .collect();
            let mut idle = Client::connect(http.local_addr().unwrap());
            idle.send(POST);
            assert_eq!(idle.answer().status, 200);
            if http_first {
                drop(http);
                drop(server);
            } else {
                drop(server);
                drop(http);
            }
            assert_no_threads();
            for client in &mut clients {
                assert_eq!(client.event().data.as_deref(), Some("x"));
                client.assert_stream_ends();
            }
            idle.assert_closed();
        }
    });
}
