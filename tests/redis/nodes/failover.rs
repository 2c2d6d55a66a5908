//! Sentinels change the primary five times.

use super::*;
use crate::sentinels::Sentinels;

/// The test fails if it takes longer.
const LONGEST: Duration = Duration::from_secs(120);

fn is_primary(store: &Store) -> bool {
    // It closes its connections when its role changes.
    let info = |mut link| redis::cmd("INFO").arg("replication").query::<String>(&mut link);
    store.connect().and_then(info).is_ok_and(|info| info.contains("role:master"))
}

/// Ends the primary, waits until another one is published to, and returns its number. Then the one
/// before comes back, and is not published to although it takes itself for the primary.
fn fail_over(stores: &mut [Store], primary: usize) -> usize {
    stores[primary].kill();
    let until = Instant::now() + CALM;
    let others = || (0..stores.len()).filter(|&number| number != primary);
    let new = loop {
        if let Some(new) = others().find(|&number| is_primary(&stores[number])) {
            break new;
        }
        assert!(Instant::now() < until, "nobody took over");
        thread::sleep(Duration::from_millis(10));
    };
    let start = Instant::now();
    let entries = || redis::from_redis_value::<usize>(stores[new].run("XLEN websse")).unwrap();
    let length = entries();
    // Each node may mark a gap first.
    while entries() <= length + 3 {
        assert!(start.elapsed() < CALM, "nothing is published to it");
        thread::sleep(Duration::from_millis(10));
    }
    eprintln!("published to {new} after {:?}", start.elapsed());
    stores[primary].start();
    let mut looks = 0;
    loop {
        let asked = stores[primary]
            .connect()
            .and_then(|mut link| redis::cmd("INFO").arg("everything").query::<String>(&mut link));
        // It closes its connections when it becomes a replica.
        let Ok(text) = asked else { continue };
        if !text.contains("role:master") {
            break;
        }
        assert!(!text.contains("cmdstat_xadd"), "it is published to");
        assert!(Instant::now() < until, "it is not made a replica");
        looks += 1;
        thread::sleep(Duration::from_millis(10));
    }
    assert!(looks > 10, "it was a replica at once");
    support::eventually(CALM, "up".to_owned(), || {
        stores[primary].info("replication", "master_link_status")
    });
    new
}

#[test]
#[ignore = "needs redis-server"]
fn after_five_failovers_everybody_has_heard_or_was_told() {
    let stores: Vec<Store> = (0..3).map(|_| Store::durable()).collect();
    for replica in &stores[1..] {
        replica.run(&format!("REPLICAOF 127.0.0.1 {}", stores[0].port));
    }
    let sentinels = Sentinels::new(3, &stores[0]);
    sentinels.know_replicas(2);
    sentinels.hurry(Duration::from_millis(500));
    let url = sentinels.url();
    let mut nodes: Vec<Node> = (0..3).map(|_| Node::start(&url)).collect();
    let stores = Mutex::new((0, stores));
    let (outcomes, published, heard) = hop(
        &mut nodes,
        LONGEST,
        |_, is_over| {
            let (primary, stores) = &mut *stores.lock();
            for _ in 0..5 {
                *primary = fail_over(stores, *primary);
            }
            is_over.store(true, SeqCst);
        },
        || {
            let (primary, stores) = &*stores.lock();
            in_redis(&stores[*primary])
        },
    );
    let kept: HashSet<Event> = published.into_iter().collect();
    let acknowledged: BTreeSet<Event> = outcomes.acknowledged.into_iter().collect();
    let lost = acknowledged.iter().filter(|event| !kept.contains(event)).count();
    // One that was heard may be lost too without an acknowledgement.
    let heard_of = |event: &Event| kept.contains(event);
    let is_lost = lost > 0 || !heard.iter().flatten().flatten().all(heard_of);
    eprintln!("{lost} lost");
    for (number, heard) in heard.iter().enumerate() {
        assert!(is_lost || !heard.contains(&None), "listener {number} was told of a gap");
        assert_told(number, heard, &acknowledged);
    }
}
