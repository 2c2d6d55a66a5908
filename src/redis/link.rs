//! A connection to Redis, and the parts of its answers that are needed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use redis::{
    Client, Cmd, Connection, ConnectionAddr, ErrorKind, RedisError, ServerError, Value, cmd,
};

use super::{
    address::{Address, Redirect},
    config::RedisConfig,
    entry::{ContentHash, Raw},
    lineage::{Info, Lineage},
    primary::{Found, Primary},
    shared::Shared,
};
use crate::message::entry_id::EntryId;

/// How long the reader waits for entries before it checks whether it must end.
pub(super) const BLOCK_MILLIS: u64 = 250;
pub(super) const BLOCK: Duration = Duration::from_millis(BLOCK_MILLIS);

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection cannot be used any more.
    Lost(String),
    /// Redis refused the command.
    Refused(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(reason) | Self::Refused(reason) => f.write_str(reason),
        }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            // `Extension` are the codes that the client does not know, such as `OOM`.
            ErrorKind::Server(_) | ErrorKind::Extension => Self::Refused(error.to_string()),
            _ if error.is_timeout() => Self::Lost("no answer in time".to_owned()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

/// With sentinels, a server that does not even accept the connection in this time is left: they may
/// know of another one by then.
const ACCEPTING: Duration = Duration::from_secs(1);

pub(super) struct Link {
    connection: Connection,
    /// The address to which it leads, if a server told it.
    told: Option<Address>,
    /// The host of the address that was given.
    here: String,
    primary: Arc<Primary>,
    /// The stream is on its way to this server: before each command it must be said that another
    /// one has sent it here.
    is_asking: bool,
    /// How many answers to that are to come first.
    owed: usize,
    /// The server has said that the stream is at another one.
    is_redirected: bool,
}

impl Link {
    pub(super) fn open(shared: &Shared) -> Result<Self, Fault> {
        let timeout = shared.config.timeout;
        let mut link = Self::open_within(shared, timeout)?;
        link.limit(timeout + BLOCK)?;
        Ok(link)
    }

    pub(super) fn open_within(shared: &Shared, time: Duration) -> Result<Self, Fault> {
        let until = Instant::now() + time;
        let (config, primary) = (&shared.config, Arc::clone(&shared.primary));
        let Found { info, told, is_asking } = primary.find(config, until)?;
        let most = if told.is_some() { ACCEPTING } else { time };
        let connection = Client::open(info)?.get_connection_with_timeout(left(until).min(most));
        if let (Err(_), Some(address)) = (&connection, &told) {
            primary.forget(address);
        }
        let connection = connection?;
        let here = match config.info.addr() {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host.clone(),
            _ => String::new(),
        };
        Ok(Self { connection, told, here, primary, is_asking, owed: 0, is_redirected: false })
    }

    /// Whether this is still the primary, as far as is known without asking.
    pub(super) fn is_current(&self) -> bool {
        self.told.as_ref().is_none_or(|address| self.primary.is_still(address))
    }

    /// Whether this is still the primary, and no other one is about to take its place. Sentinels
    /// are asked for that until `asked`, if it is set.
    pub(super) fn is_to_stay(&self, asked: Option<Instant>) -> bool {
        let Some(address) = &self.told else { return true };
        if let Some(until) = asked {
            // Without an answer, what was known before counts.
            let _ = self.primary.ask(until);
        }
        self.primary.is_to_stay(address)
    }

    /// Sets how long Redis may accept nothing, or answer nothing.
    pub(super) fn limit(&mut self, time: Duration) -> Result<(), Fault> {
        self.connection.set_read_timeout(Some(time))?;
        Ok(self.connection.set_write_timeout(Some(time))?)
    }

    /// Sends packed commands. Their answers must then be received one by one.
    pub(super) fn send(&mut self, packed: &[u8]) -> Result<(), Fault> {
        if !self.is_asking {
            return Ok(self.connection.send_packed_command(packed)?);
        }
        self.owed += 1;
        let asking = cmd("ASKING").get_packed_command();
        Ok(self.connection.send_packed_command(&[&asking, packed].concat())?)
    }

    /// Whether only one command, or one transaction, can be sent at a time.
    pub(super) fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// Whether the server has said that the stream is at another one. It was asked for nothing that
    /// it has done then.
    pub(super) fn is_redirected(&self) -> bool {
        self.is_redirected
    }

    /// Finds out whether the stream has come to this server for good.
    pub(super) fn settle(&mut self, config: &RedisConfig) -> Result<bool, Fault> {
        self.connection.send_packed_command(&Extent::command(config).get_packed_command())?;
        let answer = self.connection.recv_response()?;
        self.is_asking = self.redirect(&answer).is_some();
        if let (false, Some(address)) = (self.is_asking, &self.told) {
            self.primary.settled(address);
        }
        Ok(!self.is_asking)
    }

    /// Where the server says that the stream is, if this answer says so.
    fn redirect(&self, answer: &Value) -> Option<Redirect> {
        let Value::ServerError(error) = answer else { return None };
        let here = self.told.as_ref().map_or(&*self.here, |address| &*address.host);
        Redirect::parse(error.code(), error.details()?, here)
    }

    /// Receives the next answer. After a fault other than a refusal the connection must be dropped:
    /// a late answer would be taken for the answer to another command.
    pub(super) fn receive(&mut self) -> Result<Value, Fault> {
        match self.receive_any()? {
            Value::ServerError(error) => Err(Fault::Refused(refusal(error))),
            value => Ok(value),
        }
    }

    /// Receives the next answer, which may be a refusal.
    pub(super) fn receive_any(&mut self) -> Result<Value, Fault> {
        while self.owed > 0 {
            self.connection.recv_response()?;
            self.owed -= 1;
        }
        let answer = self.connection.recv_response()?;
        if let Some(redirect) = self.redirect(&answer) {
            self.is_redirected = true;
            self.primary.redirect(redirect);
        }
        Ok(answer)
    }

    pub(super) fn ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        self.send(&command.get_packed_command())?;
        self.receive()
    }

    /// Sends several commands in one round trip. Each may be refused by itself.
    fn ask_all<const N: usize>(
        &mut self,
        commands: [&Cmd; N],
    ) -> Result<[Result<Value, Fault>; N], Fault> {
        self.send(&commands.map(Cmd::get_packed_command).concat())?;
        let mut answers = commands.map(|_| Ok(Value::Nil));
        for answer in &mut answers {
            *answer = match self.receive() {
                Err(fault @ Fault::Lost(_)) => return Err(fault),
                other => other,
            };
        }
        Ok(answers)
    }

    /// The server's replication id. A replica is refused: it does not say when it becomes primary.
    pub(super) fn server(&mut self, config: &RedisConfig) -> Result<String, Fault> {
        let server = Info(text(self.ask(cmd("INFO").arg("replication"))?)?).server();
        if server.is_err() {
            let info = Info(text(self.ask(cmd("INFO").arg("server"))?)?);
            self.check_kind(config, &info)?;
        }
        server
    }

    /// Says what is wrong with a server that is no primary, if it is something else than that. A
    /// replica in a Cluster says which server has the stream.
    fn check_kind(&mut self, config: &RedisConfig, server: &Info) -> Result<(), Fault> {
        if server.is_sentinel() {
            let reason = "this is a sentinel; write redis-sentinel://HOST:PORT/MASTER for it";
            return Err(Fault::Refused(reason.to_owned()));
        }
        if server.is_cluster() {
            self.extent(config)?;
        }
        Ok(())
    }

    /// Finds out which server this is, to decide whether it has what was acknowledged.
    pub(super) fn lineage(&mut self, config: &RedisConfig) -> Result<Lineage, Fault> {
        let [replication, server, only, fsync, rewrite] = self.ask_all([
            cmd("INFO").arg("replication"),
            cmd("INFO").arg("server"),
            cmd("CONFIG").arg("GET").arg("appendonly"),
            cmd("CONFIG").arg("GET").arg("appendfsync"),
            cmd("CONFIG").arg("GET").arg("no-appendfsync-on-rewrite"),
        ])?;
        let (replication, server) = (Info(text(replication?)?), Info(text(server?)?));
        // The account may not be allowed to ask.
        let is = |answer: Result<Value, Fault>, wanted: &str| match answer.and_then(array) {
            Ok(pair) => pair.get(1) == Some(&Value::BulkString(wanted.into())),
            Err(_) => false,
        };
        let is_durable = is(only, "yes") && is(fsync, "always") && is(rewrite, "no");
        let lineage = Lineage::new(&replication, &server, is_durable);
        if lineage.is_err() {
            self.check_kind(config, &server)?;
        }
        lineage
    }

    /// The server that nodes vouched for last, as the key beside the stream says.
    pub(super) fn remembered(
        &mut self,
        config: &RedisConfig,
        is_cluster: bool,
    ) -> Result<Option<Lineage>, Fault> {
        if self.is_asking && !self.settle(config)? {
            // The key may still be where the stream comes from.
            return Err(Fault::Refused("the stream is on its way to another server".to_owned()));
        }
        let memo = config.memo(is_cluster);
        let value = match self.ask(cmd("GET").arg(&memo)) {
            // It had another name in a Cluster before, and may then be on another server.
            Ok(Value::Nil) if memo != config.memo(false) => {
                let packed = cmd("GET").arg(config.memo(false)).get_packed_command();
                self.connection.send_packed_command(&packed)?;
                self.connection.recv_response()?
            }
            Ok(value) => value,
            Err(Fault::Refused(reason)) => {
                return Err(Fault::Refused(format!("{memo}: {reason}")));
            }
            Err(fault) => return Err(fault),
        };
        Ok(match value {
            Value::Nil | Value::ServerError(_) => None,
            value => Some(Lineage::parse(&text(value)?)),
        })
    }

    /// Writes into the key beside the stream that nodes vouch for this server.
    pub(super) fn remember(&mut self, config: &RedisConfig, it: &Lineage) -> Result<(), Fault> {
        if self.is_asking {
            // If the key were here, the one that is still to come could not be moved.
            return Ok(());
        }
        self.ask(cmd("SET").arg(config.memo(it.is_cluster)).arg(it.memo())).map(drop)
    }

    /// What became of an entry that was in the stream. Another server may have given its id to an
    /// entry of its own: it is the same if its content is, as far as that is known.
    pub(super) fn entry_state(
        &mut self,
        config: &RedisConfig,
        id: EntryId,
        content: Option<ContentHash>,
    ) -> Result<EntryState, Fault> {
        if id == EntryId::ZERO {
            return Ok(EntryState::There);
        }
        let text = argument(id);
        let found = self.ask(cmd("XRANGE").arg(&config.stream).arg(&text).arg(&text))?;
        if let Some(found) = entries(found)?.first() {
            let is_other = content.is_some_and(|content| content != found.content_hash());
            return Ok(if is_other { EntryState::Lost } else { EntryState::There });
        }
        let Extent { newest, oldest, .. } = self.extent(config)?;
        let is_lost = newest < id || oldest.is_some_and(|oldest| oldest < id);
        Ok(if is_lost { EntryState::Lost } else { EntryState::TakenOut })
    }

    /// Reads at most `count` entries after `after`, and how far the stream reaches, in one
    /// transaction.
    pub(super) fn page(
        &mut self,
        config: &RedisConfig,
        after: EntryId,
        count: usize,
    ) -> Result<(Vec<Raw>, Extent), Fault> {
        let mut range = cmd("XRANGE");
        range.arg(&config.stream).arg(format!("({}", argument(after))).arg("+");
        range.arg("COUNT").arg(count);
        // If one of the commands is refused, so is `EXEC`.
        let [.., exec] =
            self.ask_all([&cmd("MULTI"), &range, &Extent::command(config), &cmd("EXEC")])?;
        let mut answers = array(exec?)?.into_iter();
        let (Some(range), Some(extent)) = (answers.next(), answers.next()) else {
            return Err(unexpected());
        };
        let extent = match extent {
            Value::ServerError(error) if is_missing(error.details().unwrap_or_default()) => {
                Extent::default()
            }
            Value::ServerError(error) => {
                return Err(Fault::Refused(error.code().to_owned()));
            }
            value => Extent::read(value)?,
        };
        Ok((entries(range)?, extent))
    }

    pub(super) fn extent(&mut self, config: &RedisConfig) -> Result<Extent, Fault> {
        match self.ask(&Extent::command(config)) {
            Ok(value) => Extent::read(value),
            Err(Fault::Refused(reason)) if is_missing(&reason) => Ok(Extent::default()),
            Err(fault) => Err(fault),
        }
    }
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryState {
    There,
    /// It was taken out, as far as is known.
    TakenOut,
    /// It should be in the stream, and is not.
    Lost,
}

/// How far the stream reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The newest id that an entry ever had.
    pub(super) newest: EntryId,
    pub(super) oldest: Option<EntryId>,
    /// How many entries there ever were; unknown before Redis 7.
    pub(super) added: Option<i64>,
    /// Whether entries were taken out. Before Redis 7 that is unknown, and counts as true.
    is_trimmed: bool,
}

