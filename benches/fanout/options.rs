//! The command line.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    str::FromStr,
};

use super::{peer::Entrant, scenario::SCENARIOS};

pub(crate) const USAGE: &str = "\
How fast, and at what cost, events reach many clients.

usage: cargo bench --bench fanout -- [OPTION]...

  --scenario NAME      burst, steady, idle, storm, stuck, types, scaling,
                       publish, or with the feature `redis` redis, which
                       starts redis-servers; may repeat                 [all]
  --peer NAME[@SCENARIO]=COMMAND
                       another server, started as COMMAND --types N, in one
                       scenario only or in all; may repeat. A NAME that begins
                       with `limit` is a bare loop that writes
  --rounds [SCENARIO=]N
                       servers take turns so often; medians are shown; may
                       repeat                                              [5]
  --window N           publishes over HTTP that may be unanswered, 64 KiB in
                       all; 1 is no pipelining                           [256]
  --quick              small numbers, one round: only to see that it runs
  --json FILE          writes every round's figures
  --markdown FILE      writes tables to where FILE has them from another run
  --svg FILE           draws the scenarios that were run anew
  --help               this text

Ends with an error if `websse` lost, repeated or refused anything.
";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) scenarios: Vec<String>,
    pub(crate) entrants: Vec<Entrant>,
    rounds: usize,
    rounds_of: HashMap<String, usize>,
    pub(crate) window: usize,
    pub(crate) is_quick: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    pub(crate) fn rounds(&self, scenario: &str) -> usize {
        self.rounds_of.get(scenario).copied().unwrap_or(self.rounds)
    }
}

/// `None` if only help is asked for.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        scenarios: Vec::new(),
        entrants: entrants()?,
        rounds: 0,
        rounds_of: HashMap::new(),
        window: 256,
        is_quick: false,
        json: None,
        markdown: None,
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
            "--rounds" => {
                let rounds = value()?;
                if let Some((name, rounds)) = rounds.split_once('=') {
                    let rounds = number(&argument, rounds)?;
                    options.rounds_of.insert(scenario(name.to_owned())?, rounds);
                } else {
                    options.rounds = number(&argument, &rounds)?;
                }
            }
            "--window" => options.window = number(&argument, &value()?)?,
            "--json" => options.json = Some(value()?.into()),
            "--markdown" => options.markdown = Some(value()?.into()),
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

/// Those that take part always.
fn entrants() -> Result<Vec<Entrant>, String> {
    let entrants = vec![Entrant::websse()?];
    #[cfg(feature = "redis")]
    let entrants = [entrants, Entrant::nodes()?].concat();
    Ok(entrants)
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
