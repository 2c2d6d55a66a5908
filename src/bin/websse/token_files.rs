//! Where plain tokens come from: flags, variables, and files.

use std::{fs, os::unix::fs::PermissionsExt, str};

use crate::tokens::Tokens;

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One, of a flag or a variable.
    Given(String),
    /// Those of a file.
    File(TokenFile),
}

/// The tokens of a file, one a line. A line that begins with `#` is a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenFile {
    pub(crate) path: String,
    /// Each with the number of its line.
    lines: Vec<(usize, String)>,
}

impl TokenFile {
    /// Reads a file. One without any token is an error, as it would guard nothing.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let lines = read_lines(&bytes)?;
        if lines.is_empty() {
            return Err("there is no token in it".to_owned());
        }
        Ok(Self { path: path.to_owned(), lines })
    }

    /// What is wrong with its permissions, if others than its owner have any.
    pub(crate) fn exposed(&self) -> Option<String> {
        let mode = fs::metadata(&self.path).ok()?.permissions().mode() & 0o777;
        let path = &self.path;
        (mode & 0o077 != 0).then(|| {
            format!("others than its owner may use {path}, mode {mode:03o}; chmod 600 {path}")
        })
    }
}

/// The lines that are not blank and no comment, with their numbers.
fn read_lines(bytes: &[u8]) -> Result<Vec<(usize, String)>, String> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        let line = str::from_utf8(line).map_err(|_| format!("line {number}: not UTF-8"))?.trim();
        if !line.is_empty() && !line.starts_with('#') {
            lines.push((number, line.to_owned()));
        }
    }
    Ok(lines)
}

/// The tokens of a flag, of its variable and of its files. The error says where it is.
pub(crate) fn tokens(
    flag: &'static str,
    sources: &[Source],
    types: &[String],
) -> Result<Tokens, String> {
    let mut tokens = Tokens::new(flag);
    for source in sources {
        match source {
            Source::Given(text) => {
                tokens.add(text, types).map_err(|error| format!("{flag}: {error}"))?;
            }
            Source::File(TokenFile { path, lines }) => {
                for (number, line) in lines {
                    let at = |error| format!("{flag}-file {path}, line {number}: {error}");
                    tokens.add(line, types).map_err(at)?;
                }
            }
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_token_a_line_and_comments() {
        let lines = read_lines(b"# of May\r\none\r\n\n  # and\n\tnews=two  \nthree");
        let expected = [(2, "one"), (5, "news=two"), (6, "three")];
        assert_eq!(lines, Ok(expected.map(|(number, line)| (number, line.to_owned())).to_vec()));
        assert_eq!(read_lines(b"one\n\xfc\n"), Err("line 2: not UTF-8".to_owned()));
    }
}
