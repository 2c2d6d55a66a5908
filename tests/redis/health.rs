//! What load balancers are told: whether a publish would be taken, and a client that comes back served.

use std::thread;

use websse::{Server, http::HttpServer};

use support::Answer;

use super::*;

pub(crate) fn node_with_health(config: RedisConfig) -> Hub {
    let server = Server::builder().redis(config).build();
    server.register_event("").unwrap();
    server.run().unwrap();
    let http =
        HttpServer::new().get("/healthz", server.health_handler()).bind("127.0.0.1:0").unwrap();
    let hub = Hub { server, http };
    eventually(SOON, true, || hub.server.stats().redis.unwrap().connected);
    hub
}

pub(crate) fn health(hub: &Hub) -> Answer {
    hub.ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").answer()
}

/// Waits for this status; returns the answer.
#[track_caller]
fn health_becomes(hub: &Hub, status: u16) -> Answer {
    let mut last = health(hub);
    eventually(SOON, status, || {
        last = health(hub);
        last.status
    });
    last
}

/// Publishing or coming back is not possible, and this is why.
#[track_caller]
fn assert_ill(hub: &Hub, why: &[&str]) {
    let answer = health_becomes(hub, 503);
    answer.assert_explained();
    assert_eq!(answer.field("retry-after"), Some("1"));
    for word in why {
        assert!(answer.text().contains(word), "{word:?} in {answer:?}");
    }
    assert!(!answer.text().contains("node"), "a name of Redis' accounts: {answer:?}");
}

/// How often Redis was asked: each time is a transaction.
fn times_asked(store: &Store) -> u64 {
    let asked = store.info("commandstats", "cmdstat_exec");
    asked.strip_prefix("calls=").unwrap().split(',').next().unwrap().parse().unwrap()
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_that_is_full_is_no_health_though_nobody_publishes() {
    let store = Store::with(&[]);
    let hub = node_with_health(store.config());
    for _ in 0..2 {
        assert!(health_becomes(&hub, 200).text().starts_with("ok"));
        store.run("CONFIG SET maxmemory 1");
        assert_ill(&hub, &["published", "XADD", "OOM"]);
        store.run("CONFIG SET maxmemory 0");
    }
    health_becomes(&hub, 200);
    // To ask leaves nothing in the stream, nor the stream itself.
    assert_eq!(store.run("EXISTS websse"), Value::Int(0));
    hub.publish(Message::new("1"));
    let before = times_asked(&store);
    eventually(SOON, true, || {
        assert_eq!(health(&hub).status, 200);
        times_asked(&store) > before
    });
    assert_eq!(store.run("XLEN websse"), Value::Int(1));
    let log = hub.server.stats().redis.unwrap();
    assert_eq!((log.appended, log.refused, log.malformed), (1, 0, 0));
}

#[test]
#[ignore = "needs redis-server"]
fn an_account_that_may_not_publish_or_read_back_is_no_health() {
    let store = Store::with(&[]);
    // Also where it was so from the start.
    store.run("ACL SETUSER node on >geheim ~websse* +@all -xadd");
    let url = format!("redis://node:geheim@127.0.0.1:{}", store.port);
    let hub = node_with_health(RedisConfig::new(&url).unwrap());
    assert_ill(&hub, &["published", "XADD", "NOPERM"]);
    store.run("ACL SETUSER node +xadd");
    for (command, effect) in [
        ("xadd", "published"),
        ("xrange", "come back"),
        ("multi", "come back"),
        ("exec", "come back"),
        ("xinfo", "come back"),
    ] {
        health_becomes(&hub, 200);
        store.run(&format!("ACL SETUSER node -{command}"));
        // Where the node's own reading needs it, that says so first.
        if command == "xinfo" {
            health_becomes(&hub, 503);
        } else {
            assert_ill(&hub, &[effect, &command.to_uppercase()]);
        }
        store.run(&format!("ACL SETUSER node +{command}"));
    }
    health_becomes(&hub, 200);
    // Nor one that may do all that to other keys only.
    store.run("ACL SETUSER node resetkeys ~other");
    health_becomes(&hub, 503);
    store.run("ACL SETUSER node ~websse*");
    health_becomes(&hub, 200);
    assert_eq!(store.run("EXISTS websse"), Value::Int(0));
}

#[test]
#[ignore = "needs redis-server"]
fn health_is_told_in_time_where_redis_says_nothing() {
    let store = Store::with(&[]);
    let proxy = Proxy::new(store.port);
    let hub = node_with_health(proxy.config().timeout(Duration::from_secs(30)));
    health_becomes(&hub, 200);
    proxy.set(Way::Mute);
    let start = Instant::now();
    // The node itself has not noticed yet.
    assert_ill(&hub, &["time"]);
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    assert!(hub.server.stats().redis.unwrap().connected);
    // Many that ask wait no longer than one, also where the last answer is too old.
    eventually(BACK, true, || {
        let start = Instant::now();
        thread::scope(|scope| {
            let asked = [(); 8].map(|()| scope.spawn(|| health(&hub)));
            assert!(asked.into_iter().all(|asked| asked.join().unwrap().status == 503));
        });
        let time = start.elapsed();
        assert!(time < Duration::from_secs(3), "it took {time:?}");
        time > Duration::from_millis(500)
    });
    proxy.set(Way::Open);
    health_becomes(&hub, 200);
}

#[test]
#[ignore = "needs redis-server"]
fn redis_is_asked_once_a_second_however_many_ask_for_the_health() {
    let store = Store::with(&[]);
    let hub = node_with_health(store.config());
    let start = Instant::now();
    for _ in 0..200 {
        assert_eq!(health(&hub).status, 200);
    }
    let most = start.elapsed().as_secs() + 1;
    let asked = times_asked(&store);
    assert!((1..=most).contains(&asked), "asked {asked} times, {most} at most");
}
