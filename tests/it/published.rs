//! What a publisher learns of a message that was accepted: its id, and how many listen.

use std::{collections::BTreeMap, thread};

use support::{Hub, SOON, eventually};
use websse::{Channels, EventId, Frame, Message, Published, Server, http::Policy};

fn id_of(published: &Published) -> String {
    published.id().expect("there is a history")
}

/// While others publish, types end, and the server itself publishes how many clients there are.
#[test]
fn an_event_has_the_id_that_its_publisher_was_told() {
    let server = Server::builder().presence("clients").build();
    server.register_events(["", "a"]).unwrap();
    server.run().unwrap();
    let everything = Channels::all();
    let listener = server.subscription(["*"]).channels(everything).open().unwrap();
    let (received, told) = thread::scope(|scope| {
        let received = scope.spawn(|| {
            let events = listener.filter(Frame::is_event);
            let events = events.filter(|event| event.event() != "clients");
            let pairs = events.map(|event| (event.data(), event.id().unwrap().to_owned()));
            pairs.collect::<BTreeMap<_, _>>()
        });
        let publish = |publisher: usize| {
            let server = &server;
            move || {
                let message = |number: usize| {
                    let message = Message::new(format!("{publisher}-{number}"));
                    match number % 3 {
                        0 => message,
                        1 => message.event("a"),
                        _ => message.channel(format!("channel-{}", number % 20)),
                    }
                };
                let mut told = BTreeMap::new();
                let mut note = |number, published: &Published| {
                    told.insert(message(number).data().to_owned(), id_of(published))
                };
                for number in (0..1000).step_by(4) {
                    note(number, &server.publish(message(number)).unwrap());
                    if let Ok(published) = server.try_publish(message(number + 1)) {
                        note(number + 1, &published);
                    }
                    let two = [message(number + 2), message(number + 3)];
                    let published = server.publish_all(&two).unwrap();
                    (number + 2..).zip(&published).for_each(|(at, it)| drop(note(at, it)));
                }
                told
            }
        };
        let publishers = [0, 1, 2].map(|publisher| scope.spawn(publish(publisher)));
        scope.spawn(|| {
            for number in 0..50 {
                let name = format!("type-{number}");
                server.register_event(&name).unwrap();
                drop(server.subscribe([&name]).unwrap());
                assert!(server.unregister_event(&name));
            }
        });
        let told = publishers.map(|publisher| publisher.join().unwrap());
        server.shutdown(SOON);
        (received.join().unwrap(), told.into_iter().flatten().collect::<BTreeMap<_, _>>())
    });
    assert!(told.len() > 2000, "{}", told.len());
    assert_eq!(received, told);
}

#[test]
fn the_id_is_where_a_client_goes_on() {
    let hub = Hub::new(&["a"]);
    let publish = |text: &str| hub.server.publish(Message::new(text).event("a")).unwrap();
    let ids = ["1", "2", "3"].map(publish);
    let mut client = hub.listen(&format!("?event=a&last_event_id={}", id_of(&ids[1])));
    let event = client.event();
    assert_eq!((event.data.as_deref(), event.id), (Some("3"), ids[2].id()));
    let own = Message::new("own").event("a").id(EventId::new("order-17").unwrap());
    assert_eq!(id_of(&hub.server.publish(own).unwrap()), "order-17");
}

#[test]
fn without_a_history_there_is_no_id() {
    let hub = Hub::with(&[""], |builder| builder.history_events(0), |http| http);
    let published = hub.server.publish("hello").unwrap();
    assert_eq!((published.id(), published.listeners()), (None, 0));
    let answer = hub.ask("POST /send?data=x HTTP/1.1\r\nHost: a\r\n\r\n").answer();
    assert_eq!((answer.status, answer.text().as_str(), answer.field("event-id")), (200, "", None));
    let json = "POST /send?data=x HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
    assert_eq!(hub.ask(json).answer().text(), "{\"id\":null,\"listeners\":0}\n");
}

