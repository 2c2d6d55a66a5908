use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use support::{
    SOON, Scratch, StopOnDrop,
    authority::{
        Authority, BOTH, Issued,
        rustls::pki_types::{CertificateDer, pem::PemObject},
    },
    eventually,
};
use websse::Message;

use super::{connect, hub, listen};

const TIMES: usize = 50;
const HELD: usize = 100;
/// Connections that come between two certificates, at least.
const BETWEEN: usize = 8;

fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()
}

#[test]
fn a_certificate_replaced_under_load_refuses_nobody_and_drops_nobody() {
    let scratch = Scratch::new("tls-replaced");
    let authority = Authority::new("tests");
    let first = authority.issue(&["localhost"]);
    let tls = first.server(&scratch.0);
    let hub = hub(tls.clone());
    let config = Arc::new(authority.client(&BOTH, None));
    let mut held: Vec<_> = (0..HELD).map(|_| listen(&hub, &config)).collect();

    // In their order, and how many of them were surely replaced.
    let issued = Mutex::new(vec![der(&first)]);
    let replaced = AtomicUsize::new(0);
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let client = || {
        let oldest = replaced.load(SeqCst);
        let mut client = connect(&hub, &config);
        assert_eq!(client.post("/send?event=probe", "x").unwrap(), 200);
        let shown = &client.tls().peer_certificates().unwrap()[0];
        let number = issued.lock().unwrap().iter().position(|issued| issued == shown).unwrap();
        assert!(number >= oldest, "{number} was replaced, {oldest} is in use");
        served.fetch_add(1, SeqCst);
    };
    thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    client();
                }
            });
        }
        for number in 0..TIMES {
            let before = served.load(SeqCst);
            eventually(SOON, true, || served.load(SeqCst) >= before + BETWEEN);
            let next = authority.issue(&["localhost"]);
            next.write_to(&scratch.0);
            issued.lock().unwrap().push(der(&next));
            tls.reload().unwrap();
            replaced.store(number + 1, SeqCst);
            hub.publish(Message::new(number.to_string()).event("a"));
        }
    });
    for client in &mut held {
        for number in 0..TIMES {
            assert_eq!(client.event().data, Some(number.to_string()));
        }
    }
    assert_eq!(hub.server.stats().streams, HELD);
    let served = served.into_inner();
    eprintln!("figure: tls: {served} connections while a certificate was replaced {TIMES} times");
}
