//! Reads sizes and times as people write them.

use std::time::Duration;

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
    let bytes = scaled(text, &SIZES, Some(1));
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("{text:?} is not a size such as 64KiB, 2MiB or 1000"))
}

/// Reads a time: `15s`, `500ms`, `2m`, `1h`, or `0`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let unit = (text == "0").then_some(1);
    let millis = scaled(text, &TIMES, unit);
    let millis = millis.ok_or_else(|| format!("{text:?} is not a time such as 15s, 500ms or 2m"));
    millis.map(Duration::from_millis)
}

pub(crate) fn count(text: &str) -> Result<usize, String> {
    let number = scaled(text, &[], Some(1)).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| format!("{text:?} is not a number such as 1024"))
}

fn scaled(text: &str, units: &[(&str, u64)], unit: Option<u64>) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at(digits);
    let known = units.iter().find(|(known, _)| *known == name.trim_start());
    let scale = known.map(|(_, scale)| *scale).or(unit.filter(|_| name.is_empty()))?;
    number.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(test)]
mod tests {
    use super::*;

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
