//! What listeners are to get, by the crate's promises: a plain model of its history.

use crate::event_source::{Event, EventSource, is_digits};

/// The reconnection time that a stream begins with.
const RETRY: &str = "3000";

/// An event that was published.
#[derive(Clone, Debug)]
struct Sent {
    sequence: usize,
    kind: String,
    channel: String,
    data: String,
    /// The publisher's own.
    id: Option<String>,
    retry: Option<u64>,
}

impl Sent {
    /// Whether it is of this type in this channel, if any is named.
    fn is_of(&self, one: Option<(&str, &str)>) -> bool {
        one.is_none_or(|one| one == (&*self.kind, &*self.channel))
    }
}

/// All that was published, and what of it is kept.
#[derive(Debug)]
pub(crate) struct History {
    /// Names the run of the server in ids of its own.
    run: String,
    kept_of_a_type: usize,
    all: Vec<Sent>,
    kept: Vec<Sent>,
    dropped: Vec<Sent>,
}

impl History {
    pub(crate) fn new(run: &str, kept_of_a_type: usize) -> Self {
        let (all, kept, dropped) = (Vec::new(), Vec::new(), Vec::new());
        Self { run: run.to_owned(), kept_of_a_type, all, kept, dropped }
    }

    /// Notes an event, with its publisher's own id if that is not empty.
    pub(crate) fn push(&mut self, event: &Event, channel: &str, id: &str, retry: Option<u64>) {
        let Event { kind, data, .. } = event.clone();
        let id = (!id.is_empty()).then(|| id.to_owned());
        let (sequence, channel) = (self.all.len() + 1, channel.to_owned());
        let sent = Sent { sequence, kind, channel, data, id, retry };
        let alike = |other: &Sent| other.kind == sent.kind && other.channel == sent.channel;
        if self.kept.iter().filter(|kept| alike(kept)).count() == self.kept_of_a_type
            && let Some(oldest) = self.kept.iter().position(alike)
        {
            self.dropped.push(self.kept.remove(oldest));
        }
        self.all.push(sent.clone());
        self.kept.push(sent);
    }

    /// What somebody gets who was there from the beginning.
    pub(crate) fn live(&self) -> EventSource {
        self.stream(0, None, &self.all)
    }

    /// What somebody gets who comes back with this id at the end, to one type in one channel or all.
    pub(crate) fn after(&self, last_id: &str, one: Option<(&str, &str)>) -> EventSource {
        if last_id.is_empty() {
            return self.stream(self.all.len(), None, &[]);
        }
        let is_wanted = |sent: &&Sent| sent.is_of(one);
        let known = self.position_of(last_id, one);
        let position = known.unwrap_or(0);
        let is_lost = self.dropped.iter().filter(is_wanted).any(|sent| sent.sequence > position);
        let kept: Vec<_> = self.kept.iter().filter(is_wanted).cloned().collect();
        let gap = (known.is_none() || is_lost).then(|| self.gap(last_id, kept.first()));
        let missed = kept.iter().position(|sent| sent.sequence > position).unwrap_or(kept.len());
        self.stream(position, gap, &kept[missed..])
    }

    fn position_of(&self, id: &str, one: Option<(&str, &str)>) -> Option<usize> {
        let own = id.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-'));
        if let Some(sequence) = own.filter(|sequence| is_digits(sequence)) {
            return sequence.parse().ok().filter(|&sequence| sequence <= self.all.len());
        }
        let mut wanted = self.kept.iter().filter(|sent| sent.is_of(one));
        let kept = wanted.find(|kept| kept.id.as_deref() == Some(id))?;
        Some(kept.sequence)
    }

    /// Of a long id a part is quoted.
    fn gap(&self, requested: &str, oldest: Option<&Sent>) -> String {
        let part = || requested.chars().take(64).chain(['…']).collect();
        let requested = if requested.len() > 256 { part() } else { requested.to_owned() };
        let oldest = oldest.map(|oldest| self.id_of(oldest));
        shown_gap(&requested, oldest.as_deref())
    }

    fn id_of(&self, sent: &Sent) -> String {
        sent.id.clone().unwrap_or_else(|| format!("{}-{}", self.run, sent.sequence))
    }

    fn stream(&self, position: usize, gap: Option<String>, sent: &[Sent]) -> EventSource {
        let position = format!("{}-{position}", self.run);
        let mut retry = RETRY.to_owned();
        let gap = gap.map(|data| Event {
            kind: "stream-gap".to_owned(),
            data,
            last_event_id: position.clone(),
            retry: retry.clone(),
        });
        let events = sent.iter().map(|sent| {
            retry = sent.retry.map_or_else(|| retry.clone(), |retry| retry.to_string());
            Event {
                kind: sent.kind.clone(),
                data: sent.data.clone(),
                last_event_id: self.id_of(sent),
                retry: retry.clone(),
            }
        });
        EventSource { events: gap.into_iter().chain(events).collect(), position: Some(position) }
    }
}

/// What a `stream-gap` event says, in place of JSON, which can say the same in many ways.
fn shown_gap(requested: &str, oldest: Option<&str>) -> String {
    format!("requested {requested:?}, oldest {oldest:?}")
}

fn read_gap(json: &str) -> Option<String> {
    let (requested, rest) = json_string(json.strip_prefix("{\"requested\":")?)?;
    let rest = rest.strip_prefix(",\"oldest\":")?;
    if rest == "null}" {
        return Some(shown_gap(&requested, None));
    }
    let (oldest, rest) = json_string(rest)?;
    (rest == "}").then(|| shown_gap(&requested, Some(&oldest)))
}

/// A string at the beginning of a JSON text, and what follows (RFC 8259, section 7).
fn json_string(json: &str) -> Option<(String, &str)> {
    let mut characters = json.strip_prefix('"')?.chars();
    let mut text = String::new();
    loop {
        text.push(match characters.next()? {
            '"' => return Some((text, characters.as_str())),
            '\\' => match characters.next()? {
                'u' => {
                    let (digits, rest) = characters.as_str().split_at_checked(4)?;
                    characters = rest.chars();
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                quoted @ ('"' | '\\' | '/') => quoted,
                _ => return None,
            },
            control if control < ' ' => return None,
            plain => plain,
        });
    }
}

/// The same stream, with what its gaps say in place of how they say it.
pub(crate) fn with_gaps_read(mut stream: EventSource) -> EventSource {
    for gap in stream.events.iter_mut().filter(|event| event.kind == "stream-gap") {
        gap.data = read_gap(&gap.data).unwrap_or_else(|| panic!("JSON of a gap in {gap:?}"));
    }
    stream
}

/// The form of the ids that a server gives.
pub(crate) fn is_generated(id: &str) -> bool {
    id.split_once('-').is_some_and(|(run, sequence)| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
        run.len() == 13 && run.bytes().all(is_digit) && is_digits(sequence)
    })
}
