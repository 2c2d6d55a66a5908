//! Who may do what with the command, and how it is configured.
#![cfg(all(feature = "cli", unix))]
use std::{
    fs,
    io::Write,
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    process::Command,
};

use support::{Answer, Client, SOON, eventually, process::Running};

fn websse(arguments: &[&str], variables: &[(&str, &str)]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    Running::start(command.args(arguments).envs(variables.iter().copied()))
}

pub(crate) fn on_loopback(arguments: &[&str], variables: &[(&str, &str)]) -> (Running, SocketAddr) {
    let mut running = websse(&[&["--listen", "127.0.0.1:0"], arguments].concat(), variables);
    let address = running.address();
    (running, address)
}

/// Ends it by a signal, and returns what it wrote to standard error.
pub(crate) fn end(running: Running) -> String {
    running.terminate().1
}

pub(crate) fn ask(address: SocketAddr, request: &str, fields: &str) -> Answer {
    let mut client = Client::connect(address);
    let host = if fields.contains("Host: ") { "" } else { "Host: localhost\r\n" };
    client.send(format!("{request} HTTP/1.1\r\n{host}{fields}Content-Length: 0\r\n\r\n"));
    client.head()
}

/// The rows of the manual's table of what each endpoint answers to each kind of caller: a request,
/// and a status for each.
fn answers() -> Vec<(&'static str, Vec<u16>)> {
    let rows = include_str!("../../src/lib.rs").lines();
    let rows = rows.filter_map(|line| line.strip_prefix("//! | `")?.split_once("` | "));
    // Other tables have other things in their first column.
    let rows = rows.filter(|(request, _)| request.contains(" /"));
    let statuses = |row: &str| {
        row.split(" | ").map(|cell| cell.trim_end_matches(" |").parse().unwrap()).collect()
    };
    rows.map(|(request, row)| (request, statuses(row))).collect()
}

#[test]
fn each_endpoint_answers_each_caller_as_the_table_says() {
    let variables = [("WEBSSE_PUBLISH_TOKEN", "pub"), ("WEBSSE_SUBSCRIBE_TOKEN", "sub news=paper")];
    let (hub, address) = on_loopback(&["--event", "news", "--event", "other"], &variables);
    let tokens = ["", "wrong", "paper", "pub", "sub"];
    let answers = answers();
    assert_eq!(answers.len(), 13);
    for (request, statuses) in answers {
        assert_eq!(statuses.len(), tokens.len(), "{request}");
        for (token, status) in tokens.iter().zip(statuses) {
            let bearer = format!("Authorization: Bearer {token}\r\n");
            let cookie = format!("Cookie: websse_token={token}\r\n");
            let (path, separator) = (request, if request.contains('?') { '&' } else { '?' });
            let parameter = format!("{path}{separator}access_token={token}");
            let mut ways = vec![(request, bearer.as_str()), (request, &cookie)];
            match *token {
                "" => ways = vec![(request, "")],
                // A token in the target of a POST is no parameter of a message.
                _ if request.starts_with("GET") => ways.push((&parameter, "")),
                _ => {}
            }
            for (request, fields) in ways {
                let answer = ask(address, request, fields);
                assert_eq!(answer.status, status, "{request} {fields}");
                let challenge = (status == 401).then_some("Bearer");
                assert_eq!(answer.field("www-authenticate"), challenge, "{request}");
            }
        }
    }
    for malformed in ["paper", "Bearer", "Basic sub", "Bearer s\u{fc}b"] {
        let fields = format!("Authorization: {malformed}\r\n");
        for request in ["GET /event", "POST /send", "GET /stats", "GET /metrics"] {
            assert_eq!(ask(address, request, &fields).status, 401, "{request} {malformed}");
        }
    }
    let errors = end(hub);
    for secret in ["pub", "sub", "paper"] {
        assert!(!errors.contains(&format!("{secret} ")), "no token is in the log: {errors}");
    }
}

