//! An event as a segment has it.
//!
//! A record is its length, the low bits of its position and a checksum, four bytes each, in little
//! endian, and then the body. The position is the number of the record in the directory: it
//! tells what was written since from what a segment that is used again has of its former life. The
//! checksum is over all of that. The body says first how many records of the same commit come
//! before it.

use std::{str, time::Duration};

use crc32fast::Hasher;

use crate::message::{GENERAL, Message, entry_id::EntryId, id::EventId};

/// What is in front of a body.
pub(super) const HEAD: usize = 12;

/// No number, position or time is larger.
pub(super) const MOST: u64 = u64::MAX >> 1;

/// An event with its place in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) entry: EntryId,
    /// The number of the event of the same type and channel that came before; 0 if there was none,
    /// or if it is not known any more.
    pub(super) before: u64,
    /// When it was published, in milliseconds since 1970.
    pub(super) millis: u64,
    pub(super) message: Message,
}

/// The bytes of a message, as the last part of an event, and how many of them are its topic.
pub(super) fn encode(message: &Message) -> (Vec<u8>, usize) {
    let mut bytes = topic(message);
    let topic = bytes.len();
    bytes.reserve(message.data().len() + 32);
    push_text(&mut bytes, message.event_id().map_or("", EventId::as_str));
    push_number(&mut bytes, message.retry_time().map_or(0, |retry| 1 + millis(retry)));
    bytes.extend_from_slice(message.data().as_bytes());
    (bytes, topic)
}

/// The type and the channel of a message. The events of one topic are kept or dropped in their
/// order.
pub(super) fn topic(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    push_text(&mut bytes, Some(message.event_type()).filter(|&it| it != GENERAL).unwrap_or(""));
    push_text(&mut bytes, message.channel_name().unwrap_or_default());
    bytes
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    /// How many records of the same commit come before it.
    pub(super) in_commit: u64,
}

/// Appends a record. `message` was encoded before.
pub(super) fn push(
    bytes: &mut Vec<u8>,
    place: Place,
    (entry, before, millis): (EntryId, u64, u64),
    message: &[u8],
) {
    let mut event = Vec::with_capacity(32);
    push_number(&mut event, entry.millis);
    push_number(&mut event, entry.number);
    // How far back it is, and how much later: mostly some bytes less.
    push_number(&mut event, if before == 0 { 0 } else { entry.number.saturating_sub(before) });
    push_number(&mut event, millis.saturating_sub(entry.millis));
    push_again(bytes, place, &[&event, message]);
}

/// Appends an event as a record has it.
pub(super) fn push_again(bytes: &mut Vec<u8>, place: Place, event: &[&[u8]]) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; HEAD]);
    push_number(bytes, place.in_commit);
    for part in event {
        bytes.extend_from_slice(part);
    }
    seal(&mut bytes[start..], place.position);
}

fn seal(record: &mut [u8], position: u64) {
    let (head, body) = record.split_at_mut(HEAD);
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    head[..4].copy_from_slice(&length);
    head[4..8].copy_from_slice(&low(position));
    head[8..].copy_from_slice(&checksum(length, position, body).to_le_bytes());
}

fn low(position: u64) -> [u8; 4] {
    let bytes = position.to_le_bytes();
    [bytes[0], bytes[1], bytes[2], bytes[3]]
}

fn checksum(length: [u8; 4], position: u64, body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&length);
    hasher.update(&position.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// A record, as far as it need not be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'b> {
    pub(super) in_commit: u64,
    pub(super) event: &'b [u8],
    /// How many bytes all of it takes.
    pub(super) length: usize,
}

/// The record at the beginning of `bytes`, if one with this position is there.
pub(super) fn at(bytes: &[u8], position: u64) -> Option<Raw<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (of_position, rest) = rest.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<4>()?;
    if *of_position != low(position) {
        return None;
    }
    let body = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    if checksum(*length, position, body) != u32::from_le_bytes(*sum) {
        return None;
    }
    let mut event = body;
    let in_commit = take_number(&mut event)?;
    Some(Raw { in_commit, event, length: HEAD + body.len() })
}

