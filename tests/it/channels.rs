//! Channels: for whom an event is.

use std::{
    sync::mpsc,
    time::{Duration, SystemTime},
};

use support::{Client, Hub, SOON, eventually};
use websse::{
    Action, Channels, Denied, Disconnect, Message, MessageError, PublishError, RecvTimeoutError,
    Server, SubscribeError,
    http::{HttpServer, Request},
};

/// The user that a request says it is.
struct User(String);

/// Everybody hears what is for all, and what is for them; the bridge hears everything.
fn channels_of(request: &Request) -> Result<Channels, Denied> {
    let user = request.header("user").ok_or(Denied::unauthorized("log in first"))?;
    let user = String::from_utf8_lossy(user).into_owned();
    if user == "bridge" {
        return Ok(Channels::all());
    }
    let channels = Channels::new([String::new(), format!("user/{user}")]);
    let channels = channels.map_err(Denied::from)?;
    Ok(channels.attach(User(user)))
}

fn serve(server: &Server, limit: impl FnOnce(HttpServer) -> HttpServer) -> HttpServer {
    support::watch_for_panics();
    server.register_events(["", "a", "b"]).unwrap();
    server.run().unwrap();
    let by_client = server.event_stream_handler().client_channels();
    let listen = |request: &Request, action: Action<'_>| match action {
        Action::Subscribe { channels, .. } if channels.contains(&"secret") => {
            Err(Denied::forbidden(format!("not for {:?}", request.path())))
        }
        Action::Publish { channel: "secret", .. } => Err(Denied::forbidden("read only")),
        _ => Ok(()),
    };
    limit(HttpServer::new())
        .get("/mine", server.event_stream_handler().channels(channels_of))
        .get("/event", by_client.authorize(listen))
        .get("/common", server.event_stream_handler())
        .post("/send", server.send_message_handler().client_channels().authorize(listen))
        .post("/common", server.send_message_handler())
        .get("/stats", server.stats_handler())
        .bind("127.0.0.1:0")
        .unwrap()
}

fn hub() -> Hub {
    let server = Server::new();
    let http = serve(&server, |http| http);
    Hub { server, http }
}

fn mine(hub: &Hub, user: &str, fields: &str) -> Client {
    let mut client =
        hub.ask(format!("GET /mine?event=* HTTP/1.1\r\nHost: a\r\nUser: {user}\r\n{fields}\r\n"));
    client.stream_head();
    client
}

#[track_caller]
fn data(client: &mut Client) -> String {
    client.event().data.unwrap()
}

fn to(channel: &str, data: &str) -> Message {
    Message::new(data).event("a").channel(channel)
}

#[test]
fn each_listener_gets_what_is_for_its_channels_in_one_order() {
    let hub = hub();
    let (mut one, mut other) = (mine(&hub, "1", ""), mine(&hub, "2", ""));
    let mut bridge = mine(&hub, "bridge", "");
    for message in [to("user/1", "x"), to("", "y"), to("user/2", "z"), to("user/3", "w")] {
        hub.publish(message);
    }
    hub.publish(Message::new("end").event("b"));
    assert_eq!([(); 3].map(|()| data(&mut one)), ["x", "y", "end"]);
    assert_eq!([(); 3].map(|()| data(&mut other)), ["y", "z", "end"]);
    assert_eq!([(); 5].map(|()| data(&mut bridge)), ["x", "y", "z", "w", "end"]);
}

#[test]
fn who_comes_back_gets_what_it_missed_in_its_channels() {
    let hub = hub();
    let mut one = mine(&hub, "1", "");
    hub.publish(to("user/1", "first"));
    let id = one.event().id.unwrap();
    drop(one);
    for (channel, text) in [("user/2", "x"), ("user/1", "y"), ("", "z")] {
        hub.publish(to(channel, text));
    }
    let back = |user: &str, id: &str| mine(&hub, user, &format!("Last-Event-ID: {id}\r\n"));
    let mut one = back("1", &id);
    assert_eq!([(); 2].map(|()| data(&mut one)), ["y", "z"]);
    // Also one that never heard an event: by the position that its stream began with.
    let mut third = hub.ask("GET /mine HTTP/1.1\r\nHost: a\r\nUser: 3\r\n\r\n");
    third.stream_head();
    hub.publish(Message::new("to all"));
    let (_, begin) = (data(&mut third), hub.server.stats().gaps);
    assert_eq!(begin, 0);
}

#[test]
fn hooks_are_told_the_channels_and_what_was_attached() {
    let (tell, told) = mpsc::channel();
    let server = Server::builder()
        .on_connect(move |_, client| {
            let user = client.attached::<User>().map(|User(name)| name.clone());
            tell.send((client.channels.clone(), user)).unwrap();
        })
        .build();
    let http = serve(&server, |http| http);
    let hub = Hub { server, http };
    let (_one, _bridge) = (mine(&hub, "1", ""), mine(&hub, "bridge", ""));
    let next = || told.recv_timeout(SOON).unwrap();
    assert_eq!(next(), (vec![String::new(), "user/1".to_owned()], Some("1".to_owned())));
    assert_eq!(next(), (vec!["*".to_owned()], None));
}

