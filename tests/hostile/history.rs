//! What the history takes of the memory, whatever is in it, is what its limit says.

use std::{process::id, time::Duration};

use super::alone;
use support::{eventually, measure::memory, process::in_a_process_of_its_own};
use websse::{EventId, Message, Server};

const LIMIT: usize = 32 << 20;
/// What this may take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Publishes twice as much as the history keeps, each event made out of its number and published as
/// one of so many types.
#[track_caller]
fn fill(what: &str, types: usize, events: usize, event: impl Fn(usize) -> Message) {
    let builder = Server::builder().history_events(1 << 24).history_bytes(1 << 30);
    let server = builder.history_all_bytes(LIMIT).build();
    let name = |number: usize| format!("t{}", number % types);
    server.register_events((0..types).map(name)).unwrap();
    server.run().unwrap();
    let (before, _) = memory(id());
    for number in 0..events {
        server.publish(event(number).event(name(number))).unwrap();
    }
    eventually(LONG, u64::try_from(events).unwrap(), || server.stats().published);
    let taken = memory(id()).0 - before;
    let percent = taken * 100 / LIMIT;
    eprintln!("figure: hostile: a history of {what}: {percent} % of its limit are resident");
    assert!((80..=120).contains(&percent), "{what}: {percent} % of the limit");
}

#[test]
fn small_events_of_one_type_take_what_the_limit_says() {
    let _alone = alone();
    in_a_process_of_its_own("history::small_events_of_one_type_take_what_the_limit_says", || {
        fill("small events", 1, 600_000, |number| Message::new(number.to_string()));
    });
}

#[test]
fn one_event_in_each_of_many_types_takes_what_the_limit_says() {
    let _alone = alone();
    let name = "history::one_event_in_each_of_many_types_takes_what_the_limit_says";
    in_a_process_of_its_own(name, || {
        // The last ones are kept; with all of them it would be more.
        let text = "x".repeat(200);
        fill("one event in each of 100,000 types", 100_000, 100_000, |_| Message::new(&*text));
    });
}

#[test]
fn events_with_ids_of_their_publishers_take_what_the_limit_says() {
    let _alone = alone();
    let name = "history::events_with_ids_of_their_publishers_take_what_the_limit_says";
    in_a_process_of_its_own(name, || {
        fill("small events with their own ids", 10, 400_000, |number| {
            let id = EventId::new(format!("order-{number}")).unwrap();
            Message::new(number.to_string()).id(id)
        });
    });
}

#[test]
fn large_events_take_what_the_limit_says() {
    let _alone = alone();
    in_a_process_of_its_own("history::large_events_take_what_the_limit_says", || {
        let sizes = [100_000, 3_000, 20, 500_000, 700];
        fill("events of all sizes", 7, 600, |number| {
            Message::new("x".repeat(sizes[number % sizes.len()]))
        });
    });
}