#[test]
fn on_loopback_only_its_own_names_and_pages_are_served() {
    let arguments = ["--allow-host", "hub.example", "--cors-origin", "https://app.example"];
    let (_hub, address) = on_loopback(&arguments, &[]);
    let port = address.port();
    for (fields, status) in [
        ("Host: localhost\r\n".to_owned(), 200),
        (format!("Host: 127.0.0.1:{port}\r\n"), 200),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"), 200),
        ("Host: hub.example\r\n".to_owned(), 200),
        ("Host: hub.example.\r\n".to_owned(), 200),
        (format!("Host: app.localhost:{port}\r\n"), 200),
        ("Host: 192.0.2.7\r\n".to_owned(), 200),
        ("Host: rebound.example\r\nOrigin: http://rebound.example\r\n".to_owned(), 403),
        // Only a trusted proxy is believed.
        ("Host: rebound.example\r\nX-Forwarded-Host: hub.example\r\n".to_owned(), 403),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n".to_owned(), 403),
        ("Host: localhost\r\nOrigin: https://app.example\r\n".to_owned(), 200),
    ] {
        assert_eq!(ask(address, "POST /send?data=x", &fields).status, status, "{fields}");
    }
    let rebound = "Host: rebound.example\r\n";
    assert_eq!(ask(address, "GET /healthz", rebound).status, 200);
    assert_eq!(ask(address, "GET /stats", rebound).status, 403);
    let mut check = Client::ask(address, "OPTIONS / HTTP/1.0\r\n\r\n");
    assert_eq!(check.head().status, 204);
}

#[test]
fn what_is_forbidden_names_the_flag_that_would_allow_it() {
    let variables =
        [("WEBSSE_PUBLISH_TOKEN", "pub news=ink"), ("WEBSSE_SUBSCRIBE_TOKEN", "news=paper")];
    let (_hub, address) = on_loopback(&["--event", "news", "--event", "other"], &variables);
    for (request, fields, told) in [
        ("GET /stats", "Host: rebound.example\r\n", "--allow-host"),
        ("POST /send", "Origin: https://app.example\r\n", "--cors-origin"),
        ("GET /event?event=*", "Authorization: Bearer paper\r\n", "--subscribe-token TOKEN,"),
        (
            "POST /send?event=other&data=x",
            "Authorization: Bearer ink\r\n",
            "for the event type \"other\"; --publish-token other=TOKEN",
        ),
        ("POST /send?data=x", "Authorization: Bearer ink\r\n", "--publish-token message=TOKEN"),
    ] {
        let mut client = Client::connect(address);
        let host = if fields.contains("Host: ") { "" } else { "Host: localhost\r\n" };
        client.send(format!("{request} HTTP/1.1\r\n{host}{fields}Content-Length: 0\r\n\r\n"));
        let answer = client.answer();
        assert_eq!(answer.status, 403, "{request} {fields}");
        assert!(answer.text().contains(told), "{request}: {}", answer.text());
    }
}

