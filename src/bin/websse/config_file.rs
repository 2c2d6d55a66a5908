//! The configuration file: the flags by their names, in TOML.

use std::{collections::HashMap, fs, ops::Range};

use toml::de::{DeTable, DeValue};

use crate::{
    flags::{self, Flag},
    spelling::nearest,
};

/// What a file sets. It is read once, at the start.
#[derive(Debug, Default)]
pub(crate) struct ConfigFile {
    path: String,
    settings: HashMap<&'static str, Setting>,
    has_secrets: bool,
}

/// The values of a flag.
#[derive(Debug)]
struct Setting {
    line: usize,
    values: Vec<String>,
}

impl ConfigFile {
    /// The error names the line if it is about one.
    pub(crate) fn read(path: &str) -> Result<Self, String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| "not UTF-8, as TOML is".to_owned())?;
        Self::parse(path, &text)
    }

    fn parse(path: &str, text: &str) -> Result<Self, String> {
        let line = |at: Range<usize>| 1 + text[..at.start].matches('\n').count();
        // All of the error would show the line, which may have a secret.
        let table = DeTable::parse(text).map_err(|error| match error.span() {
            Some(at) => format!("line {}: {}", line(at), error.message()),
            None => error.message().to_owned(),
        })?;
        let mut file = Self { path: path.to_owned(), ..Self::default() };
        for (key, value) in table.get_ref() {
            let (name, line) = (key.get_ref(), line(key.span()));
            let flag = find(name).map_err(|error| format!("line {line}: {error}"))?;
            let values = values(flag, value.get_ref());
            let values = values.map_err(|error| format!("line {line}: {name}: {error}"))?;
            file.has_secrets |= flag.secret;
            file.settings.insert(flag.name, Setting { line, values });
        }
        Ok(file)
    }

    /// The values of a flag if the file sets it, and where it does.
    pub(crate) fn take(&mut self, flag: &Flag) -> Option<(Vec<String>, String)> {
        let Setting { line, values } = self.settings.remove(flag.name)?;
        Some((values, format!("{}, line {line}: {}", self.path, flag.name)))
    }

    /// Its path, if tokens are in it, or a password.
    pub(crate) fn with_secrets(&self) -> Option<&str> {
        self.has_secrets.then_some(&*self.path)
    }
}

fn find(name: &str) -> Result<&'static Flag, String> {
    if let Some(flag) = flags::all().find(|flag| flag.name == name) {
        let cannot = format!("{name} is for the command line alone");
        return if flags::ALONE.contains(&name) { Err(cannot) } else { Ok(flag) };
    }
    if let Some(lacking) = flags::lacking(name) {
        return Err(format!("{name}: {lacking}"));
    }
    let meant = nearest(name, flags::all().map(|flag| flag.name));
    let meant = meant.map_or(String::new(), |name| format!("; is it {name}?"));
    Err(format!("{name} is no flag of the command{meant}"))
}

fn values(flag: &Flag, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    if flag.value.is_empty() {
        let is_set = value.as_bool().ok_or("either true or false")?;
        return Ok(if is_set { vec![String::new()] } else { Vec::new() });
    }
    let values = match value.as_array() {
        Some(_) if !flag.many => return Err("one value, and no list".to_owned()),
        Some(list) => list.iter().map(|value| one(value.get_ref())).collect::<Result<_, _>>()?,
        None => vec![one(value)?],
    };
    let is_blank = values.iter().all(|value: &String| value.trim().is_empty());
    match flag.refuses_nothing() {
        Some(refused) if is_blank => Err(refused),
        _ => Ok(values),
    }
}

/// A text, or a whole number as it stands there.
fn one(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Integer(_) => Err("a number to the base of ten, or a text".to_owned()),
        value => {
            Err(format!("a text, such as \"15s\", or a whole number, and no {}", value.type_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_their_names_and_values_of_their_kind() {
        let text = "# The office.\nlisten = [':8080', 'unix:/run/x']\nevent = 'news'\n\
                    no-page = true\nchannels = false\nmax-streams = 2_000\nretry = '9s'\n";
        let mut file = ConfigFile::parse("f", text).expect("it is good");
        let mut take =
            |name| file.take(flags::all().find(|flag| flag.name == name).expect("it is one"));
        for (name, expected, line) in [
            ("listen", &[":8080", "unix:/run/x"][..], 2),
            ("event", &["news"], 3),
            ("no-page", &[""], 4),
            ("channels", &[], 5),
            ("max-streams", &["2000"], 6),
            ("retry", &["9s"], 7),
        ] {
            let (values, source) = take(name).expect("it is set");
            assert_eq!(
                (&*values, source),
                (
                    &*expected.iter().map(|&it| it.to_owned()).collect::<Vec<_>>(),
                    format!("f, line {line}: {name}")
                )
            );
        }
        assert_eq!(take("heartbeat"), None);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_a_secret() {
        for (text, told) in [
            (
                "\nretry = 3.5",
                "line 2: retry: a text, such as \"15s\", or a whole number, and no float",
            ),
            ("a = 1\n", "line 1: a is no flag of the command"),
            ("log_level = 'x'", "line 1: log_level is no flag of the command; is it log-level?"),
            ("no-page = 1", "line 1: no-page: either true or false"),
            ("retry = ['1s']", "line 1: retry: one value, and no list"),
            ("unix-mode = 0o660", "line 1: unix-mode: a number to the base of ten, or a text"),
            ("event = [['a']]", "and no array"),
            ("[redis-server]", "redis-server"),
            ("config = 'x'", "line 1: config is for the command line alone"),
            ("check = true", "line 1: check is for the command line alone"),
            ("publish-token = []", "line 1: publish-token: is empty, and would guard nothing"),
            ("subscribe-token = ''", "line 1: subscribe-token: is empty, and would guard"),
            ("event = 'a'\nevent = 'b'", "line 2: duplicate key"),
            ("event = 'a'\npublish-token = secret", "line 2: "),
            #[cfg(not(feature = "redis"))]
            ("redis = 'redis://h'", "line 1: redis: needs a build with the features cli,redis"),
        ] {
            let error = ConfigFile::parse("f", text).expect_err("it is wrong");
            assert!(error.contains(told), "{text}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
