//! Channels of several nodes: a field of the entry.

use websse::http::HttpServer;

use super::*;

/// A node whose clients name their channels, with a history of this many events of each type in each
/// channel.
fn node(store: &Store, events: usize) -> Hub {
    support::watch_for_panics();
    let server = websse::Server::builder().history_events(events).redis(store.config()).build();
    server.register_events(["", "a"]).unwrap();
    server.run().unwrap();
    let http = HttpServer::new()
        .get("/event", server.event_stream_handler().client_channels())
        .bind("127.0.0.1:0")
        .unwrap();
    let hub = Hub { server, http };
    eventually(SOON, true, || hub.server.stats().redis.unwrap().connected);
    hub
}

fn to(channel: &str, data: &str) -> Message {
    Message::new(data).channel(channel)
}

#[test]
#[ignore = "needs redis-server"]
fn what_one_node_publishes_to_a_channel_its_listeners_hear_at_all() {
    let store = Store::durable();
    let nodes = [node(&store, 100), node(&store, 100)];
    let listen = |query| nodes.each_ref().map(|node| node.listen(query));
    let (mut common, mut mine) = (listen(""), listen("?channel=&channel=user/1"));
    let mut all = listen("?channel=*");
    nodes[0].publish(to("user/1", "x"));
    nodes[0].publish(to("user/2", "y"));
    nodes[0].publish(to("", "z"));
    for at in 0..2 {
        assert_eq!(data(&mut mine[at], 2), ["x", "z"]);
        assert_eq!(data(&mut all[at], 3), ["x", "y", "z"]);
        assert_eq!(data(&mut common[at], 1), ["z"]);
    }
    // What was there before channels were is the common channel's.
    store.run("XADD websse * data old");
    store.run("XADD websse * data bad channel *");
    store.run("XADD websse * data new channel user/1");
    assert_eq!(
        (data(&mut mine[1], 2), data(&mut common[1], 1)),
        (vec!["old".into(), "new".into()], vec!["old".into()])
    );
    eventually(SOON, 1, || nodes[1].server.stats().redis.unwrap().malformed);
}

#[test]
#[ignore = "needs redis-server"]
fn a_client_gets_what_it_missed_in_its_channels_at_another_node_out_of_redis() {
    let store = Store::durable();
    let nodes = [node(&store, 2), node(&store, 2)];
    let query = "?event=*&channel=user/1";
    let mut client = nodes[0].listen(query);
    nodes[0].publish(to("user/1", "0"));
    let id = client.event().id.unwrap();
    drop(client);
    for number in 1..=20 {
        nodes[0].publish(to("user/1", &number.to_string()));
        nodes[0].publish(to("user/2", "of somebody else"));
        nodes[0].publish(to("", "of all"));
    }
    let expected: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
    let mut client = back(&nodes[1], query, &id);
    assert_eq!(data(&mut client, 20), expected);
    nodes[0].publish(to("user/1", "live"));
    assert_eq!(data(&mut client, 1), ["live"]);
    // A quiet channel is no gap, though the memory has forgotten much meanwhile.
    let mut quiet = back(&nodes[1], "?channel=user/3", &id);
    nodes[0].publish(to("user/3", "first"));
    assert_eq!(data(&mut quiet, 1), ["first"]);
    assert_eq!(nodes[1].server.stats().gaps, 0);
}
