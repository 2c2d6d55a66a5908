//! Stands for the log in a build without one: types that have no values, and constant answers.

use std::{fmt, io};

use crate::{
    broadcast::{
        arrival::Arrival,
        broadcaster::Broadcaster,
        clock::Now,
        history::{History, Kept, Sequence},
        shared::Shared,
        subscribers::Subscribers,
    },
    message::subscribed::Subscribed,
    socket::Wire,
};

#[derive(Debug)]
pub(crate) enum LogInput {}

#[derive(Debug)]
pub(crate) enum Step {}

#[derive(Debug)]
pub(crate) enum StepReceiver {}

#[derive(Debug)]
pub(crate) enum Question {}

#[derive(Debug)]
pub(crate) enum KnownLog {}

/// No event has an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId;

impl fmt::Display for EntryId {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

impl EntryId {
    pub(crate) const ZERO: Self = Self;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FromLog;

impl Shared {
    #[expect(clippy::unnecessary_wraps, reason = "a log may fail to open")]
    pub(crate) fn open_log(&self, _: &mut Broadcaster) -> io::Result<()> {
        Ok(())
    }
}

impl Step {
    pub(crate) fn delivers(&self) -> bool {
        match *self {}
    }
}

impl StepReceiver {
    pub(crate) fn is_empty(&self) -> bool {
        match *self {}
    }

    pub(crate) fn take(&self) -> Vec<Step> {
        match *self {}
    }
}

impl FromLog {
    pub(crate) fn has_begun(self) -> bool {
        false
    }

    pub(crate) fn is_elsewhere(self) -> bool {
        false
    }
}

impl History {
    pub(in crate::broadcast) fn known_log(&self) -> Option<&KnownLog> {
        self.log.as_ref()
    }

    pub(in crate::broadcast) fn entry_at(&self, _: Sequence) -> Option<String> {
        None
    }

    pub(in crate::broadcast) fn entry_of_kept(&self, _: &Kept) -> Option<String> {
        None
    }

    pub(in crate::broadcast) fn entry_position(&self, _: &Subscribed, _: &str) -> Option<Sequence> {
        None
    }

    pub(in crate::broadcast) fn is_broken_after(&self, _: &Subscribed, _: &str) -> bool {
        false
    }
}

impl<W: Wire> Subscribers<W> {
    pub(in crate::broadcast) fn follow(&mut self, step: Step, _: Now) {
        match step {}
    }

    pub(in crate::broadcast) fn answer(&self, _: &mut Vec<Question>) {}

    pub(in crate::broadcast) fn flush(&mut self, _: Now) {}

    pub(in crate::broadcast) fn is_overtaken(&self, _: &Arrival<W>) -> bool {
        false
    }

    pub(in crate::broadcast) fn refuse_overtaken(_: Arrival<W>) {}
}
