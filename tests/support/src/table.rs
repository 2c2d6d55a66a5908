//! Rows of a table of requests, each over a connection of its own.

use super::{Answer, Client, Hub, shown};

/// Sends `raw` and expects a refusal with one of `statuses` and an explanation of one line, after
/// which a fresh client is still served.
#[track_caller]
pub fn refused(hub: &Hub, name: &str, raw: &[u8], statuses: &[u16]) -> (Answer, Client) {
    let mut client = hub.connect();
    // A server may answer, and close, before it has read everything.
    let sent = client.try_send(raw);
    let answer = client.answer();
    assert!(
        statuses.contains(&answer.status),
        "{name}: expected {statuses:?}, got {answer:?} to {:?} (sent: {sent:?})",
        shown(raw)
    );
    answer.assert_explained();
    hub.assert_still_serves();
    (answer, client)
}

/// Like [`refused`], where nothing after the request can be understood: the connection ends, and
/// what follows is not taken for another request.
#[track_caller]
pub fn refused_for_good(hub: &Hub, name: &str, raw: &[u8], statuses: &[u16]) {
    let (answer, mut client) = refused(hub, name, raw, statuses);
    assert_eq!(answer.field("connection"), Some("close"), "{name}");
    client.assert_closed();
}

/// Sends `raw` and expects success with an empty body.
#[track_caller]
pub fn accepted(hub: &Hub, name: &str, raw: &[u8]) {
    let answer = hub.ask(raw).answer();
    assert_eq!(answer.line, "HTTP/1.1 200 OK", "{name}: {answer:?}");
    let id = answer.field("event-id").map_or(String::new(), |id| format!("{id}\n"));
    assert_eq!(answer.text(), id, "{name}");
}