#[test]
fn clients_name_channels_where_they_may() {
    let hub = hub();
    for (request, status, text) in [
        ("GET /event?channel=a%0Ab", 400, "control characters"),
        ("GET /event?channels=a", 400, "it is written channel"),
        ("GET /event?channel=secret", 403, "not for"),
        ("GET /common?channel=a", 400, "cannot choose a channel"),
        ("GET /event?replay=all", 400, "or each"),
        ("GET /mine", 401, "log in first"),
        ("POST /send?data=x&channel=%2A", 422, "and is not *"),
        ("POST /send?data=x&channel=a%0Db", 422, "control characters"),
        ("POST /send?data=x&channel=secret", 403, "read only"),
        ("POST /send?data=x&channel=a&channel=b", 400, "more than once"),
        ("POST /common?data=x&channel=a", 400, "cannot choose a channel"),
        ("POST /common?data=x&channel=", 200, ""),
        ("POST /send?data=x&channel=a", 200, ""),
    ] {
        let length = if request.starts_with("POST") { "Content-Length: 0\r\n" } else { "" };
        let answer = hub.ask(format!("{request} HTTP/1.1\r\nHost: a\r\n{length}\r\n")).answer();
        assert_eq!(answer.status, status, "{request}: {}", answer.text());
        assert!(answer.text().contains(text), "{request}: {}", answer.text());
    }
    let many = (0..101).map(|number| format!("channel={number}")).collect::<Vec<_>>().join("&");
    let answer = hub.ask(format!("GET /event?{many} HTTP/1.1\r\nHost: a\r\n\r\n")).answer();
    assert!(answer.text().contains("at most 100 channels, not 101"), "{}", answer.text());
    let mut both = hub.listen("?channel=a&channel=");
    let mut all = hub.listen("?event=*&channel=*");
    for text in ["data=1&channel=b", "data=2&channel=a", "data=3"] {
        hub.ask(format!("POST /send?{text} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"))
            .answer();
    }
    assert_eq!([(); 2].map(|()| data(&mut both)), ["2", "3"]);
    assert_eq!([(); 3].map(|()| data(&mut all)), ["1", "2", "3"]);
    let stats = hub.ask("GET /stats?channel=a HTTP/1.1\r\nHost: a\r\n\r\n").answer().text();
    assert!(stats.contains("\"listeners\":1"), "{stats}");
}

#[test]
fn a_dashboard_begins_with_the_last_of_each_type_in_each_channel() {
    let hub = hub();
    for (channel, event, text) in [
        ("", "a", "1"),
        ("x", "a", "2"),
        ("x", "b", "3"),
        ("x", "a", "4"),
        ("y", "a", "5"),
        ("", "a", "6"),
    ] {
        hub.publish(Message::new(text).event(event).channel(channel));
    }
    let mut of_one = hub.listen("?replay=each&event=*&channel=x");
    let mut of_all = hub.listen("?replay=each&event=a&channel=*");
    let mut common = hub.listen("?replay=each&event=*");
    let mut within = hub.server.subscription(["a"]).channels(Channels::all()).replay_each();
    within = within.stream_open(false);
    let mut within = within.open().unwrap();
    hub.publish(to("x", "7"));
    assert_eq!([(); 3].map(|()| data(&mut of_one)), ["3", "4", "7"]);
    assert_eq!([(); 4].map(|()| data(&mut of_all)), ["4", "5", "6", "7"]);
    assert_eq!([(); 4].map(|()| within.next_event(SOON).unwrap().data()), ["4", "5", "6", "7"]);
    hub.publish(to("", "8"));
    assert_eq!([(); 2].map(|()| data(&mut common)), ["6", "8"]);
}

