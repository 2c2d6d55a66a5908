use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use support::{
    Client, Hub, Scratch,
    authority::{
        Authority, BOTH, Issued, date_time_ymd,
        rcgen::{CertificateParams, DnType},
        rustls::{
            HandshakeKind,
            client::Resumption,
            version::{TLS12, TLS13},
        },
    },
};
use websse::{
    Action, Denied, Message,
    http::{HttpServer, Request, Response, TlsConfig},
};

use super::{assert_serves, connect, hub, listen, refusal};

fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2001, 2, 3);
}

/// The certificate of a client with this common name.
fn of(authority: &Authority, name: &str) -> Issued {
    let names = ["client.example", "10.1.2.3", "fd00::7"];
    authority.issue_with(&names, |params| params.distinguished_name.push(DnType::CommonName, name))
}

/// What a server asks of its clients, whose certificate is of `servers`.
fn asks(scratch: &Scratch, servers: &Authority, clients: &Authority) -> TlsConfig {
    let ca = scratch.0.join("ca.pem");
    fs::write(&ca, clients.pem()).unwrap();
    servers.issue(&["localhost"]).server(&scratch.0).client_authorities(ca).unwrap()
}

#[test]
fn a_client_without_a_good_certificate_gets_no_answer_and_no_handler_is_called() {
    let scratch = Scratch::new("tls-mutual-refused");
    let [servers, clients, foreign] = ["servers", "clients", "clients"].map(Authority::new);
    let asked = Arc::new(AtomicUsize::new(0));
    let hub = {
        let asked = Arc::clone(&asked);
        let count = move |_: &Request| {
            asked.fetch_add(1, SeqCst);
            Response::text(200, "hello")
        };
        let routes = |http: HttpServer| http.fallback(count);
        Hub::over_tls(&["a"], |it| it, routes, asks(&scratch, &servers, &clients))
    };
    let too_old = clients.issue_with(&["client.example"], expired);
    let too_new = clients.issue_with(&["client.example"], |params| {
        params.not_before = date_time_ymd(3001, 2, 3);
        params.not_after = date_time_ymd(3002, 2, 3);
    });
    let foreign = of(&foreign, "somebody");
    for (own, alert) in [
        (None, "CertificateRequired"),
        (Some(&foreign), "UnknownCA"),
        (Some(&too_old), "CertificateExpired"),
        (Some(&too_new), "CertificateExpired"),
    ] {
        for version in [&TLS12, &TLS13] {
            let config = Arc::new(servers.client(&[version], own));
            let mut client = connect(&hub, &config);
            // Over TLS 1.3 the client may write before it has the alert.
            let error = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").err();
            let error = error.map_or_else(|| refusal(client), |error| error.to_string());
            let alert = match alert {
                "CertificateRequired" if version.version == TLS12.version => "HandshakeFailure",
                alert => alert,
            };
            let is_expected = error.contains(alert)
                || alert == "UnknownCA" && error.contains("DecryptError")
                || alert == "HandshakeFailure" && error.contains("CertificateRequired");
            assert!(is_expected, "expected {alert}, got {error}");
        }
    }
    assert_eq!(asked.load(SeqCst), 0);
    let config = Arc::new(servers.client(&BOTH, Some(&of(&clients, "somebody"))));
    let mut client = connect(&hub, &config);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().text().trim_end(), "hello");
    assert_eq!(asked.load(SeqCst), 1);
}

/// A hub that says whom it has before it, where only `alice` may listen.
fn telling_hub(tls: TlsConfig) -> Hub {
    let name = |request: &Request| {
        let peer = request.peer_certificate().expect("none comes without");
        let names: Vec<_> = peer.names().collect();
        format!("{} {}", peer.common_name().unwrap_or("nobody"), names.join(" "))
    };
    let tell = move |request: &Request| {
        assert!(request.is_secure());
        Response::text(200, name(request))
    };
    let http = |http: HttpServer| http.get("/who", tell);
    let mut hub = Hub::over_tls(&["a"], |it| it, http, tls.clone());
    // The same with a rule for streams.
    let only_alice = |request: &Request, _: Action<'_>| match request.peer_certificate() {
        Some(peer) if peer.common_name() == Some("alice") => Ok(()),
        _ => Err(Denied::forbidden("alice alone may listen")),
    };
    let stream = hub.server.event_stream_handler().authorize(only_alice);
    hub.http = HttpServer::new()
        .get("/event", stream)
        .get("/who", tell)
        .bind_tls("127.0.0.1:0", tls)
        .unwrap();
    hub
}

