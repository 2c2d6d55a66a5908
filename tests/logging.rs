//! What the `log` facade is told, and that a logger which blocks holds up nobody.
#![cfg(feature = "log")]
#![allow(clippy::unwrap_used)]

use std::{
    io::{self, ErrorKind, Write},
    net::TcpStream,
    sync::{Condvar, Mutex, Once},
    time::Duration,
};

use log::{Level, LevelFilter, Log, Metadata, Record};
use support::{Client, Hub, SOON, eventually, running};
use websse::{
    Builder, Denied, Message,
    http::{EventWriter, HttpServer, Limits, Request, Response},
};

/// Keeps all records of this process, and holds up whoever logs a text with the word `block`.
struct Recorder {
    lines: Mutex<Vec<(Level, String)>>,
    blocks: Mutex<bool>,
    freed: Condvar,
}

static RECORDER: Recorder =
    Recorder { lines: Mutex::new(Vec::new()), blocks: Mutex::new(true), freed: Condvar::new() };

impl Log for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        assert_eq!(record.target(), "websse");
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        assert!(!thread.contains("broadcaster"), "foreign code on the broadcaster");
        let line = record.args().to_string();
        let blocks = line.contains("block");
        self.lines.lock().unwrap().push((record.level(), line));
        if blocks {
            let _freed =
                self.freed.wait_while(self.blocks.lock().unwrap(), |blocks| *blocks).unwrap();
        }
    }

    fn flush(&self) {}
}

/// A hub whose log is kept, for two clients.
fn hub(
    options: impl FnOnce(Builder) -> Builder,
    http: impl FnOnce(HttpServer) -> HttpServer,
) -> Hub {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_max_level(LevelFilter::Debug);
        log::set_logger(&RECORDER).unwrap();
    });
    Hub::with(&["", "a", "probe"], |builder| options(builder.max_streams(2)), http)
}

/// The only line of the log that contains this, without where the request came from.
#[track_caller]
fn line(part: &str) -> (Level, String) {
    let lines = || {
        let lines = RECORDER.lines.lock().unwrap();
        lines.iter().filter(|(_, line)| line.contains(part)).cloned().collect::<Vec<_>>()
    };
    eventually(SOON, 1, || lines().len());
    let (level, line) = lines().remove(0);
    let line = line.split_once(" from 127.0.0.1:").map_or(line.clone(), |(before, after)| {
        format!("{before}{}", &after[after.find(':').unwrap()..])
    });
    (level, line)
}