impl Extent {
    pub(super) fn command(config: &RedisConfig) -> Cmd {
        let mut command = cmd("XINFO");
        command.arg("STREAM").arg(&config.stream);
        command
    }

    fn read(value: Value) -> Result<Self, Fault> {
        let mut extent = Self { is_trimmed: true, ..Self::default() };
        let mut length = None;
        let mut values = array(value)?.into_iter();
        while let (Some(name), Some(value)) = (values.next(), values.next()) {
            match (&*text(name)?, value) {
                ("length", Value::Int(count)) => length = Some(count),
                ("entries-added", Value::Int(count)) => extent.added = Some(count),
                ("last-generated-id", value) => extent.newest = id(value)?,
                ("first-entry", value @ Value::Array(_)) => {
                    extent.oldest = array(value)?.into_iter().next().map(id).transpose()?;
                }
                _ => {}
            }
        }
        extent.is_trimmed = extent.added.is_none() || extent.added != length;
        Ok(extent)
    }

    /// Whether everything that ever came after this entry is still there.
    pub(super) fn is_whole_after(&self, id: EntryId) -> bool {
        // A stream that was made again is not trimmed either. A client has missed nothing if it is
        // at an entry that is there, or right before the first one.
        let is_reached = self.oldest.is_some_and(|oldest| oldest.before() <= id);
        is_reached || self.newest <= id || !self.is_trimmed && id == EntryId::ZERO
    }
}

