//! What the leader of a crowd asks for: a [`Command`] per line. The answer is a
//! [`Report`](super::report::Report), a line as well.

use std::{fmt, net::SocketAddr, ops::Range, str::FromStr, time::Duration};

/// What the leader asks for. Each is answered by one line, a report about the clients named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Begin to connect so many more clients, at most `window` of them without a response head at
    /// a time. Answered at once.
    Connect {
        count: usize,
        window: usize,
        /// With small buffers, so that little is on its way to a client that does not read.
        is_narrow: bool,
        security: Security,
        address: SocketAddr,
        target: String,
    },
    /// Answered when each of these clients is that far or can get no further, when any client met
    /// a fault, or when the time is up.
    Wait {
        goal: Goal,
        clients: Range<usize>,
        time: Duration,
    },
    StopReading(Range<usize>),
    /// Read again.
    Read(Range<usize>),
    /// Read once, at most so many bytes, even those that have stopped reading.
    Sip {
        clients: Range<usize>,
        bytes: usize,
    },
    /// Count events anew; reports about everyone.
    Restart,
    /// Answered with the figures of the crowd's [ear](super::Ear) instead of a report.
    Figures,
    Close(Range<usize>),
    /// Report about these clients; `open_only` leaves out those whose connection has ended.
    Report {
        clients: Range<usize>,
        open_only: bool,
    },
}

/// What protects the connections of clients, which takes the feature `tls` if anything does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Security {
    #[default]
    Plain,
    Tls(Tls),
}

/// Its version, and whether a session of an earlier client of the same crowd is resumed if there is one
/// left. Each ticket of TLS 1.3 serves once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tls {
    pub is_12: bool,
    pub resumes: bool,
}

impl Security {
    const WORDS: [(&str, Self); 5] = [
        ("plain", Self::Plain),
        ("tls", Self::Tls(Tls { is_12: false, resumes: false })),
        ("tls-again", Self::Tls(Tls { is_12: false, resumes: true })),
        ("tls12", Self::Tls(Tls { is_12: true, resumes: false })),
        ("tls12-again", Self::Tls(Tls { is_12: true, resumes: true })),
    ];
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Self::WORDS.iter().find(|(_, security)| security == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}

impl FromStr for Security {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = Self::WORDS.iter().find(|(known, _)| *known == word);
        known.map(|(_, security)| *security).ok_or_else(|| format!("no security: {word:?}"))
    }
}

/// How far a client is to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The response head is complete.
    Head,
    /// So many events came.
    Events(u64),
    /// The response has ended.
    End,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { count, window, is_narrow, security, address, target } => {
                write!(f, "connect {count} {window} {is_narrow} {security} {address} {target}")
            }
            Self::Wait { goal, clients, time } => {
                let goal = match goal {
                    Goal::Head => "head".to_owned(),
                    Goal::Events(count) => count.to_string(),
                    Goal::End => "end".to_owned(),
                };
                write!(f, "wait {goal} {} {} {}", clients.start, clients.end, time.as_millis())
            }
            Self::StopReading(clients) => {
                write!(f, "stop-reading {} {}", clients.start, clients.end)
            }
            Self::Read(clients) => write!(f, "read {} {}", clients.start, clients.end),
            Self::Sip { clients, bytes } => {
                write!(f, "sip {} {} {bytes}", clients.start, clients.end)
            }
            Self::Restart => write!(f, "restart"),
            Self::Figures => write!(f, "figures"),
            Self::Close(clients) => write!(f, "close {} {}", clients.start, clients.end),
            Self::Report { clients, open_only } => {
                write!(f, "report {} {} {open_only}", clients.start, clients.end)
            }
        }
    }
}

impl FromStr for Command {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let command = match words[..] {
            ["connect", count, window, is_narrow, security, address, target] => Self::Connect {
                count: number(count)?,
                window: number(window)?,
                is_narrow: number(is_narrow)?,
                security: security.parse()?,
                address: number(address)?,
                target: target.to_owned(),
            },
            ["wait", goal, start, end, millis] => Self::Wait {
                goal: match goal {
                    "head" => Goal::Head,
                    "end" => Goal::End,
                    count => Goal::Events(number(count)?),
                },
                clients: number(start)?..number(end)?,
                time: Duration::from_millis(number(millis)?),
            },
            ["stop-reading", start, end] => Self::StopReading(number(start)?..number(end)?),
            ["read", start, end] => Self::Read(number(start)?..number(end)?),
            ["sip", start, end, bytes] => {
                Self::Sip { clients: number(start)?..number(end)?, bytes: number(bytes)? }
            }
            ["restart"] => Self::Restart,
            ["figures"] => Self::Figures,
            ["close", start, end] => Self::Close(number(start)?..number(end)?),
            ["report", start, end, open_only] => Self::Report {
                clients: number(start)?..number(end)?,
                open_only: number(open_only)?,
            },
            _ => return Err(format!("no such command: {line:?}")),
        };
        Ok(command)
    }
}

pub(super) fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("not what a command needs: {word:?}"))
}
