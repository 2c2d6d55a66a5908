//! What needs no process, and no quiet machine, for itself: a module for each subject.
//!
//! | module | subject |
//! |---|---|
//! | `wire`, `framing`, `round_trip` | what a stream carries, byte for byte |
//! | `requests`, `requests_bodies`, `refused_messages`, `answers` | HTTP: what is understood, refused and answered |
//! | `deadlines`, `default_times`, `dead_peers` | every wait on a client ends |
//! | `resume` | clients that come back |
//! | `embedding`, `embedding_http`, `shared_sockets`, `subscriptions` | the library inside a program |
//! | `channels`, `unregistering` | for whom an event is; types that go |
//! | `batch`, `published`, `hooks`, `one_client` | the same: many messages, what their publisher learns, hooks, messages to one client |
//! | `own_streams` | bodies that the program writes |
//! | `access`, `pages` | who may listen and publish |
//! | `figures` | metrics, statistics, health |
//! | `command`, `command_access`, `command_requests`, `command_tokens` | the command |
//! | `command_settings`, `command_signals` | the same: how it is configured, how it ends |
//! | `service`, `service_notify`, `service_sockets` | the same under systemd |
//! | `tls` | HTTPS |
//! | `proxies` | what is before it |
//! | `examples` | each as its first lines say |
//!
//! Some need what not every machine has, and are ignored: `cargo test --features cli,tls --test it
//! -- --ignored figures proxies::debian service tls::openssl` runs them. `dead_peers` and
//! `default_times` take one minute and two, and are ignored too.
//! `examples/proxies/run` installs and runs the other `proxies`.
//!
//! What does not belong here is a program of its own: `load` and `stress` need a quiet machine,
//! `hostile`, `starvation` and `stacks` count or use up what a process has, `logging` sets the logger
//! of its process, `redis` and `clients` need programs by others.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod access;
mod answers;
mod batch;
mod channels;
mod command;
mod command_access;
mod command_generated;
mod command_requests;
mod command_settings;
mod command_signals;
mod command_tokens;
mod dead_peers;
mod deadlines;
mod default_times;
mod embedding;
mod embedding_http;
mod examples;
mod figures;
mod framing;
mod hooks;
mod independent;
mod one_client;
mod own_streams;
mod pages;
mod proxies;
mod published;
mod refused_messages;
mod requests;
mod requests_bodies;
mod resume;
mod round_trip;
mod service;
mod service_notify;
mod service_sockets;
mod shared_sockets;
mod subscriptions;
#[cfg(feature = "tls")]
mod tls;
mod unregistering;
mod wire;
