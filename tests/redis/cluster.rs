//! A Cluster of three, in which the slot of the stream moves.

use super::*;

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Store>,
    slot: i64,
}

/// How many slots there are.
const SLOTS: usize = 16384;

/// What a move of a slot has done so far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moving {
    /// The keys are gone, and who asks for them is sent on.
    Sent,
    Done,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::of(3)
    }

    fn of(count: usize) -> Self {
        let options = ["--cluster-enabled", "yes", "--appendonly", "yes"];
        let nodes: Vec<Store> = (0..count).map(|_| Store::with(&options)).collect();
        let bounds: Vec<usize> = (0..=nodes.len()).map(|part| part * SLOTS / nodes.len()).collect();
        for (node, bounds) in nodes.iter().zip(bounds.windows(2)) {
            node.run(&format!("CLUSTER ADDSLOTSRANGE {} {}", bounds[0], bounds[1] - 1));
            nodes[0].run(&format!("CLUSTER MEET 127.0.0.1 {}", node.port));
        }
        for node in &nodes {
            eventually(4 * BACK, true, || {
                let Value::BulkString(info) = node.run("CLUSTER INFO") else { panic!("no text") };
                let info = String::from_utf8(info).unwrap();
                info.contains("cluster_state:ok")
                    && info.contains(&format!("cluster_known_nodes:{count}"))
            });
        }
        let Value::Int(slot) = nodes[0].run("CLUSTER KEYSLOT websse") else { panic!("no slot") };
        Self { nodes, slot }
    }

    /// Which of them has the slot.
    pub(crate) fn owner(&self) -> usize {
        let has = |node: &Store| {
            let mut link = node.connect().unwrap();
            let length = redis::cmd("XLEN").arg("websse").query::<usize>(&mut link);
            length.is_ok()
        };
        self.nodes.iter().position(has).expect("one of them has it")
    }

    /// Moves the slot; `meanwhile` is called on the way. As one moves a slot by hand.
    pub(crate) fn move_slot(&self, from: usize, to: usize, mut meanwhile: impl FnMut(Moving)) {
        let id = |node: usize| {
            let Value::BulkString(id) = self.nodes[node].run("CLUSTER MYID") else {
                panic!("no id")
            };
            String::from_utf8(id).unwrap()
        };
        let (slot, source, target) = (self.slot, &self.nodes[from], &self.nodes[to]);
        target.run(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
        source.run(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
        loop {
            let keys = source.run(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            let keys: Vec<String> = redis::from_redis_value(keys).unwrap();
            if keys.is_empty() {
                break;
            }
            let port = target.port.to_string();
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.iter().map(|key| &**key));
            let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
            source.run_bytes(&words);
        }
        meanwhile(Moving::Sent);
        for node in [target, source].into_iter().chain(&self.nodes) {
            node.run(&format!("CLUSTER SETSLOT {slot} NODE {}", id(to)));
        }
        meanwhile(Moving::Done);
    }
}

#[test]
#[ignore = "needs redis-server"]
fn one_address_of_any_node_of_a_cluster_is_enough() {
    let cluster = Cluster::new();
    let hubs: Vec<Hub> = cluster.nodes.iter().map(node).collect();
    let mut clients: Vec<Client> = hubs.iter().map(|hub| hub.listen("")).collect();
    for (number, hub) in hubs.iter().enumerate() {
        hub.publish(Message::new(number.to_string()));
    }
    for client in &mut clients {
        assert_eq!(data(client, 3), ["0", "1", "2"]);
    }
    let owner = cluster.owner();
    let slot = cluster.nodes[owner].run("CLUSTER KEYSLOT {websse}:server");
    assert_eq!(slot, Value::Int(cluster.slot), "both keys are in one slot");
    assert_eq!(cluster.nodes[owner].run("EXISTS {websse}:server"), Value::Int(1));
    // Other nodes go on with what is there, and a batch is a transaction there too.
    let late = node(&cluster.nodes[(owner + 1) % 3]);
    late.server.publish_all(&["3", "4"].map(Message::new)).unwrap();
    assert_eq!(data(&mut late.listen("?replay=9"), 5), ["0", "1", "2", "3", "4"]);
    let asked = health::node_with_health(cluster.nodes[(owner + 2) % 3].config());
    let answer = health::health(&asked);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
#[ignore = "needs redis-server"]
fn a_stream_that_moves_is_followed_without_a_gap() {
    let cluster = Cluster::new();
    let forgetful = |builder: Builder| builder.history_events(4);
    let hubs: Vec<Hub> = cluster.nodes.iter().map(|one| node_with(one, forgetful)).collect();
    let mut client = hubs[0].listen("");
    hubs[0].publish(Message::new("first"));
    let first = client.event().id.unwrap();
    let mut expected = vec![];
    for turn in 0..4 {
        let from = cluster.owner();
        let mut publish = |name: String| {
            for (number, hub) in hubs.iter().enumerate() {
                let data = format!("{name} {number}");
                hub.publish(Message::new(data.clone()));
                expected.push(data);
            }
        };
        publish(format!("{turn} before"));
        cluster.move_slot(from, (from + 1) % 3, |moving| {
            publish(format!("{turn} {}", if moving == Moving::Sent { "sent" } else { "done" }));
        });
    }
    assert_eq!(data(&mut client, expected.len()), expected);
    // What a node has forgotten comes out of where the stream is now.
    assert_eq!(data(&mut back(&hubs[1], "", &first), expected.len()), expected);
    for hub in &hubs {
        let stats = hub.server.stats();
        let log = stats.redis.unwrap();
        assert_eq!((stats.gaps, log.gaps, log.breaks, log.refused), (0, 0, 0, 0));
    }
    // The key beside the stream names the server that has it: who starts now has no doubt.
    let owner = &cluster.nodes[cluster.owner()];
    let id = owner.info("replication", "master_replid");
    eventually(SOON, true, || {
        let Value::BulkString(memo) = owner.run("GET {websse}:server") else { return false };
        memo.starts_with(id.as_bytes())
    });
    let late = node(owner);
    late.publish(Message::new("last"));
    assert_eq!(up_to(&mut client, "last"), ["last"]);
}

#[test]
#[ignore = "needs redis-server"]
fn the_key_beside_the_stream_that_was_there_before_is_read() {
    // Where all slots are at one server, nodes needed to know nothing of them.
    let cluster = Cluster::of(1);
    let server = &cluster.nodes[0];
    server.run("XADD websse * data 1");
    server.run_bytes(&[b"SET", b"websse:server", b"another-server another-run "]);
    let hub = node(server);
    hub.publish(Message::new("2"));
    assert_eq!(data(&mut hub.listen("?replay=9"), 2), ["1", "2"]);
    assert_eq!(server.run("XLEN websse"), Value::Int(3), "with the mark of a gap");
}