#[test]
fn those_that_listen_to_the_event_are_counted() {
    let hub = Hub::plain(&["a", "b"]);
    let server = &hub.server;
    let listen = |types: &[&str], channels: Channels| {
        server.subscription(types).channels(channels).open().unwrap()
    };
    let named = |names: &[&str]| Channels::new(names.iter().copied()).unwrap();
    let _here = [
        listen(&["a"], named(&[""])),
        listen(&["a", "b"], named(&["", "one"])),
        listen(&["*"], named(&["one"])),
    ];
    let everywhere = listen(&["b"], Channels::all());
    let count = |event: &str, channel: &str| {
        let message = Message::new("x").event(event).channel(channel);
        server.publish(message).unwrap().listeners()
    };
    let counts =
        || ["", "one", "other"].map(|channel| ["a", "b"].map(|event| count(event, channel)));
    assert_eq!(counts(), [[2, 2], [2, 3], [0, 1]]);
    drop(everywhere);
    eventually(SOON, [[2, 1], [2, 2], [0, 0]], counts);
    let _stream = hub.listen("?event=b");
    eventually(SOON, [[2, 2], [2, 2], [0, 0]], counts);
}

#[test]
fn a_post_is_answered_with_the_id() {
    let hub = Hub::new(&["a"]);
    let mut client = hub.listen("?event=a");
    let post = |fields: &str| {
        let head = format!("POST /send?event=a&data=x HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let answer = hub.ask(head).answer();
        assert_eq!(answer.status, 200);
        answer
    };
    for fields in [
        "",
        "Accept: */*\r\n",
        "Accept: text/plain, application/jsonp\r\n",
        "Accept: application/json;q=0\r\n",
        "Accept: application/json ; Q=0.000, */*\r\n",
    ] {
        let answer = post(fields);
        let id = client.event().id.unwrap();
        assert_eq!(answer.text(), format!("{id}\n"));
        assert_eq!(answer.field("event-id"), Some(&*id));
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    }
    for fields in ["application/json", "text/html;q=0.5, Application/JSON ; q=0.010"] {
        let answer = post(&format!("Accept: {fields}\r\n"));
        let id = client.event().id.unwrap();
        assert_eq!(answer.text(), format!("{{\"id\":\"{id}\",\"listeners\":1}}\n"));
        assert_eq!(answer.field("event-id"), Some(&*id));
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
    let own =
        "POST /send?event=a&id=%22%5C HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n";
    let answer = hub.ask(own).answer();
    assert_eq!(answer.text(), "{\"id\":\"\\\"\\\\\",\"listeners\":1}\n");
}

#[test]
fn a_page_may_read_the_id_of_what_it_published() {
    let policy = Policy::default().allow_origin("https://app.example.org").unwrap();
    let hub = Hub::with(&[""], |builder| builder, |http| http.policy(policy));
    for (fields, exposed) in [("Origin: https://app.example.org\r\n", Some("Event-Id")), ("", None)]
    {
        let raw = format!("POST /send?data=x HTTP/1.1\r\nHost: hub\r\n{fields}\r\n");
        let answer = hub.ask(raw).answer();
        assert_eq!((answer.status, answer.field("event-id").is_some()), (200, true), "{answer:?}");
        assert_eq!(answer.field("access-control-expose-headers"), exposed, "{fields}");
    }
}

#[cfg(feature = "json")]
#[test]
fn what_a_publisher_learns_is_written_as_a_post_is_answered() {
    let server = support::running();
    let _listener = server.subscribe([""]).unwrap();
    let own = server.publish(Message::new("x").id(EventId::new("order-17").unwrap())).unwrap();
    let without = server.publish(Message::new("x").event("a")).unwrap();
    let written = serde_json::to_string(&[own, without]).unwrap();
    let expected = r#"[{"id":"order-17","listeners":1},{"id":null,"listeners":0}]"#;
    assert_eq!(written, expected);
}
