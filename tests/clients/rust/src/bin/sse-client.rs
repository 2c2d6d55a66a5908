use std::thread;

use clients::{arguments, exit_at_end_of_input, show};
use sse_client::EventSource;

fn main() {
    let (url, types) = arguments("sse-client", None);
    exit_at_end_of_input();
    let source = EventSource::new(&url).expect("an address");
    for kind in types {
        source.add_event_listener(&kind, |event| show(&event.type_, &event.data, &event.id));
    }
    // To ask whether it has given up is no use: `state` may wait for ever for a lock.
    source.add_event_listener("error", |error| eprintln!("{}", error.data));
    loop {
        thread::park();
    }
}
