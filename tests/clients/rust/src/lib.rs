//! What all the clients do.

use std::env;
use std::fmt;
use std::io::{self, Read};
use std::{process, thread};

use serde_json::Value;

/// The URL and the types of events to listen to; prints the version if that is asked for.
pub fn arguments(client: &str, http: Option<&str>) -> (String, Vec<String>) {
    let mut arguments = env::args().skip(1);
    let url = arguments.next().expect("an address");
    if url == "--version" {
        println!("{}", version(client, http));
        process::exit(0);
    }
    (url, arguments.collect())
}

/// The locked version of a client, and of the crate `http` below it.
fn version(client: &str, http: Option<&str>) -> String {
    let package = |name: &str| {
        let mut packages = include_str!("../Cargo.lock").split("\n\n");
        packages.find(|package| package.contains(&format!("name = {name:?}\n"))).expect("it")
    };
    let of = |name: &str| {
        let version = package(name).lines().find_map(|line| line.strip_prefix("version = "));
        format!("{name} {}", version.expect("a version").trim_matches('"'))
    };
    let Some(http) = http else { return of(client) };
    // The client's entry names the version only if several are locked.
    let several = package(client).split('"').find(|text| text.starts_with(&format!("{http} ")));
    format!("{} ({})", of(client), several.map_or_else(|| of(http), str::to_owned))
}

/// Prints an event as a line of JSON.
pub fn show(kind: &str, data: &str, last_event_id: &str) {
    let [kind, data, id] = [kind, data, last_event_id].map(Value::from);
    println!(r#"{{"type":{kind},"data":{data},"lastEventId":{id}}}"#);
}

/// Prints a piece of an answer, as a line of JSON.
pub fn say(text: &str) {
    if !text.is_empty() {
        println!("{}", Value::from(text));
    }
}

/// Prints how the answer ended: the error's name is that of its variant.
pub fn tell_end<E: fmt::Debug>(result: Result<(), E>) {
    match result {
        Ok(()) => println!("end"),
        Err(error) => {
            let text = format!("{error:?}");
            eprintln!("{text}");
            println!("error {}", text.split(['(', ' ']).next().unwrap_or_default());
        }
    }
}

pub fn exit_at_end_of_input() {
    thread::spawn(|| {
        let read = io::stdin().read_to_end(&mut Vec::new());
        process::exit(i32::from(read.is_err()));
    });
}
