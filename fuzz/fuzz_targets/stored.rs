#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| websse_fuzz::stored::check(input));

/// Runs the files that it is given.
#[cfg(not(fuzzing))]
fn main() -> std::io::Result<()> {
    for file in std::env::args_os().skip(1) {
        websse_fuzz::stored::check(&std::fs::read(file)?);
    }
    Ok(())
}
