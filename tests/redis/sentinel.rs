//! Sentinels say where the primary is; and what there is without them.

use std::{
    io::{BufRead, BufReader},
    process::Command,
    thread,
};

use support::process::{Running, Serving};

use super::{
    sentinels::{MASTER, Sentinels},
    takeover::replica_of,
    *,
};

/// How long it is tried whether anything is published.
const TRIED: Duration = Duration::from_secs(4);

fn is_primary(store: &Store) -> bool {
    // It closes its connections when its role changes.
    let info = |mut link| redis::cmd("INFO").arg("replication").query::<String>(&mut link);
    store.connect().and_then(info).is_ok_and(|info| info.contains("role:master"))
}

/// Waits until it is the primary.
fn promoted(store: &Store) {
    let until = Instant::now() + BACK;
    while !is_primary(store) {
        assert!(Instant::now() < until, "nobody took over");
        thread::sleep(Duration::from_millis(20));
    }
}

fn hub_at(url: &str) -> Hub {
    Hub::with(&[""], |builder| builder.redis(RedisConfig::new(url).unwrap()), |http| http)
}

/// Waits until the nodes have seen that there is a replica.
fn replicas_are_noted(store: &Store) {
    eventually(SOON, true, || {
        let Value::BulkString(memo) = store.run("GET websse:server") else { panic!("no text") };
        memo.ends_with(b" replicas")
    });
}