#[test]
fn each_client_has_its_limits_as_the_trusted_proxy_names_it() {
    let arguments = ["--streams-per-address", "2", "--publishes-per-second", "3"];
    let proxied = ["--trusted-proxy", "127.0.0.1"];
    let (_hub, address) = on_loopback(&[&arguments[..], &proxied].concat(), &[]);
    let listen = |client: &str| {
        let mut stream = Client::connect(address);
        let fields = format!("Host: localhost\r\nX-Forwarded-For: made-up, {client}\r\n");
        stream.send(format!("GET /event HTTP/1.1\r\n{fields}\r\n"));
        let answer = stream.head();
        assert_eq!(answer.status, 200);
        stream
    };
    let mut streams = [listen("192.0.2.1"), listen("192.0.2.1"), listen("192.0.2.2")];
    let mut refused = listen("192.0.2.1");
    let text = String::from_utf8(refused.drain(SOON)).unwrap();
    assert!(text.starts_with(": 2 streams of yours are open already\nretry: "), "{text}");
    for stream in &mut streams {
        stream.preamble();
    }
    // One leaves, and there is room again.
    let [first, ..] = streams;
    drop(first);
    eventually(SOON, true, || {
        let mut again = listen("192.0.2.1");
        let mut beginning = again.piece();
        beginning.truncate(9);
        beginning == b": websse\n"
    });

    let publish = |client: &str| {
        let answer = ask(address, "POST /send?data=x", &format!("X-Forwarded-For: {client}\r\n"));
        assert_eq!(answer.field("retry-after"), (answer.status == 429).then_some("1"));
        answer.status
    };
    let statuses: Vec<u16> = (0..40).map(|_| publish("192.0.2.1")).collect();
    assert_eq!(statuses[..3], [200; 3]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(publish("192.0.2.2"), 200);
}

#[test]
fn a_client_is_named_with_its_port_or_without() {
    let arguments = ["--streams-per-address", "2", "--trusted-proxy", "127.0.0.1"];
    let (_hub, address) = on_loopback(&arguments, &[]);
    let mut streams = Vec::new();
    let mut listen = |named: &str| {
        let mut stream = Client::connect(address);
        let fields = format!("Host: localhost\r\n{named}");
        stream.send(format!("GET /event HTTP/1.1\r\n{fields}\r\n"));
        assert_eq!(stream.head().status, 200);
        let is_open = stream.piece().starts_with(b": websse\n");
        streams.push(stream);
        is_open
    };
    // Each is one client, and none of them is one of the others, nor the proxy.
    for client in [
        ["192.0.2.1:4711", "192.0.2.1", "192.0.2.1:4712"],
        ["192.0.2.2:4711", "192.0.2.2:4711", "made-up:5, 192.0.2.2:65535"],
        ["[2001:db8::1]:443", "[2001:db8::1]", "2001:db8::1"],
        ["[2001:db8:0:1::1]:443", "1.1.1.1:5, \t[2001:db8:0:1:2::]:1 ", "2001:db8:0:1::"],
        ["[::ffff:192.0.2.3]:1", "192.0.2.3:2,127.0.0.1:3", "::ffff:192.0.2.3"],
        ["fe80::1%eth0", "[fe80::1%2]:80", "[fe80::1%eth0]"],
        [
            "192.0.2.4:1\r\nX-Forwarded-For: 127.0.0.1:80",
            "192.0.2.4:2",
            "192.0.2.4,[::ffff:127.0.0.1]:1",
        ],
        // What is not an address tells nothing: it is the proxy's own.
        ["192.0.2.5:", "[192.0.2.5]:80", "[2001:db8::5]80"],
    ] {
        let [first, second, third] = client.map(|named| format!("X-Forwarded-For: {named}\r\n"));
        assert!(listen(&first), "{first}");
        assert!(listen(&second), "{second}");
        assert!(!listen(&third), "{third} has two streams already");
    }
}

/// A path that nothing else uses.
fn socket_path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("websse-{}-{name}", std::process::id()))
}

#[test]
fn a_unix_socket_replaces_a_stale_one_and_goes_with_the_command() {
    let path = socket_path("sock");
    let listen = format!("unix:{}", path.display());
    let start = || {
        let mut hub = websse(&["--listen", &listen, "--unix-mode", "600"], &[]);
        assert_eq!(hub.line(), format!("websse listens on {listen}"));
        let curl = format!("curl -N --unix-socket {} 'http://localhost/event'", path.display());
        assert_eq!(hub.line(), format!("listen:   {curl}"));
        hub
    };
    // A program that is killed leaves its socket behind.
    let mut killed = start();
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(path.exists());
    let hub = start();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = Client::from(UnixStream::connect(&path).unwrap());
    client.send("GET /healthz HTTP/1.1\r\nHost: whatever\r\n\r\n");
    assert_eq!(client.answer().line, "HTTP/1.1 200 OK");
    let mut second = websse(&["--listen", &listen], &[]);
    assert_eq!(second.line(), "", "it does not listen");
    let (_, errors) = second.end();
    assert!(errors.contains("somebody listens there"), "{errors}");
    end(hub);
    assert!(!path.exists());
    // What is no socket is not touched.
    fs::write(&path, "precious").unwrap();
    let mut refused = websse(&["--listen", &listen], &[]);
    assert_eq!(refused.line(), "", "it does not listen");
    assert!(!refused.child.wait().unwrap().success());
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
}

