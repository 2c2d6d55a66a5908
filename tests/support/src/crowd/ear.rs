//! What a client makes of the bytes that it reads.

use super::{
    client::Tally,
    parser::{Names, Parser, Seen},
    payload::Stamp,
};

/// One client's understanding of its response. The tests have [`Parser`], which accepts only what
/// the library promises to send; another target of this package may bring an ear of its own.
pub trait Ear: Sized {
    /// What all clients of one `connect` have in common.
    type Wanted;

    /// What all clients of the process add to. It shows itself as one line.
    type Figures: Default + std::fmt::Display;

    fn new() -> Self;

    fn wanted(target: &str) -> Self::Wanted;

    /// Takes the next bytes. There are no figures for a client that does not read when it could.
    ///
    /// # Errors
    /// What is wrong with them. The client closes the connection then.
    fn hear(
        &mut self,
        bytes: &[u8],
        wanted: &Self::Wanted,
        tally: &mut Tally,
        figures: Option<&mut Self::Figures>,
    ) -> Result<(), String>;

    /// Whether a response that ends here ends in good order.
    fn is_at_rest(&self) -> bool;
}

/// The strict ear has nothing to add to the tallies.
#[derive(Debug, Default)]
pub struct NoFigures;

impl std::fmt::Display for NoFigures {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}

impl Ear for Parser {
    type Wanted = Names;
    type Figures = NoFigures;

    fn new() -> Self {
        Self::new()
    }

    fn wanted(target: &str) -> Names {
        Names::of_target(target)
    }

    fn hear(
        &mut self,
        bytes: &[u8],
        names: &Names,
        tally: &mut Tally,
        _: Option<&mut NoFigures>,
    ) -> Result<(), String> {
        self.feed(bytes, names, &mut |seen| take(tally, seen))
    }

    fn is_at_rest(&self) -> bool {
        self.is_at_rest()
    }
}

fn take(tally: &mut Tally, seen: Seen) -> Result<(), String> {
    match seen {
        Seen::Head { status } => tally.status = status,
        Seen::Comment => tally.comments += 1,
        Seen::Event { stamp, bytes } => {
            tally.events += 1;
            tally.bytes = (tally.bytes.0.min(bytes), tally.bytes.1.max(bytes));
            return count(tally, stamp);
        }
    }
    Ok(())
}

fn count(tally: &mut Tally, Stamp { publisher, counter }: Stamp) -> Result<(), String> {
    let (_, next) = tally.counters[usize::from(publisher)].get_or_insert((counter, counter));
    let expected = *next;
    *next = counter + 1;
    match counter.cmp(&expected) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Less => {
            Err(format!("p{publisher} came again: expected {expected}, got {counter}"))
        }
        std::cmp::Ordering::Greater => {
            Err(format!("p{publisher} was lost: expected {expected}, got {counter}"))
        }
    }
}
