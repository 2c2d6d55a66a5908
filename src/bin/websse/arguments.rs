//! The reading of the command line, of the environment, and of a configuration file.

use std::{collections::HashMap, ffi::OsString};

use lexopt::prelude::*;

use crate::{
    config::Config,
    flags::{self, Flag},
    generate::Kind,
    help::push,
    spelling::nearest,
};

/// The prefix of an environment variable; the name of its flag follows, in capitals.
const PREFIX: &str = "WEBSSE_";

pub(crate) enum Command {
    Help,
    Version,
    Generate(Kind),
    /// Print what is in this directory.
    Log(OsString),
    Check(Box<Config>),
    Serve(Box<Config>),
}

/// The configuration in effect, one flag on each line.
pub(crate) fn shown(config: &Config) -> String {
    let mut shown = String::new();
    for flag in flags::all().filter(|flag| !flag.value.is_empty() || flag.name == "no-page") {
        for text in config.texts.get(flag.name).into_iter().flatten() {
            let text = if flag.secret { "(set)" } else { text };
            push(&mut shown, format_args!("{}\n", format!("--{} {text}", flag.name).trim_end()));
        }
    }
    shown.push_str(&config.https.shown());
    shown
}

/// Reads the command line. A flag that is not there comes from the environment, from the
/// configuration file, or has its default.
/// `variables` are the names of all that is in the environment.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
    variables: impl Iterator<Item = OsString>,
) -> Result<Command, String> {
    for name in flags::OF_FEATURES {
        let variable = variable(name);
        if let Some(lacking) = flags::lacking(name)
            && environment(&variable).is_some()
        {
            return Err(format!("{variable}: {lacking}"));
        }
    }
    let mut arguments = arguments.into_iter().peekable();
    if arguments.next_if(|first| first == "log").is_some() {
        return read_log(arguments);
    }
    let mut texts = read_arguments(arguments)?;
    for known in [("help", Command::Help), ("version", Command::Version)] {
        if texts.contains_key(known.0) {
            return Ok(known.1);
        }
    }
    if let Some(kind) = texts.get("generate").and_then(|texts| texts.first()) {
        let kind = Kind::parse(kind).map_err(|error| format!("--generate {kind}: {error}"))?;
        return Ok(Command::Generate(kind));
    }
    let mut config = Config::new();
    // The first one is the configuration file.
    for flag in flags::all() {
        let in_file = config.file.take(flag);
        let given = match texts.remove(flag.name) {
            Some(given) => Some((given, format!("--{}", flag.name))),
            None => from_environment(flag, &environment)?.or(in_file),
        };
        let (mut given, source) = given.unwrap_or_default();
        if given.is_empty() && !flag.default.is_empty() {
            given.push(flag.default.to_owned());
        }
        for text in &given {
            let shown = if flag.secret || flag.value.is_empty() { "" } else { &format!(" {text}") };
            (flag.set)(&mut config, text).map_err(|error| format!("{source}{shown}: {error}"))?;
        }
        config.texts.insert(flag.name, given);
    }
    #[cfg(feature = "redis")]
    if let Some(redis) = config.redis.take() {
        config.server = config.server.redis(redis);
    }
    #[cfg(feature = "durable")]
    if let Some(durable) = config.durable.take() {
        config.server = config.server.durable(durable);
    }
    config.https.check(&config.listen)?;
    let foreign = variables.filter_map(|name| foreign_variable(name.to_str()?));
    config.mistakes.extend(foreign);
    for tokens in config.tokens()? {
        config.mistakes.extend(tokens.mistakes());
    }
    let config = Box::new(config);
    Ok(if config.check { Command::Check(config) } else { Command::Serve(config) })
}

/// Reads what stands behind `log`.
fn read_log(mut arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    if let Some(lacking) = flags::lacking("history-dir") {
        return Err(format!("log: {lacking}"));
    }
    match (arguments.next(), arguments.next()) {
        (Some(directory), None) => Ok(Command::Log(directory)),
        _ => Err("log takes one directory, that of --history-dir".to_owned()),
    }
}