/// Publishes as soon as that works; returns how long it took.
fn publish_soon(hub: &Hub, data: &str) -> Duration {
    let start = Instant::now();
    loop {
        match hub.server.publish(Message::new(data)) {
            Ok(_) => return start.elapsed(),
            Err(PublishError::RedisUnavailable(_)) => thread::sleep(Duration::from_millis(10)),
            Err(error) => panic!("{error:?}"),
        }
        assert!(start.elapsed() < BACK, "it does not work again");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn after_a_failover_publishing_goes_on_and_a_gap_is_told_only_of_what_is_lost() {
    for lacks in [false, true] {
        let mut old = Store::durable();
        let link = Proxy::new(old.port);
        let new = replica_of(link.port());
        let sentinels = Sentinels::new(3, &old);
        let hubs = [hub_at(&sentinels.url()), hub_at(&sentinels.url())];
        let mut clients = hubs.each_ref().map(|hub| hub.listen(""));
        for hub in &hubs {
            publish_soon(hub, "1");
        }
        sentinels.know_replicas(1);
        eventually(BACK, Value::Int(2), || new.run("XLEN websse"));
        if lacks {
            link.set(Way::Silent);
            hubs[0].publish(Message::new("lost"));
        }
        for client in &mut clients {
            assert_eq!(data(client, 2), ["1", "1"]);
            assert!(!lacks || data(client, 1) == ["lost"]);
        }
        replicas_are_noted(&old);
        // Whatever has no replica any more is looked for in the memory of the nodes.
        old.kill();
        promoted(&new);
        eprintln!("published after {:?}", publish_soon(&hubs[1], "2"));
        for client in &mut clients {
            if lacks {
                assert_gap_before(client, "2");
            } else {
                assert_eq!(data(client, 1), ["2"]);
            }
        }
        // The one that was given up comes back, and does not know it yet.
        old.start();
        assert!(is_primary(&old), "it is too late");
        let length = old.run("XLEN websse");
        for event in 0..5 {
            // Also by connections that are new.
            publish_soon(&hub_at(&sentinels.url()), &event.to_string());
            publish_soon(&hubs[0], "more");
        }
        let (is_still, now) = (is_primary(&old), old.run("XLEN websse"));
        assert!(is_still && now == length, "{is_still} {now:?} {length:?}");
        assert_eq!(new.info("replication", "role"), "master");
    }
}

#[test]
#[ignore = "needs redis-server"]
fn an_entry_of_another_server_with_the_same_id_does_not_hide_a_loss() {
    let mut old = Store::durable();
    let link = Proxy::new(old.port);
    let new = replica_of(link.port());
    let sentinels = Sentinels::new(3, &old);
    let hub = hub_at(&sentinels.url());
    let mut client = hub.listen("");
    publish_soon(&hub, "1");
    sentinels.know_replicas(1);
    eventually(BACK, Value::Int(1), || new.run("XLEN websse"));
    link.set(Way::Silent);
    old.run("XADD websse 9000000000000-0 data lost");
    assert_eq!(data(&mut client, 2), ["1", "lost"]);
    old.kill();
    promoted(&new);
    // The node is not there yet.
    new.run("XADD websse 9000000000000-0 data other");
    publish_soon(&hub, "2");
    let heard = up_to(&mut client, "2");
    assert!(heard.contains(&"gap".to_owned()), "{heard:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn an_answer_of_a_primary_that_was_given_up_meanwhile_is_no_acknowledgement() {
    // After a second the node waits for the server to say which one it is, and the event waits.
    for waited in [Duration::ZERO, Duration::from_millis(1050)] {
        let old = Store::durable();
        let new = replica_of(old.port);
        let sentinels = Sentinels::new(3, &old);
        let links = [0, 1, 2].map(|number| Proxy::new(sentinels.port(number)));
        let each = links.each_ref().map(|link| format!("127.0.0.1:{}", link.port())).join(",");
        let hub = hub_at(&format!("redis-sentinel://{each}/{MASTER}"));
        publish_soon(&hub, "1");
        sentinels.know_replicas(1);
        eventually(BACK, Value::Int(1), || new.run("XLEN websse"));
        old.signal("-STOP");
        // The node hears of the new primary only if it asks anew.
        for link in &links {
            link.set(Way::Answers(0));
        }
        let published = thread::scope(|scope| {
            let published = scope.spawn(|| {
                thread::sleep(waited);
                hub.server.publish(Message::new("2"))
            });
            promoted(&new);
            // However late it was asked, it answers late.
            thread::sleep(waited);
            for link in &links {
                link.set(Way::Open);
            }
            old.signal("-CONT");
            published.join().unwrap()
        });
        // Where the machine is busy this one may come to the old primary first, and so come twice.
        eventually(BACK, true, || hub.server.publish(Message::new("3")).is_ok());
        let mut there = data_in(&new);
        there.dedup();
        let expected = if published.is_ok() { vec!["1", "2", "3"] } else { vec!["1", "3"] };
        assert_eq!(there, expected, "{published:?}");
    }
}

/// The data of the events in the stream, without the marks of gaps.
fn data_in(store: &Store) -> Vec<String> {
    let entries = store.run("XRANGE websse - +");
    let entries: Vec<(String, Vec<String>)> = redis::from_redis_value(entries).unwrap();
    let events = entries.into_iter().filter(|(_, fields)| fields[0] != "gap");
    events.map(|(_, fields)| fields.into_iter().nth(1).unwrap()).collect()
}

#[test]
#[ignore = "needs redis-server"]
fn half_of_the_sentinels_are_enough_and_fewer_are_not() {
    let store = Store::with(&["--requirepass", "geheim"]);
    let mut sentinels = Sentinels::with_password(2, &store, Some("geheim"));
    let hub = hub_at(&sentinels.url());
    publish_soon(&hub, "1");
    sentinels.kill(1);
    publish_soon(&hub_at(&sentinels.url()), "2");
    publish_soon(&hub, "3");
    sentinels.kill(0);
    // Whoever is connected stays so.
    hub.publish(Message::new("4"));
    let refused = hub_at(&sentinels.url()).server.publish(Message::new("5"));
    let Err(PublishError::RedisUnavailable(reason)) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("0 of 2 sentinels") && !reason.contains("geheim"), "{reason}");
    assert_eq!(data(&mut hub.listen("?replay=9"), 4), ["1", "2", "3", "4"]);
}

/// Why nothing can be published at this address.
fn refused_at(url: &str) -> String {
    match hub_at(url).server.publish(Message::new("1")) {
        Err(PublishError::RedisUnavailable(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs redis-server"]
fn an_address_of_the_wrong_kind_is_told() {
    let store = Store::durable();
    let sentinels = Sentinels::new(1, &store);
    let reason = refused_at(&format!("redis://127.0.0.1:{}", sentinels.port(0)));
    assert!(reason.contains("a sentinel; write redis-sentinel://"), "{reason}");
    // The log says of which server that is true; publishers need not know.
    let place = format!("127.0.0.1:{}", sentinels.port(0));
    assert!(!reason.contains(&place), "{reason}");
    let running = Running::start(
        Command::new(env!("CARGO_BIN_EXE_websse"))
            .args(["--listen", "127.0.0.1:0"])
            .env("WEBSSE_REDIS", format!("redis://{place}")),
    );
    let mut running = Serving::from(running).running;
    let mut log = BufReader::new(running.child.stderr.take().unwrap()).lines();
    let line =
        log.find_map(|line| line.ok().filter(|line| line.contains("cannot read the stream")));
    let expected = format!("cannot read the stream at {place}: this is a sentinel");
    assert!(line.as_ref().is_some_and(|line| line.contains(&expected)), "{line:?}");
    drop(running);
    let reason = refused_at(&format!("redis-sentinel://127.0.0.1:{}/mymaster", store.port));
    assert!(reason.contains("no sentinel"), "{reason}");
    let reason = refused_at(&format!("redis-sentinel://127.0.0.1:{}/other", sentinels.port(0)));
    assert!(reason.contains("No such master"), "{reason}");
}

#[test]
#[ignore = "needs redis-server"]
fn a_primary_that_comes_back_without_its_replicas_is_not_published_to() {
    let mut old = Store::durable();
    let new = replica_of(old.port);
    let hub = node(&old);
    hub.publish(Message::new("1"));
    replicas_are_noted(&old);
    eventually(BACK, Value::Int(1), || new.run("XLEN websse"));
    old.kill();
    new.run("REPLICAOF NO ONE");
    old.start();
    // Nor by a node that was not there.
    let late = hub_at(&old.url());
    let start = Instant::now();
    while start.elapsed() < TRIED {
        for hub in [&hub, &late] {
            let refused = hub.server.publish(Message::new("2"));
            assert!(matches!(refused, Err(PublishError::RedisUnavailable(_))), "{refused:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(old.run("XLEN websse"), Value::Int(1));
    // Its replica is back, so nobody has taken its place.
    new.run(&format!("REPLICAOF 127.0.0.1 {}", old.port));
    publish_soon(&hub, "3");
    publish_soon(&late, "4");
}
