//! What runs out, and handlers and clients that fail in every way, take nothing from the others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[cfg(feature = "cli")]
mod command;
mod descriptors;
mod panics;
mod poison;
#[cfg(feature = "cli")]
mod small;
mod threads;

// The thread that accepts runs such a handler before it accepts the next connection.
use websse::http::AtOnce as InTurn;

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(data: &str) -> String {
    format!("POST /send?event=a&data={data} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}
