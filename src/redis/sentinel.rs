//! The thread that asks one sentinel where the primary is: when another thread is about to connect,
//! and a few times a second.

use std::{sync::Arc, time::Duration};

use redis::{Client, Connection, ConnectionInfo, Value, cmd};

use super::{
    address::Address,
    link::{Fault, array, refusal, text},
    primary::Word,
    say,
    shared::Shared,
};
use crate::{logs::Level, panics::AtEnd};

/// How often a sentinel is asked, so that a primary that was given up is soon left.
const LOOK: Duration = Duration::from_millis(250);
/// How long a sentinel may take to answer.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Sentinel {
    shared: Arc<Shared>,
    /// Its number among the sentinels.
    number: usize,
    info: ConnectionInfo,
    master: String,
    connection: Option<Connection>,
}

impl Sentinel {
    /// One for each sentinel.
    pub(super) fn all(shared: &Arc<Shared>) -> Vec<Self> {
        let Some(sentinels) = &shared.config.sentinels else { return Vec::new() };
        let each = sentinels.each.iter().enumerate().map(|(number, info)| Self {
            shared: Arc::clone(shared),
            number,
            info: info.clone(),
            master: sentinels.master.clone(),
            connection: None,
        });
        each.collect()
    }

    pub(super) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        let _end = AtEnd(|| shared.ends());
        let (mut answered, mut is_silent) = (0, false);
        while let Some(asked) = shared.primary.next_question(answered, LOOK) {
            let said = self.ask().map_err(|fault| fault.to_string());
            // Only the first failure is logged.
            if let Err(reason) = &said
                && !is_silent
            {
                say(Level::Warn, format_args!("sentinel {}: {reason}", self.info.addr()));
            }
            is_silent = said.is_err();
            answered = asked;
            if let Some(word) = shared.primary.answer(self.number, asked, said) {
                let Word { primary, is_leaving, .. } = word;
                let leaves = if is_leaving { ", and another one becomes it" } else { "" };
                say(
                    Level::Info,
                    format_args!("the sentinels say that {primary} is the primary{leaves}"),
                );
                // The writer may be connected to the one before, or may wait before the next try.
                shared.queue.doubt();
                shared.change(|state| state.changes += 1);
            }
        }
    }

    fn ask(&mut self) -> Result<Word, Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let connection = self.connection.insert(connection);
        let answers = question(connection, &self.master);
        if !matches!(answers, Ok(_) | Err(Fault::Refused(_))) {
            self.connection = None;
        }
        answers
    }

    fn connect(&self) -> Result<Connection, Fault> {
        let time = self.shared.config.timeout.min(PATIENCE);
        let connection = Client::open(self.info.clone())?.get_connection_with_timeout(time)?;
        connection.set_read_timeout(Some(time))?;
        connection.set_write_timeout(Some(time))?;
        Ok(connection)
    }
}

/// Asks for the primary's address, and for the number of the failover that made it the primary.
/// During a failover the first answer is the earlier one to be true.
fn question(connection: &mut Connection, master: &str) -> Result<Word, Fault> {
    let mut packed = cmd("SENTINEL").arg("MASTER").arg(master).get_packed_command();
    let by_name = cmd("SENTINEL").arg("get-master-addr-by-name").arg(master).clone();
    by_name.write_packed_command(&mut packed);
    connection.send_packed_command(&packed)?;
    let [state, address] = [connection.recv_response()?, connection.recv_response()?];
    let state = match state {
        Value::ServerError(error) if is_no_sentinel(error.details().unwrap_or_default()) => {
            return Err(Fault::Refused("this is no sentinel, as it knows no such command".into()));
        }
        Value::ServerError(error) => return Err(Fault::Refused(refusal(error))),
        state => array(state)?,
    };
    let mut address = match address {
        Value::ServerError(error) => return Err(Fault::Refused(refusal(error))),
        Value::Nil => return Err(Fault::Refused(format!("it knows no master {master:?}"))),
        address => array(address)?.into_iter(),
    };
    let host = address.next().map(text).transpose()?.unwrap_or_default();
    let port = address.next().map(text).transpose()?.and_then(|port| port.parse().ok());
    let Some(port) = port else {
        return Err(Fault::Lost("an address that is not expected".to_owned()));
    };
    let words: Vec<String> = state.into_iter().map(text).collect::<Result<_, _>>()?;
    let find = |name: &str| {
        let mut pairs = words.chunks_exact(2).filter(|pair| pair[0] == name);
        pairs.next().map_or("", |pair| &*pair[1])
    };
    let epoch = find("config-epoch").parse().unwrap_or(0);
    let is_changing = find("flags").split(',').any(|flag| flag == "failover_in_progress");
    // Until a replica has become the primary, both answers tell the one before.
    let is_leaving = is_changing && find("ip") == host && find("port").parse() == Ok(port);
    Ok(Word { primary: Address { host, port }, epoch, is_leaving })
}

fn is_no_sentinel(reason: &str) -> bool {
    reason.starts_with("unknown command")
}
