//! Tests of the store: what is read after whatever happened to its files.

mod damage;
mod in_memory;

use std::{
    collections::HashSet,
    fs,
    path::PathBuf,
    process,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::*;
use crate::{durable::record::Record, message::Message};

/// A directory of a test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("websse-store-{}-{}", process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        // One of a process that was killed may be there.
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn config(&self) -> DurableConfig {
        DurableConfig {
            segment_bytes: 1024,
            disk_bytes: 64 << 10,
            commit: Commit::Never,
            ..DurableConfig::new(&self.0)
        }
    }

    fn open(&self) -> Opened {
        Store::open(&self.config()).expect("it can be opened")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The message of this number: of one of three topics, and some 100 bytes.
fn message(number: usize) -> Message {
    let message = Message::new(format!("{number} {}", "x".repeat(60 + number % 7 * 10)));
    match number % 3 {
        0 => message,
        1 => message.event("news"),
        _ => message.event("news").channel("room"),
    }
}

fn parts(numbers: std::ops::Range<usize>) -> Vec<Part> {
    numbers.map(|number| Part::new(&message(number))).collect()
}

fn data(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.message.data()).collect()
}

#[test]
fn what_is_appended_is_read_after_a_kill_and_goes_on() {
    let scratch = Scratch::new();
    let mut all = Vec::new();
    for run in 0..5 {
        let Opened { mut store, records } = scratch.open();
        let records: Vec<Record> = records.collect();
        let read: Vec<(EntryId, &Message)> =
            records.iter().map(|record| (record.entry, &record.message)).collect();
        let expected: Vec<(EntryId, &Message)> =
            all.iter().map(|(entry, message)| (*entry, message)).collect();
        assert_eq!(read, expected, "run {run}");
        // Each tells which one of its topic came before.
        for (at, record) in records.iter().enumerate() {
            assert_eq!(record.before, if at < 3 { 0 } else { record.entry.number - 3 });
        }
        for start in (run * 30..run * 30 + 30).step_by(5) {
            let parts = parts(start..start + 5);
            let entries = store.append(parts.iter()).expect("there is room");
            all.extend(entries.into_iter().zip((start..start + 5).map(message)));
        }
        assert!(store.segments() > run);
        assert_eq!(store.bounds()[2], EntryId::ZERO);
    }
    let numbers: Vec<u64> = all.iter().map(|(entry, _)| entry.number).collect();
    assert_eq!(numbers, (1..=150).collect::<Vec<_>>());
}

#[test]
fn one_larger_than_a_segment_has_its_own() {
    let scratch = Scratch::new();
    let large = Message::new("y".repeat(5000));
    let Opened { mut store, .. } = scratch.open();
    let mixed = [message(0), large.clone(), message(2), large.clone(), large];
    let mixed: Vec<Part> = mixed.iter().map(Part::new).collect();
    assert_eq!(store.append(mixed.iter()).expect("there is room").len(), 5);
    drop(store);
    let Opened { records, .. } = scratch.open();
    let records: Vec<Record> = records.collect();
    let lengths: Vec<usize> = data(&records).iter().map(|data| data.len()).collect();
    assert_eq!(lengths, [62, 5000, 82, 5000, 5000]);
}

#[test]
fn one_process_at_a_time_has_the_directory() {
    let scratch = Scratch::new();
    let first = scratch.open();
    let refused = Store::open(&scratch.config()).expect_err("it is in use");
    assert!(refused.to_string().contains("another process uses it"), "{refused}");
    drop(first);
    scratch.open();
}

#[test]
fn what_may_lack_something_begins_anew_and_tells() {
    let copied = |scratch: &Scratch| {
        let copy = scratch.0.join("state.copy");
        fs::copy(scratch.0.join("state"), &copy).expect("it is there");
        fs::rename(copy, scratch.0.join("state")).expect("it is there");
    };
    let rebooted = |scratch: &Scratch| {
        let path = scratch.0.join("state");
        let text = fs::read_to_string(&path).expect("it is there");
        let (rest, _) = text.trim_end().rsplit_once('\n').expect("three lines");
        fs::write(path, format!("{rest}\nanother run\n")).expect("it is there");
    };
    let lost = |scratch: &Scratch| fs::remove_file(scratch.0.join("state")).expect("it is there");
    let nothing = |_: &Scratch| {};
    for (commit, closes, happens, is_told) in [
        (Commit::Never, false, &nothing as &dyn Fn(&Scratch), false),
        (Commit::Never, false, &rebooted, true),
        (Commit::Never, true, &rebooted, false),
        (Commit::Each, false, &rebooted, false),
        (Commit::Each, false, &copied, true),
        (Commit::Each, true, &copied, true),
        (Commit::Each, true, &lost, true),
    ] {
        let scratch = Scratch::new();
        let config = DurableConfig { commit, ..scratch.config() };
        let mut store = Store::open(&config).expect("it can be opened").store;
        store.append(parts(0..5).iter()).expect("there is room");
        let newest = store.newest();
        if closes {
            store.close().expect("there is room");
        }
        drop(store);
        happens(&scratch);
        let Opened { mut store, records } = Store::open(&config).expect("it can be opened");
        let records: Vec<Record> = records.collect();
        assert_eq!(records.len(), 5);
        let next = store.append(parts(5..6).iter()).expect("there is room")[0];
        let [_, _, broken] = store.bounds();
        assert_eq!(next.number, 6);
        if is_told {
            assert!(newest < broken && broken < next, "{newest} {broken} {next}");
        } else {
            assert_eq!((broken, next.millis), (EntryId::ZERO, newest.millis));
        }
    }
}

#[test]
fn a_doubt_is_not_forgotten_by_the_next_start() {
    for commit in [Commit::Each, Commit::Never] {
        let scratch = Scratch::new();
        let config = DurableConfig { commit, ..scratch.config() };
        let mut store = Store::open(&config).expect("it can be opened").store;
        store.append(parts(0..5).iter()).expect("there is room");
        let newest = store.newest();
        drop(store);
        fs::remove_file(scratch.0.join("state")).expect("it is there");
        let mut broken = EntryId::ZERO;
        for closes in [true, false, true] {
            let Opened { mut store, records } = Store::open(&config).expect("it can be opened");
            let records: Vec<Record> = records.collect();
            assert_eq!(records.len(), 5);
            assert!(store.bounds()[2] > newest && store.bounds()[2] >= broken);
            broken = store.bounds()[2];
            if closes {
                store.close().expect("there is room");
            }
        }
        let mut store = Store::open(&config).expect("it can be opened").store;
        assert_eq!(store.bounds()[2], broken);
        assert!(store.append(parts(5..6).iter()).expect("there is room")[0] > broken);
    }
}

#[test]
fn what_a_disk_did_not_take_is_told_though_it_was_closed() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    store.append(parts(0..2).iter()).expect("there is room");
    let kept = store.newest();
    // Each write is taken and no flush.
    let null = OpenOptions::new().write(true).open("/dev/null").expect("it is there");
    store.open.as_mut().expect("it is open").file = null;
    store.append(parts(2..4).iter()).expect("it is taken");
    assert!(store.flush().is_err());
    store.close().expect("that can be noted");
    drop(store);
    let Opened { store, records } = scratch.open();
    let records: Vec<Record> = records.collect();
    assert_eq!(records.len(), 2);
    assert!(store.bounds()[2] > kept, "{:?}", store.bounds());
    assert!(store.newest() > EntryId { number: 4, ..kept });
}

