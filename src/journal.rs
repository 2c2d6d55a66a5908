//! A log outside of this process that several nodes share, as the core sees it: a publish goes to
//! the log, and its reader feeds the broadcaster. What kind of log it is stays behind two traits.

// Without such a log nobody makes these.
#![cfg_attr(not(feature = "redis"), allow(dead_code))]

use std::{
    fmt::{self, Debug},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};

use crate::{
    error::PublishError,
    message::{EPOCH_LENGTH, Message, base_36},
    queue::Queued,
    types::TypeId,
};

/// Whether a server can have such a log. Where not, the compiler leaves out all that is done with it.
pub(crate) const POSSIBLE: bool = cfg!(any(feature = "redis", test));

/// The id of an entry, which orders the log: milliseconds, and a number among those of the same
/// millisecond. It is the event's id at all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId {
    pub(crate) millis: u64,
    pub(crate) number: u64,
}

/// The milliseconds take so many characters: the form that is reserved for the server. Those of a time
/// after the year 2286 have 13 digits in base 36, the first one put off so that none is all decimal:
/// foreign writers may give microseconds.
const LAST_DECIMAL: u64 = 9_999_999_999_999;
const FIRST_DIGIT: u8 = b'w';

impl EntryId {
    /// Before all entries.
    pub(crate) const ZERO: Self = Self { millis: 0, number: 0 };

    /// Reads an id as clients send it back.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (millis, number) = text.split_once('-')?;
        let is_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if millis.len() != EPOCH_LENGTH || !is_digits(number) {
            return None;
        }
        let millis = if is_digits(millis) { millis.parse().ok()? } else { Self::far(millis)? };
        Some(Self { millis, number: number.parse().ok()? })
    }

    /// Reads milliseconds that are too many for decimals.
    fn far(text: &str) -> Option<u64> {
        let (first, rest) = text.split_at_checked(1)?;
        let digit = first.bytes().next()?.checked_sub(FIRST_DIGIT)?;
        let rest = u64::from_str_radix(rest, 36).ok()?;
        let millis = u64::from(digit).checked_mul(36_u64.pow(12))?.checked_add(rest)?;
        // What is written otherwise was not written here.
        let is_far = millis > LAST_DECIMAL && Self { millis, number: 0 }.millis_text() == text;
        is_far.then_some(millis)
    }

    /// The last id before this one, whether or not an entry has it.
    pub(crate) fn before(self) -> Self {
        match self {
            Self { millis: 0, number: 0 } => self,
            Self { millis, number: 0 } => Self { millis: millis - 1, number: u64::MAX },
            Self { millis, number } => Self { millis, number: number - 1 },
        }
    }

    /// Whether it is this entry's place or the one right before it.
    pub(crate) fn is_at_or_after(self, place: Self) -> bool {
        self == place || self.before() == place
    }

    /// The part that stands before the hyphen.
    pub(crate) fn millis_text(self) -> String {
        if self.millis <= LAST_DECIMAL {
            return format!("{:0EPOCH_LENGTH$}", self.millis);
        }
        let digits = base_36(self.millis, EPOCH_LENGTH);
        let first = FIRST_DIGIT + (digits.as_bytes()[0] - b'0');
        format!("{}{}", char::from(first), &digits[1..])
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis_text(), self.number)
    }
}

/// An event as it came out of the log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) event: Queued,
}

/// What the log's reader tells the broadcaster, in the order of the log.
#[derive(Debug)]
pub(crate) enum Step {
    /// Nothing up to here is kept any more. Unless this is the beginning, events may be lost: the
    /// clients are told.
    Begin { floor: EntryId, is_first: bool },
    /// To be kept, and not delivered: all clients are to come.
    Prime(Vec<Entry>),
    /// To be kept and delivered.
    Events(Vec<Entry>),
    /// Entries were passed over as none of the types that are registered here is theirs; this is the
    /// last of them.
    Unknown { entry: EntryId, types: TypeId },
    /// Before this place events may be lost for ever. Clients are told unless they were.
    Gap { at: EntryId, told: bool },
    /// Everything up to here was read.
    Reach(EntryId),
    /// No client comes between these.
    All(Vec<Step>),
}

/// What the log's reader has found, for the broadcaster to take; nothing without a log.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    #[cfg(feature = "redis")]
    found: Option<Receiver<Step>>,
}

#[cfg(feature = "redis")]
impl Steps {
    pub(crate) fn new(found: Receiver<Step>) -> Self {
        Self { found: Some(found) }
    }