/// A refusal as a text for people.
pub(super) fn refusal(error: ServerError) -> String {
    RedisError::from(error).to_string()
}

/// The time until `until`, at least 1 ms: a socket's time-out cannot be zero.
pub(super) fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// Whether a refusal means that the stream does not exist yet.
pub(super) fn is_missing(reason: &str) -> bool {
    reason.contains("no such key")
}

/// An id as Redis writes it.
pub(super) fn argument(id: EntryId) -> String {
    format!("{}-{}", id.millis, id.number)
}

/// The entries of an answer to `XRANGE`.
pub(super) fn entries(value: Value) -> Result<Vec<Raw>, Fault> {
    array(value)?.into_iter().map(entry).collect()
}

/// The entries of an answer to `XREAD` of one stream.
pub(super) fn read_entries(value: Value) -> Result<Vec<Raw>, Fault> {
    if value == Value::Nil {
        return Ok(Vec::new());
    }
    let stream = array(value)?.pop().ok_or_else(unexpected)?;
    entries(array(stream)?.pop().ok_or_else(unexpected)?)
}

fn entry(value: Value) -> Result<Raw, Fault> {
    let mut parts = array(value)?.into_iter();
    let (Some(first), Some(fields)) = (parts.next(), parts.next()) else {
        return Err(unexpected());
    };
    let fields = array(fields)?.into_iter().map(bytes).collect::<Result<_, _>>()?;
    Ok(Raw { id: id(first)?, fields })
}

