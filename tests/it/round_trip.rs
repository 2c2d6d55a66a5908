//! No input can inject a line into a stream: whatever is published, a parser at the other end of a
//! real socket reads that message and no other, with its line endings as `\n`.
//!
//! Two parsers read the same bytes. The crate `eventsource-stream` is independent of this project.
//! It differs from the standard in three points, none of which this server may get near to: it
//! panics on a byte order mark at the very start, takes `retry: +5`, and drops the `retry` of a
//! block without data. The strict parser of `support` sees those, so both are asked every time.

use std::cell::RefCell;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use support::sse::{Block, Item, Parser};
use support::{Hub, shown};
use websse::{EventId, Message};

use crate::independent::{self, Event};

const EVENTS: [&str; 7] = ["", "message", "a", "é ü", " x", "x: y", "data"];

/// Text that a careless server would mangle: what ends or begins lines and fields, what looks like
/// the end of a line, and any character at all.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_filter("NUL", |&c| c != '\0').prop_map(String::from),
        4 => prop::sample::select(vec![
            "\n", "\r", "\r\n", "\n\n", "\r\r", "\u{1}", " ", ":", "\t", "\u{b}", "\u{c}", "\u{85}",
            "\u{2028}", "\u{2029}", "\u{feff}", "\u{fffd}", "\u{7f}", "😀", "\u{10ffff}",
        ])
        .prop_map(str::to_owned),
        1 => prop::sample::select(vec![
            "data:", "data: x", "event: a", "id: 1", "id:", "retry: 1", ": comment", "\ndata: x\n\n",
            "\r\nevent: b\r\n", "\rid: 2\r", "event: error\ndata: y\n\n",
        ])
        .prop_map(str::to_owned),
        1 => "[a-z ]{0,40}",
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Ids that a publisher may use. The letter first keeps clear of ids the server makes itself.
fn id() -> impl Strategy<Value = String> {
    "Z[ -~]{0,60}\\."
}

#[derive(Debug, Clone)]
struct Case {
    data: String,
    event: &'static str,
    id: Option<String>,
    retry: Option<u64>,
}

fn case() -> impl Strategy<Value = Case> {
    let event = prop::sample::select(EVENTS.to_vec());
    let retry = option::of(prop_oneof![0..10_u64, 0..100_000_000_u64]);
    (text(), event, option::of(id()), retry).prop_map(|(data, event, id, retry)| Case {
        data,
        event,
        id,
        retry,
    })
}

/// One connection whose bytes both parsers read.
struct Reader {
    independent: independent::Reader,
    strict: Parser,
    /// The last id persists until another comes.
    last_id: String,
    /// The reconnection time in front of the first event, whose block it belongs to.
    first_retry: Option<u64>,
}

impl Reader {
    fn new(hub: &Hub) -> Reader {
        let mut client = hub.ask("GET /event?event=* HTTP/1.1\r\nHost: a\r\n\r\n");
        client.head();
        Reader {
            independent: independent::Reader::new(client),
            strict: Parser::default(),
            last_id: String::new(),
            first_retry: Some(3000),
        }
    }

    /// The event in the same bytes, which must hold nothing after it.
    fn strictly(&mut self) -> Block {
        self.strict.feed(&self.independent.taken());
        let event = loop {
            match self.strict.item() {
                Some(Item::Block(block)) if block.data.is_some() => break block,
                Some(_) => {}
                None => panic!("expected an event, got {:?}", shown(self.strict.rest())),
            }
        };
        assert_eq!(shown(self.strict.rest()), "", "bytes after the event");
        event
    }
}

fn round_trip(hub: &Hub, reader: &mut Reader, case: &Case) -> Result<(), TestCaseError> {
    let mut message = Message::new(case.data.as_str()).event(case.event);
    if let Some(id) = &case.id {
        message = message.id(EventId::new(id.as_str()).unwrap());
        reader.last_id.clone_from(id);
    }
    if let Some(retry) = case.retry {
        message = message.retry(Duration::from_millis(retry));
    }
    hub.publish(message);

    let data = case.data.replace("\r\n", "\n").replace('\r', "\n");
    let general = matches!(case.event, "" | "message");
    let first_retry = reader.first_retry.take();
    let expected = Event {
        event: if general { "message" } else { case.event }.to_owned(),
        data: data.clone(),
        id: reader.last_id.clone(),
        retry: case.retry.or(first_retry).map(Duration::from_millis),
    };
    prop_assert_eq!(reader.independent.event(), expected);

    let block = reader.strictly();
    let expected = Block {
        raw: block.raw.clone(),
        event: (!general).then(|| case.event.to_owned()),
        data: Some(data),
        id: case.id.clone(),
        retry: case.retry,
    };
    prop_assert_eq!(block, expected);
    Ok(())
}

#[test]
fn what_is_published_is_what_a_client_reads() {
    let hub = Hub::plain(&EVENTS);
    let reader = RefCell::new(Some(Reader::new(&hub)));
    let config = Config {
        cases: 500,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&case(), |case| {
        // After a failure the connection is out of step: the next case gets a new one.
        let mut current = reader.take().unwrap_or_else(|| Reader::new(&hub));
        round_trip(&hub, &mut current, &case)?;
        reader.replace(Some(current));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}
