//! The tables' rows, and what has to become of each.

use std::{io::ErrorKind, time::Instant};

use websse::Message;

use super::process::Level;
use super::{alone, bodies, heads, hub, routes};
use support::{Client, Hub, SOON, shown};

/// What becomes of a request, and of another one that comes right behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// Refused with one of these statuses. The connection ends, and the other is not served.
    Refused(&'static [u16]),
    /// Answered with this status, and so is the other, with 200.
    Answered(u16),
    /// Answered with this status; then the connection ends, and the other is not served.
    Last(u16),
    /// Nothing but the end of the connection, once the client says that there is no more.
    Silence,
    /// One of the first and the last of these: it is random what it means.
    Refusal,
}

/// Requests with their fates.
#[derive(Default)]
pub(crate) struct Table(Vec<(Vec<u8>, Fate)>);

impl Table {
    pub(crate) fn add(&mut self, fate: Fate, raw: impl Into<Vec<u8>>) {
        self.0.push((raw.into(), fate));
    }

    /// Adds what `request` makes of each of `parts`.
    pub(crate) fn each(&mut self, fate: Fate, parts: &[&[u8]], request: impl Fn(&[u8]) -> Vec<u8>) {
        self.0.extend(parts.iter().map(|part| (request(part), fate)));
    }
}

/// Longer ones would take long byte by byte, and are refused before they end.
const DRIBBLED: usize = 2000;

#[test]
fn every_request_of_the_table_has_its_fate_and_nothing_behind_it_another() {
    let _alone = alone();
    let hub = hub();
    let before = Level::of_the_hub(&hub);
    let mut listener = listen(&hub);
    let mut table = Table::default();
    heads::add_to(&mut table);
    bodies::add_to(&mut table);
    routes::add_to(&mut table);

    let (mut connections, mut wrong) = (0, Vec::new());
    for (row, (raw, fate)) in table.0.iter().enumerate() {
        for pace in [raw.len().max(1), 1] {
            if pace > 1 || raw.len() <= DRIBBLED {
                connections += 1;
                if let Err(problem) = meet(&hub, row, raw, *fate, pace) {
                    wrong.push(format!("{} by {pace}: {problem}", shown(raw)));
                    // Who knows what was published.
                    listener = listen(&hub);
                } else {
                    assert_heard(&mut listener, row, raw, *fate);
                }
            }
        }
        hub.assert_still_serves();
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    hub.publish(Message::new("end").event("own"));
    assert_eq!(listener.event().data.as_deref(), Some("end"), "nothing else was published");
    drop(listener);
    before.assert_again(&hub);
    eprintln!("figure: hostile: {} requests over {connections} connections", table.0.len());
}

fn listen(hub: &Hub) -> Client {
    hub.listen("?event=own&event=canary&event=smuggled")
}

/// A request that ends the connection, and whose event tells that it was served.
fn canary(row: usize) -> Vec<u8> {
    let target = format!("/send?event=canary&data={row}");
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Sends a row and the canary in pieces of this size, and compares what is answered.
fn meet(hub: &Hub, row: usize, raw: &[u8], fate: Fate, pace: usize) -> Result<(), String> {
    let says_end = matches!(fate, Fate::Silence | Fate::Refusal);
    let all = if says_end { raw.to_vec() } else { [raw, &canary(row)].concat() };
    let mut client = hub.connect();
    for piece in all.chunks(pace) {
        // A server may answer, and close, before it has read everything.
        if client.try_send(piece).is_err() {
            break;
        }
    }
    if says_end {
        client.half_close();
    }
    let got = everything(&mut client)?;
    let answers = answers(&got)?;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let as_expected = match (fate, &statuses[..]) {
        (Fate::Refused(expected), [only]) => expected.contains(only) && answers[0].is_refusal(),
        (Fate::Answered(expected), [first, 200]) => *first == expected,
        (Fate::Last(expected), [only]) => *only == expected,
        (Fate::Silence | Fate::Refusal, []) => true,
        (Fate::Refusal, [400 | 414 | 431 | 505]) => answers[0].is_refusal(),
        _ => false,
    };
    let problem = || format!("expected {fate:?}, got {:?}", shown(&got));
    if as_expected { Ok(()) } else { Err(problem()) }
}

/// What was published is what was answered with 200, and nothing else.
#[track_caller]
fn assert_heard(listener: &mut Client, row: usize, raw: &[u8], fate: Fate) {
    let served = match fate {
        Fate::Answered(status) | Fate::Last(status) => status == 200,
        _ => false,
    };
    if served && raw.starts_with(b"POST /send?event=own") {
        let own = listener.event();
        assert_eq!(own.event.as_deref(), Some("own"), "row {row}: {}", shown(raw));
    }
    if matches!(fate, Fate::Answered(_)) {
        let canary = listener.event();
        let expected = (Some("canary"), Some(row.to_string()));
        assert_eq!((canary.event.as_deref(), canary.data), expected, "{}", shown(raw));
    }
}

/// All that comes until the server ends the connection, which must be in order.
pub(crate) fn everything(client: &mut Client) -> Result<Vec<u8>, String> {
    client.rest(Instant::now() + SOON).map_err(|error| match error.kind() {
        ErrorKind::TimedOut => "expected the end of the connection".to_owned(),
        _ => format!("expected an orderly end, got {error}"),
    })
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    body: String,
}

impl Reply {
    /// Whether it says why in one line, and that the connection ends.
    fn is_refusal(&self) -> bool {
        let one_line =
            self.body.strip_suffix('\n').is_some_and(|line| !line.contains(['\n', '\r']));
        one_line && self.head.contains("\r\nConnection: close\r\n") && self.is_plain()
    }

    fn is_plain(&self) -> bool {
        self.head.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n")
    }
}

/// The responses in all that came over a connection; those that only ask for more are left out.
pub(crate) fn answers(mut bytes: &[u8]) -> Result<Vec<Reply>, String> {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        let wrong = || format!("expected a response, got {:?}", shown(bytes));
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(wrong)? + 2;
        let head = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(wrong)?;
        let length = head.split_once("\r\nContent-Length: ").and_then(|(_, rest)| {
            let (length, _) = rest.split_once("\r\n")?;
            length.parse::<usize>().ok()
        });
        let chunks =
            head.contains("\r\nTransfer-Encoding: chunked\r\n").then_some(b"\r\n0\r\n\r\n");
        let last = |chunk: &[u8; 7]| bytes.windows(7).skip(end).position(|seven| seven == chunk);
        let length = match chunks {
            Some(chunk) => last(chunk).ok_or_else(wrong)? + 7 - 2,
            None if head.contains("\r\nContent-Type: text/event-stream") => bytes.len() - end - 2,
            None => length.unwrap_or(0),
        };
        let body = bytes.get(end + 2..end + 2 + length).ok_or_else(wrong)?;
        let text = String::from_utf8(body.to_vec()).map_err(|_| wrong())?;
        if status >= 200 {
            answers.push(Reply { status, head: head.to_owned(), body: text });
        }
        bytes = &bytes[end + 2 + body.len()..];
    }
    Ok(answers)
}
