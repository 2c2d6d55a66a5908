//! Listeners that come back again and again, over restarts of the server too: most at once, some
//! after they were let go of for being slow.

use std::thread;
use std::time::{Duration, Instant};

use super::round::{Stage, add};
use crate::check::{Check, Kept};
use crate::connection::{LOOK, open};
use crate::plan::{Random, TYPES};
use crate::source::{BULK, Set, random_set};
use support::{Client, Got, SOON};

/// Listeners that read at once what comes.
const PROMPT: u64 = 24;
/// Listeners that read a kibibyte a second or nothing, for some seconds in a row.
const SLOW: u64 = 8;
/// The longest that a prompt listener stays, and that a slow one reads slowly, in milliseconds.
const STAY: usize = 300;
const DAWDLE: usize = 6000;
/// A kibibyte a second.
const SIP: (usize, Duration) = (256, Duration::from_millis(250));

pub(crate) struct Listener {
    is_slow: bool,
    random: Random,
    check: Check,
}

impl Listener {
    pub(crate) fn crowd(seed: u64) -> Vec<Listener> {
        (0..PROMPT + SLOW).map(|number| Listener::new(seed, number)).collect()
    }

    fn new(seed: u64, number: u64) -> Listener {
        let is_slow = number >= PROMPT;
        let mut random = Random::new(!seed, number);
        let (set, kept) = if is_slow {
            // Of large events it is told to have missed some, when it has been slow for long.
            let all = [true; TYPES.len()];
            let large: Set = std::array::from_fn(|kind| kind == 0 || kind == BULK);
            (if random.one_in(2) { all } else { large }, Kept::Something)
        } else {
            let mut set = random_set(&mut random);
            set[BULK] = false;
            set[0] |= set == [false; TYPES.len()];
            (set, Kept::All)
        };
        let check = Check::new(format!("listener {number}"), set, kept);
        Listener { is_slow, random, check }
    }

    /// Until it has everything that is published between a start of the server and the next.
    pub(crate) fn listen(&mut self, stage: &Stage<'_>) {
        let _guard = stage.limit.guard();
        let (events, gaps) = (self.check.events, self.check.gaps);
        self.check.begin_run();
        while !self.has_everything(stage) {
            let resumes = !self.check.is_here_for_the_first_time();
            let request = self.check.request(self.random.one_in(4));
            let mut connection = open(stage.addr, &request, self.is_slow);
            add(&stage.figures.connections, 1);
            add(&stage.figures.resumed, u64::from(resumes));
            if self.is_slow {
                self.dawdle(&mut connection, stage);
            } else {
                self.hear_and_leave(&mut connection, stage);
            }
            drop(connection);
            if self.random.one_in(12) && !stage.is_calm() {
                // A tunnel: what it misses is more than one slice of the history.
                thread::sleep(Duration::from_millis(self.random.below(400) as u64));
            }
        }
        add(&stage.figures.events, self.check.events - events);
        add(&stage.figures.gaps, self.check.gaps - gaps);
    }

    fn has_everything(&self, stage: &Stage<'_>) -> bool {
        let published = stage.published.get();
        let late = || self.check.fail(&format!("not all is here in time of {published:?}"));
        stage.limit.enforce(late);
        published.is_some_and(|published| self.check.has_everything(published))
    }

    /// Reads once and checks what is whole.
    fn hear(&mut self, connection: &mut Client, most: usize, stage: &Stage<'_>) -> Got {
        let got = connection.read(most);
        while let Some(block) = connection.block() {
            self.check.take(&block, &stage.source);
        }
        got
    }

    fn hear_and_leave(&mut self, connection: &mut Client, stage: &Stage<'_>) {
        let until = Instant::now() + Duration::from_millis(self.random.below(STAY) as u64);
        while !self.has_everything(stage) {
            if !stage.is_calm() && Instant::now() >= until {
                return self.leave(connection, stage);
            }
            let most = 1 + self.random.below(16 * 1024);
            if self.hear(connection, most, stage) == Got::End {
                add(&stage.figures.prompt_cut, 1);
                return;
            }
        }
    }

    /// By a reset where something is unread, with nothing unread, or half-closed.
    fn leave(&mut self, connection: &mut Client, stage: &Stage<'_>) {
        match self.random.below(20) {
            0..10 => {
                connection.has_something_unread();
            }
            10..19 => {
                connection.wait_no_more();
                while matches!(self.hear(connection, usize::MAX, stage), Got::Bytes(_)) {}
            }
            _ => {
                connection.half_close();
                let end = Instant::now() + SOON * 2;
                while self.hear(connection, usize::MAX, stage) != Got::End {
                    assert!(Instant::now() < end, "a half-closed stream does not end");
                }
            }
        }
    }

    /// Reads slowly or not at all for some seconds, then what there is, and so on, until the server
    /// lets go of it.
    fn dawdle(&mut self, connection: &mut Client, stage: &Stage<'_>) {
        while !self.has_everything(stage) {
            let until = Instant::now() + Duration::from_millis(self.random.below(DAWDLE) as u64);
            let sips = self.random.one_in(2);
            while !stage.is_calm() && Instant::now() < until {
                let (most, nap) = if sips { SIP } else { (0, LOOK) };
                // Its pace.
                thread::sleep(nap);
                if sips && self.hear(connection, most, stage) == Got::End {
                    return;
                }
            }
            loop {
                match self.hear(connection, usize::MAX, stage) {
                    Got::Bytes(_) if self.has_everything(stage) => return,
                    Got::Bytes(_) => {}
                    Got::Nothing => break,
                    Got::End => {
                        add(&stage.figures.slow_cut, 1);
                        return;
                    }
                }
            }
        }
    }
}