#[test]
fn refused_requests_are_told_without_their_query() {
    let panics = |_: &Request| -> Response { panic!("on purpose: a handler that panics") };
    let hub = hub(|builder| builder, |http| http.get("/panics", panics));
    for (request, level, told) in [
        ("GET /nothing?access_token=secret", Level::Info, "GET \"/nothing\": 404"),
        ("DELETE /event?event=secret", Level::Info, "DELETE \"/event\": 405"),
        ("POST /send?retry=secret&data=y", Level::Info, "POST \"/send\": 422"),
        ("GET /%0Aline%1B?x", Level::Info, "GET \"/\\nline\\u{1b}\": 404"),
        ("GET /panics?secret", Level::Error, "GET \"/panics\": 500"),
    ] {
        let answer = hub.ask(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n")).answer();
        assert!(answer.status >= 400);
        let beginning = &told[..told.len() - ": 404".len()];
        assert_eq!(line(beginning), (level, told.to_owned()));
    }
    hub.ask("GET /?secret HTTP/1.1\r\nNo host: secret\r\n\r\n").answer();
    let (level, malformed) = line("a malformed request");
    assert_eq!(level, Level::Info);
    assert!(malformed.starts_with("a malformed request: 400, \""), "{malformed}");

    let _two = [hub.listen("?event=probe"), hub.listen("?event=probe")];
    let refused = hub.ask("GET /event?event=secret&event=a HTTP/1.1\r\nHost: a\r\n\r\n").answer();
    assert_eq!(refused.status, 400);
    let refused = hub.ask("GET /event?event=a&x=secret HTTP/1.1\r\nHost: a\r\n\r\n").answer();
    assert_eq!(refused.status, 200, "a refusal for now");
    let told = "GET \"/event\": 200, \"2 clients listen already, the most allowed\"".to_owned();
    assert_eq!(line("2 clients listen already"), (Level::Info, told));
    assert_eq!(hub.ask("GET /event HTTP/1.0\r\n\r\n").answer().status, 200);
    let lines = RECORDER.lines.lock().unwrap().clone();
    assert!(lines.iter().all(|(_, line)| !line.contains("secret")), "{lines:?}");
    assert!(lines.iter().all(|(_, line)| line.lines().count() == 1), "{lines:?}");
}

#[test]
fn a_server_that_is_dropped_while_it_is_asked_is_told_once_for_each_handler() {
    // For the logger.
    drop(hub(|builder| builder, |http| http));
    let told = || {
        let lines = RECORDER.lines.lock().unwrap();
        let told = lines.iter().filter(|(_, line)| line.contains("the Server was dropped"));
        told.cloned().collect::<Vec<_>>()
    };
    let ask_all = |shut_down: bool| {
        let server = running();
        let guarded = server.send_message_handler();
        let guarded = guarded.authorize(|_: &Request, _| Err(Denied::forbidden("not you")));
        let http = HttpServer::new()
            .get("/dropped/event", server.event_stream_handler())
            .post("/dropped/send", server.send_message_handler())
            .post("/dropped/guarded", guarded)
            .get("/dropped/healthz", server.health_handler())
            .get("/dropped/health", server.health_handler())
            .bind("127.0.0.1:0")
            .unwrap();
        if shut_down {
            server.shutdown(SOON);
        }
        drop(server);
        for _ in 0..3 {
            let raw = "POST /dropped/guarded?data=x HTTP/1.1\r\nHost: a\r\n\r\n";
            let refused = Client::ask(http.local_addr().unwrap(), raw).answer();
            assert_eq!(refused.status, 403, "it is asked whether it may publish");
            for request in [
                "GET /dropped/event",
                "POST /dropped/send?data=x",
                "GET /dropped/healthz",
                "GET /dropped/health",
            ] {
                let raw = format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n");
                let mut client = Client::ask(http.local_addr().unwrap(), raw);
                let refused = client.answer();
                assert!(refused.status == 503 || request == "GET /dropped/event", "{refused:?}");
            }
        }
        // What was asked has been logged by then.
        assert_eq!(http.shutdown(SOON), 0);
    };
    ask_all(true);
    assert_eq!(told(), [], "it was shut down in good order");
    ask_all(false);
    let mut handlers = Vec::new();
    for (level, line) in told() {
        assert_eq!(level, Level::Warn);
        assert!(line.ends_with("for example in an Arc") && line.lines().count() == 1, "{line}");
        let handler = line.split(' ').find(|word| word.ends_with("_handler"));
        handlers.push(handler.unwrap().to_owned());
    }
    handlers.sort_unstable();
    let both_of_health = ["health_handler", "health_handler"];
    assert_eq!(handlers[0], "event_stream_handler");
    assert_eq!(handlers[1..3], both_of_health);
    assert_eq!(handlers[3..], ["send_message_handler"]);
}

#[test]
fn an_answer_that_breaks_off_is_told_with_the_reason() {
    type Write = fn(&mut EventWriter<'_>) -> io::Result<()>;
    let cases: [(&str, Write, Level, &str); 3] = [
        (
            "/own/panics",
            |_| panic!("on purpose: a closure that panics"),
            Level::Error,
            "the program panicked",
        ),
        (
            "/own/fails",
            |_| Err(io::Error::other("no tokens\nleft")),
            Level::Warn,
            "no tokens\\nleft",
        ),
        ("/own/left", |out| out.wait(SOON), Level::Debug, "the client has left"),
    ];
    let routes = |http: HttpServer| {
        cases.iter().fold(http, |http, (path, write, ..)| {
            let write = *write;
            http.get(path, move |_: &Request| Response::events(write))
        })
    };
    let hub = hub(|builder| builder, routes);
    for (path, _, level, reason) in cases {
        let mut client = hub.ask(format!("GET {path}?secret HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.head();
        client.half_close();
        client.assert_closed();
        let told = format!("GET {path:?}: the answer broke off, \"{reason}\"");
        assert_eq!(line(path), (level, told));
    }
}

#[test]
fn what_speaks_another_protocol_is_told_by_its_name() {
    let hub = hub(|builder| builder, |http| http);
    for (bytes, status, why) in [
        (
            &b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..],
            400,
            "this looks like TLS; this port speaks plain HTTP, use http://",
        ),
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 5 6\r\n",
            400,
            "this looks like the PROXY protocol (version 1)",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c",
            400,
            "this looks like the PROXY protocol (version 2)",
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            505,
            "this looks like HTTP/2; use HTTP/1.1 or HTTP/1.0",
        ),
    ] {
        assert_eq!(hub.ask(bytes).answer().status, status, "{why}");
        assert_eq!(line(why), (Level::Info, format!("a malformed request: {status}, {why:?}")));
    }
}

#[test]
fn clients_that_come_and_go_and_hooks_that_panic_are_told() {
    let options = |builder: Builder| {
        builder.on_disconnect(|_, _, _| panic!("on purpose: a hook that panics"))
    };
    let hub = hub(options, |http| http);
    let named =
        |client: &Client| format!("({}) listens to [\"a\"]", client.socket().local_addr().unwrap());
    let first = hub.listen("?event=a");
    let second = hub.listen("?event=a");
    for client in [&first, &second] {
        assert_eq!(line(&named(client)).0, Level::Debug);
    }
    let address = first.socket().local_addr().unwrap();
    drop(first);
    let (level, gone) = line(&format!("({address}) is gone"));
    assert!(level == Level::Debug && gone.ends_with("it closed its connection"), "{gone}");
    assert_eq!(line("a hook panicked: on_disconnect").0, Level::Error);
    // More than its budget and both sockets hold.
    let address = second.socket().local_addr().unwrap();
    for _ in 0..30 {
        hub.publish(Message::new("x".repeat(1_000_000)).event("a"));
    }
    eventually(2 * SOON, 0, || {
        // Judged when something comes.
        hub.publish(Message::new("x").event("a"));
        hub.server.stats().streams
    });
    let (level, gone) = line(&format!("({address}) is gone"));
    assert!(level == Level::Info && gone.ends_with("it was too far behind"), "{gone}");
    hub.server.shutdown(Duration::from_secs(1));
    let lines = RECORDER.lines.lock().unwrap();
    for told in ["the broadcaster runs", "the broadcaster has ended: ShutdownReport"] {
        let is_told =
            |(level, line): &(Level, String)| *level == Level::Debug && line.starts_with(told);
        assert!(lines.iter().any(is_told), "{told}");
    }
}

#[test]
fn a_logger_that_blocks_holds_up_only_who_was_refused() {
    let hub = hub(|builder| builder, |http| http);
    let mut listener = hub.listen("?event=a");
    let mut refused: Vec<_> = (0..20)
        .map(|_| {
            let mut client = hub.ask("GET /block HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.answer().status, 404, "the answer comes first");
            client
        })
        .collect();
    hub.assert_still_serves();
    hub.publish(Message::new("on time").event("a"));
    assert_eq!(listener.event().data.as_deref(), Some("on time"));
    for client in &mut refused {
        client.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    *RECORDER.blocks.lock().unwrap() = false;
    RECORDER.freed.notify_all();
    for client in &mut refused {
        assert_eq!(client.answer().status, 404, "it goes on");
    }
}

#[test]
fn a_client_that_takes_no_refusals_is_let_go_after_one_time_out() {
    let limits = Limits::default().write_timeout(Duration::from_millis(100));
    let hub = hub(|builder| builder, |http| http.limits(limits));
    let mut client = TcpStream::connect(hub.addr()).unwrap();
    client.set_write_timeout(Some(SOON)).unwrap();
    let path = "x".repeat(1000);
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {}\r\n\r\n", hub.addr());
    // More than both sockets' buffers take; the answers fill the other direction.
    let sent = (0..100_000).find_map(|_| client.write_all(request.as_bytes()).err());
    let error = sent.expect("it is closed before it has sent all");
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}
