//! Readings of a small host, once a second, with limits to match: 16 clients, and a minute of history
//! for whoever comes. With all of them it was seen to take 4 MB of memory.
//!
//! `cargo run --release --example sensors`, then
//! `curl -N 'http://127.0.0.1:8086/event?event=*&replay=60'`.

#![allow(clippy::print_stdout, reason = "a program that is read in a terminal")]

use std::{error::Error, fs, thread::sleep, time::Duration};

use websse::{
    Message, Server,
    http::{HttpServer, Limits},
};

/// Event types, and the files (of Linux) whose first word is the reading; what this host lacks is
/// left out. A thermal zone tells thousandths of a degree.
const SENSORS: [(&str, &str); 4] = [
    ("load", "/proc/loadavg"),
    ("uptime", "/proc/uptime"),
    ("temperature", "/sys/class/thermal/thermal_zone0/temp"),
    ("battery", "/sys/class/power_supply/BAT0/capacity"),
];
const KIB: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .max_streams(16)
        .max_frame_bytes(KIB)
        .publish_queue(16)
        .history_events(60)
        .history_all_bytes(64 * KIB)
        .mailbox_bytes(16 * KIB)
        .mailboxes_bytes(256 * KIB)
        .heartbeat(Duration::from_secs(60))
        .retry(Duration::from_secs(10))
        .build();
    let sensors: Vec<_> = SENSORS.into_iter().filter(|(_, path)| read(path).is_some()).collect();
    if sensors.is_empty() {
        return Err("this host has none of these sensors".into());
    }
    server.register_events(sensors.iter().map(|(name, _)| name))?;
    server.run()?;
    let limits = Limits::default()
        .connections(16)
        .stack_bytes(128 * KIB)
        .head_bytes(4 * KIB)
        .body_bytes(0)
        .bodies_bytes(0);
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8086".into());
    let http = HttpServer::new()
        .limits(limits)
        .get("/event", server.event_stream_handler())
        .bind(address)?;
    let address = http.local_addr().expect("it listens over TCP");
    println!("listen: curl -N 'http://{address}/event?event=*&replay=60'");
    loop {
        for (name, path) in &sensors {
            if let Some(reading) = read(path) {
                server.publish(Message::new(reading).event(*name))?;
            }
        }
        sleep(Duration::from_secs(1));
    }
}

fn read(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}
