//! What needs no process, and no quiet machine, for itself: a module for each subject.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod access;
mod answers;
mod batch;
mod command;
mod command_access;
mod dead_peers;
mod deadlines;
mod embedding;
mod embedding_http;
mod examples;
mod figures;
mod hooks;
mod one_client;
mod pages;
mod proxies;
mod requests;
mod requests_bodies;
mod resume;
mod round_trip;
mod service;
mod subscriptions;
mod wire;
