//! The example in Python that hands out tokens, and the command that takes them.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use support::{
    Client, Scratch,
    process::{Serving, shell},
};

use super::table;

/// The command, and the example beside it, with the same key.
fn start() -> (Serving, Serving, Scratch) {
    let scratch = Scratch::new("tokens");
    let key = scratch.0.join("key");
    fs::write(&key, "c2hvcnQgb25lcyBhcmUgcmVmdXNlZCwgdGhpcyBpcyBub3Q=\n").unwrap();
    let mut hub = Command::new(env!("CARGO_BIN_EXE_websse"));
    let hub = Serving::start(hub.args(["--listen", "127.0.0.1:0", "--token-key"]).arg(&key));
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/token-server.py");
    let mut python = table::python(example.to_str().unwrap());
    (hub, Serving::start(python.arg(&key).arg("0")), scratch)
}

fn ask(address: SocketAddr, request: &str, field: &str) -> Client {
    let close = "Host: localhost\r\nContent-Length: 0\r\n";
    Client::ask(address, format!("{request} HTTP/1.1\r\n{close}{field}\r\n\r\n"))
}

#[test]
#[ignore = "needs python3 and packages for it: run tests/clients/run"]
fn the_python_example_hands_out_tokens_to_who_logs_in() {
    let (hub, example, _scratch) = start();
    let status =
        |request: &str, field: &str| ask(hub.address, request, field).answer_or_stream().status;
    let log_in = |login: &str| {
        let line = format!("curl --silent --include {login} http://{}/token", example.address);
        let answer = String::from_utf8(shell(&line).output().unwrap().stdout).unwrap();
        let (head, token) = answer.split_once("\r\n\r\n").expect(&answer);
        (head.to_owned(), token.to_owned())
    };
    for login in ["", "--user ann:guess", "--user nobody:secret", "-H 'Authorization: Basic !'"] {
        let (head, token) = log_in(login);
        assert!(head.contains(" 401 ") && token.is_empty(), "{login}: {head}");
    }
    let (head, token) = log_in("--user ann:secret");
    assert!(head.contains(" 200 "), "{head}");
    let cookie = head.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")).expect(&head);
    let cookie = cookie.split(';').next().unwrap();
    for field in [format!("Authorization: Bearer {token}"), format!("Cookie: {cookie}")] {
        for (request, expected) in [
            ("GET /event", 200),
            ("GET /event?channel=user/ann&channel=", 200),
            ("GET /event?channel=user/bob", 403),
            ("POST /send?data=x&channel=chat/ann/hall", 200),
            ("POST /send?data=x&channel=user/ann", 403),
            ("POST /send?data=x", 403),
        ] {
            assert_eq!(status(request, &field), expected, "{request} {field}");
        }
    }
    assert_eq!(status("GET /event", "X-None: 1"), 401);
}