fn read_arguments(
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<HashMap<&'static str, Vec<String>>, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut texts: HashMap<&'static str, Vec<String>> = HashMap::new();
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let flag = match &argument {
            Short('h') => flags::all().find(|flag| flag.name == "help"),
            Short('V') => flags::all().find(|flag| flag.name == "version"),
            Long(name) => flags::all().find(|flag| flag.name == *name),
            _ => None,
        };
        let Some(flag) = flag else {
            if let Long(name) = argument
                && let Some(lacking) = flags::lacking(name)
            {
                return Err(format!("--{name}: {lacking}"));
            }
            return Err(argument.unexpected().to_string());
        };
        let text = if flag.value.is_empty() {
            String::new()
        } else {
            let value = parser.value().map_err(|error| error.to_string())?;
            value.string().map_err(|error| error.to_string())?
        };
        let given = texts.entry(flag.name).or_default();
        if !given.is_empty() && !flag.many {
            return Err(format!("--{} is given more than once", flag.name));
        }
        given.push(text);
    }
    Ok(texts)
}

/// The values of a flag in the environment, and the variable. Those of a repeatable flag are
/// separated by blanks. A variable without a value is as none.
fn from_environment(
    flag: &Flag,
    environment: &impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(Vec<String>, String)>, String> {
    let name = variable(flag.name);
    let Some(value) = environment(&name) else {
        return Ok(None);
    };
    let Ok(text) = value.into_string() else {
        return Err(format!("{name} is not UTF-8"));
    };
    if text.trim().is_empty() {
        return flag.refuses_nothing().map_or(Ok(None), |refused| Err(format!("{name} {refused}")));
    }
    let values = if flag.many {
        text.split_whitespace().map(str::to_owned).collect()
    } else if flag.value.is_empty() {
        match &*text {
            "1" | "true" => vec![String::new()],
            "0" | "false" => Vec::new(),
            _ => return Err(format!("{name}={text}: either 1 or 0")),
        }
    } else {
        vec![text]
    };
    Ok(Some((values, name)))
}

/// Tells of a variable that looks as if it were for the command, but that it does not know.
fn foreign_variable(name: &str) -> Option<String> {
    let own = name.strip_prefix(PREFIX)?;
    // Kubernetes sets these by itself where a service has the name `websse`.
    let is_of_kubernetes = own.starts_with("SERVICE_") || own == "PORT" || own.starts_with("PORT_");
    let known: Vec<String> = flags::all().map(|flag| variable(flag.name)).collect();
    if is_of_kubernetes || known.iter().any(|known| known == name) {
        return None;
    }
    if let Some(lacking) = flags::lacking(&own.to_lowercase().replace('_', "-")) {
        return Some(format!("{name}: {lacking}"));
    }
    let known = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
    let meant = nearest(own, known).map_or(String::new(), |own| format!("; is it {PREFIX}{own}?"));
    Some(format!("{name} is no variable of the command, and has no effect{meant}"))
}

pub(crate) fn variable(flag: &str) -> String {
    format!("{PREFIX}{}", flag.to_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use websse::{Server, http::Limits};

    use super::*;

    fn config(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Config, String> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        let environment = |name: &str| find(name).map(|(_, value)| OsString::from(value));
        let names = variables.iter().map(|(name, _)| OsString::from(name));
        match read(arguments.iter().map(OsString::from), environment, names)? {
            Command::Check(config) | Command::Serve(config) => Ok(*config),
            Command::Help | Command::Version | Command::Generate(_) | Command::Log(_) => {
                Err("no configuration".to_owned())
            }
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let config = config(&[], &[]).expect("all have defaults");
        assert_eq!(format!("{:?}", config.server), format!("{:?}", Server::builder()));
        assert_eq!(format!("{:?}", config.limits), format!("{:?}", Limits::default()));
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_that_over_the_default() {
        let variables = [("WEBSSE_EVENT", "a  b"), ("WEBSSE_RETRY", "5s"), ("WEBSSE_NO_PAGE", "1")];
        let from_variables = config(&[], &variables).expect("they are good");
        assert_eq!(from_variables.events, ["a", "b"]);
        assert!(!from_variables.page);
        assert!(shown(&from_variables).contains("--retry 5s\n"));
        let flags = ["--event", "c", "--retry=7s"];
        let from_flags = config(&flags, &variables).expect("they are good");
        assert_eq!(from_flags.events, ["c"]);
        assert!(shown(&from_flags).contains("--retry 7s\n--reconnect-spread 0\n"));
    }

    #[test]
    fn variables_that_are_misspelt_are_told_with_the_right_name() {
        for (name, told) in [
            ("WEBSSE_LISTEN", None),
            ("PATH", None),
            ("WEBSSE", None),
            ("WEBSSE_SERVICE_HOST", None),
            ("WEBSSE_PORT", None),
            ("WEBSSE_PORT_8080_TCP_ADDR", None),
            ("WEBSSE_LISEN", Some("is it WEBSSE_LISTEN?")),
            ("WEBSSE_PUBLISH_TOKENS", Some("is it WEBSSE_PUBLISH_TOKEN?")),
            ("WEBSSE_CORS_ORIGNS", Some("is it WEBSSE_CORS_ORIGIN?")),
            ("WEBSSE_SOMETHING_ELSE", Some("has no effect")),
            #[cfg(not(feature = "redis"))]
            ("WEBSSE_REDIS_STREAM", Some("the features cli,redis")),
        ] {
            let mistake = foreign_variable(name);
            assert_eq!(mistake.is_some(), told.is_some(), "{name}: {mistake:?}");
            let mistake = mistake.unwrap_or_default();
            assert!(mistake.ends_with(told.unwrap_or_default()), "{name}: {mistake}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_where_it_was_given_but_for_secrets() {
        for (arguments, variables, error) in [
            (&["--retry", "3"][..], &[][..], "--retry 3: \"3\" is not a time such as 15s"),
            (&["--retry", "600h"], &[], "at most 2147483647ms"),
            (&["--reconnect-spread", "600h"], &[], "at most 2147483647ms"),
            (&[], &[("WEBSSE_RETRY", "x")][..], "WEBSSE_RETRY x: \"x\" is not a time"),
            (&[], &[("WEBSSE_NO_PAGE", "maybe")], "either 1 or 0"),
            (&["--retry", "1s", "--retry", "2s"], &[], "more than once"),
            (&["--unix-mode", "999"], &[], "--unix-mode 999: not permissions"),
            (&["--cors-origin", "example.org"], &[], "not an origin"),
            (&["--publish-token", "two words"], &[], "a token is made of"),
            (&[], &[("WEBSSE_PUBLISH_TOKEN", " ")], "is empty, and would guard nothing"),
            (&["--publish-token-file", "/nothing/here"], &[], "/nothing/here: "),
        ] {
            let refused = config(arguments, variables).err().expect("it is wrong");
            assert!(refused.contains(error), "{refused}");
            assert!(!refused.contains("two words"), "{refused}");
        }
        #[cfg(feature = "redis")]
        for (arguments, error) in [
            (&["--redis-stream", "x"][..], "only together with --redis"),
            (&["--redis", "redis://h", "--redis-maxlen", "9"], "at least 1024"),
            (&["--redis", "redis://h", "--redis-stream", ""], "not a key"),
        ] {
            let refused = config(arguments, &[]).err().expect("it is wrong");
            assert!(refused.contains(error), "{refused}");
        }
        #[cfg(not(feature = "redis"))]
        for refused in
            [config(&["--redis", "redis://h"], &[]), config(&[], &[("WEBSSE_REDIS", "redis://h")])]
        {
            assert!(refused.err().expect("it is wrong").contains("the features cli,redis"));
        }
        #[cfg(not(feature = "jwt"))]
        for refused in
            [config(&["--token-key", "k"], &[]), config(&[], &[("WEBSSE_TOKEN_KEY", "k")])]
        {
            assert!(refused.err().expect("it is wrong").contains("the features cli,jwt"));
        }
        #[cfg(feature = "redis")]
        for url in ["redis://:secret@host", "redis//:secret@host"] {
            let shown = match config(&["--redis", url], &[]) {
                Ok(config) => format!("{}{:?}", shown(&config), config.server),
                Err(error) => error,
            };
            assert!(shown.contains("--redis") && !shown.contains("secret"), "{shown}");
        }
        let config = config(&["--publish-token", "secret"], &[]).expect("it is good");
        let shown = shown(&config);
        assert!(shown.contains("--publish-token (set)\n") && !shown.contains("secret"), "{shown}");
    }
}
