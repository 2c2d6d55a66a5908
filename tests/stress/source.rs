//! What several publishers publish, each its own numbers from 1, in event types that follow from
//! the number.

use std::fmt::Write as _;

use websse::Message;

use crate::plan::{Plan, Random, TYPES};

pub(crate) const PUBLISHERS: usize = 4;
/// The publisher that goes on when the others have ended, until it has published something of every
/// type: who has its last events has everything.
pub(crate) const LAST: usize = 0;
/// The type whose events may be large.
pub(crate) const BULK: usize = 3;

/// By the number of the event type.
pub(crate) type Set = [bool; TYPES.len()];
/// By publisher.
pub(crate) type Numbers = [u64; PUBLISHERS];

/// From a seed.
pub(crate) struct Source {
    plans: [Plan; PUBLISHERS],
    /// Bytes that each event of the type [`BULK`] has beside those of any event.
    bulk: usize,
}

impl Source {
    pub(crate) fn new(seed: u64, bulk: usize) -> Source {
        let seed = |publisher: usize| seed.rotate_left(7) + publisher as u64;
        Source { plans: std::array::from_fn(|publisher| Plan { seed: seed(publisher) }), bulk }
    }

    pub(crate) fn kind(&self, publisher: usize, number: u64) -> usize {
        self.plans[publisher].kind(number)
    }

    /// The publisher and the number, most often with something in a second line.
    pub(crate) fn data(&self, publisher: usize, number: u64) -> String {
        let mut data = format!("{publisher} {number}");
        let filler = Random::new(self.plans[publisher].seed, !number).below(120);
        if filler >= 20 {
            data.push('\n');
            data.push_str(&"é".repeat(filler - 20));
        }
        if self.bulk > 0 && self.kind(publisher, number) == BULK {
            data.push('\n');
            data.push_str(&"x".repeat(self.bulk));
        }
        data
    }

    pub(crate) fn message(&self, publisher: usize, number: u64) -> Message {
        let event = TYPES[self.kind(publisher, number)];
        Message::new(self.data(publisher, number)).event(event)
    }

    /// The publisher's next event of this type.
    pub(crate) fn next_after(&self, publisher: usize, number: u64, kind: usize) -> u64 {
        (number + 1..u64::MAX).find(|&number| self.kind(publisher, number) == kind).unwrap()
    }

    /// Hands out the next numbers of the publisher [`LAST`] until each type has had its turn.
    pub(crate) fn to_the_end(&self, number: &mut u64, mut publish: impl FnMut(u64)) {
        let mut had: Set = [false; TYPES.len()];
        while had.contains(&false) {
            *number += 1;
            publish(*number);
            had[self.kind(LAST, *number)] = true;
        }
    }
}

/// A set of event types that is not empty, all of them most often of all.
pub(crate) fn random_set(random: &mut Random) -> Set {
    let all = (1 << TYPES.len()) - 1;
    let set = if random.one_in(4) { all } else { 1 + random.below(all) };
    std::array::from_fn(|kind| set >> kind & 1 == 1)
}

/// How to ask for them.
pub(crate) fn query(set: Set) -> String {
    let mut query = String::new();
    for (name, _) in TYPES.iter().zip(set).filter(|(_, listens)| *listens) {
        write!(query, "&event={name}").unwrap();
    }
    if set.contains(&false) { query } else { "&event=*".to_owned() }
}
