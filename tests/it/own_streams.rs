//! Bodies that the program writes: what is sent and when, how they end, clients that leave or read
//! nothing, and limits.
#![cfg(unix)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};
use std::{panic, thread};

use support::{Client, SOON, Scratch, eventually};
use websse::http::{EventWriter, HttpServer, Limits, Request, Response};
use websse::{EventId, Message};

/// How soon a client that leaves is noticed, and how long that may take on a busy machine.
const NOTICED: Duration = Duration::from_millis(100);
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const LAST_CHUNK: &str = "0\r\n\r\n";

/// A server that answers GET at `/` with these events.
fn serving(
    limits: Limits,
    write: impl Fn(&mut EventWriter<'_>) -> io::Result<()> + Clone + Send + Sync + 'static,
) -> HttpServer {
    let answer = move |_: &Request| Response::events(write.clone());
    HttpServer::new().limits(limits).get("/", answer).bind("127.0.0.1:0").unwrap()
}

fn ask(http: &HttpServer, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(http.local_addr().unwrap()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    socket
}

/// Reads until the bytes end so.
#[track_caller]
fn until(mut socket: impl Read, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        // No more than belongs to it.
        let mut piece = [0; 1];
        let read = socket.read(&mut piece);
        let so_far = String::from_utf8_lossy(&text);
        match read {
            Ok(1..) => {}
            other => panic!("expected {end:?} at the end, got {other:?} after {so_far:?}"),
        }
        text.extend_from_slice(&piece[..read.unwrap()]);
    }
    String::from_utf8(text).unwrap()
}

/// Reads up to the end of the connection, in order or not.
#[track_caller]
fn rest(mut socket: impl Read) -> String {
    let mut text = Vec::new();
    if let Err(error) = socket.read_to_end(&mut text) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8(text).unwrap()
}

fn chunk(part: &str) -> String {
    format!("{:x}\r\n{part}\r\n", part.len())
}

fn text(text: &str) -> Message {
    Message::new(text)
}

/// What the closures of a test report, each once.
fn reports<T: Send + 'static>() -> (Sender<T>, Receiver<T>) {
    mpsc::channel()
}

#[test]
fn head_and_events_come_at_once_each_as_a_chunk() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(Some(gone));
    let answer = move |_: &Request| {
        let gone = gone.lock().unwrap().take().unwrap();
        Response::events(move |out| {
            gone.recv().unwrap();
            out.send(&text("one\ntwo").event("a").id(EventId::new("7").unwrap()))?;
            gone.recv().unwrap();
            out.send(&text("").id(EventId::new("8").unwrap()))?;
            out.send_without_data(&text("x").event("e").retry(Duration::from_millis(500)))?;
            out.comment("a\nevent: b")?;
            out.send_raw("data:raw\n\n")?;
            out.send_raw("")?;
            gone.recv().unwrap();
            out.send_last(&text("[DONE]"))?;
            gone.recv().unwrap();
            assert_eq!(out.send(&text("x")).unwrap_err().kind(), ErrorKind::InvalidInput);
            Ok(())
        })
        .header("Mcp-Session-Id", "s")
        .with_status(201)
    };
    let http = HttpServer::new().get("/", answer).bind("127.0.0.1:0").unwrap();
    let mut socket = ask(&http, GET);
    let head = until(&socket, "\r\n\r\n");
    for line in [
        "HTTP/1.1 201 Created\r\n",
        "Content-Type: text/event-stream; charset=utf-8\r\n",
        "Mcp-Session-Id: s\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("Connection") && !head.contains("Content-Length"), "{head}");
    assert_eq!(http.streams_of_own().open(), 1);
    go.send(()).unwrap();
    assert_eq!(until(&socket, "id: 7\n\n\r\n"), chunk("event: a\ndata: one\ndata: two\nid: 7\n\n"));
    go.send(()).unwrap();
    let blocks =
        ["data: \nid: 8\n\n", "event: e\nretry: 500\n\n", ": a\n: event: b\n", "data:raw\n\n"];
    let blocks = blocks.map(chunk).concat();
    assert_eq!(until(&socket, "raw\n\n\r\n"), blocks);
    go.send(()).unwrap();
    assert_eq!(until(&socket, LAST_CHUNK), chunk("data: [DONE]\n\n") + LAST_CHUNK);
    go.send(()).unwrap();
    // The connection is kept.
    socket.write_all(b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(until(&socket, "\r\n\r\n").starts_with("HTTP/1.1 204 "));
    eventually(SOON, 0, || http.streams_of_own().open());
}

#[test]
fn a_connection_serves_one_stream_after_the_other_pipelined_or_not() {
    let http = serving(Limits::default(), |out| {
        assert!(!out.is_gone(), "the next request is no leaving");
        out.send(&text("a"))?;
        out.wait(Duration::from_millis(1))?;
        out.send(&text("b"))
    });
    let right = chunk("data: a\n\n") + &chunk("data: b\n\n") + LAST_CHUNK;
    let mut socket = ask(&http, GET);
    for _ in 0..3 {
        let answer = until(&socket, LAST_CHUNK);
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, right);
        socket.write_all(GET.as_bytes()).unwrap();
    }
    let body = "POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n".to_owned()
        + &"x".repeat(40_000);
    let pipelined = ask(&http, &[GET, GET, &body, GET].concat());
    for _ in 0..2 {
        assert!(until(&pipelined, &right).starts_with("HTTP/1.1 200 "));
    }
    assert!(until(&pipelined, "\"/none\"\n").starts_with("HTTP/1.1 404 "));
    until(&pipelined, &right);
}

