//! What somebody may have meant by a name that is not known.

/// The known name that differs least, if it differs by little: by a third of its letters at most.
pub(crate) fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let most = name.len().div_ceil(3);
    let near = known.map(|known| (distance(name, known), known));
    near.filter(|(distance, _)| *distance <= most).min().map(|(_, known)| known)
}

/// How many bytes have to be added, removed or replaced (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, byte) in from.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in to.bytes().enumerate() {
            let replaced = diagonal + usize::from(byte != other);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_if_one_is_near() {
        let known = ["LISTEN", "EVENT", "RETRY", "LOG_LEVEL"];
        for (name, expected) in [
            ("LISEN", Some("LISTEN")),
            ("LISTENS", Some("LISTEN")),
            ("LOGLEVEL", Some("LOG_LEVEL")),
            ("EVNET", Some("EVENT")),
            ("EVENTS", Some("EVENT")),
            ("", None),
            ("TOKEN", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), expected, "{name}");
        }
        assert_eq!(
            (distance("kitten", "sitting"), distance("", "abc"), distance("a", "")),
            (3, 3, 1)
        );
    }
}