#[test]
fn what_is_written_is_flushed_before_a_segment_is_given_up() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    store.append(parts(0..2).iter()).expect("there is room");
    // It takes no write, and can be flushed.
    let path = store.directory.segment(store.segments[0].file);
    store.open.as_mut().expect("it is open").file = File::open(path).expect("it is there");
    let flushes = store.flushes;
    store.append(parts(2..4).iter()).expect("a new segment takes it");
    assert_eq!(store.flushes, flushes + 2, "the segment before, and the new one's header");
    drop(store);
    let Opened { store, records } = scratch.open();
    let records: Vec<Record> = records.collect();
    assert_eq!((store.bounds()[2], records.len()), (EntryId::ZERO, 4));
}

#[test]
fn a_file_that_cannot_be_removed_refuses_no_event() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    fs::create_dir(store.directory.segment(9)).expect("there is room");
    store.doomed.push((9, 1024));
    assert_eq!(store.append(parts(0..60).iter()).expect("there is room").len(), 60);
    assert!(store.segments() > 4);
    fs::remove_dir(store.directory.segment(9)).expect("it was not forgotten");
    store.append(parts(60..80).iter()).expect("there is room");
    assert!(store.doomed.is_empty());
}

#[test]
fn what_did_not_fit_is_tried_and_leaves_nothing() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    store.append(parts(0..2).iter()).expect("there is room");
    store.open = None;
    store.refused = 2000;
    for _ in 0..3 {
        store.try_again().expect("there is room");
    }
    assert_eq!(store.segments(), 2);
    store.append(parts(2..40).iter()).expect("there is room");
    let segments = store.segments();
    drop(store);
    let Opened { store, records } = scratch.open();
    let records: Vec<Record> = records.collect();
    assert_eq!((store.bounds()[2], store.segments()), (EntryId::ZERO, segments));
    assert_eq!(data(&records).len(), 40);
}

#[test]
fn copies_begin_anew_each_in_its_way_though_the_clock_was_set_back() {
    assert_eq!(later_epoch(2000, 1000), 2000);
    let epochs: HashSet<u64> = (0..9).map(|_| later_epoch(7, 1000)).collect();
    assert!(epochs.len() > 1 && epochs.iter().all(|epoch| *epoch > 1000), "{epochs:?}");
}