/// Whether a commit that came after the one of this position left a record behind it in `bytes`:
/// then this position was committed.
pub(super) fn has_later_commit(bytes: &[u8], position: u64) -> bool {
    /// No segment has more records.
    const MOST: u32 = 1 << 20;
    // An event full of beginnings of records must not hold up the start: that is a doubt.
    let mut hashed = 0;
    let mut is_later = |at_byte: usize| {
        let low_bits = bytes.get(at_byte + 4..at_byte + 8)?.try_into().ok()?;
        let ahead = u32::from_le_bytes(low_bits).wrapping_sub(u32::from_le_bytes(low(position)));
        let found = position.checked_add(ahead.into()).filter(|_| (1..MOST).contains(&ahead))?;
        let length: [u8; 4] = bytes[at_byte..at_byte + 4].try_into().ok()?;
        let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
        hashed += if length <= bytes.len() - at_byte - HEAD { length } else { 0 };
        if hashed > 16 * bytes.len() {
            return Some(true);
        }
        let Raw { in_commit, .. } = at(&bytes[at_byte..], found)?;
        Some(found.checked_sub(in_commit)? > position)
    };
    (0..bytes.len().saturating_sub(HEAD)).any(|at_byte| is_later(at_byte) == Some(true))
}

/// Reads an event. `None`: this crate has not written it.
pub(super) fn read(event: &[u8]) -> Option<Record> {
    let mut rest = event;
    let (millis, number) = (take_number(&mut rest)?, take_number(&mut rest)?);
    let back = take_number(&mut rest)?;
    let before = if back == 0 { 0 } else { number.checked_sub(back)? };
    let written = millis.checked_add(take_number(&mut rest)?)?;
    let (event, channel) = (take_text(&mut rest)?, take_text(&mut rest)?);
    let (id, retry) = (take_text(&mut rest)?, take_number(&mut rest)?);
    let mut message = Message::new(str::from_utf8(rest).ok()?).event(event);
    if !channel.is_empty() {
        message = message.channel(channel);
    }
    if !id.is_empty() {
        message = message.id(EventId::new(id).ok()?);
    }
    if let Some(retry) = retry.checked_sub(1) {
        message = message.retry(Duration::from_millis(retry));
    }
    let entry = EntryId { millis, number };
    if millis > MOST || number > MOST || written > MOST {
        return None;
    }
    Some(Record { entry, before, millis: written, message })
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    push_number(bytes, text.len() as u64);
    bytes.extend_from_slice(text.as_bytes());
}

fn take_text<'b>(bytes: &mut &'b [u8]) -> Option<&'b str> {
    let length = usize::try_from(take_number(bytes)?).ok()?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    str::from_utf8(text).ok()
}

/// Appends a number in groups of seven bits, the lowest first; all but the last have the high bit.
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let group = number.to_le_bytes()[0];
        number >>= 7;
        if number == 0 && group < 0x80 {
            return bytes.push(group);
        }
        bytes.push(group | 0x80);
    }
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let group = u64::from(byte & 0x7f);
        number |= group.checked_shl(shift).filter(|shifted| shifted >> shift == group)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> impl Strategy<Value = Message> {
        let texts = (".*", "[a-z]{0,9}", proptest::option::of("[a-z/]{1,9}"));
        let rest = (proptest::option::of("[a-z]{1,9}"), proptest::option::of(0..9_000_u64));
        (texts, rest).prop_map(|((data, event, channel), (id, retry))| {
            let mut message = Message::new(data).event(event);
            if let Some(channel) = channel {
                message = message.channel(channel);
            }
            if let Some(id) = id {
                message = message.id(EventId::new(id).expect("it is good"));
            }
            match retry {
                Some(retry) => message.retry(Duration::from_millis(retry)),
                None => message,
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            (position, millis, number) in (any::<u64>(), any::<u32>(), 1..MOST),
            (back, late) in (0..1_000_u64, any::<u32>()),
            message in message(),
            flip in any::<prop::sample::Index>(),
        ) {
            let entry = EntryId { millis: millis.into(), number };
            let before = if back == 0 { 0 } else { number.saturating_sub(back) };
            let written = entry.millis + u64::from(late);
            let (mut bytes, mut again) = (Vec::new(), Vec::new());
            let place = Place { position, in_commit: back };
            push(&mut bytes, place, (entry, before, written), &encode(&message).0);
            let raw = at(&bytes, position).expect("it is there");
            prop_assert_eq!((raw.length, raw.in_commit), (bytes.len(), back));
            let record = Record { entry, before, millis: written, message };
            prop_assert_eq!(read(raw.event), Some(record));
            push_again(&mut again, place, &[raw.event]);
            prop_assert_eq!(&again, &bytes);
            prop_assert!(at(&bytes, position.wrapping_add(1)).is_none());
            prop_assert!(at(&bytes, position.wrapping_add(1 << 32)).is_none());
            // Whatever bit turns, and wherever it was cut off.
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(at(&bytes, position).is_none());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(at(&bytes[..bit / 8], position).is_none());
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (at(&body, 0), read(&body), has_later_commit(&body, 0));
        }
    }
}
