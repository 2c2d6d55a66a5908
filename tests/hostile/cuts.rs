//! Connections that end too early, at every byte: in order, and by a reset.

use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;

use super::process::Level;
use super::table::{answers, everything};
use super::{alone, hub};
use support::{Client, Hub};
use websse::Message;

const STREAM: &str = "GET /event?event=own HTTP/1.1\r\nHost: a\r\n\r\n";
const HELLO: &str = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
const WRITTEN: &str = "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n";
const EMPTY: &str = "POST /send?event=own HTTP/1.1\r\nHost: a\r\n\r\n";
const LENGTH: &str = "POST /send?event=own HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKS: &str = "POST /send?event=own HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nX: y\r\n\r\n";

/// Requests one after the other, as a client may send them on one connection.
const CONVERSATIONS: [&[&str]; 7] = [
    &[STREAM],
    &[HELLO],
    &[LENGTH],
    &[CHUNKS],
    &[HELLO, LENGTH, EMPTY],
    &[CHUNKS, CHUNKS, STREAM],
    &[EMPTY, WRITTEN],
];

/// Cuts each conversation at every byte with `cut`, which gets what was sent of it so far and how
/// many requests of it are complete; nothing is left of any, and no half of a request was served.
fn cut_everywhere(cut: impl Fn(&Hub, &str, &[&str]) -> u64) {
    let _alone = alone();
    let hub = hub();
    let before = Level::of_the_hub(&hub);
    let mut published = 0;
    for requests in CONVERSATIONS {
        let all = requests.concat();
        for at in 0..=all.len() {
            let mut end = 0;
            let complete = requests.iter().take_while(|request| {
                end += request.len();
                end <= at
            });
            published += cut(&hub, &all[..at], &requests[..complete.count()]);
        }
        hub.assert_still_serves();
    }
    before.assert_again(&hub);
    // The probes are events too.
    let probes = CONVERSATIONS.len() as u64;
    assert_eq!(hub.server.stats().published, published + probes, "events of complete requests");
}

/// How many of these publish an event.
fn posts(requests: &[&str]) -> u64 {
    requests.iter().filter(|request| request.starts_with("POST")).count() as u64
}

#[test]
fn a_client_that_says_no_more_is_answered_what_it_has_asked_wherever_it_stops() {
    cut_everywhere(|hub, sent, complete| {
        let mut client = hub.ask(sent);
        client.half_close();
        if complete.last() == Some(&STREAM) {
            for _ in 1..complete.len() {
                assert_eq!(client.answer().status, 200, "{sent:?}");
            }
            client.stream_head();
            client.assert_stream_ends();
        } else {
            let got = everything(&mut client).unwrap_or_else(|error| panic!("{sent:?}: {error}"));
            let answers = answers(&got).unwrap_or_else(|error| panic!("{sent:?}: {error}"));
            let right = answers.len() == complete.len() && answers.iter().all(|a| a.status == 200);
            assert!(right, "{sent:?}: {}", got.escape_ascii());
        }
        posts(complete)
    });
}

#[test]
fn a_client_that_resets_its_connection_leaves_nothing_behind_wherever_it_does() {
    cut_everywhere(|hub, sent, complete| {
        let mut client = hub.ask(sent);
        // So that it is certain what was served.
        for &request in complete {
            let is_stream = [STREAM, WRITTEN].contains(&request);
            let answer = if is_stream { client.head() } else { client.answer() };
            assert_eq!(answer.status, 200, "{sent:?}");
        }
        reset(client);
        posts(complete)
    });
}

/// Neither reads nor waits: what came in is served or not, but never half of it.
#[test]
fn a_crowd_that_resets_its_connections_at_random_leaves_nothing_behind() {
    let _alone = alone();
    let hub = hub();
    let before = Level::of_the_hub(&hub);
    let mut listener = hub.listen("?event=own");
    let all = [CHUNKS, LENGTH].concat();
    for at in 0..all.len() {
        let client = hub.ask(&all[..at]);
        if at % 3 == 0 {
            client.socket().shutdown(Shutdown::Both).unwrap();
        } else {
            reset(client);
        }
    }
    hub.assert_still_serves();
    hub.publish(Message::new("end").event("own"));
    let mut data = listener.event().data;
    while data.as_deref() != Some("end") {
        assert_eq!(data.as_deref(), Some("hello"));
        data = listener.event().data;
    }
    drop(listener);
    before.assert_again(&hub);
}

/// Closes at once and throws away what is on its way.
fn reset(client: Client) {
    SockRef::from(&client.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
}
