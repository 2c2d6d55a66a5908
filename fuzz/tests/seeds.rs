//! Every seed once more, on whatever toolchain there is.

use std::{fs, panic, path::Path};

/// Runs `check` on each file of a folder of seeds, and names the one that fails.
fn replay(folder: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(folder);
    let mut replayed = 0;
    for file in fs::read_dir(&folder).expect("the seeds are there") {
        let path = file.expect("the folder can be read").path();
        let seed = fs::read(&path).expect("a seed can be read");
        let passed = panic::catch_unwind(|| check(&seed)).is_ok();
        assert!(passed, "{}: {}", path.display(), seed.escape_ascii());
        replayed += 1;
    }
    assert!(replayed >= 20, "only {replayed} seeds in {}", folder.display());
}

#[test]
fn requests_are_read_alike_however_they_are_split() {
    replay("request", |seed| {
        websse_fuzz::request::check(seed);
        websse_fuzz::request::check_each_cut(seed);
    });
}

#[test]
fn what_is_stored_is_read_and_goes_on() {
    replay("stored", websse_fuzz::stored::check);
}

#[test]
fn what_is_published_is_what_a_browser_reads() {
    replay("round_trip", websse_fuzz::round_trip::check);
}
