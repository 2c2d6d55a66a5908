//! What both clients do with events.

use std::io::{self, Read};
use std::{process, thread};

use serde_json::Value;

/// Prints an event as a line of JSON.
pub fn show(kind: &str, data: &str, last_event_id: &str) {
    let [kind, data, id] = [kind, data, last_event_id].map(Value::from);
    println!(r#"{{"type":{kind},"data":{data},"lastEventId":{id}}}"#);
}

pub fn exit_at_end_of_input() {
    thread::spawn(|| {
        let read = io::stdin().read_to_end(&mut Vec::new());
        process::exit(i32::from(read.is_err()));
    });
}
