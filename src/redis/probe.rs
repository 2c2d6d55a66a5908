//! Whether Redis would accept an event now, and let events be read. Nothing is published to find
//! out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::{Cmd, Value, cmd};

use super::{
    config::RedisConfig,
    entry::probe,
    lineage::Info,
    link::{Extent, Fault, Link, array, is_missing, left, refusal, text},
    say,
    shared::Shared,
};
use crate::logs::Level;

/// How long an answer is used again, for all callers.
const FRESH: Duration = Duration::from_secs(1);

pub(super) struct Probe {
    shared: Arc<Shared>,
    /// Held while Redis is asked: other callers wait for the answer. Nothing else uses this lock.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    /// The last answer, and when it came.
    last: Option<(Instant, Result<(), Trouble>)>,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").finish_non_exhaustive()
    }
}

/// Why events cannot be published or read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    /// For anybody: it names neither an account nor an address.
    public: String,
    /// For the program's log.
    detail: String,
}

impl Trouble {
    fn new(public: &str, detail: impl Into<String>) -> Self {
        Self { public: public.to_owned(), detail: detail.into() }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::new(LATE, fault.to_string())
    }
}

const LATE: &str = "Redis does not answer in time, or not as it should";

impl Probe {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, state: Mutex::default() }
    }

    pub(super) fn is_ready(&self, until: Instant) -> Result<(), String> {
        let mut state = self.state.try_lock_until(until).ok_or(LATE)?;
        let is_fresh = |(at, _): &&(Instant, _)| at.elapsed() < FRESH;
        let known = state.last.as_ref().filter(is_fresh).map(|(_, result)| result.clone());
        let result = known.unwrap_or_else(|| {
            let result = self.ask(&mut state.link, until);
            let before = state.last.replace((Instant::now(), result.clone()));
            match &result {
                // Logged once, as long as the answer stays the same.
                Err(trouble) if before.is_none_or(|(_, before)| before != result) => {
                    let Trouble { public, detail } = trouble;
                    let place = self.shared.primary.place();
                    say(Level::Warn, format_args!("not ready: {public}{place}: {detail}"));
                }
                _ => {}
            }
            result
        });
        result.map_err(|trouble| trouble.public)
    }

    /// Asks over the connection that is open. If that fails, asks over a new one: the old one may
    /// be stale, or lead to a server that was given up.
    fn ask(&self, link: &mut Option<Link>, until: Instant) -> Result<(), Trouble> {
        let config = &self.shared.config;
        let server = self.shared.wait_vouched(until);
        let server = server.ok_or_else(|| Trouble::new("the log cannot be read now", ""))?;
        let asked = |mut link: Link| ask(&mut link, config, &server, until).map(|()| link);
        let mut result = link.take().map_or_else(|| Err(Trouble::new(LATE, "")), asked);
        if result.is_err() && Instant::now() < until {
            result = Ok(Link::open_within(&self.shared, left(until))?).and_then(asked);
        }
        *link = Some(result?);
        Ok(())
    }
}

/// What does not work if a command is refused.
const PUBLISHING: &str = "events cannot be published now";
const READING: &str = "clients that come back cannot be served now";

/// Asks the server that the reader vouches for everything that publishing and reading back would
/// ask. The `XADD` has an id that no entry can have. Redis refuses it for that reason alone, also
/// if there is no transaction.
fn ask(link: &mut Link, config: &RedisConfig, server: &str, until: Instant) -> Result<(), Trouble> {
    link.limit(left(until))?;
    let mut range = cmd("XRANGE");
    range.arg(&config.stream).arg("-").arg("+").arg("COUNT").arg(0);
    let commands = [
        ("MULTI", READING, cmd("MULTI")),
        ("XADD", PUBLISHING, probe(config)),
        ("XRANGE", READING, range),
        ("XINFO", READING, Extent::command(config)),
        ("EXEC", READING, cmd("EXEC")),
        ("INFO", READING, cmd("INFO").arg("replication").clone()),
    ];
    let packed: Vec<Vec<u8>> =
        commands.iter().map(|(_, _, command)| Cmd::get_packed_command(command)).collect();
    link.send(&packed.concat())?;
    let mut answers = Vec::new();
    for _ in &commands {
        answers.push(link.receive_any()?);
    }
    for ((name, effect, _), answer) in commands.iter().zip(&answers) {
        refused(name, effect, answer)?;
    }
    let (Some(info), Some(executed)) = (answers.pop(), answers.pop()) else {
        return Ok(());
    };
    if Info(text(info)?).server()? != server {
        return Err(Trouble::new("the log leads to another server", ""));
    }
    // The account's rights may have changed since the commands were queued.
    for ((name, effect, _), answer) in commands[1..].iter().zip(array(executed)?) {
        let is_expected = match &answer {
            Value::ServerError(error) if *name == "XADD" => error.code() == "ERR",
            Value::ServerError(error) => is_missing(error.details().unwrap_or_default()),
            _ => true,
        };
        if !is_expected {
            refused(name, effect, &answer)?;
        }
    }
    Ok(())
}

fn refused(name: &str, effect: &str, answer: &Value) -> Result<(), Trouble> {
    let Value::ServerError(error) = answer else { return Ok(()) };
    let public = format!("{effect}: Redis refuses {name} ({})", error.code());
    Err(Trouble { public, detail: refusal(error.clone()) })
}
