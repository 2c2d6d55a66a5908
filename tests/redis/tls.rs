//! The way to Redis through TLS, with the system's root certificates.

use std::process::Command;

use support::process::Running;

use super::*;

/// The command as a node at this address that trusts these certificates.
fn node_of_command(url: &str, trusted: &str) -> (Running, Client) {
    let mut running = Running::start(
        Command::new(env!("CARGO_BIN_EXE_websse"))
            .args(["--listen", "127.0.0.1:0"])
            .env("WEBSSE_REDIS", url)
            .env("SSL_CERT_FILE", trusted),
    );
    let client = Client::connect(running.address());
    (running, client)
}

fn health(client: &mut Client) -> u16 {
    client.send("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    client.answer().status
}

#[test]
#[ignore = "needs redis-server and openssl"]
fn a_certificate_is_checked() {
    let dir = std::env::temp_dir().join(format!("websse-redis-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (key, own, other) = (path("key"), path("own"), path("other"));
    for (certificate, key) in [(&other, path("other-key")), (&own, key.clone())] {
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", &key])
            .args(["-addext", "subjectAltName=DNS:localhost"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out", certificate])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let _store = Store::with(&[
        "--requirepass",
        "geheim",
        "--tls-port",
        &port,
        "--tls-cert-file",
        &own,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &own,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://:geheim@localhost:{port}");

    let (_node, mut client) = node_of_command(&url, &own);
    eventually(SOON, 200, || health(&mut client));
    client.send("POST /send?data=hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    client.send("GET /event?replay=1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    client.stream_head();
    assert_eq!(data(&mut client, 1), ["hello"]);

    let (node, mut client) = node_of_command(&url, &other);
    client.send("POST /send?data=hello HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(health(&mut client), 503);
    let (_, errors) = node.terminate();
    assert!(errors.contains("certificate") && !errors.contains("geheim"), "{errors}");
    std::fs::remove_dir_all(dir).unwrap();
}
