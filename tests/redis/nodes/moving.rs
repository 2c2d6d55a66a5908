//! The slot of the stream moves to and fro in a Cluster.

use super::*;
use crate::cluster::{Cluster, Moving};

/// The test fails if it takes longer.
const LONGEST: Duration = Duration::from_secs(60);
/// How long one way of the slot takes, and how long it then stays.
const PAUSE: Duration = Duration::from_millis(500);

#[test]
#[ignore = "needs redis-server"]
fn where_a_slot_moves_under_load_nothing_is_lost() {
    let cluster = Cluster::new();
    let url = |number: usize| cluster.nodes[number].url();
    let mut nodes: Vec<Node> = (0..3).map(|number| Node::start(&url(number))).collect();
    let (outcomes, published, heard) = hop(
        &mut nodes,
        LONGEST,
        |_, is_over| {
            for _ in 0..6 {
                thread::sleep(PAUSE);
                let from = cluster.owner();
                cluster.move_slot(from, (from + 1) % 3, |moving| {
                    if moving == Moving::Sent {
                        thread::sleep(PAUSE);
                    }
                });
            }
            thread::sleep(PAUSE);
            is_over.store(true, SeqCst);
        },
        || in_redis(&cluster.nodes[cluster.owner()]),
    );
    assert!(outcomes.open.is_empty(), "{} are open", outcomes.open.len());
    let kept: HashSet<Event> = published.iter().copied().collect();
    assert_eq!(kept.len(), published.len(), "events twice in the stream");
    assert!(outcomes.acknowledged.iter().all(|event| kept.contains(event)), "some are lost");
    assert!(outcomes.refused.iter().all(|event| !kept.contains(event)), "some are refused");
    let expected: Vec<Heard> = published.into_iter().map(Some).collect();
    for (number, heard) in heard.iter().enumerate() {
        let at = heard.iter().zip(&expected).position(|(one, other)| one != other);
        assert!(*heard == expected, "listener {number} heard something else at {at:?}");
    }
}
