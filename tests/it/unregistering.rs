//! Event types that are unregistered while clients listen and publish.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use support::{
    Hub, SOON, StopOnDrop, eventually,
    sse::{Block, Item},
};
use websse::{Message, PublishError, SubscribeError};

fn to(event: &str, data: &str) -> Message {
    Message::new(data).event(event)
}

#[test]
fn a_type_that_is_unregistered_can_be_neither_heard_nor_published() {
    let hub = Hub::new(&["a", "b", "probe"]);
    let (mut one, mut both) = (hub.listen("?event=a"), hub.listen("?event=a&event=b"));
    hub.publish(to("a", "1"));
    assert!(hub.server.unregister_event("a"));
    assert!(!hub.server.unregister_event("a") && !hub.server.event_exists("a"));
    let unknown = Some(PublishError::EventNotRegistered("a".to_owned()));
    assert_eq!(hub.server.publish(to("a", "2")).err(), unknown);
    let unknown = Some(SubscribeError::EventNotRegistered("a".to_owned()));
    assert_eq!(hub.server.subscribe(["a"]).err(), unknown);
    // What was accepted before is delivered; who listens to nothing else is ended.
    assert_eq!(one.event().data.as_deref(), Some("1"));
    one.assert_stream_ends();
    hub.publish(to("b", "3"));
    assert_eq!([(); 2].map(|()| both.event().data.unwrap()), ["1", "3"]);
    hub.assert_still_serves();
    assert_eq!(hub.server.stats().disconnected.closed_by_server, 1);
    assert_eq!(hub.server.event_types(), ["b", "probe"]);
}

#[test]
fn a_type_of_the_same_name_is_a_new_one_and_a_gap_for_who_missed_the_first() {
    let hub = Hub::new(&["a", "b"]);
    let mut client = hub.listen("?event=a&event=b");
    hub.publish(to("b", "1"));
    let id = client.event().id.unwrap();
    drop(client);
    hub.publish(to("a", "lost"));
    assert!(hub.server.unregister_event("a"));
    hub.server.register_event("a").unwrap();
    hub.publish(to("a", "2"));
    let mut back = hub.listen(&format!("?event=a&event=b&last_event_id={id}"));
    let Block { event, .. } = back.event();
    assert_eq!(event.as_deref(), Some("stream-gap"));
    // What it missed may still be there.
    while back.event().data.as_deref() != Some("2") {}
    let mut of_b = hub.listen(&format!("?event=b&last_event_id={id}"));
    hub.publish(to("b", "3"));
    assert_eq!(of_b.event().data.as_deref(), Some("3"), "no gap, no event of the other");
}

/// It comes before the broadcaster knows of any of it.
#[test]
fn who_comes_back_right_after_a_type_was_renewed_is_told_of_a_gap() {
    let hub = Hub::new(&["t", "s"]);
    for round in 0..200 {
        let mut listener = hub.server.subscribe(["s"]).unwrap();
        let position = listener.recv_timeout(SOON).unwrap().id().unwrap().to_owned();
        hub.publish(to("t", "lost"));
        assert!(hub.server.unregister_event("t"));
        hub.server.register_event("t").unwrap();
        let back = hub.server.subscription(["t", "s"]).last_event_id(position).open();
        let first = back.unwrap().next_event(SOON).unwrap();
        assert_eq!(first.event(), "stream-gap", "round {round}");
    }
}

#[test]
fn listeners_of_another_type_too_go_on_when_a_type_comes_back() {
    let hub = Hub::new(&["t", "s"]);
    let mut client = hub.listen("?event=t&event=s");
    for round in 0..20 {
        assert!(hub.server.unregister_event("t"));
        hub.server.register_event("t").unwrap();
        hub.publish(to("t", &round.to_string()));
        assert_eq!(client.event().data, Some(round.to_string()));
    }
}

#[test]
fn the_type_of_presence_stays() {
    let hub = Hub::with(&["a"], |builder| builder.presence("here"), |http| http);
    assert!(!hub.server.unregister_event("here"));
    assert!(hub.server.event_exists("here"));
}

/// A publisher and listeners that are late never reach a type that has the number of theirs.
#[test]
fn nobody_gets_events_of_a_type_that_has_the_number_of_theirs() {
    let hub = Hub::new(&["probe"]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _beside = StopOnDrop(&is_over);
        for name in ["x", "y"] {
            let (hub, is_over) = (&hub, &is_over);
            scope.spawn(move || {
                while !is_over.load(SeqCst) {
                    // Refused while it is not registered.
                    let _ = hub.server.publish(to(name, name));
                }
            });
            scope.spawn(move || {
                while !is_over.load(SeqCst) {
                    let Ok(mut listener) = hub.server.subscribe([name]) else { continue };
                    for _ in 0..5 {
                        match listener.recv_timeout(SOON / 100) {
                            Ok(frame) if frame.is_event() => assert_eq!(frame.data(), name),
                            Ok(_) => {}
                            Err(_) => break,
                        }
                    }
                }
            });
        }
        for round in 0..500 {
            let name = ["x", "y"][round % 2];
            hub.server.register_event(name).unwrap();
            thread::yield_now();
            assert!(hub.server.unregister_event(name));
        }
    });
    hub.assert_still_serves();
}

#[test]
fn a_hundred_thousand_types_come_and_go_three_times() {
    const TYPES: usize = 100_000;
    let hub = Hub::with(&["probe"], |builder| builder.publish_queue(TYPES), |http| http);
    let metrics = || hub.server.subscribers_by_type().len();
    for round in 0..3 {
        let names: Vec<String> = (0..TYPES).map(|number| format!("{round}/{number}")).collect();
        hub.server.register_events(&names).unwrap();
        assert_eq!(metrics(), TYPES + 2);
        let messages: Vec<Message> = names.iter().map(|name| to(name, "x")).collect();
        hub.server.publish_all(&messages).unwrap();
        for name in &names {
            assert!(hub.server.unregister_event(name));
        }
        assert_eq!(metrics(), 2);
        hub.assert_still_serves();
    }
    // What is kept of them goes beside other work, and in the end there is nothing but the probes.
    eventually(6 * SOON, true, || {
        let mut all = hub.listen("?event=*&replay=1000000");
        hub.publish(to("probe", "end"));
        all.item_within(SOON).is_some_and(
            |item| matches!(item, Item::Block(Block { data: Some(data), .. }) if data != "x"),
        )
    });
}