    pub(crate) fn len(&self) -> usize {
        self.found.as_ref().map_or(0, Receiver::len)
    }

    pub(crate) fn next(&self) -> Option<Step> {
        self.found.as_ref()?.try_recv().ok()
    }
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_self, reason = "with the feature it is used")]
impl Steps {
    pub(crate) fn new(_: Receiver<Step>) -> Self {
        Self {}
    }

    pub(crate) fn len(&self) -> usize {
        0
    }

    pub(crate) fn next(&self) -> Option<Step> {
        None
    }
}

/// A part of the log, for a client that was away for longer than the node remembers.
#[derive(Debug)]
pub(crate) struct Page {
    /// Whether something before the first of these is gone for ever; then the oldest entry left.
    pub(crate) missing: Option<EntryId>,
    pub(crate) items: Vec<Item>,
    /// Everything up to here is in it.
    pub(crate) last: EntryId,
}

/// How many entries to ask for, so that they are about a page: a page is kept for each client that is
/// served out of the log, and nobody knows how large entries are before they have come.
#[derive(Debug)]
pub(crate) struct Pace(usize);

impl Pace {
    /// A page has so many entries at most.
    pub(crate) const MOST: usize = 128;
    /// It has so many bytes; one entry may be more.
    pub(crate) const BYTES: usize = 1024 * 1024;
    const FIRST: usize = 16;

    pub(crate) fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(crate) fn entries(&self) -> usize {
        self.0
    }

    /// Learns from the largest entry of a page: falls at once, and rises to twice as many.
    pub(crate) fn saw(&mut self, largest: usize) {
        let fitting = Self::BYTES / largest.max(1);
        self.0 = fitting.clamp(1, (2 * self.0).min(Self::MOST));
    }
}

#[derive(Debug)]
pub(crate) enum Item {
    Event(Entry),
    /// Events may be lost before this place.
    Gap(EntryId),
}

impl Item {
    pub(crate) fn place(&self) -> EntryId {
        match self {
            Self::Event(entry) => entry.id,
            Self::Gap(at) => *at,
        }
    }
}

/// Messages that were not all appended.
#[derive(Debug)]
pub(crate) struct Unappended {
    /// The first that was not, as far as is known, and why. Those before it were.
    pub(crate) index: usize,
    /// How many, from there on, may have been appended. None behind these was.
    pub(crate) unknown: usize,
    pub(crate) error: Refusal,
}

#[derive(Debug)]
pub(crate) enum Refusal {
    /// There is no room now, and the caller would not wait for it.
    Full,
    Never(PublishError),
}

/// Makes a message an event of this node.
pub(crate) type Encode = dyn Fn(&Message) -> Result<Queued, PublishError> + Send + Sync;

/// What the log is given by the core.
pub(crate) struct Intake {
    pub(crate) steps: Sender<Step>,
    /// Tells the broadcaster that there are steps.
    pub(crate) wake: Box<dyn Fn() + Send + Sync>,
    pub(crate) encode: Box<Encode>,
    /// How many event types are registered.
    pub(crate) types: Box<dyn Fn() -> TypeId + Send + Sync>,
    /// The steps' events are in parts of so many bytes at most.
    pub(crate) batch_bytes: usize,
    /// How many events to begin with at most, and bytes of these.
    pub(crate) prime_events: usize,
    pub(crate) prime_bytes: usize,
    /// What may wait to be appended at most: messages, and bytes of these.
    pub(crate) queue_messages: usize,
    pub(crate) queue_bytes: usize,
}

impl Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").finish_non_exhaustive()
    }
}

/// How to open the log; part of a server's options.
pub(crate) trait Recipe: Debug + Send + Sync {
    /// Starts the log's own threads. Does not wait for anything outside of the process.
    fn open(&self, intake: Intake) -> io::Result<Arc<dyn Journal>>;
}

/// A log that is open.
pub(crate) trait Journal: Debug + Send + Sync {
    /// Appends messages in their order, and returns when the log has them. Appends none behind one
    /// that was refused. Where `wait` does not say so, does not wait for room for the first one.
    fn append(&self, messages: &[Message], wait: bool) -> Result<(), Unappended>;

    /// Whether the log would take a message now, and serve a client that comes back; if not, or if
    /// it does not tell by `until`, why, in a line for anybody.
    fn is_ready(&self, until: Instant) -> Result<(), String>;

    /// Waits until `until` for the reader to have begun, which it does once.
    fn wait_primed(&self, until: Instant) -> bool;

