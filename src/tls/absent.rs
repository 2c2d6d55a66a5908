//! Stands for TLS in a build without it: types that have no values.

use std::io::{self, IoSlice, Read, Write};

#[derive(Clone, Debug)]
pub(crate) enum TlsConfig {}

impl TlsConfig {
    pub(crate) fn is_look_due(&self) -> bool {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum Session {}

impl Session {
    pub(crate) fn new(config: &TlsConfig) -> io::Result<Self> {
        match *config {}
    }

    pub(crate) fn wait_for_room() {}

    pub(crate) fn another_may_begin() -> bool {
        true
    }

    pub(crate) fn refuse(_: impl Write) {}

    pub(crate) fn read(&mut self, _: impl Read + Write, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn write(&mut self, _: impl Write, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    pub(crate) fn has_greeted(&self) -> bool {
        match *self {}
    }

    pub(crate) fn is_beginning(&self) -> bool {
        match *self {}
    }

    pub(crate) fn finish(&mut self, _: impl Write) {
        match *self {}
    }
}
