//! Messages to one client, its end by the program's wish, and how many clients there are as an event.

use std::{sync::mpsc, time::Instant};

use support::{Client as Socket, Hub, SOON, eventually};
use websse::{
    Builder, ClientId, EventId, Message, MessageError, PublishError, SendToError, UnknownClient,
};

/// A hub that tells which clients come.
fn hub(options: impl FnOnce(Builder) -> Builder) -> (Hub, mpsc::Receiver<ClientId>) {
    let (came, ids) = mpsc::channel();
    let hook = move |builder: Builder| {
        options(builder).on_connect(move |_, client| came.send(client.id).unwrap())
    };
    (Hub::with(&["", "a", "probe"], hook, |http| http), ids)
}

#[track_caller]
fn listen(hub: &Hub, ids: &mpsc::Receiver<ClientId>, query: &str) -> (Socket, ClientId) {
    let client = hub.listen(query);
    (client, ids.recv_timeout(SOON).unwrap())
}

#[test]
fn a_message_to_one_client_reaches_it_alone_in_order_and_without_an_id() {
    let (hub, ids) = hub(|builder| builder);
    let (mut one, id) = listen(&hub, &ids, "?event=a");
    let (mut other, _) = listen(&hub, &ids, "?event=a");
    for number in 0..100 {
        hub.publish(Message::new(number.to_string()).event("a"));
        // It does not listen to this type.
        hub.server.send_to(id, Message::new(format!("to one {number}"))).unwrap();
    }
    let mut last = None;
    for number in 0..100 {
        let (event, alone) = (one.event(), one.event());
        assert_eq!(event.data, Some(number.to_string()));
        assert_eq!((alone.data, alone.id), (Some(format!("to one {number}")), None));
        assert_eq!(other.event().data, Some(number.to_string()));
        last = event.id;
    }
    assert_eq!(hub.server.stats().direct_messages, 100);
    // It is kept for nobody.
    let mut returning = hub.listen(&format!("?event=*&last_event_id={}", last.unwrap()));
    hub.publish(Message::new("next").event("a"));
    assert_eq!(returning.event().data.as_deref(), Some("next"));
}

#[test]
fn a_message_in_the_midst_of_a_replay_comes_after_it() {
    const EVENTS: usize = 400;
    let options = |builder: Builder| builder.history_bytes(64 << 20).mailbox_bytes(1 << 20);
    let (hub, ids) = hub(options);
    let text = "x".repeat(40_000);
    for number in 0..EVENTS {
        hub.publish(Message::new(format!("{number} {text}")).event("a"));
    }
    // More than its socket takes: it does not read yet.
    let (mut client, id) = listen(&hub, &ids, &format!("?event=a&replay={EVENTS}"));
    eventually(SOON, 1, || hub.server.stats().behind);
    hub.server.send_to(id, Message::new("to one")).unwrap();
    hub.publish(Message::new("published later").event("a"));
    hub.server.send_to(id, Message::new("to one again")).unwrap();
    eventually(SOON, 0, || hub.server.stats().queued);
    let number = |data: &str| data.split(' ').next().unwrap().parse::<usize>().ok();
    for expected in 0..EVENTS {
        assert_eq!(number(&client.event().data.unwrap()), Some(expected));
    }
    hub.publish(Message::new("live").event("a"));
    for expected in ["published later", "to one", "to one again", "live"] {
        assert_eq!(client.event().data.as_deref(), Some(expected));
    }
}

#[test]
fn a_client_that_is_behind_is_disconnected_at_once_and_misses_nothing_when_it_comes_back() {
    const EVENTS: usize = 300;
    let options = |builder: Builder| builder.history_bytes(64 << 20).mailbox_bytes(64 << 20);
    let (hub, ids) = hub(options);
    let (mut client, id) = listen(&hub, &ids, "?event=a");
    let text = "x".repeat(40_000);
    let publish = |number: usize| {
        hub.publish(Message::new(format!("{number} {text}")).event("a"));
    };
    (0..EVENTS).for_each(publish);
    eventually(SOON, 1, || hub.server.stats().behind);
    hub.server.disconnect(id).unwrap();
    eventually(SOON, (0, 0), || (hub.server.stats().streams, hub.server.stats().behind));
    assert_eq!(hub.server.stats().disconnected.closed_by_server, 1);
    assert_eq!(hub.server.disconnect(id).map_err(UnknownClient::client), Err(id));
    (EVENTS..EVENTS + 5).for_each(publish);

    // What it had got by then ends within an event.
    let got = String::from_utf8(client.drain(SOON)).unwrap();
    let whole = &got[..got.rfind("\n\n").unwrap()];
    let last = whole.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let seen = whole.matches("event: a\n").count();
    assert!(seen < EVENTS, "it was behind");
    let mut returning = hub.listen(&format!("?event=a&last_event_id={last}"));
    for number in seen..EVENTS + 5 {
        let data = returning.event().data.unwrap();
        assert!(data.starts_with(&format!("{number} ")), "expected {number}, got {data:.20}");
    }
}