    /// Waits until `until` for the reader to have come to this entry.
    fn wait_read(&self, id: EntryId, until: Instant) -> bool;

    /// The newest id that the log itself has given; `None` where it does not tell by `until`.
    fn newest(&self, until: Instant) -> Option<EntryId>;

    /// Whether a client of this log can be at an entry, or it is too old to tell; `None` where the log
    /// does not say by `until`.
    fn can_be_at(&self, entry: EntryId, until: Instant) -> Option<bool>;

    /// Reads what comes after an entry; `None` where the log cannot be read.
    fn page(&self, after: EntryId, pace: &mut Pace) -> Option<Page>;

    /// Gives a client one of the places for those that are served by a thread of their own; waits
    /// for one until `until`. False where there is none.
    fn take_place(&self, until: Instant) -> bool;

    /// Takes back a place where somebody waits for one; true if so.
    fn yield_place(&self) -> bool;

    /// Takes back a place.
    fn leave_place(&self);

    /// Counts a gap that a client was told of by such a thread.
    fn count_gap(&self);

    /// Whether the end has come.
    fn is_stopped(&self) -> bool;

    /// Figures of this moment.
    fn stats(&self) -> LogStats;

    /// Appends nothing more, reads until what this node has appended was read or until `deadline`,
    /// and ends the threads. A second call may shorten the deadline.
    fn stop(&self, deadline: Instant);
}

/// What [`Stats::log`](crate::Stats::log) tells of the log that several nodes share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Whether the log is connected, for publishing and for reading.
    pub connected: bool,
    /// How long ago this node had last read everything; zero while it does.
    pub lag: Duration,
    /// Messages that this node has appended, since the start.
    pub appended: u64,
    /// Messages that the log refused or that it could not be given, since the start.
    pub refused: u64,
    /// Messages of which nobody knows whether the log has them
    /// ([`PublishError::OutcomeUnknown`](crate::PublishError::OutcomeUnknown)), since the start.
    pub outcome_unknown: u64,
    /// Entries read, since the start.
    pub read: u64,
    /// Entries passed over as they are no events, since the start.
    pub malformed: u64,
    /// Entries passed over as their event type is not registered here, since the start.
    pub unknown_types: u64,
    /// How often the reader had to connect again, since the start.
    pub reconnects: u64,
    /// How often this node found that events may be lost, since the start.
    pub breaks: u64,
    /// Clients whose replay is being read from the log now.
    pub returning: usize,
    /// Clients told of a gap while their replay was read from the log, since the start; others are in
    /// [`Stats::gaps`](crate::Stats::gaps).
    pub gaps: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_id_is_read_back_as_it_was_written() {
        for (text, millis, number) in [
            ("1700000000000-0", 1_700_000_000_000, 0),
            ("0000000000001-7", 1, 7),
            ("9999999999999-18446744073709551615", 9_999_999_999_999, u64::MAX),
            ("w0003jlxpt2ps-0", 10_000_000_000_000, 0),
            ("zw5e11264sgsf-3", u64::MAX, 3),
        ] {
            let id = EntryId { millis, number };
            assert_eq!(id.to_string(), text);
            assert_eq!(EntryId::parse(text), Some(id));
        }
        for text in [
            "",
            "-",
            "17-0",
            "1700000000000",
            "1700000000000-",
            "170000000000a-0",
            "20260101120000-5",
            "0mwscj3olj8rw-1",
            "w0003jlxpt2pr-0",
            "zw5e11264sgsg-0",
            "zé5e11264sgs-0",
            "w0003+lxpt2ps-0",
        ] {
            assert_eq!(EntryId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_large_entry_makes_pages_small_at_once() {
        let mut pace = Pace::new();
        for _ in 0..9 {
            pace.saw(128);
        }
        assert_eq!(pace.entries(), Pace::MOST);
        pace.saw(Pace::BYTES / 2);
        assert_eq!(pace.entries(), 2);
        pace.saw(64 * Pace::BYTES);
        assert_eq!(pace.entries(), 1);
        pace.saw(128);
        assert_eq!(pace.entries(), 2);
    }

    #[test]
    fn nothing_is_between_an_id_and_the_one_before() {
        let id = |millis, number| EntryId { millis, number };
        assert_eq!(id(7, 3).before(), id(7, 2));
        assert_eq!(id(7, 0).before(), id(6, u64::MAX));
        assert_eq!(EntryId::ZERO.before(), EntryId::ZERO);
    }
}
