//! The command line.

use std::{collections::HashSet, path::PathBuf, str::FromStr};

use super::{peer::Entrant, scenario::SCENARIOS};

pub(crate) const USAGE: &str = "\
How fast, and at what cost, events reach many clients.

usage: cargo bench --bench fanout -- [OPTION]...

  --scenario NAME      burst, steady, idle, storm, stuck, types, scaling or
                       publish; may repeat                              [all]
  --peer NAME=COMMAND  another server, started as COMMAND --types N; may repeat.
                       A NAME that begins with `limit` is a bare loop that writes
  --rounds N           servers take turns so often; medians are shown     [5]
  --window N           publishes over HTTP that may be unanswered; 1 is no
                       pipelining, and more than 24 with 4 KiB each are too
                       much for some servers                             [24]
  --quick              small numbers, one round: only to see that it runs
  --json FILE          writes every round's figures
  --svg FILE           draws them
  --help               this text

Ends with an error if `websse` lost, repeated or refused anything.
";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) scenarios: Vec<String>,
    pub(crate) entrants: Vec<Entrant>,
    pub(crate) rounds: usize,
    pub(crate) window: usize,
    pub(crate) is_quick: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

/// `None` if only help is asked for.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        scenarios: Vec::new(),
        entrants: vec![Entrant::websse()?],
        rounds: 0,
        window: 24,
        is_quick: false,
        json: None,
        svg: None,
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value; try --help"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            // What cargo adds.
            "--bench" => {}
            "--quick" => options.is_quick = true,
            "--scenario" => options.scenarios.push(scenario(value()?)?),
            "--peer" => options.entrants.push(Entrant::parse(&value()?)?),
            "--rounds" => options.rounds = number(&argument, &value()?)?,
            "--window" => options.window = number(&argument, &value()?)?,
            "--json" => options.json = Some(value()?.into()),
            "--svg" => options.svg = Some(value()?.into()),
            _ => return Err(format!("no such option: {argument}; try --help")),
        }
    }
    if options.rounds == 0 {
        options.rounds = if options.is_quick { 1 } else { 5 };
    }
    let mut names = HashSet::new();
    if let Some(twice) = options.entrants.iter().find(|entrant| !names.insert(&entrant.name)) {
        return Err(format!("two servers are called {}", twice.name));
    }
    Ok(Some(options))
}

fn scenario(name: String) -> Result<String, String> {
    if SCENARIOS.contains(&name.as_str()) {
        return Ok(name);
    }
    Err(format!("no scenario {name}; there are {}", SCENARIOS.join(", ")))
}

fn number<T: FromStr + PartialOrd + From<u8>>(option: &str, text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number >= T::from(1));
    number.ok_or_else(|| format!("{option} {text}: expected a number from 1 on"))
}