#[test]
fn what_was_known_of_a_file_that_goes_is_written_before() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    let large = Part::new(&Message::new("y".repeat(3000)).event("rare"));
    let rare = store.append([&large].into_iter()).expect("there is room")[0];
    store.append(parts(0..20).iter()).expect("there is room");
    // The first one was begun before there was an event.
    for entries in [0, 1] {
        let oldest = store.oldest().expect("it can be read").expect("there is one");
        assert_eq!(oldest.entries().len(), entries);
        store.drop_oldest(&oldest, |_| false).expect("there is room");
    }
    assert_eq!(store.bounds()[0], rare);
    store.close().expect("there is room");
    drop(store);
    let Opened { store, records } = scratch.open();
    let records: Vec<Record> = records.collect();
    assert_eq!((store.bounds()[0], records.len()), (rare, 20));
}

#[test]
fn the_limit_holds_however_much_comes_at_once() {
    let scratch = Scratch::new();
    let config = DurableConfig { disk_bytes: 8192, ..scratch.config() };
    let mut store = Store::open(&config).expect("it can be opened").store;
    let large: Vec<Part> =
        (0..30).map(|at| Part::new(&Message::new(format!("{at} ") + &"y".repeat(2000)))).collect();
    let entries = store.append(large.iter()).expect("there is room");
    assert!(store.disk_bytes() <= 8192, "{}", store.disk_bytes());
    store.append(parts(0..100).iter()).expect("there is room");
    let on_disk = || {
        let files = fs::read_dir(&scratch.0).expect("it is there");
        files.map(|it| it.expect("it is there").metadata().expect("it is there").len()).sum::<u64>()
    };
    assert!(on_disk() <= 8192 + 512, "{}", on_disk());
    let newest = store.newest();
    drop(store);
    let Opened { store, records } = Store::open(&config).expect("it can be opened");
    let records: Vec<Record> = records.collect();
    assert_eq!((store.newest(), records[0].before > 0), (newest, true));
    assert!(records[0].entry > entries[29], "the large ones are gone");
}

#[test]
fn the_oldest_segment_is_missed_if_its_header_is_damaged() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    store.append(parts(0..60).iter()).expect("there is room");
    let path = store.directory.segment(store.segments[0].file);
    let second = store.segments[1].position;
    drop(store);
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[20] ^= 1;
    // As if it had been used again.
    fs::remove_file(&path).expect("it is there");
    fs::write(scratch.0.join("000000ff.segment"), bytes).expect("there is room");
    let Opened { store, records } = scratch.open();
    let records: Vec<Record> = records.collect();
    assert!(second > 1 && records.len() < 60);
    assert!(store.bounds()[2] > records[records.len() - 1].entry);
}

#[test]
fn a_later_format_is_refused_by_name() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    store.append(parts(0..1).iter()).expect("there is room");
    let path = store.directory.segment(0);
    drop(store);
    let mut bytes = fs::read(&path).expect("it is there");
    bytes[8] = 9;
    let sum = crc32fast::hash(&bytes[..HEADER - 4]).to_le_bytes();
    bytes[HEADER - 4..HEADER].copy_from_slice(&sum);
    fs::write(&path, bytes).expect("it is there");
    let refused = Store::open(&scratch.config()).expect_err("it is of the future");
    assert!(refused.to_string().contains("it has format 9"), "{refused}");
}

#[test]
fn the_oldest_segment_goes_and_what_is_wanted_of_it_stays() {
    let scratch = Scratch::new();
    let mut store = scratch.open().store;
    // One of a rare topic, and then only others.
    let rare = Part::new(&Message::new("rare").event("rare"));
    let kept = store.append([&rare].into_iter()).expect("there is room")[0];
    let gone = Part::new(&Message::new("gone").channel("gone"));
    let gone = store.append([&gone].into_iter()).expect("there is room")[0];
    for at in 0..200 {
        let entry = store.append(parts(at * 3..at * 3 + 3).iter()).expect("there is room")[2];
        while store.is_full(1024) {
            let oldest = store.oldest().expect("it can be read").expect("there are some");
            let recent = |it: EntryId| it == kept || it.number + 12 > entry.number;
            store.drop_oldest(&oldest, recent).expect("there is room");
        }
        assert!(store.disk_bytes() <= 6 * 1024, "{} bytes", store.disk_bytes());
    }
    let [floor, forgotten, broken] = store.bounds();
    assert_eq!((floor.number, forgotten, broken), (0, gone, EntryId::ZERO));
    let newest = store.newest();
    drop(store);
    let Opened { store, records } = scratch.open();
    let records: Vec<Record> = records.collect();
    assert_eq!((store.bounds(), store.newest()), ([floor, forgotten, broken], newest));
    assert_eq!((records[0].entry, records[0].message.data()), (kept, "rare"));
    let numbers: Vec<u64> = records[1..].iter().map(|record| record.entry.number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    assert!(numbers.len() > 12 && numbers.last() == Some(&newest.number));
    assert_eq!(records[1].before, records[1].entry.number - 3, "that is gone");
}
