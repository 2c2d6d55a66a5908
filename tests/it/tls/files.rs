use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
};

use socket2::{Domain, Socket, Type};
use support::{
    SOON, Scratch,
    authority::{
        Authority, BOTH, Issued,
        rcgen::KeyPair,
        rustls::{
            self, ClientConnection,
            pki_types::{CertificateDer, pem::PemObject},
            version::{TLS12, TLS13},
        },
    },
};
use websse::http::{HttpServer, Request, Response, TlsConfig};

use super::{hub, listen};

/// Keys as `openssl` writes them; everybody has them. The first of each pair is the same in the form
/// that tells its kind (PKCS #8).
const KEYS: [(&str, &str); 7] = [
    (include_str!("keys/ecdsa.pem"), include_str!("keys/ecdsa.pem")),
    (include_str!("keys/ecdsa.pem"), include_str!("keys/ecdsa-sec1.pem")),
    (include_str!("keys/ecdsa384.pem"), include_str!("keys/ecdsa384.pem")),
    (include_str!("keys/ecdsa384.pem"), include_str!("keys/ecdsa384-sec1.pem")),
    (include_str!("keys/rsa.pem"), include_str!("keys/rsa.pem")),
    (include_str!("keys/rsa.pem"), include_str!("keys/rsa-pkcs1.pem")),
    (include_str!("keys/ed25519.pem"), include_str!("keys/ed25519.pem")),
];

#[test]
fn keys_of_each_kind_and_form_are_read_and_used_in_both_versions() {
    let scratch = Scratch::new("tls-keys");
    let authority = Authority::new("tests");
    for (pkcs8, form) in KEYS {
        let pair = KeyPair::from_pem(pkcs8).unwrap();
        let mut issued = authority.issue_for(&pair, &["localhost"], |_| {});
        // As an authority sends it by mail, with words around.
        issued.key = format!("Bag Attributes\n    localKeyID: 01\n{form}\n");
        issued.certificate = format!("subject=localhost\n{}", issued.certificate);
        let hub = hub(issued.server(&scratch.0));
        for version in [&TLS12, &TLS13] {
            listen(&hub, &Arc::new(authority.client(&[version], None)));
        }
    }
}

#[test]
fn a_chain_is_sent_whole() {
    let scratch = Scratch::new("tls-chain");
    let authority = Authority::new("tests");
    let issued = authority.issue(&["localhost"]);
    let certificate = [&*issued.certificate, &authority.pem()].concat();
    let tls = Issued { certificate, ..issued }.server(&scratch.0);
    let names = tls.certificate().unwrap();
    assert_eq!(names.names().collect::<Vec<_>>(), ["localhost"], "the first is its own");
    let hub = hub(tls);
    let mut client = listen(&hub, &Arc::new(authority.client(&BOTH, None)));
    assert_eq!(client.tls().peer_certificates().unwrap().len(), 2);
}

/// The thread that accepts begins to send it, and then passes on that it accepts.
#[test]
fn a_chain_longer_than_what_a_socket_takes_is_sent_whole() {
    let scratch = Scratch::new("tls-long-chain");
    let authority = Authority::new("tests");
    let issued = authority.issue(&["localhost"]);
    // Close to the longest message that clients take.
    let length = CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap().len();
    let others = 60_000 / length;
    let certificate = [&*issued.certificate, &authority.pem().repeat(others)].concat();
    let server = Issued { certificate, ..issued }.server(&scratch.0);
    let narrow = |set: fn(&Socket) -> io::Result<()>| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        set(&socket).unwrap();
        socket
    };
    // The sockets of its connections are as small.
    let listener = narrow(|socket| socket.set_send_buffer_size(1));
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(1).unwrap();
    let socket = narrow(|socket| socket.set_recv_buffer_size(1));
    socket.connect(&listener.local_addr().unwrap()).unwrap();
    let mut socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(SOON)).unwrap();
    let config = Arc::new(authority.client(&BOTH, None));
    let mut tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    tls.write_tls(&mut socket).unwrap();

    let http = HttpServer::new().get("/", |_: &Request| Response::text(200, "hello"));
    let http = http.serve_tls(TcpListener::from(listener), server).unwrap();
    let mut client = rustls::Stream::new(&mut tls, &mut socket);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello\n"), "{answer}");
    assert_eq!(tls.peer_certificates().unwrap().len(), 1 + others);
    drop(http);
}

