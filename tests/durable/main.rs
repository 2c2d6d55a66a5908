//! A history on disk, through the front door: what is there after a restart, a kill, a power cut, and
//! when the disk is full.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod activated;
mod disk;
mod kept;
mod killed;
mod trial;
