//! What runs out, and handlers and clients that fail in every way, take nothing from the others.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

#[cfg(feature = "cli")]
mod command;
mod descriptors;
mod panics;
mod poison;
mod threads;

use websse::http::{Handler, Request, Response};

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(data: &str) -> String {
    format!("POST /send?event=a&data={data} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// A handler that says it never blocks: the thread that accepts runs it before it accepts the next.
struct InTurn<F>(F);

impl<F: Fn(&Request) -> Response + Send + Sync + 'static> Handler for InTurn<F> {
    fn handle(&self, request: &Request) -> Response {
        self.0(request)
    }

    fn may_block(&self) -> bool {
        false
    }
}
