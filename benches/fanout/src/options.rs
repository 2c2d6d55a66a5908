//! The command line.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    path::PathBuf,
};

use anyhow::{Result, bail};
use lexopt::{Arg::Long, Arg::Short, Parser, ValueExt};

use super::{peer::Entrant, scenario::SCENARIOS};

pub(crate) const USAGE: &str = "\
How fast, and at what cost, events reach many clients.

usage: cargo run --release --manifest-path benches/fanout/Cargo.toml -- [OPTION]...

  --scenario NAME      burst, steady, idle, storm, stuck, types, scaling,
                       publish, channels, idle-channels, return, own, or with
                       the feature `redis` redis, which starts redis-servers,
                       or with the feature `tls` tls; may repeat        [all]
  --about TEXT         only the cases that have TEXT in their description
  --peer NAME[@SCENARIO]=COMMAND
                       another server, started as COMMAND --types N, in one
                       scenario only, in all, or with @-SCENARIO in all but
                       one; may repeat. A NAME that begins with `limit` is a
                       bare loop that writes
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
    pub(crate) about: String,
    pub(crate) entrants: Vec<Entrant>,
    /// By scenario; without a name for all others.
    rounds: HashMap<String, usize>,
    pub(crate) window: usize,
    pub(crate) is_quick: bool,
    pub(crate) json: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

impl Options {
    pub(crate) fn rounds(&self, scenario: &str) -> usize {
        let rounds = self.rounds.get(scenario).or_else(|| self.rounds.get(""));
        rounds.copied().unwrap_or(if self.is_quick { 1 } else { 5 })
    }
}

/// `None` if only help is asked for.
pub(crate) fn parse() -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        scenarios: Vec::new(),
        about: String::new(),
        entrants: Entrant::always().map_err(|error| error.to_string())?,
        rounds: HashMap::new(),
        window: 256,
        is_quick: false,
        json: None,
        markdown: None,
        svg: None,
    };
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(None),
            Long("quick") => options.is_quick = true,
            Long("scenario") => options.scenarios.push(parser.value()?.parse_with(scenario)?),
            Long("about") => options.about = parser.value()?.parse()?,
            Long("peer") => options.entrants.push(parser.value()?.parse_with(Entrant::parse)?),
            Long("rounds") => options.rounds.extend([parser.value()?.parse_with(rounds)?]),
            Long("window") => options.window = parser.value()?.parse::<NonZeroUsize>()?.get(),
            Long("json") => options.json = Some(parser.value()?.into()),
            Long("markdown") => options.markdown = Some(parser.value()?.into()),
            Long("svg") => options.svg = Some(parser.value()?.into()),
            _ => return Err(argument.unexpected()),
        }
    }
    let mut names = HashSet::new();
    if let Some(twice) = options.entrants.iter().find(|entrant| !names.insert(&entrant.name)) {
        return Err(format!("two servers are called {}", twice.name).into());
    }
    Ok(Some(options))
}

fn scenario(name: &str) -> Result<String> {
    if SCENARIOS.contains(&name) {
        return Ok(name.to_owned());
    }
    bail!("there are {}", SCENARIOS.join(", "))
}

fn rounds(text: &str) -> Result<(String, usize)> {
    let (name, rounds) = match text.split_once('=') {
        Some((name, rounds)) => (scenario(name)?, rounds),
        None => (String::new(), text),
    };
    Ok((name, rounds.parse::<NonZeroUsize>()?.get()))
}
