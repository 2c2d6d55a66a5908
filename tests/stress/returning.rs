//! Everybody comes back at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use websse::Message;

use support::resume::{first, publish_all, request};
use support::sse::Item;
use support::{Client, Hub};

/// What each of them has missed.
const MISSED: u64 = 1000;
const EVENT_BYTES: usize = 1024;
/// A crowd takes its time; between two events it never takes as long.
const LONG: Duration = Duration::from_secs(30);

fn event(number: u64) -> Message {
    Message::new(format!("{number:>EVENT_BYTES$}")).event("a")
}

#[test]
fn a_thousand_clients_that_come_back_at_once_get_everything_once_and_in_order() {
    let _alone = crate::alone();
    // A socket at each end.
    let descriptors = rlimit::increase_nofile_limit(4096).unwrap();
    let clients = 1000.min(descriptors.saturating_sub(100) / 2);
    let keep = |builder: websse::Builder| builder.history_events(1 << 20).history_bytes(1 << 30);
    let hub = Hub::with(&["a"], keep, |http| http);
    let start = first(&hub, "?event=a").position.unwrap();
    publish_all(&hub, (1..=MISSED).map(event).collect());

    let raw = request("?event=a", &[&[b"Last-Event-ID: ", start.as_bytes()].concat()]);
    let caught_up = AtomicU64::new(0);
    let end = Instant::now() + LONG;
    thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut number = MISSED;
            while caught_up.load(Ordering::Acquire) < clients && Instant::now() < end {
                number += 1;
                hub.publish(event(number));
                // The pace of the publisher.
                thread::sleep(Duration::from_millis(5));
            }
            hub.publish(Message::new("end").event("a"));
            number
        });
        let readers: Vec<_> = (0..clients)
            .map(|_| hub.ask(&raw))
            .map(|client| {
                let caught_up = &caught_up;
                let read = move || read_to_the_end(client, caught_up);
                thread::Builder::new().stack_size(256 * 1024).spawn_scoped(scope, read).unwrap()
            })
            .collect();
        let last = publisher.join().unwrap();
        for (number, reader) in readers.into_iter().enumerate() {
            assert_eq!(reader.join().unwrap(), last, "last event of client {number}");
        }
    });
}

/// Every event follows the one before; the number of the last. Counts itself when it has what it
/// missed.
fn read_to_the_end(mut client: Client, caught_up: &AtomicU64) -> u64 {
    wait_for_the_head(&mut client);
    let mut last = 0;
    loop {
        let block = match client.item_within(LONG) {
            Some(Item::Block(block)) => block,
            Some(Item::Comment(_)) => continue,
            None => panic!("the stream ended after event {last}"),
        };
        match block.data.as_deref() {
            None => {}
            Some("end") => return last,
            Some(data) => {
                let number = data.trim_ascii_start().parse::<u64>();
                assert_eq!((number, data.len()), (Ok(last + 1), EVENT_BYTES), "after {last}");
                last += 1;
                caught_up.fetch_add(u64::from(last == MISSED), Ordering::Release);
            }
        }
    }
}

/// The head of a stream; a crowd may wait for it.
fn wait_for_the_head(client: &mut Client) {
    client.fill(Instant::now() + LONG).unwrap();
    assert_eq!(client.head().line, "HTTP/1.1 200 OK");
}
