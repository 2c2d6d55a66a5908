#![cfg(all(feature = "cli", unix))]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use support::{
    Client, Scratch,
    authority::{
        Authority, BOTH, Issued, date_time_ymd,
        rcgen::{CertificateParams, DnType},
        rustls::ClientConfig,
    },
    process::Running,
};

use crate::{command_access::on_loopback, command_signals::Log};

fn websse(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_websse")).args(arguments).output().unwrap()
}

/// Valid until a day that everybody knows.
fn until_2033(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2033, 4, 5);
}

/// The flags for these files, and more.
fn flags<'f>(files: &'f [String; 2], more: &[&'f str]) -> Vec<&'f str> {
    [&["--tls-cert", &files[0], "--tls-key", &files[1]], more].concat()
}

fn written(issued: &Issued, folder: &Path) -> [String; 2] {
    issued.write_to(folder).map(|path| path.to_str().unwrap().to_owned())
}

fn status(address: SocketAddr, config: &Arc<ClientConfig>, host: &str) -> u16 {
    let mut client = Client::try_connect_tls(address, config, host).unwrap();
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.answer().status
}

/// The common name that the command shows.
fn shown(address: SocketAddr, config: &Arc<ClientConfig>) -> Vec<u8> {
    let mut client = Client::try_connect_tls(address, config, "localhost").unwrap();
    client.shake_hands().unwrap();
    client.tls().peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn check_says_of_whom_the_certificate_is_and_until_when() {
    let scratch = Scratch::new("tls-check");
    let issued = Authority::new("tests").issue_with(&["hub.example", "10.0.0.1"], until_2033);
    let files = written(&issued, &scratch.0);
    let Output { status, stdout, stderr } = websse(&flags(&files, &["--check"]));
    let (out, errors) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert!(status.success(), "{errors}");
    let line = "# the certificate of hub.example, 10.0.0.1 is valid until 2033-04-05T00:00:00.000Z";
    assert!(out.lines().any(|other| other == line), "{out}");
}

#[test]
fn https_is_listened_on_and_shown_by_a_name_of_the_certificate() {
    let scratch = Scratch::new("tls-command");
    let authority = Authority::new("tests");
    let files = written(&authority.issue(&["*.example", "localhost"]), &scratch.0);
    let config = Arc::new(authority.client(&BOTH, None));
    let arguments = flags(&files, &["--listen", "127.0.0.1:0", "--event", "a"]);
    let mut hub = Running::start(Command::new(env!("CARGO_BIN_EXE_websse")).args(arguments));
    let first = hub.line();
    let address = first.strip_prefix("websse listens on https://").expect(&first);
    let address: SocketAddr = address.parse().unwrap();
    let port = address.port();
    assert_eq!(hub.line(), format!("listen:   curl -N 'https://localhost:{port}/event?event=a'"));
    assert_eq!(status(address, &config, "localhost"), 200);
    assert!(hub.terminate().0.success());
}

#[test]
fn https_and_http_are_listened_on_side_by_side() {
    let scratch = Scratch::new("tls-both");
    let authority = Authority::new("tests");
    let files = written(&authority.issue(&["localhost"]), &scratch.0);
    let config = Arc::new(authority.client(&BOTH, None));
    let both = ["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0/"];
    let arguments = flags(&files, &both);
    let mut hub = Running::start(Command::new(env!("CARGO_BIN_EXE_websse")).args(arguments));
    let [plain, secured] = [hub.address(), hub.address()];
    let mut listener = Client::try_connect_tls(secured, &config, "localhost").unwrap();
    listener.send("GET /event HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.stream_head();
    let target = "POST /send?data=x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(Client::ask(plain, target).answer().status, 200);
    assert_eq!(listener.event().data.as_deref(), Some("x"));
    // Each says which it is.
    assert_eq!(Client::ask(secured, target).answer().status, 400);
    assert!(hub.terminate().0.success());
    listener.assert_stream_ends();
}

#[test]
fn a_hangup_replaces_the_certificate_and_a_wrong_file_keeps_the_old_one() {
    let scratch = Scratch::new("tls-hangup");
    let authority = Authority::new("tests");
    let files = written(&authority.issue(&["localhost"]), &scratch.0);
    let config = Arc::new(authority.client(&BOTH, None));
    let (hub, address) = on_loopback(&flags(&files, &[]), &[]);
    let first = shown(address, &config);
    let mut listener = Client::try_connect_tls(address, &config, "localhost").unwrap();
    listener.send("GET /event HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.stream_head();

    let other = authority.issue(&["localhost"]);
    fs::write(&files[0], &other.certificate).unwrap();
    let mut log = Log::of(hub);
    log.after_hangup("the old certificate stays in use: ");
    let line = log.read.lines().last().unwrap();
    let says = line.contains(&files[1]) && line.contains("it is not the key of the certificate in");
    assert!(line.starts_with("websse: error: ") && says, "{line}");
    assert_eq!(shown(address, &config), first);

    fs::write(&files[1], &other.key).unwrap();
    log.after_hangup("read the certificate again");
    assert_ne!(shown(address, &config), first);
    // Who is there stays.
    let mut publisher = Client::try_connect_tls(address, &config, "localhost").unwrap();
    publisher.send("POST /send?data=x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(publisher.answer().status, 200);
    assert_eq!(listener.event().data.as_deref(), Some("x"));
    assert!(log.hub.terminate().0.success());
}

/// A port that nothing listened on a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn http_is_redirected_with_its_path_and_query() {
    let scratch = Scratch::new("tls-redirect");
    let files = written(&Authority::new("tests").issue(&["localhost"]), &scratch.0);
    let redirect = format!("127.0.0.1:{}", free_port());
    let (hub, address) = on_loopback(&flags(&files, &["--redirect-http", &redirect]), &[]);
    let port = address.port();
    let redirect: SocketAddr = redirect.parse().unwrap();
    for (method, target, host, expected) in [
        ("GET", "/", "localhost", "localhost:PORT/"),
        (
            "GET",
            "/event?event=a&event=b%20c",
            "localhost:80",
            "localhost:PORT/event?event=a&event=b%20c",
        ),
        ("POST", "/send", "[::1]:8080", "[::1]:PORT/send"),
        ("HEAD", "/a%20b/c%3f/%C3%A9?", "[::1]", "[::1]:PORT/a%20b/c%3F/%C3%A9"),
        ("DELETE", "/x?y=%0d%0aSet-Cookie:z", "10.0.0.1", "10.0.0.1:PORT/x?y=%0d%0aSet-Cookie:z"),
        ("GET", "//evil.example/%2e%2e/", "hub.example", "hub.example:PORT//evil.example/../"),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nX: y\r\n\r\n");
        let mut client = Client::ask(redirect, request);
        let answer = if method == "HEAD" { client.head() } else { client.answer() };
        assert_eq!(answer.status, 308, "{method} {target}: {answer:?}");
        let expected = format!("https://{}", expected.replace("PORT", &port.to_string()));
        assert_eq!(answer.field("location"), Some(&*expected), "{method} {target}");
        if method != "HEAD" {
            answer.assert_explained();
        }
    }
    let old = Client::ask(redirect, "GET / HTTP/1.0\r\n\r\n").answer();
    assert_eq!((old.status, old.field("location")), (400, None), "for no host");
    assert!(hub.terminate().0.success());
}

#[test]
fn clients_need_a_certificate_where_that_is_asked_for() {
    let scratch = Scratch::new("tls-command-mutual");
    let [servers, clients] = ["servers", "clients"].map(Authority::new);
    let files = written(&servers.issue(&["localhost"]), &scratch.0);
    let ca = scratch.0.join("ca.pem");
    fs::write(&ca, clients.pem()).unwrap();
    let more = ["--tls-client-ca", ca.to_str().unwrap()];
    let (hub, address) = on_loopback(&flags(&files, &more), &[]);
    let own = clients.issue_with(&["c.example"], |params| {
        params.distinguished_name.push(DnType::CommonName, "c");
    });
    let config = Arc::new(servers.client(&BOTH, Some(&own)));
    assert_eq!(status(address, &config, "localhost"), 200);
    let config = Arc::new(servers.client(&BOTH, None));
    let client = Client::try_connect_tls(address, &config, "localhost").unwrap();
    let error = super::refusal(client);
    assert!(error.contains("CertificateRequired"), "{error}");
    // What is wrong in it afterwards is told, and those of before still come.
    fs::write(&ca, "").unwrap();
    let mut log = Log::of(hub);
    log.after_hangup("there is no certificate in it");
    let config = Arc::new(servers.client(&BOTH, Some(&own)));
    assert_eq!(status(address, &config, "localhost"), 200);
    assert!(log.hub.terminate().0.success());
}

#[test]
fn flags_that_do_not_go_together_are_one_clear_line() {
    let scratch = Scratch::new("tls-flags");
    let files = written(&Authority::new("tests").issue(&["localhost"]), &scratch.0);
    let [cert, key] = [files[0].as_str(), files[1].as_str()];
    let missing = scratch.0.join("missing.pem");
    let missing = missing.to_str().unwrap();
    let somewhere = ["--listen", "127.0.0.1:0"];
    for (arguments, clues) in [
        (&["--tls-cert", cert][..], ["--tls-cert", "--tls-key"]),
        (&["--tls-key", key], ["--tls-key", "--tls-cert"]),
        (&["--tls-client-ca", cert], ["--tls-client-ca", "--tls-cert"]),
        (&["--tls-cert", cert, "--tls-client-ca", cert], ["--tls-client-ca", "--tls-key"]),
        (&["--tls-cert", missing, "--tls-key", key], [missing, "No such file"]),
        (&["--tls-cert", cert, "--tls-key", missing], [missing, "No such file"]),
        (&["--tls-cert", key, "--tls-key", key], [key, "there is no certificate in it"]),
        (&["--tls-cert", cert, "--tls-key", cert], [cert, "there is no private key"]),
        (&["--listen", "https://127.0.0.1:0"], ["https://127.0.0.1:0", "--tls-cert"]),
        (&["--redirect-http", "0"], ["--redirect-http", "https://"]),
        (
            &[
                "--tls-cert",
                cert,
                "--tls-key",
                key,
                "--listen",
                "http://127.0.0.1:0",
                "--redirect-http",
                "0",
            ],
            ["--redirect-http", "https://"],
        ),
        (
            &["--tls-cert", cert, "--tls-key", key, "--redirect-http", "unix:/tmp/x"],
            ["--redirect-http", "no Unix-domain socket"],
        ),
        (
            &["--tls-cert", cert, "--tls-key", key, "--redirect-http", "70000"],
            ["--redirect-http", "not a port"],
        ),
        (&["--listen", "ftp://127.0.0.1:0"], ["--listen", "ftp"]),
    ] {
        let arguments = if arguments.contains(&"--listen") {
            arguments.to_vec()
        } else {
            [&somewhere, arguments].concat()
        };
        let Output { status, stdout, stderr } = websse(&arguments);
        let errors = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(stdout.is_empty(), "{arguments:?}");
        assert_eq!(errors.lines().count(), 1, "{arguments:?}: {errors:?}");
        for clue in clues {
            assert!(errors.contains(clue), "{arguments:?}: expected {clue:?} in {errors:?}");
        }
    }
    // A port in use is another kind of failure.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for flag in ["--listen", "--redirect-http"] {
        let arguments = flags(&files, &[flag, &taken]);
        let arguments =
            if flag == "--listen" { arguments } else { [&somewhere[..], &arguments].concat() };
        let Output { status, stderr, .. } = websse(&arguments);
        let errors = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{errors}");
        assert!(errors.contains(&taken) && errors.lines().count() == 1, "{errors:?}");
    }
}
