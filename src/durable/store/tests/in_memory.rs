//! What is accepted while the disk takes nothing.

use super::*;
use crate::durable::config::WhenDiskFails;

impl Scratch {
    fn in_memory(&self) -> DurableConfig {
        self.config().when_disk_fails(WhenDiskFails::GoOnInMemory)
    }
}

/// Has the store find no directory for its segments, as if the disk were full.
fn fill(store: &mut Store) -> PathBuf {
    store.open = None;
    let nothing = store.directory.path.join("nothing");
    mem::replace(&mut store.directory.path, nothing)
}

fn numbers(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.entry.number).collect()
}

#[test]
fn it_is_written_in_its_order_when_there_is_room_again() {
    for ends in [false, true] {
        let scratch = Scratch::new();
        let mut store = Store::open(&scratch.in_memory()).expect("it can be opened").store;
        store.append(parts(0..5).iter()).expect("there is room");
        let path = fill(&mut store);
        let entries = store.append(parts(5..30).iter()).expect("memory has room");
        assert_eq!((entries[0].number, store.in_memory_events()), (6, 25));
        assert!(store.in_memory().is_some_and(|reason| reason.contains("No such file")));
        assert!(store.try_again().is_err());
        store.directory.path = path;
        if ends {
            store.close().expect("there is room");
        } else {
            store.try_again().expect("there is room");
            // Behind what waits, though there is room.
            assert!(store.in_memory().is_some());
            store.append(parts(30..31).iter()).expect("memory has room");
            while store.in_memory().is_some() {
                store.try_again().expect("there is room");
            }
            store.append(parts(31..40).iter()).expect("there is room");
        }
        drop(store);
        let Opened { store, records } = scratch.open();
        let records: Vec<Record> = records.collect();
        let count = if ends { 30 } else { 40 };
        assert_eq!(numbers(&records), (1..=count).collect::<Vec<u64>>());
        assert_eq!(store.bounds()[2], EntryId::ZERO);
        assert!(records.iter().skip(3).all(|it| it.before + 3 == it.entry.number));
    }
}

#[test]
fn a_restart_before_there_is_room_is_a_gap_and_gives_no_id_again() {
    for (has_begun, closes) in [(false, false), (false, true), (true, false)] {
        let scratch = Scratch::new();
        let mut store = Store::open(&scratch.in_memory()).expect("it can be opened").store;
        store.append(parts(0..5).iter()).expect("there is room");
        let path = fill(&mut store);
        let lost = store.append(parts(5..30).iter()).expect("memory has room");
        if closes {
            store.close().expect_err("there is no room");
        }
        store.directory.path = path;
        if has_begun {
            store.try_again().expect("there is room");
            assert!(store.in_memory().is_some());
        }
        drop(store);
        let Opened { mut store, records } = scratch.open();
        let records: Vec<Record> = records.collect();
        assert_eq!(records.len() > 5, has_begun);
        assert!(store.bounds()[2] > lost[24], "{:?}", store.bounds());
        let next = store.append(parts(30..31).iter()).expect("there is room")[0];
        assert!(next > lost[24], "{next}");
    }
}

#[test]
fn what_is_too_much_for_memory_is_a_gap_after_a_restart() {
    let scratch = Scratch::new();
    let config = DurableConfig { disk_bytes: 8192, ..scratch.in_memory() };
    let mut store = Store::open(&config).expect("it can be opened").store;
    store.append(parts(0..3).iter()).expect("there is room");
    let path = fill(&mut store);
    store.append(parts(3..60).iter()).expect("memory has room");
    let waiting = store.in_memory_events() as u64;
    assert!((10..30).contains(&waiting), "{waiting} of at most 2048 bytes");
    store.directory.path = path;
    store.close().expect("there is room");
    drop(store);
    let Opened { store, records } = Store::open(&config).expect("it can be opened");
    let records: Vec<Record> = records.collect();
    let first = 60 - waiting + 1;
    assert_eq!(numbers(&records), (1..=3).chain(first..=60).collect::<Vec<u64>>());
    assert_eq!(store.bounds()[2], EntryId { number: first, ..records[0].entry });
    assert_eq!(records[3].before + 3, first, "the one before it is gone");
}

#[test]
fn it_is_refused_if_that_cannot_be_noted_or_is_not_wanted() {
    for is_wanted in [false, true] {
        let scratch = Scratch::new();
        let config = if is_wanted { scratch.in_memory() } else { scratch.config() };
        let mut store = Store::open(&config).expect("it can be opened").store;
        store.append(parts(0..5).iter()).expect("there is room");
        let path = fill(&mut store);
        if is_wanted {
            store.directory.state = File::open(path.join("state")).expect("it is there");
        }
        let refused = store.append(parts(5..6).iter()).expect_err("there is no room");
        assert_eq!((refused.entries.len(), store.in_memory_events()), (0, 0));
        store.directory.path = path;
        assert_eq!(store.append(parts(5..6).iter()).expect("there is room")[0].number, 6);
    }
}
