//! Hooks, which run on a thread of their own: whatever they do, nobody waits for them but themselves.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use support::{Client as Socket, Hub, SOON, eventually};
use websse::{Builder, Client, Disconnect, Message, PublishError, Publisher, Server};

/// What a hook was told: a client, and why it is gone, unless it has come.
type Told = (Client, Option<Disconnect>);

/// Sends what the hooks are told to the test.
fn tell(builder: Builder, told: &mpsc::Sender<Told>) -> Builder {
    let (came, gone) = (told.clone(), told.clone());
    builder
        .on_connect(move |_, client| came.send((client.clone(), None)).unwrap())
        .on_disconnect(move |_, client, reason| gone.send((client.clone(), Some(reason))).unwrap())
}

#[track_caller]
fn next(told: &mpsc::Receiver<Told>) -> Told {
    told.recv_timeout(SOON).unwrap()
}

#[test]
fn each_client_is_told_of_when_it_comes_and_when_it_is_gone() {
    let (tell_test, told) = mpsc::channel();
    let hub = Hub::with(&["", "a", "b"], |builder| tell(builder, &tell_test), |http| http);
    let mut one = hub.listen("?event=b&event=a&last_event_id=x");
    let (first, reason) = next(&told);
    assert_eq!(reason, None);
    assert_eq!(first.peer, Some(one.socket().local_addr().unwrap()));
    assert_eq!(first.events, ["a", "b"]);
    assert_eq!(first.last_event_id.as_deref(), Some("x"));

    let subscription = hub.server.subscribe(["*"]).unwrap();
    let (second, _) = next(&told);
    assert_eq!((second.id, second.peer), (subscription.id(), None));
    assert_eq!((second.events.as_slice(), &second.last_event_id), (&["*".to_owned()][..], &None));
    drop(subscription);
    assert_eq!(next(&told), (second, Some(Disconnect::ClosedByPeer)));

    hub.server.disconnect(first.id).unwrap();
    assert_eq!(one.event().event.as_deref(), Some("stream-gap"));
    one.assert_stream_ends();
    assert_eq!(next(&told), (first, Some(Disconnect::ClosedByServer)));

    let left = hub.listen("");
    let (third, _) = next(&told);
    assert_eq!(third.events, ["message"]);
    drop(left);
    let (gone, reason) = next(&told);
    assert_eq!(gone, third);
    assert!(matches!(reason, Some(Disconnect::ClosedByPeer | Disconnect::Error)), "{reason:?}");

    let _stays = hub.listen("");
    let (last, _) = next(&told);
    assert_eq!(hub.server.shutdown(SOON).missed_notifications, 0);
    assert_eq!(told.try_recv(), Ok((last, Some(Disconnect::Shutdown))), "before shutdown returns");
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
}

#[test]
fn a_hook_publishes_into_a_full_queue() {
    let hook = |server: &Publisher, client: &Client| {
        let event = |data: &str| Message::new(format!("{} {data}", client.id)).event("a");
        // As fast as it can, until there is no room; then it waits for some.
        let full = std::iter::repeat_with(|| server.try_publish(event("fast")));
        let full = full.into_iter().find_map(Result::err).unwrap();
        assert!(matches!(full, websse::TryPublishError::Full(_)), "{full}");
        (0..100).for_each(|_| drop(server.publish(event("slow")).unwrap()));
        server.publish(event("done")).unwrap();
    };
    let hub = Hub::with(
        &["a"],
        |builder| builder.publish_queue(1).history_events(0).on_connect(hook),
        |http| http,
    );
    let mut clients: Vec<Socket> = (0..10).map(|_| hub.listen("?event=a")).collect();
    for client in &mut clients {
        while client.event().data.unwrap() != "9 done" {}
    }
}

#[test]
fn a_hook_that_panics_ends_nothing_but_itself() {
    let (tell_test, told) = mpsc::channel();
    let hub = Hub::with(
        &["a"],
        |builder| {
            tell(builder, &tell_test).on_connect(|server, client| {
                server.publish(Message::new(client.id.to_string()).event("a")).unwrap();
                panic!("on purpose: a hook that panics");
            })
        },
        |http| http,
    );
    for number in ["0", "1"] {
        let mut client = hub.listen("?event=a");
        assert_eq!(client.event().data.as_deref(), Some(number));
        drop(client);
        assert_eq!(next(&told).0.id.to_string(), number);
    }
}