#[test]
fn lines_of_standard_input_become_events() {
    for (format, input, event) in [
        ("text", "one\ntwo, with spaces \r\n\u{fc}\n", "log"),
        ("json", "{\"event\":\"log\",\"data\":\"one\"}\nno\n{\"event\":\"log\"}\n", "log"),
    ] {
        let arguments = ["--event", "log", "--stdin", format];
        let (mut hub, address) = on_loopback(&arguments, &[]);
        let mut client = Client::connect(address);
        client.send("GET /event?event=log HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.stream_head();
        let mut stdin = hub.child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let expected: &[&str] =
            if format == "text" { &["one", "two, with spaces ", "\u{fc}"] } else { &["one", ""] };
        for data in expected {
            let got = client.event();
            assert_eq!((got.event.as_deref(), got.data.as_deref()), (Some(event), Some(*data)));
        }
        // It goes on serving.
        assert_eq!(ask(address, "POST /send?event=log&data=more", "").status, 200);
        assert_eq!(client.event().data.as_deref(), Some("more"));
        let errors = end(hub);
        assert!(errors.contains("standard input has ended after 3 lines"), "{errors}");
        assert_eq!(errors.contains("line 2: not a JSON object"), format == "json", "{errors}");
    }
}

#[test]
fn refused_requests_are_a_line_each_unless_they_are_not_wanted() {
    for (level, lines) in [("info", 2), ("error", 0)] {
        let (hub, address) = on_loopback(&["--log-level", level], &[]);
        assert_eq!(ask(address, "GET /nothing?access_token=secret", "").status, 404);
        assert_eq!(ask(address, "GET /healthz", "").status, 200);
        let errors = end(hub);
        assert_eq!(errors.lines().count(), lines, "{errors}");
        assert!(!errors.contains("secret"), "{errors}");
        if let Some(line) = errors.lines().next() {
            let told = line.starts_with("websse: info: GET \"/nothing\" from 127.0.0.1:");
            assert!(told && line.ends_with(": 404"), "{line}");
        }
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    const REQUESTS: usize = 5000;
    let (hub, address) = on_loopback(&[], &[]);
    let mut listener = Client::connect(address);
    listener.send("GET /event HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.stream_head();
    let mut client = Client::connect(address);
    for _ in 0..REQUESTS {
        client.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer().status, 404);
    }
    assert_eq!(ask(address, "POST /send?data=x", "").status, 200);
    assert_eq!(listener.event().data.as_deref(), Some("x"));
    // A pipe holds 64 KiB (pipe(7)), and some lines wait; the rest is lost, and counted.
    let errors = end(hub);
    let told = errors.matches("GET \"/nothing\"").count();
    assert!((500..REQUESTS - 500).contains(&told), "{told} lines");
}

#[test]
fn presence_is_a_type_that_listeners_may_need_a_token_for() {
    let variables = [("WEBSSE_PRESENCE", "who"), ("WEBSSE_SUBSCRIBE_TOKEN", "who=right")];
    let (hub, address) = on_loopback(&["--event", "news"], &variables);
    assert_eq!(ask(address, "GET /event?event=who", "").status, 401);
    let mut client = Client::connect(address);
    client.send("GET /event?event=who&access_token=right HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.stream_head();
    let event = client.event();
    assert_eq!(event.data.as_deref(), Some(r#"{"*":0,"message":0,"news":0,"who":1}"#));
    assert!(end(hub).contains("GET \"/event\""));
}