#[test]
fn too_many_channels_are_refused_for_now_and_room_comes_back() {
    let server = Server::builder().max_channels(4).history_events(0).build();
    let http = serve(&server, |http| http);
    let hub = Hub { server, http };
    let listen = |name: &str| {
        let channels = Channels::new([name]).unwrap();
        hub.server.subscription(["a"]).channels(channels).open()
    };
    let first = listen("0").unwrap();
    let _others = [1, 2, 3].map(|number| listen(&number.to_string()).unwrap());
    assert_eq!(hub.server.stats().channels, 4);
    assert_eq!(listen("4").err(), Some(SubscribeError::TooManyChannels { limit: 4 }));
    let refused = hub.server.publish(to("4", "x"));
    assert_eq!(refused, Err(PublishError::TooManyChannels { limit: 4 }));
    let post =
        "POST /send?event=a&data=x&channel=4 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let answer = hub.ask(post).answer();
    assert_eq!((answer.status, answer.field("retry-after")), (503, Some("1")));
    let mut stream = hub.ask("GET /event?event=a&channel=4 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(stream.head().status, 200, "a browser tries again");
    assert!(String::from_utf8_lossy(&stream.piece()).contains("there are 4 channels"));
    // A channel that exists may be used.
    hub.publish(to("3", "x"));
    drop(first);
    eventually(SOON, true, || listen("4").is_ok());
}

#[test]
fn a_message_names_a_channel_that_there_can_be() {
    let server = Server::new();
    server.register_event("").unwrap();
    server.run().unwrap();
    for name in ["*", "a\nb", "\u{2028}", &"x".repeat(257)] {
        let message = Message::new("").channel(name);
        assert_eq!(message.check(), Err(MessageError::Channel), "{name:?}");
        assert_eq!(server.publish(message), Err(PublishError::Message(MessageError::Channel)));
        if name != "*" {
            assert_eq!(Channels::new([name]), Err(MessageError::Channel), "{name:?}");
        }
    }
    assert_eq!(server.stats().channels, 0);
}

/// What comes and goes leaves nothing behind, as soon as the history does not need it.
#[test]
fn a_hundred_thousand_channels_come_and_go_three_times() {
    const CHANNELS: usize = 100_000;
    let server = Server::builder()
        .history_all_bytes(100_000)
        .publish_queue(CHANNELS)
        .max_channels(2 * CHANNELS)
        .build();
    server.register_events(["", "a"]).unwrap();
    server.run().unwrap();
    let mut all = server.subscription(["a"]).channels(Channels::all()).open().unwrap();
    let mut heard = 0;
    for round in 0..3 {
        for number in 0..CHANNELS {
            server.publish(to(&format!("{round}/{number}"), "x")).unwrap();
            // A listener that is within the program has no limit to what waits for it.
            while all.recv_timeout(Duration::ZERO).is_ok_and(|frame| frame.is_event()) {
                heard += 1;
            }
        }
        let end = Message::new("end").event("a");
        server.publish(end).unwrap();
        while all.next_event(SOON).unwrap().data() != "end" {
            heard += 1;
        }
        assert_eq!(heard, (round + 1) * CHANNELS);
        let channels = server.stats().channels;
        assert!(channels < 500, "{channels} channels are left in round {round}");
    }
}

#[test]
fn a_listener_hears_until_its_time_is_over() {
    let server = Server::new();
    server.register_event("").unwrap();
    server.run().unwrap();
    let listen = |until: SystemTime| {
        server.subscription([""]).channels(Channels::default().until(until)).open().unwrap()
    };
    let now = SystemTime::now();
    let mut over = listen(now - Duration::from_secs(60));
    let mut soon = listen(now + Duration::from_millis(1));
    let mut stays = listen(now + Duration::from_secs(3600));
    for ends in [&mut over, &mut soon] {
        let end = ends.next_event(SOON);
        assert_eq!(end, Err(RecvTimeoutError::Ended(Disconnect::Expired)));
    }
    eventually(SOON, 2, || server.stats().disconnected.expired);
    server.publish(Message::new("on")).unwrap();
    assert_eq!(stays.next_event(SOON).unwrap().data(), "on");
}

#[test]
fn a_program_grants_what_clients_name() {
    let server = Server::new();
    server.register_event("").unwrap();
    server.run().unwrap();
    let only = |request: &Request, named: Channels| match named.names()[..] {
        _ if request.header("user").is_none() => Err(Denied::unauthorized("log in first")),
        ["a"] => Ok(named),
        [""] => Channels::new(["b"]).map_err(Denied::from),
        _ => Err(Denied::forbidden(format!("not {:?}", named.names()))),
    };
    let http = HttpServer::new()
        .get("/event", server.event_stream_handler().grant_channels(only))
        .bind("127.0.0.1:0")
        .unwrap();
    let hub = Hub { server, http };
    let ask = |query: &str, fields: &str| {
        hub.ask(format!("GET /event{query} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
    };
    for (query, fields, status, text) in [
        ("?channel=a", "", 401, "log in first"),
        ("?channel=a&channel=b", "User: 1\r\n", 403, r#"not ["a", "b"]"#),
        ("?channel=*", "User: 1\r\n", 403, r#"not ["*"]"#),
        ("?channel=a%0Ab", "User: 1\r\n", 400, "control characters"),
    ] {
        let answer = ask(query, fields).answer();
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        assert!(answer.text().contains(text), "{query}: {}", answer.text());
    }
    let mut clients = ["?channel=a", ""].map(|query| ask(query, "User: 1\r\n"));
    for client in &mut clients {
        client.stream_head();
    }
    for channel in ["a", "b", "c", ""] {
        hub.publish(Message::new(channel).channel(channel));
    }
    for channel in ["a", "b"] {
        hub.publish(Message::new("end").channel(channel));
    }
    let [a, b] = &mut clients;
    assert_eq!([data(a), data(a)], ["a", "end"]);
    assert_eq!([data(b), data(b)], ["b", "end"]);
}
