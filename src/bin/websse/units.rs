//! Reads sizes and times as people write them.

use std::{fmt::Display, time::Duration};

/// Units of sizes, the binary ones of IEC 80000-13 and the decimal ones of the SI.
const SIZES: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];
/// Units of times, in milliseconds.
const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("min", 60_000), ("m", 60_000), ("h", 3_600_000)];

/// Reads a size in bytes: `64KiB`, `2MB`, `1000`.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    fitting(text, any_size(text)?, &usize::MAX)
}

/// Reads a size of what need not fit into memory.
#[cfg(any(feature = "durable", test))]
pub(crate) fn large_size(text: &str) -> Result<u64, String> {
    fitting(text, any_size(text)?, &u64::MAX)
}

/// Reads a time: `15s`, `500ms`, `2m`, `1h`, or `0`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let unit = (text == "0").then_some(1);
    let millis = scaled(text, &TIMES, unit).and_then(|millis| u64::try_from(millis).ok());
    let millis = millis.ok_or_else(|| format!("{text:?} is not a time such as 15s, 500ms or 2m"));
    millis.map(Duration::from_millis)
}

pub(crate) fn count(text: &str) -> Result<usize, String> {
    fitting(text, any_count(text)?, &usize::MAX)
}

/// Reads a number of what need not fit into memory.
#[cfg(any(feature = "redis", test))]
pub(crate) fn large_count(text: &str) -> Result<u64, String> {
    fitting(text, any_count(text)?, &u64::MAX)
}

fn any_size(text: &str) -> Result<u128, String> {
    let size = scaled(text, &SIZES, Some(1));
    size.ok_or_else(|| format!("{text:?} is not a size such as 64KiB, 2MiB or 1000"))
}

fn any_count(text: &str) -> Result<u128, String> {
    scaled(text, &[], Some(1)).ok_or_else(|| format!("{text:?} is not a number such as 1024"))
}

/// The number, if it is one that this machine can count.
fn fitting<T>(text: &str, number: u128, most: &T) -> Result<T, String>
where
    T: TryFrom<u128> + Display,
{
    let too_large = |_| format!("{text:?} is more than {most}, the most that this machine takes");
    T::try_from(number).map_err(too_large)
}

fn scaled(text: &str, units: &[(&str, u64)], unit: Option<u64>) -> Option<u128> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at(digits);
    let known = units.iter().find(|(known, _)| *known == name.trim_start());
    let scale = known.map(|(_, scale)| *scale).or(unit.filter(|_| name.is_empty()))?;
    if number.is_empty() {
        return None;
    }
    let number = number.parse().unwrap_or(u128::MAX);
    Some(number.saturating_mul(scale.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_told_from_what_is_no_size() {
        for text in ["99999999999GiB", "99999999999999999999"] {
            let told = size(text).expect_err("it is too large");
            assert!(told.contains("is more than "), "{told}");
        }
        assert!(size("x").expect_err("it is none").contains("not a size"));
        assert_eq!(large_size("5GiB"), Ok(5 << 30));
        assert_eq!(large_count("5000000000"), Ok(5_000_000_000));
        // As on a 32-bit machine.
        assert_eq!(fitting("4KiB", 4096, &u32::MAX), Ok(4096));
        let told = fitting("5GiB", 5 << 30, &u32::MAX).expect_err("it is too large");
        assert!(told.starts_with("\"5GiB\" is more than 4294967295, "), "{told}");
        // What this one can address.
        assert_eq!(size("5GiB").is_ok(), usize::BITS > 32);
        assert_eq!(count("5000000000").is_ok(), usize::BITS > 32);
    }

    #[test]
    fn sizes_and_times_have_units() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("64KiB", Some(65_536)),
            ("64 KiB", Some(65_536)),
            ("2MB", Some(2_000_000)),
            ("17B", Some(17)),
            ("", None),
            ("KiB", None),
            ("-1", None),
            ("+1", None),
            ("1.5MiB", None),
            ("1kib", None),
            ("99999999999GiB", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(size(text).ok(), bytes, "{text:?}");
        }
        for (text, millis) in [
            ("0", Some(0)),
            ("15s", Some(15_000)),
            ("500ms", Some(500)),
            ("2m", Some(120_000)),
            ("2min", Some(120_000)),
            ("1h", Some(3_600_000)),
            ("15", None),
            ("s", None),
        ] {
            assert_eq!(time(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
        assert_eq!((count("12").ok(), count("12s").ok(), count("").ok()), (Some(12), None, None));
    }
}