pub(super) fn array(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unexpected()),
    }
}

fn bytes(value: Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unexpected()),
    }
}

pub(super) fn text(value: Value) -> Result<String, Fault> {
    String::from_utf8(bytes(value)?).map_err(|_| unexpected())
}

pub(super) fn id(value: Value) -> Result<EntryId, Fault> {
    let text = text(value)?;
    let (millis, number) = text.split_once('-').ok_or_else(unexpected)?;
    match (millis.parse(), number.parse()) {
        (Ok(millis), Ok(number)) => Ok(EntryId { millis, number }),
        _ => Err(unexpected()),
    }
}

/// The server is not the primary any more.
pub(super) fn given_up() -> Fault {
    Fault::Lost("another server is said to be the primary, or to become it".to_owned())
}

/// The answer has an unexpected form, so the next ones cannot be understood either.
pub(super) fn unexpected() -> Fault {
    Fault::Lost("an answer of a form that is not expected".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_whole_after_what_it_reaches_back_to() {
        let at = |millis| EntryId { millis, number: 0 };
        for is_trimmed in [false, true] {
            let (newest, oldest) = (at(9), Some(at(5)));
            let extent = Extent { newest, oldest, added: None, is_trimmed };
            for id in [at(5), at(5).before(), at(7), at(9), at(11)] {
                assert!(extent.is_whole_after(id), "{id}");
            }
            // If nothing was trimmed, these entries were of another stream.
            for id in [at(4), at(1)] {
                assert!(!extent.is_whole_after(id), "{id}");
            }
            assert_eq!(extent.is_whole_after(EntryId::ZERO), !is_trimmed);
        }
        let empty = Extent { newest: at(9), oldest: None, added: None, is_trimmed: true };
        assert!(empty.is_whole_after(at(9)) && !empty.is_whole_after(at(8)));
    }
}