#[test]
fn the_names_of_a_clients_certificate_reach_handlers_and_rules_also_when_it_resumes() {
    let scratch = Scratch::new("tls-mutual");
    let [servers, clients] = ["servers", "clients"].map(Authority::new);
    let tls = asks(&scratch, &servers, &clients);
    let hub = telling_hub(tls.clone());
    for version in [&TLS12, &TLS13] {
        for (name, status) in [("alice", 200), ("bob", 403), ("Ω – ä\"\\", 403)] {
            let mut config = servers.client(&[version], Some(&of(&clients, name)));
            config.resumption = Resumption::in_memory_sessions(8);
            let config = Arc::new(config);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let mut client = connect(&hub, &config);
                // Each request over the connection has it.
                for _ in 0..2 {
                    client.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n");
                    let told = client.answer().text();
                    assert_eq!(told.trim_end(), format!("{name} client.example 10.1.2.3 fd00::7"));
                }
                client.send("GET /event?event=a HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(client.answer_or_stream().status, status, "{name}");
                assert_eq!(client.tls().handshake_kind(), Some(kind), "{name}");
            }
            // An authority may be gone by then.
            tls.reload().unwrap();
            let mut client = connect(&hub, &config);
            client.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(client.answer().status, 200);
            assert_eq!(client.tls().handshake_kind(), Some(HandshakeKind::Full), "{name}");
        }
    }
}

#[test]
fn clients_of_an_authority_that_is_gone_are_refused_after_a_reload() {
    let scratch = Scratch::new("tls-mutual-gone");
    let [servers, old, new] = ["servers", "old", "new"].map(Authority::new);
    let tls = asks(&scratch, &servers, &old);
    let hub = hub(tls.clone());
    let mut config = servers.client(&BOTH, Some(&of(&old, "alice")));
    config.resumption = Resumption::in_memory_sessions(8);
    let of_old = Arc::new(config);
    let mut listener = listen(&hub, &of_old);
    fs::write(scratch.0.join("ca.pem"), new.pem()).unwrap();
    tls.reload().unwrap();
    refusal(connect(&hub, &of_old));
    listen(&hub, &Arc::new(servers.client(&BOTH, Some(&of(&new, "alice")))));
    // Who is there stays.
    hub.publish(Message::new("still").event("a"));
    assert_eq!(listener.event().data.as_deref(), Some("still"));
}

#[test]
fn a_client_refuses_an_expired_certificate_or_another_name_and_the_server_goes_on() {
    let authority = Authority::new("tests");
    let foreign = Authority::new("others");
    let config = |authority: &Authority| Arc::new(authority.client(&BOTH, None));
    let scratch = Scratch::new("tls-expired");
    let tls = authority.issue_with(&["localhost"], expired).server(&scratch.0);
    let until = tls.certificate().unwrap().valid_until().unwrap();
    assert!(until < std::time::SystemTime::now());
    let hub = hub(tls.clone());
    for _ in 0..3 {
        let error = refusal(connect(&hub, &config(&authority)));
        assert!(error.contains("certificate expired") || error.contains("Expired"), "{error}");
    }
    authority.issue(&["localhost"]).write_to(&scratch.0);
    tls.reload().unwrap();
    for _ in 0..3 {
        let other = Client::try_connect_tls(hub.addr(), &config(&authority), "other.example");
        let error = refusal(other.unwrap());
        assert!(error.contains("not valid for name"), "{error}");
        let error = refusal(connect(&hub, &config(&foreign)));
        assert!(error.contains("UnknownIssuer"), "{error}");
    }
    assert_serves(&hub, &authority);
    // No name is asked for by address; none is needed.
    let [version, _] = BOTH;
    let mut nameless = authority.client(&[version], None);
    nameless.enable_sni = false;
    listen(&hub, &Arc::new(nameless));
}
