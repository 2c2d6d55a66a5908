//! A part of a call that is sent at once: one message, or several as a transaction, which Redis
//! executes whole or not at all. A pipeline of single commands would not do. If Redis is short of
//! memory, it refuses one command, its own buffers shrink, and it executes the next one.

use redis::{Value, cmd};

use super::{
    config::RedisConfig,
    entry::pack,
    link::{Fault, Link, array, id, refusal, unexpected},
};
use crate::message::{Message, entry_id::EntryId};

/// At most this much goes out in one round trip.
pub(super) const BATCH_MESSAGES: usize = 1024;
pub(super) const BATCH_BYTES: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Part {
    /// The commands, ready to be sent.
    pub(super) packed: Vec<u8>,
    /// Where the command of the last message begins in them.
    pub(super) last: usize,
    /// The index of the first message in its call.
    pub(super) first: usize,
    pub(super) messages: usize,
    /// Whether the part ends with the last message of its call.
    pub(super) is_last: bool,
}

/// The parts of one call. Each is made when it is needed.
#[derive(Debug)]
pub(super) struct Parts<'c> {
    config: &'c RedisConfig,
    messages: &'c [Message],
    next: usize,
    /// The command of the next message, if it did not fit into the part before.
    ahead: Vec<u8>,
}

impl<'c> Parts<'c> {
    pub(super) fn new(config: &'c RedisConfig, messages: &'c [Message]) -> Self {
        Self { config, messages, next: 0, ahead: Vec::new() }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let first = self.next;
        let begin = cmd("MULTI").get_packed_command();
        let (mut packed, mut last) = (begin.clone(), begin.len());
        while self.next - first < BATCH_MESSAGES
            && let Some(message) = self.messages.get(self.next)
        {
            let before = packed.len();
            if self.ahead.is_empty() {
                pack(self.config, message, &mut packed);
            } else {
                packed.append(&mut self.ahead);
            }
            if self.next > first && packed.len() > BATCH_BYTES {
                self.ahead = packed.split_off(before);
                break;
            }
            last = before;
            self.next += 1;
        }
        let messages = self.next - first;
        match messages {
            0 => return None,
            1 => {
                packed.drain(..begin.len());
                last = 0;
            }
            _ => cmd("EXEC").write_packed_command(&mut packed),
        }
        let is_last = self.next == self.messages.len();
        Some(Part { packed, last, first, messages, is_last })
    }
}

/// The entry that a message became, or why it became none.
pub(super) type Answer = Result<EntryId, String>;

impl Part {
    /// Receives the answers to all messages of a part that was sent. After a fault it is unknown
    /// whether Redis executed them.
    pub(super) fn receive(&self, link: &mut Link) -> Result<Vec<Answer>, Fault> {
        if self.messages == 1 {
            return Ok(vec![answer(link.receive_any()?)?]);
        }
        let begun = link.receive_any()?;
        let queued = (0..self.messages).map(|_| link.receive_any());
        let queued: Vec<Value> = queued.collect::<Result<_, _>>()?;
        match link.receive_any()? {
            Value::ServerError(aborted) => {
                // The first refusal is the reason for those that follow. If there was no
                // transaction, each command stood for itself and may have been executed.
                let refused = |value: &Value| match value {
                    Value::ServerError(error) => Some(error.clone()),
                    _ => None,
                };
                let first = [&begun].into_iter().chain(&queued).find_map(refused);
                let reason = refusal(first.unwrap_or(aborted));
                queued.into_iter().map(|value| Ok(taken(value)?.ok_or(reason.clone()))).collect()
            }
            executed => {
                let answers: Vec<Answer> =
                    array(executed)?.into_iter().map(answer).collect::<Result<_, _>>()?;
                if answers.len() == self.messages { Ok(answers) } else { Err(unexpected()) }
            }
        }
    }
}

fn answer(value: Value) -> Result<Answer, Fault> {
    match value {
        Value::ServerError(error) => Ok(Err(refusal(error))),
        value => id(value).map(Ok),
    }
}

/// The entry, if the command was executed although there was no transaction.
fn taken(value: Value) -> Result<Option<EntryId>, Fault> {
    match value {
        Value::ServerError(_) => Ok(None),
        Value::SimpleString(text) if text == "QUEUED" => Ok(None),
        value => id(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the commands in a part.
    fn commands(part: &Part) -> Vec<String> {
        let (mut rest, mut names) = (&*part.packed, Vec::new());
        while !rest.is_empty() {
            let Ok(Value::Array(words)) = redis::parse_redis_value(rest) else { panic!("RESP") };
            let [Value::BulkString(name), ..] = &*words else { panic!("{words:?}") };
            names.push(String::from_utf8(name.clone()).expect("ASCII"));
            let mut command = redis::Cmd::new();
            for word in words {
                let Value::BulkString(word) = word else { panic!("{word:?}") };
                command.arg(word);
            }
            rest = &rest[command.get_packed_command().len()..];
        }
        names
    }

    #[test]
    fn a_call_is_cut_into_transactions_and_nothing_is_left_out() {
        let config = RedisConfig::new("redis://localhost").expect("it is good");
        let parts = |messages: &[Message]| {
            let parts: Vec<Part> = Parts::new(&config, messages).collect();
            for part in &parts {
                let commands = commands(part);
                let appends = commands.iter().filter(|name| *name == "XADD").count();
                assert_eq!(appends, part.messages);
                assert!(part.packed[part.last..].starts_with(b"*"), "a command begins here");
                assert!(part.packed[part.last..].windows(4).any(|word| word == b"XADD"));
                assert!(part.packed.len() <= BATCH_BYTES + 64 || part.messages == 1);
                let is_transaction = commands[0] == "MULTI" && commands.ends_with(&["EXEC".into()]);
                assert_eq!(is_transaction, part.messages > 1, "{commands:?}");
                assert_eq!(commands.len(), appends + 2 * usize::from(is_transaction));
            }
            let shapes = parts.iter().map(|part| (part.first, part.messages, part.is_last));
            shapes.collect::<Vec<_>>()
        };
        let small = vec![Message::new("x"); 2500];
        assert_eq!(parts(&small), [(0, 1024, false), (1024, 1024, false), (2048, 452, true)]);
        let large = Message::new("x".repeat(BATCH_BYTES / 2));
        let huge = Message::new("x".repeat(3 * BATCH_BYTES));
        let mixed = [small[0].clone(), large.clone(), large, huge, small[0].clone()];
        assert_eq!(parts(&mixed), [(0, 2, false), (2, 1, false), (3, 1, false), (4, 1, true)]);
        assert_eq!(parts(&small[..1]), [(0, 1, true)]);
        assert_eq!(parts(&[]), []);
    }
}