#[test]
fn what_is_said_before_a_disconnect_arrives_and_what_is_said_after_does_not() {
    let (hub, ids) = hub(|builder| builder);
    let (mut client, id) = listen(&hub, &ids, "");
    hub.publish(Message::new("before"));
    hub.server.send_to(id, Message::new("bye")).unwrap();
    hub.server.disconnect(id).unwrap();
    hub.publish(Message::new("after"));
    assert_eq!(client.event().data.as_deref(), Some("before"));
    assert_eq!(client.event().data.as_deref(), Some("bye"));
    client.assert_stream_ends();
    hub.assert_still_serves();
}

#[test]
fn a_message_to_one_client_is_refused_where_it_cannot_be_sent() {
    let (hub, ids) = hub(|builder| builder.max_frame_bytes(100));
    let (client, id) = listen(&hub, &ids, "");
    let refused = |message| hub.server.send_to(id, message).unwrap_err();
    let with_id = Message::new("x").id(EventId::new("7").unwrap());
    let error = PublishError::Message(MessageError::IdToOne);
    assert_eq!(refused(with_id), SendToError::Refused(error));
    let error = PublishError::EventNotRegistered("unknown".to_owned());
    assert_eq!(refused(Message::new("x").event("unknown")), SendToError::Refused(error));
    let error = PublishError::TooLarge { size: 208, limit: 100 };
    assert_eq!(refused(Message::new("x".repeat(200))), SendToError::Refused(error));
    drop(client);
    eventually(SOON, 0, || hub.server.stats().streams);
    assert_eq!(refused(Message::new("x")), SendToError::UnknownClient(id));
    hub.server.shutdown(SOON);
    assert_eq!(refused(Message::new("x")), SendToError::Refused(PublishError::ShutDown));
    assert_eq!(hub.server.disconnect(id).map_err(UnknownClient::client), Err(id));
    assert_eq!(hub.server.stats().direct_messages, 0);
}

#[test]
fn presence_tells_how_many_listen_but_not_more_than_once_a_second() {
    let presence = |builder: Builder| builder.presence("clients");
    let hub = Hub::with(&["", "a"], presence, |http| http);
    let nobody = hub.server.subscribe(["a"]).unwrap();
    let begin = Instant::now();
    let mut watcher = hub.listen("?event=clients");
    let event = watcher.event();
    assert_eq!(event.event.as_deref(), Some("clients"));
    assert_eq!(event.data.as_deref(), Some(r#"{"*":0,"a":1,"clients":1,"message":0}"#));
    let clients: Vec<Socket> = (0..50).map(|_| hub.listen("?event=a&event=")).collect();
    drop(nobody);
    let mut told = 1;
    let mut until = |wanted: &str| {
        while watcher.event().data.as_deref() != Some(wanted) {
            told += 1;
        }
        told += 1;
    };
    until(r#"{"*":0,"a":50,"clients":1,"message":50}"#);
    drop(clients);
    until(r#"{"*":0,"a":0,"clients":1,"message":0}"#);
    assert!(told <= begin.elapsed().as_secs() + 1, "{told} in {:?}", begin.elapsed());
    // The figures follow a moment after the event.
    eventually(SOON, told, || hub.server.stats().published);
}

#[test]
fn presence_under_a_name_that_cannot_be_registered_is_an_error() {
    let server = websse::Server::builder().presence("*").build();
    let error = server.run().unwrap_err();
    assert!(matches!(error, websse::RunError::Presence(_)), "{error}");
    assert!(error.to_string().contains("reserved"), "{error}");
}
