//! Servers that share a socket with whatever keeps it open.
#![cfg(all(feature = "socket2", unix))]
use std::{
    net::TcpListener,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use support::{Client, SOON, StopOnDrop, eventually};
use websse::http::{HttpServer, Listener, Request, Response};

#[test]
fn no_request_is_lost_between_servers_that_share_a_socket() {
    const SERVERS: usize = 4;
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = kept.local_addr().unwrap();
    let start = || {
        let listener = Listener::from(kept.try_clone().unwrap()).shared();
        HttpServer::new().get("/", |_: &Request| Response::new(204)).serve(listener).unwrap()
    };
    let asked = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    // It answers the last request, and ends after that.
    let _last = thread::scope(|scope| {
        let _over = StopOnDrop(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(
                    Client::ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").answer().status,
                    204
                );
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
        for _ in 0..SERVERS {
            let http = start();
            let before = asked.load(Ordering::SeqCst);
            eventually(SOON, true, || asked.load(Ordering::SeqCst) > before + 10);
            assert_eq!(http.shutdown(SOON), 0);
        }
        let last = start();
        let before = asked.load(Ordering::SeqCst);
        eventually(SOON, true, || asked.load(Ordering::SeqCst) > before + 10);
        last
    });
}
