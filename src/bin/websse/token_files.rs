//! Where plain tokens come from: flags, variables, and files.

use std::{env, ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::Path, str, sync::Arc};

use log::{error, info, warn};
use parking_lot::Mutex;

use crate::{spelling::nearest, tokens::Tokens};

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
    pub(crate) fn exposed(path: &str) -> Option<String> {
        Self::exposed_but_in(env::var_os("CREDENTIALS_DIRECTORY").as_deref(), path)
    }

    /// The credentials of a service are guarded by their directory: systemd lets its user read them
    /// by an access control list, which shows as a permission of their group.
    fn exposed_but_in(credentials: Option<&OsStr>, path: &str) -> Option<String> {
        let credentials = credentials.filter(|directory| !directory.is_empty());
        if credentials.is_some_and(|directory| Path::new(path).starts_with(directory)) {
            return None;
        }
        let mode = fs::metadata(path).ok()?.permissions().mode() & 0o777;
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

/// The tokens for one kind of action, of a flag, its variable and its files, which may be read
/// again.
pub(crate) struct TokensInUse {
    flag: &'static str,
    /// The event types that are registered.
    types: Vec<String>,
    state: Mutex<State>,
}

struct State {
    sources: Vec<Source>,
    tokens: Arc<Tokens>,
}

impl TokensInUse {
    /// The error says where it is.
    pub(crate) fn new(
        flag: &'static str,
        sources: Vec<Source>,
        types: Vec<String>,
    ) -> Result<Self, String> {
        let tokens = Arc::new(tokens(flag, &sources, &types)?);
        Ok(Self { flag, types, state: Mutex::new(State { sources, tokens }) })
    }

    /// The tokens as they are now.
    pub(crate) fn get(&self) -> Arc<Tokens> {
        Arc::clone(&self.state.lock().tokens)
    }

    /// What in them is most likely misspelt.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        self.state.lock().sources.iter().flat_map(|source| self.mistakes_of(source)).collect()
    }

    fn mistakes_of(&self, source: &Source) -> Vec<String> {
        let texts = source.texts(self.flag).into_iter();
        let mistake = |(at, text)| Some(format!("{at}: {}", foreign_type(text, &self.types)?));
        texts.filter_map(mistake).collect()
    }

    /// Reads the files again, and returns how many there are. One that is not good keeps its
    /// tokens.
    pub(crate) fn read_again(&self) -> usize {
        // Only one thread reads them again. The lock is not held meanwhile: a file may hang.
        let mut sources = self.state.lock().sources.clone();
        let mut count = 0;
        for source in &mut sources {
            let Source::File(file) = source else { continue };
            count += 1;
            let (flag, path) = (self.flag, file.path.clone());
            let read =
                TokenFile::read(&path).map_err(|error| format!("{flag}-file {path}: {error}"));
            let read = read.map(Source::File).and_then(|read| {
                tokens(flag, std::slice::from_ref(&read), &self.types).map(|_| read)
            });
            match read {
                Ok(read) => {
                    *source = read;
                    info!("read {flag}-file {path} again");
                    let exposed = TokenFile::exposed(&path);
                    for told in self.mistakes_of(source).into_iter().chain(exposed) {
                        warn!("{told}");
                    }
                }
                Err(error) => error!("{error}; its tokens stay as they were"),
            }
        }
        match tokens(self.flag, &sources, &self.types) {
            Ok(tokens) => *self.state.lock() = State { sources, tokens: Arc::new(tokens) },
            Err(error) => error!("{error}"),
        }
        count
    }
}

impl Source {
    pub(crate) fn given(text: &str) -> Result<Self, String> {
        // For whatever type: those are not known yet.
        Tokens::new("").add(text, &[])?;
        Ok(Self::Given(text.to_owned()))
    }

    /// The texts of its tokens, and where each is.
    fn texts(&self, flag: &str) -> Vec<(String, &str)> {
        match self {
            Self::Given(text) => vec![(flag.to_owned(), text)],
            Self::File(TokenFile { path, lines }) => {
                let at = |number| format!("{flag}-file {path}, line {number}");
                lines.iter().map(|(number, line)| (at(number), line.as_str())).collect()
            }
        }
    }
}

/// The tokens of all sources. The error says where it is.
fn tokens(flag: &'static str, sources: &[Source], types: &[String]) -> Result<Tokens, String> {
    let mut tokens = Tokens::new(flag);
    for (at, text) in sources.iter().flat_map(|source| source.texts(flag)) {
        tokens.add(text, types).map_err(|error| format!("{at}: {error}"))?;
    }
    Ok(tokens)
}

/// Tells of a token that may be for an event type that is not registered, so that it is one for all
/// types. What is before `=` may be a part of the secret, and is not shown.
fn foreign_type(text: &str, types: &[String]) -> Option<String> {
    // Padding of base64 is at the end.
    let (kind, _) = text.trim_end_matches('=').split_once('=')?;
    let mut known = types.iter().map(String::as_str).chain(["", "message"]);
    if known.any(|known| known == kind) {
        return None;
    }
    let meant = nearest(kind, types.iter().map(String::as_str));
    let meant = meant.map_or(String::new(), |meant| format!("; is it {meant:?}?"));
    Some(format!(
        "what is before = is no event type that is registered, so that all of it is a token for all \
         types{meant}"
    ))
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

    #[test]
    fn only_the_credentials_of_a_service_may_be_read_by_a_group() {
        let directory = env::temp_dir();
        let path = directory.join(format!("websse-{}-credential", std::process::id()));
        fs::write(&path, "secret").expect("there is room for it");
        let path = path.to_str().expect("it is text");
        for (mode, credentials, is_exposed) in [
            (0o400, None, false),
            (0o440, None, true),
            (0o440, Some(""), true),
            (0o440, Some("/run/credentials/other"), true),
            (0o440, directory.to_str(), false),
        ] {
            let mode_set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
            mode_set.expect("it is its owner's");
            let told = TokenFile::exposed_but_in(credentials.map(OsStr::new), path);
            assert_eq!(told.is_some(), is_exposed, "{mode:o} {credentials:?}: {told:?}");
        }
        fs::remove_file(path).expect("it is there");
    }

    #[test]
    fn a_token_for_a_type_that_is_not_registered_is_told_without_it() {
        let types = ["news".to_owned(), "sports".to_owned()];
        for (text, meant) in [
            ("news=x", None),
            ("news=x=y", None),
            ("=x", None),
            ("message=x", None),
            ("x", None),
            ("YWJj==", None),
            ("nwes=x", Some("; is it \"news\"?")),
            ("weather=x", Some("for all types")),
            ("sport=YWJj==", Some("; is it \"sports\"?")),
        ] {
            let told = foreign_type(text, &types);
            assert_eq!(told.is_some(), meant.is_some(), "{text}: {told:?}");
            let told = told.unwrap_or_default();
            assert!(told.ends_with(meant.unwrap_or_default()), "{text}: {told}");
            assert!(!told.contains("weather"), "{told}");
        }
    }
}
