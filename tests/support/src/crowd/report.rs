//! What the clients of a crowd saw and where they are, as a [`Report`] of one line.

use std::{fmt, str::FromStr};

use super::{
    client::{Client, State},
    ear::Ear,
    payload::PUBLISHERS,
    protocol::{Goal, number},
};

/// Declares [`Report`] with its line: `name=value` for each figure.
macro_rules! report {
    ($($(#[doc = $doc:literal])* $name:ident),* $(,)?) => {
        /// What some clients saw and where they are.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Report {
            $($(#[doc = $doc])* pub $name: u64,)*
            /// For each publisher the least and the most events that a client has of it.
            pub of_publisher: Vec<(u64, u64)>,
            /// What was wrong first, anywhere in the crowd; empty if nothing was.
            pub trouble: String,
        }

        impl fmt::Display for Report {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, concat!(stringify!($name), "={} "), self.$name)?;)*
                let known = self.of_publisher.iter().rposition(|events| *events != (0, 0));
                for (least, most) in &self.of_publisher[..known.map_or(0, |last| last + 1)] {
                    write!(f, "publisher={least}:{most} ")?;
                }
                write!(f, "trouble={}", self.trouble)
            }
        }

        impl FromStr for Report {
            type Err = String;

            fn from_str(line: &str) -> Result<Self, String> {
                let (figures, trouble) =
                    line.split_once("trouble=").ok_or_else(|| format!("no report: {line:?}"))?;
                let mut report = Self { trouble: trouble.to_owned(), ..Self::default() };
                for figure in figures.split_whitespace() {
                    let (name, value) =
                        figure.split_once('=').ok_or_else(|| format!("no figure: {figure:?}"))?;
                    match (name, value.split_once(':')) {
                        $((stringify!($name), None) => report.$name = number(value)?,)*
                        ("publisher", Some((least, most))) => {
                            report.of_publisher.push((number(least)?, number(most)?));
                        }
                        _ => return Err(format!("no figure of a report: {figure:?}")),
                    }
                }
                Ok(report)
            }
        }
    };
}

report! {
    /// Clients reported about.
    clients,
    /// Those of a `wait` that did not get as far as they should.
    missing,
    /// Waiting for their turn, or for their response head.
    on_the_way,
    /// Connected, the head is there.
    open,
    /// Ended by the hub in good order: between events, or after a body as long as announced.
    ended,
    /// Ended by the hub in the middle of an event or a head.
    cut,
    /// Refused or reset.
    failed,
    /// Closed by the client because of a fault in what came.
    faulty,
    /// Closed by the leader.
    closed,
    /// Response heads with status 200, 503, and any other.
    ok,
    unavailable,
    other,
    /// Those with a head over TLS that resumed a session.
    resumed,
    /// Microseconds from `connect` to the last head.
    last_head_micros,
    /// The median of the microseconds from a client's own start to its head.
    median_answer_micros,
    /// Events per client: the least, the most; and in all.
    least_events,
    most_events,
    events,
    /// Bytes of data in the smallest and the largest event.
    least_bytes,
    most_bytes,
    /// The largest of all counters that a client began with: 0 if nobody missed the beginning.
    first_counter,
    comments,
    /// Events that came again, and those that came after a later one, where the ear counts them.
    repeated,
    late,
}

impl Report {
    /// Fails unless each client is connected and has exactly `count` events of `bytes` bytes.
    #[track_caller]
    pub fn assert_everyone_has(&self, count: u64, bytes: u64) {
        self.assert_no_trouble();
        assert_eq!(
            (self.least_events, self.most_events, self.first_counter),
            (count, count, 0),
            "every client should have every event once, from number 0 on; got (least, most, \
             first number) in {self}"
        );
        assert_eq!(
            (self.least_bytes, self.most_bytes),
            (bytes, bytes),
            "every event should have its size; got (least, most) in {self}"
        );
    }

    /// Fails unless all went well and as far as it should.
    #[track_caller]
    pub fn assert_no_trouble(&self) {
        assert!(
            self.trouble.is_empty() && self.missing + self.cut + self.failed + self.faulty == 0,
            "expected no trouble, nobody missing, cut, failed or faulty; got {self}"
        );
    }
}

/// Whether a client is as far as it should be, or can get no further.
pub(super) fn is_through<E: Ear>(client: &Client<E>, goal: Goal) -> bool {
    has_reached(client, goal) || !(client.is_on_the_way() || client.state == State::Open)
}

fn has_reached<E: Ear>(client: &Client<E>, goal: Goal) -> bool {
    match goal {
        Goal::Head => client.tally.status != 0,
        Goal::Events(count) => client.tally.events >= count,
        Goal::End => client.state == State::Ended,
    }
}

/// Reports about these clients.
pub(super) fn about<'a, E: Ear + 'a>(
    clients: impl Iterator<Item = &'a Client<E>>,
    goal: Option<Goal>,
    trouble: &str,
) -> Report {
    let mut report = Report {
        least_events: u64::MAX,
        least_bytes: u64::MAX,
        of_publisher: vec![(u64::MAX, 0); PUBLISHERS],
        trouble: trouble.to_owned(),
        ..Report::default()
    };
    let mut answers = Vec::new();
    for client in clients {
        answers.extend((client.tally.status != 0).then_some(client.tally.answer_micros));
        report.missing += u64::from(goal.is_some_and(|goal| !has_reached(client, goal)));
        report.count(client);
    }
    answers.sort_unstable();
    report.median_answer_micros = answers.get(answers.len() / 2).copied().unwrap_or(0);
    if report.clients == 0 {
        report.least_events = 0;
        report.of_publisher.fill((0, 0));
    }
    report.least_bytes = report.least_bytes.min(report.most_bytes);
    report
}

impl Report {
    fn count<E: Ear>(&mut self, client: &Client<E>) {
        let tally = &client.tally;
        self.clients += 1;
        *match client.state {
            State::Queued | State::Asking => &mut self.on_the_way,
            State::Open => &mut self.open,
            State::Ended => &mut self.ended,
            State::Cut => &mut self.cut,
            State::Failed => &mut self.failed,
            State::Faulty => &mut self.faulty,
            State::Closed => &mut self.closed,
        } += 1;
        match tally.status {
            0 => {}
            200 => self.ok += 1,
            503 => self.unavailable += 1,
            _ => self.other += 1,
        }
        self.resumed += u64::from(tally.is_resumed);
        self.last_head_micros = self.last_head_micros.max(tally.head_micros);
        self.least_events = self.least_events.min(tally.events);
        self.most_events = self.most_events.max(tally.events);
        self.events += tally.events;
        self.least_bytes = self.least_bytes.min(tally.bytes.0.into());
        self.most_bytes = self.most_bytes.max(tally.bytes.1.into());
        self.comments += tally.comments;
        self.repeated += tally.repeated;
        self.late += tally.late;
        for (sum, counters) in self.of_publisher.iter_mut().zip(&tally.counters) {
            let (first, next) = counters.unwrap_or((0, 0));
            let events = u64::from(next - first);
            *sum = (sum.0.min(events), sum.1.max(events));
            self.first_counter = self.first_counter.max(first.into());
        }
    }
}
