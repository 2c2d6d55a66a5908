//! One listener over all its connections: everything comes once and in order, and what does not
//! come any more is told by a gap.

use std::ops::RangeInclusive;

use crate::plan::TYPES;
use crate::source::{LAST, Numbers, PUBLISHERS, Set, Source, query};
use support::resume::{gap_in, parts};
use support::shown;
use support::sse::Block;

/// What the history keeps when a gap is told.
#[derive(Clone, Copy)]
pub(crate) enum Kept {
    /// Everything of this run: only who comes from another run is told of a gap.
    All,
    /// The only publisher's events from these numbers on, by type.
    From([u64; TYPES.len()]),
    /// Nobody knows.
    Something,
}

pub(crate) struct Check {
    /// For messages.
    name: String,
    set: Set,
    query: String,
    pub(crate) kept: Kept,
    /// How many of the last events it asks for when it comes for the first time.
    pub(crate) replay: usize,
    /// The next event of each publisher and type is one of these.
    next: [[RangeInclusive<u64>; TYPES.len()]; PUBLISHERS],
    /// The run, and the place in its order, of the last event, or of the preamble.
    at: Option<(String, u64)>,
    last_id: Option<String>,
    /// The last id that it came with.
    requested: Option<String>,
    /// It came with an id that this run does not know.
    awaits_gap: bool,
    pub(crate) events: u64,
    pub(crate) gaps: u64,
}

impl Check {
    pub(crate) fn new(name: String, set: Set, kept: Kept) -> Check {
        Check {
            name,
            set,
            query: query(set),
            kept,
            replay: 0,
            next: std::array::from_fn(|_| std::array::from_fn(|_| 1..=u64::MAX)),
            at: None,
            last_id: None,
            requested: None,
            awaits_gap: false,
            events: 0,
            gaps: 0,
        }
    }

    /// With the last id in the header, or in the query if `in_query` says so.
    pub(crate) fn request(&mut self, in_query: bool) -> String {
        self.requested.clone_from(&self.last_id);
        // Where it was cut off before, it comes with the id of the preamble now.
        self.awaits_gap = false;
        let Check { query, last_id, replay, .. } = self;
        let (id, field) = match last_id {
            None => (format!("replay={replay}"), String::new()),
            Some(id) if in_query => (format!("last_event_id={id}"), String::new()),
            Some(id) => (String::new(), format!("Last-Event-ID: {id}\r\n")),
        };
        format!("GET /event?{id}{query} HTTP/1.1\r\nHost: a\r\n{field}\r\n")
    }

    pub(crate) fn is_here_for_the_first_time(&self) -> bool {
        self.last_id.is_none()
    }

    /// The server starts anew: whatever comes now is of other publishers.
    pub(crate) fn begin_run(&mut self) {
        self.set_next(|_, _, _| 1..=u64::MAX);
    }

    /// The place of its last event in the order of publishing.
    pub(crate) fn place(&self) -> u64 {
        self.at.as_ref().map_or(0, |(_, place)| *place)
    }

    /// Its first response head has arrived, and before that publishers had begun with these
    /// numbers: whatever comes after them has to come.
    pub(crate) fn has_its_head(&mut self, source: &Source, begun: &Numbers) {
        self.set_next(|publisher, kind, _| {
            1..=source.next_after(publisher, begun[publisher], kind)
        });
    }

    pub(crate) fn take(&mut self, block: &Block, source: &Source) {
        match (&block.data, block.event.as_deref()) {
            (None, _) => self.take_preamble(block, source),
            (Some(_), Some("stream-gap")) => self.take_gap(block),
            (Some(data), event) => {
                let (publisher, number) = self.which(data, event, block, source);
                self.take_event(publisher, number, block, source);
                self.events += 1;
            }
        }
    }

    /// It has the position that the client came with; of another run, the one before everything.
    fn take_preamble(&mut self, block: &Block, source: &Source) {
        // Where a read ends behind its first line, the second comes as a block of its own.
        let Some(id) = &block.id else { return };
        let (run, position) = parts(id);
        let is_new_run = self.at.as_ref().is_some_and(|(known, _)| known != run);
        let known = match &self.at {
            Some((_, at)) if !is_new_run => *at,
            Some(_) => 0,
            None => position,
        };
        if position != known {
            self.fail(&format!("a preamble with another position: {block:?}"));
        }
        if is_new_run {
            self.awaits_gap = true;
            let most = if let Kept::Something = self.kept { u64::MAX } else { 0 };
            self.set_next(|publisher, kind, _| {
                let first = source.next_after(publisher, 0, kind);
                first..=most.max(first)
            });
        }
        self.at = Some((run.to_owned(), position));
        self.last_id = Some(id.clone());
    }