#[test]
fn what_is_not_complete_has_no_last_chunk() {
    type Write = fn(&mut EventWriter<'_>) -> io::Result<()>;
    let cases: [(&str, Write); 4] = [
        ("an error", |out| {
            out.send(&text("a"))?;
            Err(io::Error::other("no more tokens"))
        }),
        ("a panic", |out| {
            out.send(&text("a")).unwrap();
            panic!("as the test wants")
        }),
        ("a message that cannot be sent", |out| {
            out.send(&text("a"))?;
            let error = out.send(&text("x").event("b\nc")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            Err(error)
        }),
        ("Ok after the client was seen to leave", |out| {
            out.send(&text("a"))?;
            while !out.is_gone() {
                thread::yield_now();
            }
            assert!(out.send(&text("b")).is_err());
            Ok(())
        }),
    ];
    for (name, write) in cases {
        let http = serving(Limits::default(), write);
        let socket = ask(&http, GET);
        if name.starts_with("Ok") {
            socket.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let answer = rest(&socket);
        assert!(answer.ends_with(&("\r\n\r\n".to_owned() + &chunk("data: a\n\n"))), "{name}");
        assert!(
            rest(ask(
                &http,
                &GET.replace("GET", "HEAD").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
            ))
            .starts_with("HTTP/1.1 200"),
            "{name}"
        );
        eventually(SOON, 0, || http.streams_of_own().open());
    }
}

#[test]
fn without_chunks_the_body_ends_with_the_connection() {
    let http = serving(Limits::default(), |out| {
        out.send(&text("a"))?;
        out.send_last(&text("b"))
    });
    for request in
        ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
    {
        let answer = rest(ask(&http, request));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("Connection: close") && !head.contains("Transfer-Encoding"),
            "{head}"
        );
        assert_eq!(body, "data: a\n\ndata: b\n\n");
    }
}

#[test]
fn where_no_body_may_be_nothing_runs() {
    let never = |_: &mut EventWriter<'_>| -> io::Result<()> { panic!("it must not run") };
    let http = HttpServer::new()
        .get("/", move |_: &Request| Response::events(never))
        .get("/none", move |_: &Request| Response::events(never).with_status(204))
        .bind("127.0.0.1:0")
        .unwrap();
    let mut socket = ask(&http, &GET.replace("GET", "HEAD"));
    let head = until(&socket, "\r\n\r\n");
    assert!(head.contains("Transfer-Encoding: chunked\r\n"), "{head}");
    socket.write_all(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let head = until(&socket, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 204 ") && !head.contains("Transfer-Encoding"), "{head}");
    socket.write_all(GET.replace("GET /", "HEAD /x").as_bytes()).unwrap();
    assert!(until(&socket, "\r\n\r\n").starts_with("HTTP/1.1 404 "), "the connection is kept");
}

/// Waits in different ways, and reports when it was told that the client has gone.
fn waiting(http: HttpServer) -> (HttpServer, Receiver<Instant>) {
    let (sender, left) = reports();
    let answer = move |request: &Request| {
        let (sender, way) = (sender.clone(), request.query().next().unwrap().0.into_owned());
        Response::events(move |out| {
            out.send(&text("a"))?;
            let (_sender, nothing) = mpsc::channel::<()>();
            let gone = match &*way {
                "wait" => out.wait(Duration::from_secs(3600)).unwrap_err(),
                _ => out.recv(&nothing).unwrap_err(),
            };
            assert!(out.is_gone());
            sender.send(Instant::now()).unwrap();
            Err(gone)
        })
    };
    (http.get("/", answer), left)
}

#[test]
fn a_client_that_leaves_is_noticed_within_a_tenth_of_a_second() {
    let (http, left) = waiting(HttpServer::new());
    let scratch = Scratch::new("own-streams");
    let path = scratch.0.join("socket");
    let http = http.serve(UnixListener::bind(&path).unwrap()).unwrap();
    let http = http.bind("127.0.0.1:0").unwrap();
    for way in ["wait", "recv"] {
        let request = GET.replace("/ ", &format!("/?{way} "));
        let behind = [&request, &*request].concat();
        for request in [&request, &behind] {
            let mut best = SOON;
            for _ in 0..5 {
                let socket = ask(&http, request);
                until(&socket, "data: a\n\n\r\n");
                let (since, ()) = (Instant::now(), drop(socket));
                let noticed = left.recv_timeout(SOON).unwrap() - since;
                best = best.min(noticed);
            }
            assert!(best < NOTICED, "{way}, {}: {best:?}", request.len());
        }
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(behind.as_bytes()).unwrap();
        until(&socket, "data: a\n\n\r\n");
        drop(socket);
        left.recv_timeout(SOON).unwrap();
    }
}

#[test]
fn a_client_that_reads_nothing_is_given_up_after_the_write_timeout() {
    let limit = Duration::from_millis(300);
    let (sender, failed) = reports();
    let http = serving(Limits::default().write_timeout(limit), move |out| {
        let line = "x".repeat(64 * 1024);
        loop {
            let begun = Instant::now();
            if let Err(error) = out.send(&text(&line)) {
                let again = out.send(&text("a")).unwrap_err().kind();
                sender.send((error.kind(), again, begun.elapsed())).unwrap();
                return Ok(());
            }
        }
    });
    let socket = ask(&http, GET);
    let (kind, again, took) = failed.recv_timeout(SOON).unwrap();
    assert_eq!((kind, again), (ErrorKind::TimedOut, ErrorKind::TimedOut));
    assert!(took >= limit && took < SOON, "{took:?}");
    eventually(SOON, 0, || http.streams_of_own().open());
    assert!(!rest(socket).ends_with(LAST_CHUNK));
}

#[test]
fn beyond_the_limit_a_client_is_asked_to_come_later() {
    let (http, left) = waiting(HttpServer::new().limits(Limits::default().streams_of_own(2)));
    let http = http.bind("127.0.0.1:0").unwrap();
    let request = GET.replace("/ ", "/?wait ");
    let two = [ask(&http, &request), ask(&http, &request)];
    for one in &two {
        until(one, "data: a\n\n\r\n");
    }
    let mut third = Client::ask(http.local_addr().unwrap(), &request);
    let refused = third.answer();
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("1")));
    assert_eq!(http.refusals().counts().get(&503), Some(&1));
    drop(two);
    left.recv_timeout(SOON).unwrap();
    eventually(SOON, 0, || http.streams_of_own().open());
    third.send(&request);
    assert_eq!(third.head().status, 200, "over the same connection");
}

#[test]
fn five_hundred_streams_end_in_the_deadline_of_a_shutdown() {
    let limits = Limits::default().streams_of_own(500).stack_bytes(128 * 1024);
    let (sender, told) = reports();
    let http = serving(limits, move |out| {
        out.has_no_end();
        out.send(&text("a"))?;
        let gone = out.wait(Duration::from_secs(3600)).unwrap_err();
        sender.send(()).unwrap();
        Err(gone)
    });
    let open = |_| {
        let client = ask(&http, GET);
        until(&client, "data: a\n\n\r\n");
        client
    };
    let clients: Vec<_> = (0..500).map(open).collect();
    assert_eq!(http.streams_of_own().open(), 500);
    let begun = Instant::now();
    assert_eq!(http.shutdown(2 * SOON), 0);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(told.try_iter().count(), 500);
    assert!(clients.into_iter().all(|client| !rest(client).ends_with(LAST_CHUNK)));
}

#[test]
fn a_shutdown_lets_an_answer_end_and_cuts_it_at_the_deadline() {
    let (sender, told) = reports();
    let http = serving(Limits::default(), move |out| {
        out.send(&text("a"))?;
        sender.send(()).unwrap();
        let waited = out.wait(Duration::from_millis(100));
        waited.expect("it has time until the deadline");
        out.send(&text("b"))?;
        out.wait(Duration::from_secs(3600))
    });
    let socket = ask(&http, GET);
    told.recv_timeout(SOON).unwrap();
    assert_eq!(http.shutdown(Duration::from_millis(300)), 0);
    let answer = rest(socket);
    assert!(answer.ends_with(&chunk("data: b\n\n")), "{answer}");

    let http = serving(Limits::default(), |out| {
        out.send(&text("a"))?;
        out.wait(Duration::from_millis(100))?;
        out.send(&text("b"))
    });
    let socket = ask(&http, GET);
    until(&socket, "data: a\n\n\r\n");
    assert_eq!(http.shutdown(SOON), 0);
    assert_eq!(rest(socket), chunk("data: b\n\n") + LAST_CHUNK);
}

#[test]
fn what_waits_for_a_channel_sends_heartbeats() {
    for ping in [None, Some(text("{\"type\":\"ping\"}").event("ping"))] {
        let block = if ping.is_some() {
            chunk("event: ping\ndata: {\"type\":\"ping\"}\n\n")
        } else {
            chunk(":\n")
        };
        let (sender, senders) = reports();
        let http = serving(Limits::default(), move |out| {
            let (token, tokens) = mpsc::channel();
            sender.send(token).unwrap();
            match ping.clone() {
                None => out.heartbeat(Duration::from_millis(10)),
                Some(ping) => out.heartbeat_with(Duration::from_millis(10), ping),
            }
            while let Some(token) = out.recv(&tokens)? {
                out.send(&text(token))?;
            }
            Ok(())
        });
        let socket = ask(&http, GET);
        let token = senders.recv_timeout(SOON).unwrap();
        until(&socket, &block.repeat(3));
        token.send("a").unwrap();
        until(&socket, "data: a\n\n\r\n");
        drop(token);
        assert!(until(&socket, LAST_CHUNK).len() < 10_000);
    }
}

#[test]
fn a_body_of_any_type_is_what_is_written() {
    let table = |_: &Request| {
        Response::stream("text/csv", |out| {
            (1..3).try_for_each(|n| out.send(format!("{n},{}\n", n * n)))?;
            io::copy(&mut &b"rest\n"[..], out).map(drop)
        })
    };
    let http = HttpServer::new().get("/", table).bind("127.0.0.1:0").unwrap();
    let answer = until(ask(&http, GET), LAST_CHUNK);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: text/csv\r\n"), "{head}");
    assert_eq!(body, ["1,1\n", "2,4\n", "rest\n"].map(chunk).concat() + LAST_CHUNK);
}
