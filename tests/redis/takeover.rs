//! Another server takes the place of the one before: by a failover, or in any way that people do it.

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
};

use super::{returning::flood, *};

/// A replica of the server at this port, once it follows it.
pub(crate) fn replica_of(port: u16) -> Store {
    let replica = Store::durable();
    replica.run(&format!("REPLICAOF 127.0.0.1 {port}"));
    eventually(BACK, "up".to_owned(), || replica.info("replication", "master_link_status"));
    replica
}

/// Appends events of others until the test is over, as fast as that goes with a pause of 5 ms.
fn keep_busy(store: &Store, is_over: &AtomicBool) {
    while !is_over.load(SeqCst) {
        store.run("XADD websse * event a data busy");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_replica_is_not_read_until_it_is_promoted() {
    let (primary, replica) = (Store::durable(), Store::durable());
    replica.run(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    primary.run("XADD websse * data 1");
    eventually(BACK, Value::Int(1), || replica.run("XLEN websse"));
    let hub = Hub::with(&[""], |b| b.redis(replica.config()), |http| http);
    eventually(SOON, true, || {
        let refused = hub.server.publish(Message::new("refused"));
        matches!(refused, Err(PublishError::RedisUnavailable(_)))
    });
    // It is asked again and again what it is; the test's own questions do not count.
    let mut own = 0;
    eventually(SOON, true, || {
        let Value::BulkString(stats) = replica.run("INFO commandstats") else { panic!("no text") };
        let stats = String::from_utf8(stats).unwrap();
        let calls = stats.split_once("cmdstat_info:calls=").map_or("0", |(_, rest)| rest);
        let calls: u32 = calls.split(',').next().unwrap().parse().unwrap();
        own += 1;
        calls > own
    });
    let log = hub.server.stats().redis.unwrap();
    assert_eq!((log.connected, log.read), (false, 0));
    replica.run("REPLICAOF NO ONE");
    eventually(BACK, true, || hub.server.publish(Message::new("2")).is_ok());
    eventually(BACK, true, || hub.server.stats().redis.unwrap().connected);
    assert_eq!(data(&mut hub.listen("?replay=9"), 2), ["1", "2"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_takes_over_is_told_as_a_gap() {
    // Whether it lacks what was acknowledged last, or nothing: nobody can tell.
    for lacks in [true, false] {
        let (mut primary, replica) = (Store::durable(), Store::durable());
        let (way, link) = (Proxy::new(primary.port), Proxy::new(primary.port));
        replica.run(&format!("REPLICAOF 127.0.0.1 {}", link.port()));
        let (one, two) = (node_at(way.config()), node_at(way.config()));
        let mut clients = [one.listen(""), two.listen("")];
        one.publish(Message::new("1"));
        eventually(BACK, Value::Int(1), || replica.run("XLEN websse"));
        if lacks {
            link.set(Way::Silent);
        }
        two.publish(Message::new("2"));
        let ids = clients.each_mut().map(|client| {
            let first = client.event().id.unwrap();
            (first, data_and_id(client, "2"))
        });
        if !lacks {
            eventually(BACK, Value::Int(2), || replica.run("XLEN websse"));
        }
        primary.kill();
        replica.run("REPLICAOF NO ONE");
        way.lead_to(replica.port);
        eventually(BACK, true, || one.server.publish(Message::new("3")).is_ok());
        for client in &mut clients {
            assert_gap_before(client, "3");
        }
        // Who was away is told as well, also by a node that was not there.
        let three = node(&replica);
        for hub in [&one, &two, &three] {
            let (first, second) = &ids[0];
            assert_gap_before(&mut back(hub, "", second), "3");
            let mut heard = up_to(&mut back(hub, "", first), "3");
            heard.dedup();
            let expected = if lacks { &["gap", "3"][..] } else { &["gap", "2", "3"] };
            assert_eq!(heard, expected, "{lacks}");
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_server_that_takes_over_while_all_connections_stay_is_told_as_a_gap() {
    let (old, new) = (Store::durable(), Store::durable());
    let way = Proxy::new(old.port);
    let hub = node_at(way.config());
    let mut client = hub.listen("");
    hub.publish(Message::new("1"));
    new.run(&format!("REPLICAOF 127.0.0.1 {}", old.port));
    eventually(BACK, Value::Int(1), || new.run("XLEN websse"));
    new.run("REPLICAOF NO ONE");
    old.run(&format!("REPLICAOF 127.0.0.1 {}", new.port));
    way.lead_to(new.port);
    eventually(BACK, true, || hub.server.publish(Message::new("2")).is_ok());
    assert_eq!(up_to(&mut client, "2"), ["1", "gap", "2"]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_node_does_not_go_on_publishing_where_its_reader_has_left() {
    let old = Store::durable();
    let new = replica_of(old.port);
    let way = Proxy::new(old.port);
    let hub = node_at(way.config().timeout(Duration::from_secs(1)));
    let mut client = hub.listen("");
    hub.publish(Message::new("0"));
    eventually(BACK, Value::Int(1), || new.run("XLEN websse"));
    new.run("REPLICAOF NO ONE");
    // The writer comes first, and once more to the old one, which has no idea.
    way.lead_once_to(old.port);
    way.lead_to(new.port);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _beside = StopOnDrop(&is_over);
        scope.spawn(|| keep_busy(&new, &is_over));
        let Value::BulkString(list) = old.run("CLIENT LIST") else { panic!("no text") };
        let list = String::from_utf8(list).unwrap();
        let line = list.lines().find(|line| line.contains(" cmd=xread ")).expect("the reader");
        let id = line.strip_prefix("id=").unwrap().split(' ').next().unwrap();
        old.run(&format!("CLIENT KILL ID {id}"));
        let mut acknowledged = vec![0];
        let end = Instant::now() + Duration::from_secs(4);
        for number in 1.. {
            if Instant::now() >= end {
                break;
            }
            if hub.server.publish(Message::new(number.to_string())).is_ok() {
                acknowledged.push(number);
            }
            thread::sleep(Duration::from_millis(20));
        }
        eventually(BACK, true, || hub.server.publish(Message::new("last")).is_ok());
        // What was acknowledged was heard, unless a gap was told in its place.
        let heard = up_to(&mut client, "last");
        let mut parts = heard.split(|data| data == "gap").map(|part| {
            part.iter().filter_map(|data| data.parse::<u32>().ok()).collect::<Vec<_>>()
        });
        let (before, after) = (parts.next().unwrap(), parts.flatten().collect::<Vec<_>>());
        assert!(heard.contains(&"gap".to_owned()) && !after.is_empty(), "{heard:?}");
        assert!(acknowledged.starts_with(&before), "{acknowledged:?} {heard:?}");
        assert!(acknowledged.ends_with(&after), "{acknowledged:?} {heard:?}");
        assert_eq!(hub.server.stats().gaps, 1);
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_primary_that_becomes_a_replica_is_not_read_on() {
    let old = Store::durable();
    let way = Proxy::new(old.port);
    let hub = node_at(way.config());
    let mut client = hub.listen("");
    hub.publish(Message::new("1"));
    let new = replica_of(old.port);
    new.run("REPLICAOF NO ONE");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _beside = StopOnDrop(&is_over);
        // The reader is not waiting when it happens: Redis would end its wait.
        scope.spawn(|| {
            flood(&old, || !is_over.load(SeqCst));
            flood(&new, || !is_over.load(SeqCst));
        });
        eventually(SOON, true, || hub.server.stats().redis.unwrap().unknown_types > 10_000);
        old.run(&format!("REPLICAOF 127.0.0.1 {}", new.port));
        eventually(SOON, false, || hub.server.stats().redis.unwrap().connected);
        way.lead_to(new.port);
        eventually(BACK, true, || hub.server.stats().redis.unwrap().connected);
        // Enough is enough.
        is_over.store(true, SeqCst);
        eventually(BACK, Duration::ZERO, || hub.server.stats().redis.unwrap().lag);
        hub.publish(Message::new("2"));
        assert_eq!(data(&mut client, 1), ["1"]);
        assert_gap_before(&mut client, "2");
    });
}

#[test]
#[ignore = "needs redis-server"]
fn a_client_that_comes_from_a_server_that_was_given_up_is_told_of_a_gap() {
    for history in [1024, 4] {
        let old = Store::durable();
        let one = node(&old);
        let new = replica_of(old.port);
        let mut client = one.listen("");
        one.publish(Message::new("1"));
        eventually(BACK, Value::Int(1), || new.run("XLEN websse"));
        new.run("REPLICAOF NO ONE");
        // From here on there are two, and neither node knows.
        let two = node_with(&new, |builder| builder.history_events(history));
        let_a_millisecond_pass();
        one.publish(Message::new("2"));
        let_a_millisecond_pass();
        for event in 0..10 {
            two.publish(Message::new(format!("new {event}")));
        }
        let_a_millisecond_pass();
        one.publish(Message::new("3"));
        let_a_millisecond_pass();
        let ids = ["1", "2", "3"].map(|data| data_and_id(&mut client, data));
        two.publish(Message::new("last"));
        let new: Vec<String> = (0..10).map(|event| format!("new {event}")).collect();
        // The second has never had two of these events, which came after it told of the gap.
        for (id, new) in ids.iter().zip([&new[..], &new, &[]]) {
            let told = [&["gap".to_owned()], new, &["last".to_owned()]].concat();
            assert_eq!(up_to(&mut back(&two, "", id), "last"), told, "{history}");
        }
    }
}

#[test]
#[ignore = "needs redis-server"]
fn a_replica_that_is_started_anew_as_the_primary_is_told_as_a_gap() {
    let mut old = Store::durable();
    let way = Proxy::new(old.port);
    let hub = node_at(way.config());
    let mut client = hub.listen("");
    hub.publish(Message::new("1"));
    let mut new = replica_of(old.port);
    // The node has a moment to see that there is a replica.
    eventually(SOON, false, || {
        let Value::BulkString(memo) = old.run("GET websse:server") else { panic!("no text") };
        memo.ends_with(b" safe")
    });
    old.kill();
    new.kill();
    // Its configuration does not say that it is a replica: now it has never been one.
    new.start();
    way.lead_to(new.port);
    // It could be the primary, given up meanwhile: it is waited for 30 s whether it becomes a replica.
    eventually(3 * BACK, true, || hub.server.publish(Message::new("2")).is_ok());
    assert_eq!(up_to(&mut client, "2"), ["1", "gap", "2"]);
}

#[test]
#[ignore = "needs redis-server"]
fn what_was_lost_while_no_node_was_there_is_told_as_a_gap() {
    let mut store = Store::with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let first = {
        let node = node(&store);
        let mut client = node.listen("");
        node.publish(Message::new("1"));
        client.event().id.unwrap()
    };
    // A node that only comes and goes is told nothing.
    assert_eq!(store.run("XLEN websse"), Value::Int(1));
    drop(node(&store));
    assert_eq!(store.run("XLEN websse"), Value::Int(1));
    eventually(SOON, "0".to_owned(), || store.info("persistence", "aof_pending_bio_fsync"));
    store.kill();
    // Whoever has lost something makes sure that it does not happen again.
    store.start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let last = {
        let node = node(&store);
        node.publish(Message::new("2"));
        let mut client = back(&node, "", &first);
        assert_eq!(data(&mut client, 1), ["gap"]);
        data_and_id(&mut client, "2")
    };
    // It does not.
    store.kill();
    store.start();
    let node = node(&store);
    node.publish(Message::new("3"));
    assert_eq!(up_to(&mut back(&node, "", &last), "3"), ["3"]);
}

#[test]
#[ignore = "needs redis-server"]
fn what_is_in_doubt_stays_in_doubt_wherever_a_connection_ends() {
    let mut store = Store::with(&["--appendonly", "yes", "--appendfsync", "everysec"]);
    let way = Proxy::new(store.port);
    let hub = node_at(way.config());
    let mut client = hub.listen("");
    hub.publish(Message::new("1"));
    let id = client.event().id.unwrap();
    way.set(Way::Answers(0));
    store.kill();
    store.start();
    for answers in 4..=8 {
        // The reader gets so far, and no farther.
        let before = way.connections();
        way.set(Way::Answers(answers));
        eventually(BACK, true, || way.connections() > before + 2);
    }
    way.set(Way::Open);
    eventually(BACK, true, || hub.server.publish(Message::new("2")).is_ok());
    assert_gap_before(&mut client, "2");
    assert_gap_before(&mut back(&hub, "", &id), "2");
}

#[test]
#[ignore = "needs redis-server"]
fn a_stream_that_is_deleted_and_made_anew_at_once_is_told_as_a_gap() {
    let store = Store::durable();
    let node = node(&store);
    let mut client = node.listen("");
    (0..10).for_each(|event| node.publish(Message::new(event.to_string())));
    eventually(SOON, 10, || node.server.stats().redis.unwrap().read);
    // The node has looked since then how many there were.
    let looks = || -> u64 {
        let calls = store.info("commandstats", "cmdstat_xinfo|stream");
        calls.split(['=', ',']).nth(1).unwrap().parse().unwrap()
    };
    let seen = looks();
    eventually(SOON, true, || looks() > seen + 1);
    let mut link = store.connect().unwrap();
    let mut commands = redis::pipe();
    commands.atomic();
    for words in ["XADD websse * data lost", "DEL websse", "XADD websse * data new"] {
        let mut words = words.split(' ');
        commands.cmd(words.next().unwrap()).arg(words.collect::<Vec<_>>()).ignore();
    }
    commands.exec(&mut link).unwrap();
    let heard = up_to(&mut client, "gap");
    let mut expected: Vec<String> = (0..10).map(|event| event.to_string()).collect();
    expected.extend(["new", "gap"].map(str::to_owned));
    assert_eq!(heard, expected);
}

#[test]
#[ignore = "needs redis-server"]
fn a_later_gap_of_the_same_server_is_told_and_the_same_one_once() {
    let store = Store::durable();
    let node = node(&store);
    let mut client = node.listen("");
    let gap = |after: &str| {
        store.run(&format!("XADD websse * gap s after {after}"));
    };
    let event = |data: &str| {
        let Value::BulkString(id) = store.run(&format!("XADD websse * data {data}")) else {
            panic!("no id")
        };
        String::from_utf8(id).unwrap()
    };
    gap("0000000000005-0");
    let one = event("1");
    gap("0000000000005-0");
    gap("0000000000004-9");
    event("2");
    gap(&one);
    event("3");
    // Whatever else is in an entry, with data it is an event.
    store.run("XADD websse * gap s after 9999999999999-0 data 4");
    assert_eq!(up_to(&mut client, "4"), ["gap", "1", "2", "gap", "3", "4"]);
    assert_eq!(node.server.stats().redis.unwrap().malformed, 0);
}

#[test]
#[ignore = "needs redis-server"]
fn a_stream_that_is_deleted_is_told_as_a_gap_without_being_written_to() {
    let store = Store::durable();
    let node = node_with(&store, |builder| builder.history_events(4));
    let mut client = node.listen("");
    for event in 0..10 {
        node.publish(Message::new(event.to_string()));
    }
    let id = client.event().id.unwrap();
    // What was not read before would be lost with the stream.
    eventually(SOON, 10, || node.server.stats().redis.unwrap().read);
    store.run("DEL websse");
    let mut back = back(&node, "", &id);
    assert_eq!(data(&mut back, 1), ["gap"]);
    let heard = up_to(&mut client, "gap");
    let expected: Vec<String> = (1..10).map(|event| event.to_string()).collect();
    assert_eq!(heard[..9], expected);
    eventually(SOON, 0, || node.server.stats().redis.unwrap().returning);
    node.publish(Message::new("new"));
    for client in [&mut client, &mut back] {
        let heard = up_to(client, "new");
        assert!(heard[..heard.len() - 1].iter().all(|data| data == "gap"), "{heard:?}");
    }
}