    fn take_gap(&mut self, block: &Block) {
        let (requested, oldest) = gap_in(block);
        if Some(&requested) != self.requested.as_ref() {
            self.fail(&format!("a gap for another id: {requested}"));
        }
        self.gaps += 1;
        if std::mem::take(&mut self.awaits_gap) {
            return;
        }
        match self.kept {
            Kept::All => self.fail("a gap, although everything is kept"),
            Kept::Something => self.set_next(|_, _, next| *next.start()..=u64::MAX),
            Kept::From(numbers) => {
                let kinds = || (0..TYPES.len()).filter(|&kind| self.set[kind]);
                let has_missed = kinds().any(|kind| *self.next[LAST][kind].end() < numbers[kind]);
                let expected = kinds().map(|kind| numbers[kind]).min();
                let oldest = oldest.as_deref().map(|id| parts(id).1);
                if !has_missed || oldest != expected {
                    self.fail(&format!("a gap with {oldest:?} as the oldest of {expected:?}"));
                }
                self.set_next(|_, kind, next| {
                    numbers[kind].max(*next.start())..=numbers[kind].max(*next.end())
                });
            }
        }
    }

    fn set_next(
        &mut self,
        set: impl Fn(usize, usize, &RangeInclusive<u64>) -> RangeInclusive<u64>,
    ) {
        for (publisher, next) in self.next.iter_mut().enumerate() {
            for (kind, next) in next.iter_mut().enumerate() {
                *next = set(publisher, kind, next);
            }
        }
    }

    /// Who published it, and as which number; fails unless it is exactly what was published.
    fn which(
        &self,
        data: &str,
        event: Option<&str>,
        block: &Block,
        source: &Source,
    ) -> (usize, u64) {
        let stamp = data.lines().next().and_then(|line| line.split_once(' '));
        let stamp = stamp.and_then(|(publisher, number)| {
            let publisher = publisher.parse().ok().filter(|&publisher| publisher < PUBLISHERS);
            Some((publisher?, number.parse().ok()?))
        });
        match stamp {
            Some((publisher, number))
                if event.unwrap_or_default() == TYPES[source.kind(publisher, number)]
                    && data == source.data(publisher, number) =>
            {
                (publisher, number)
            }
            _ => self.fail(&format!("not what was published: {:?}", shown(&block.raw))),
        }
    }

    fn take_event(&mut self, publisher: usize, number: u64, block: &Block, source: &Source) {
        let Some((run, at)) = &self.at else { self.fail("an event before the preamble") };
        let Some(id) = &block.id else { self.fail(&format!("no id: {block:?}")) };
        let (same, place) = parts(id);
        let gets_everything = !self.set.contains(&false) && matches!(self.kept, Kept::All);
        let is_next = if gets_everything { place == at + 1 } else { place > *at };
        if same != run || !is_next || self.awaits_gap {
            self.fail(&format!("event {publisher} {number} with id {id}"));
        }
        let kind = source.kind(publisher, number);
        for (other, next) in self.next[publisher].iter().enumerate() {
            let came_in_time =
                if other == kind { next.contains(&number) } else { *next.end() > number };
            if self.set[other] && !came_in_time {
                self.fail(&format!(
                    "event {number} of publisher {publisher}, type {:?}, where one of type {:?} has \
                     to be {next:?}",
                    TYPES[kind], TYPES[other]
                ));
            }
        }
        if !self.set[kind] {
            self.fail(&format!("an event of type {:?}, which it did not ask for", TYPES[kind]));
        }
        let next = source.next_after(publisher, number, kind);
        self.next[publisher][kind] = next..=next;
        self.at = Some((run.clone(), place));
        self.last_id = Some(id.clone());
    }

    /// Whether it has all that was published, up to these numbers.
    pub(crate) fn has_everything(&self, published: &Numbers) -> bool {
        (0..PUBLISHERS).all(|publisher| {
            let published = published[publisher];
            (0..TYPES.len()).filter(|&kind| self.set[kind]).all(|kind| {
                let next = &self.next[publisher][kind];
                // The others' events came before those of the last publisher.
                *if publisher == LAST { next.start() } else { next.end() } > published
            })
        })
    }

    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        let Check { name, query, last_id, next, .. } = self;
        panic!("{name} ({query}), last id {last_id:?}, next {next:?}: {what}")
    }
}
