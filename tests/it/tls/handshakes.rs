use std::{io::Write, net::TcpStream, sync::Arc, time::Instant};

use support::{
    Client, Hub, SOON, Scratch,
    authority::{
        Authority, BOTH,
        rustls::{
            ClientConfig, HandshakeKind, ProtocolVersion,
            client::Resumption,
            version::{TLS12, TLS13},
        },
    },
};

use super::{GET, assert_serves, connect, hub, listen, refusal};

fn with_protocols(authority: &Authority, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut client = authority.client(&BOTH, None);
    client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(client)
}

#[test]
fn http_1_1_is_what_is_agreed_on_and_nothing_else() {
    let scratch = Scratch::new("tls-alpn");
    let authority = Authority::new("tests");
    let hub = hub(authority.issue(&["localhost"]).server(&scratch.0));
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut client = listen(&hub, &with_protocols(&authority, offered));
        assert_eq!(client.tls().alpn_protocol(), chosen, "{offered:?}");
    }
    for offered in [&["h2"][..], &["h2", "http/1.0"]] {
        let error = refusal(connect(&hub, &with_protocols(&authority, offered)));
        assert!(error.contains("NoApplicationProtocol"), "{offered:?}: {error}");
    }
    assert_serves(&hub, &authority);
}

#[test]
fn versions_1_2_and_1_3_are_spoken_the_newer_where_both_can() {
    let scratch = Scratch::new("tls-versions");
    let authority = Authority::new("tests");
    let hub = hub(authority.issue(&["localhost"]).server(&scratch.0));
    for (offered, chosen) in [
        (&[&TLS12][..], ProtocolVersion::TLSv1_2),
        (&[&TLS13], ProtocolVersion::TLSv1_3),
        (&BOTH, ProtocolVersion::TLSv1_3),
    ] {
        let mut client = listen(&hub, &Arc::new(authority.client(offered, None)));
        assert_eq!(client.tls().protocol_version(), Some(chosen));
    }
}

/// The first message of a client that speaks nothing newer than this version.
fn old_hello(version: u8) -> Vec<u8> {
    let suites = [0xc0, 0x13, 0x00, 0x2f];
    let mut body =
        [&[3, version][..], &[7; 32], &[0], &[0, u8::try_from(suites.len()).unwrap()], &suites]
            .concat();
    // No compression; which signatures it can check.
    body.extend([1, 0, 0, 10, 0, 13, 0, 6, 0, 4, 4, 3, 4, 1]);
    let mut message = vec![1, 0, 0, u8::try_from(body.len()).unwrap()];
    message.extend(body);
    [&[0x16, 3, version.min(1), 0, u8::try_from(message.len()).unwrap()][..], &message].concat()
}

#[test]
fn older_versions_are_refused_by_an_alert() {
    const PROTOCOL_VERSION: u8 = 70;
    let scratch = Scratch::new("tls-older");
    let authority = Authority::new("tests");
    let hub = hub(authority.issue(&["localhost"]).server(&scratch.0));
    // SSL 3.0, TLS 1.0, TLS 1.1.
    for version in 0..3 {
        let mut client = Client::ask(hub.addr(), old_hello(version));
        let answer = client.rest(Instant::now() + SOON).unwrap();
        let [0x15, 3, _, 0, 2, 2, PROTOCOL_VERSION] = answer[..] else {
            panic!("3.{version}: {answer:?}");
        };
    }
    assert_serves(&hub, &authority);
}

/// Clients that keep the tickets of their sessions.
fn that_return(authority: &Authority, hub: &Hub) -> [Arc<ClientConfig>; 2] {
    [&TLS12, &TLS13].map(|version| {
        let mut client = authority.client(&[version], None);
        client.resumption = Resumption::in_memory_sessions(8);
        client.enable_early_data = true;
        let client = Arc::new(client);
        assert_eq!(kind(hub, &client), HandshakeKind::Full);
        client
    })
}

/// How a client comes to its stream. Its tickets come before that.
#[track_caller]
fn kind(hub: &Hub, client: &Arc<ClientConfig>) -> HandshakeKind {
    let mut client = listen(hub, client);
    client.tls().handshake_kind().unwrap()
}

#[test]
fn a_client_that_comes_back_resumes_its_session_also_after_a_reload() {
    let scratch = Scratch::new("tls-resumption");
    let authority = Authority::new("tests");
    let tls = authority.issue(&["localhost"]).server(&scratch.0);
    let hub = hub(tls.clone());
    for client in that_return(&authority, &hub) {
        assert_eq!(kind(&hub, &client), HandshakeKind::Resumed);
        authority.issue(&["localhost"]).write_to(&scratch.0);
        tls.reload().unwrap();
        assert_eq!(kind(&hub, &client), HandshakeKind::Resumed, "after a reload");
        assert_eq!(kind(&hub, &client), HandshakeKind::Resumed, "by the ticket of that");
    }
    // What another server issued is no more than a full handshake.
    let other_scratch = Scratch::new("tls-resumption-other");
    let other = super::hub(authority.issue(&["localhost"]).server(&other_scratch.0));
    for client in that_return(&authority, &hub) {
        assert_eq!(kind(&other, &client), HandshakeKind::Full);
    }
}

#[test]
fn early_data_is_offered_to_no_client() {
    let scratch = Scratch::new("tls-early");
    let authority = Authority::new("tests");
    let hub = hub(authority.issue(&["localhost"]).server(&scratch.0));
    let [_, client] = that_return(&authority, &hub);
    let mut again = connect(&hub, &client);
    assert!(again.tls().early_data().is_none(), "its ticket does not let it send early");
    again.send(GET);
    again.stream_head();
    assert_eq!(again.tls().handshake_kind(), Some(HandshakeKind::Resumed));
    assert!(!again.tls().is_early_data_accepted());
}

#[test]
fn plain_http_gets_one_line_that_says_what_is_spoken() {
    let scratch = Scratch::new("tls-plain");
    let authority = Authority::new("tests");
    let hub = hub(authority.issue(&["localhost"]).server(&scratch.0));
    let long = format!(
        "POST /send HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{}",
        " ".repeat(300_000)
    );
    for request in [GET, "POST /send HTTP/1.1\r\n", "G", "OPTIONS * HTTP/1.1\r\n\r\n", &*long] {
        let mut client = Client::connect(hub.addr());
        // It may be answered before all is sent.
        let _ = client.try_send(request);
        let answer = client.answer();
        assert_eq!((answer.status, answer.field("connection")), (400, Some("close")));
        answer.assert_explained();
        assert!(answer.text().contains("use https://"), "{answer:?}");
        client.assert_closed();
    }
    assert_serves(&hub, &authority);
}

/// Whoever looks whether something listens here, and load balancers that do so each second.
#[test]
fn clients_that_go_without_a_word_cost_nothing() {
    let scratch = Scratch::new("tls-silent");
    let authority = Authority::new("tests");
    let hub = hub(authority.issue(&["localhost"]).server(&scratch.0));
    for _ in 0..50 {
        drop(TcpStream::connect(hub.addr()).unwrap());
        TcpStream::connect(hub.addr()).unwrap().write_all(&[0x16]).unwrap();
    }
    assert_serves(&hub, &authority);
}