#[test]
fn a_slow_hook_delays_nobody_and_is_told_everything() {
    const CLIENTS: usize = 1000;
    let (tell_test, told) = mpsc::channel();
    let (free, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let hub = Hub::with(
        &["a"],
        |builder| {
            let came = tell_test.clone();
            tell(builder, &tell_test).on_connect(move |_, client| {
                // Until the test lets go of the other end.
                held.lock().unwrap().recv().unwrap_err();
                came.send((client.clone(), None)).unwrap();
            })
        },
        |http| http,
    );
    let mut stays = hub.listen("?event=a");
    for round in 0..CLIENTS / 100 {
        let mut clients: Vec<Socket> = (0..100).map(|_| hub.listen("?event=a")).collect();
        hub.publish(Message::new(round.to_string()).event("a"));
        for client in clients.iter_mut().chain([&mut stays]) {
            assert_eq!(client.event().data, Some(round.to_string()));
        }
    }
    eventually(2 * SOON, 1, || hub.server.stats().streams);
    assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty), "the hook is busy");
    drop(free);
    let mut here = Vec::new();
    for _ in 0..=2 * CLIENTS {
        match next(&told) {
            (client, None) => here.push(client.id),
            (client, Some(_)) => {
                let at = here.iter().position(|id| *id == client.id);
                here.swap_remove(at.expect("it has come before"));
            }
        }
    }
    assert_eq!(here.len(), 1, "the one that stays");
    assert_eq!(hub.server.stats().missed_notifications, 0);
}

#[test]
fn a_hook_may_end_the_server_and_drop_the_last_of_it() {
    for shuts_down in [false, true] {
        let owner: Arc<Mutex<Option<Arc<Server>>>> = Arc::default();
        let (tell_test, told) = mpsc::channel();
        let (taken, refused) = (Arc::clone(&owner), tell_test.clone());
        let server = tell(Server::builder(), &tell_test).on_connect(move |publisher, client| {
            let server = taken.lock().unwrap().take().unwrap();
            if shuts_down {
                server.shutdown(SOON);
            }
            drop(server);
            assert_eq!(publisher.publish(Message::new("late")), Err(PublishError::ShutDown));
            refused.send((client.clone(), None)).unwrap();
        });
        let server = Arc::new(server.build());
        server.register_event("").unwrap();
        server.run().unwrap();
        // The hook finds the server once there is nobody else who has it.
        let mut slot = owner.lock().unwrap();
        let mut subscription = server.subscribe([""]).unwrap();
        *slot = Some(server);
        drop(slot);
        assert_eq!(next(&told).1, None);
        assert_eq!(subscription.by_ref().filter(websse::Frame::is_event).count(), 0);
        assert_eq!(subscription.end_reason(), Some(Disconnect::Shutdown));
        assert_eq!(next(&told).1, Some(Disconnect::Shutdown), "what is left is told");
    }
}

#[test]
fn a_shutdown_waits_for_hooks_until_its_deadline_and_tells_what_is_left() {
    let (entered, hook_entered) = mpsc::channel();
    let (free, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let server = Server::builder().on_connect(move |_, _| {
        entered.send(()).unwrap();
        held.lock().unwrap().recv().unwrap_err();
    });
    let server = server.build();
    server.register_event("").unwrap();
    server.run().unwrap();
    let _subscriptions: Vec<_> = (0..3).map(|_| server.subscribe([""]).unwrap()).collect();
    hook_entered.recv_timeout(SOON).unwrap();
    // Two that came, and three that are gone.
    assert_eq!(server.shutdown(Duration::from_millis(50)).missed_notifications, 5);
    // The thread ends with the hook, which is not called again.
    drop((free, server));
    assert_eq!(hook_entered.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn a_hook_that_is_told_late_names_the_types_that_the_client_had() {
    let (tell_test, told) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Server::builder()
        .on_connect(move |_, client| {
            tell_test.send(client.events.clone()).unwrap();
            // The first hook is busy until the test lets it go.
            let _ = wait.lock().unwrap().recv();
        })
        .build();
    server.register_events(["", "gone", "stays"]).unwrap();
    server.run().unwrap();
    let mut here = server.subscribe([""]).unwrap();
    assert_eq!(told.recv_timeout(SOON).unwrap(), ["message"]);
    drop(server.subscribe(["gone", "stays"]).unwrap());
    eventually(SOON, 1, || server.stats().subscriptions);
    assert!(server.unregister_event("gone"));
    // After the second one nothing is left of the type.
    for _ in 0..2 {
        server.publish(Message::new("round")).unwrap();
        here.next_event(SOON).unwrap();
    }
    server.register_event("other").unwrap();
    drop(go);
    assert_eq!(told.recv_timeout(SOON).unwrap(), ["gone", "stays"]);
}
