//! What only TLS has. The tests of streams and requests run over it too, where `TESTS_OVER_TLS` is
//! set.
//!
//! | module | subject |
//! |---|---|
//! | `files` | which files are read, and what is said of those that are wrong |
//! | `handshakes` | versions, ALPN, resumption, plain HTTP instead |
//! | `mutual` | certificates of clients, and of servers that clients do not trust |
//! | `replaced` | a certificate replaced under load |
//! | `command` | the same of the command |
//! | `openssl` | what other people's client says of it |
//! | `readme` | the commands in the README |

mod command;
mod files;
mod handshakes;
mod mutual;
mod openssl;
mod readme;
mod replaced;

use std::{io::ErrorKind, sync::Arc, time::Instant};

use support::{
    Client, Hub, SOON,
    authority::{Authority, BOTH, rustls::ClientConfig},
};
use websse::http::TlsConfig;

const GET: &str = "GET /event?event=a HTTP/1.1\r\nHost: a\r\n\r\n";

/// A hub with the event types `a` and `probe`.
fn hub(tls: TlsConfig) -> Hub {
    Hub::over_tls(&["a", "probe"], |builder| builder, |http| http, tls)
}

fn connect(hub: &Hub, config: &Arc<ClientConfig>) -> Client {
    Client::try_connect_tls(hub.addr(), config, "localhost").unwrap()
}

/// A client that has the head of its stream.
#[track_caller]
fn listen(hub: &Hub, config: &Arc<ClientConfig>) -> Client {
    let mut client = connect(hub, config);
    client.send(GET);
    client.stream_head();
    client
}

/// A fresh client is served.
#[track_caller]
fn assert_serves(hub: &Hub, authority: &Authority) {
    listen(hub, &Arc::new(authority.client(&BOTH, None)));
}

/// Why this client gets no answer.
#[track_caller]
fn refusal(mut client: Client) -> String {
    let refused = client.try_send(GET).and_then(|()| client.try_head(Instant::now() + SOON));
    let error = refused.map(|head| panic!("expected no answer, got {head:?}")).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::TimedOut);
    error.to_string()
}