/// What is in a file instead of what is right, or that there is none; and what is said of it.
type Wrong = (Option<Vec<u8>>, &'static str);

/// What is said is one line, and names the file.
#[track_caller]
fn assert_tells(error: &io::Error, file: &Path, clue: &str) {
    let error = error.to_string();
    let file = file.display().to_string();
    assert_eq!(error.matches(&file).count(), 1, "{file}: {error:?}");
    assert!(error.contains(clue), "expected {clue:?}: {error:?}");
    assert!(!error.contains(['\n', '\r']) && error.len() < 300, "{error:?}");
}

#[test]
fn of_each_wrong_file_one_line_tells_which_and_why() {
    const LACKS_CERTIFICATE: &str = "there is no certificate in it, as PEM (-----BEGIN";
    const LACKS_KEY: &str = "there is no private key that is not encrypted in it";
    let scratch = Scratch::new("tls-wrong");
    let authority = Authority::new("tests");
    let issued = authority.issue(&["localhost"]);
    let [chain, key] = issued.write_to(&scratch.0);
    let ca = scratch.0.join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let read = || TlsConfig::from_pem_files(&chain, &key)?.client_authorities(&ca);
    read().unwrap();

    let text = |text: &str| Some(text.as_bytes().to_vec());
    let certificate = issued.certificate.as_str();
    let half = &certificate[..certificate.len() / 2];
    let of_no_certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let no_base64 = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    let chains: Vec<Wrong> = vec![
        (None, "No such file"),
        (text(""), LACKS_CERTIFICATE),
        (text(&issued.key), LACKS_CERTIFICATE),
        (Some(vec![0x30, 0x82, 0xff, 0x00]), LACKS_CERTIFICATE),
        (text(half), ""),
        (text(no_base64), "base64"),
        (text(of_no_certificate), ""),
    ];
    let other = authority.issue(&["localhost"]).key;
    let of_no_key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    let keys: Vec<Wrong> = vec![
        (None, "No such file"),
        (text(""), LACKS_KEY),
        (text(certificate), LACKS_KEY),
        (text(include_str!("keys/encrypted.pem")), LACKS_KEY),
        (text(include_str!("keys/encrypted-sec1.pem")), ""),
        (text(&issued.key[..issued.key.len() / 2]), ""),
        (text(of_no_key), ""),
    ];
    for (file, right, wrong) in [
        (&chain, certificate, &chains),
        (&key, &*issued.key, &keys),
        (&ca, &*authority.pem(), &chains),
    ] {
        for (instead, clue) in wrong {
            fs::remove_file(file).unwrap();
            if let Some(bytes) = instead {
                fs::write(file, bytes).unwrap();
            }
            assert_tells(&read().unwrap_err(), file, clue);
            fs::write(file, right).unwrap();
        }
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
        assert_tells(&read().unwrap_err(), file, "directory");
        fs::remove_dir(file).unwrap();
        fs::write(file, right).unwrap();
        read().unwrap();
    }
    fs::write(&key, other).unwrap();
    let error = read().unwrap_err();
    assert_tells(&error, &key, "it is not the key of the certificate in ");
    assert!(error.to_string().contains(chain.to_str().unwrap()), "{error}");
}

#[test]
fn a_reload_of_wrong_files_is_an_error_and_the_old_certificate_stays() {
    let scratch = Scratch::new("tls-reload");
    let authority = Authority::new("tests");
    let tls = authority.issue(&["localhost", "first.example"]).server(&scratch.0);
    let hub = hub(tls.clone());
    let client = Arc::new(authority.client(&BOTH, None));
    let names = |tls: &TlsConfig| {
        tls.certificate().unwrap().names().last().map(str::to_owned).unwrap_or_default()
    };
    let chain = scratch.0.join("chain.pem");
    fs::remove_file(&chain).unwrap();
    assert_tells(&tls.reload().unwrap_err(), &chain, "No such file");
    assert_eq!(names(&tls), "first.example");
    listen(&hub, &client);
    authority.issue(&["localhost", "second.example"]).write_to(&scratch.0);
    listen(&hub, &client);
    assert_eq!(names(&tls), "first.example", "not before it is read again");
    tls.reload().unwrap();
    assert_eq!(names(&tls), "second.example");
    listen(&hub, &client);
}
