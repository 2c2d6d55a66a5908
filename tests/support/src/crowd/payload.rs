//! The data of an event: a stamp that says which one it is, then filler up to the size asked for.
//!
//! `000123 xxxx` is number 123 of the only publisher, `p3 000123 xxxx` that of publisher 3.

/// Publishers that a crowd tells apart.
pub const PUBLISHERS: usize = 8;

/// Which event this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub publisher: u8,
    /// Counts this publisher's events, from 0.
    pub counter: u32,
}

/// Data of `size` bytes for the only publisher.
pub fn compose(counter: u32, size: usize) -> String {
    fill(format!("{counter:06}"), Stamp { publisher: 0, counter }, size)
}

/// Data of `size` bytes for one of several publishers.
pub fn compose_for(stamp: Stamp, size: usize) -> String {
    fill(format!("p{} {:06}", stamp.publisher, stamp.counter), stamp, size)
}

fn fill(mut data: String, stamp: Stamp, size: usize) -> String {
    if data.len() < size {
        data.push(' ');
        let missing = size - data.len();
        data.extend(std::iter::repeat_n(char::from(filler_of(stamp)), missing));
    }
    data
}

/// Neighbours differ in their filler, so that bytes of one inside another are noticed.
fn filler_of(stamp: Stamp) -> u8 {
    b'a' + u8::try_from((stamp.counter + u32::from(stamp.publisher)) % 26).expect("below 26")
}

/// Reads the stamp; `None` unless every byte is what [`compose`] puts there.
pub fn parse(data: &[u8]) -> Option<Stamp> {
    let (publisher, rest) = match data {
        [b'p', digit @ b'0'..=b'7', b' ', rest @ ..] => (digit - b'0', rest),
        rest => (0, rest),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(6..=9).contains(&digits) {
        return None;
    }
    let counter = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let stamp = Stamp { publisher, counter };
    match &rest[digits..] {
        [] => Some(stamp),
        [b' ', filler @ ..] => {
            // Without a branch per byte the compiler compares many at once.
            let expected = filler_of(stamp);
            let difference = filler.iter().fold(0, |sum, byte| sum | (byte ^ expected));
            (difference == 0).then_some(stamp)
        }
        _ => None,
    }
}
