//! Takes the steps of [`State`] in every order in which threads can take them.
//!
//! What a thread does under the lock is the real code. The rest is a model, which may do everything
//! that can happen in reality: clients block for ever, handlers panic, a thread cannot be started,
//! a parked thread wakes by itself or too late, and all threads are stopped at any time, also by
//! one of them.

use std::{
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    fmt::Write as _,
};

use super::{Look, Offer, State};

/// The most threads at a time; starting one more fails.
const THREADS: usize = 5;

/// A thread, named after what it does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thread {
    /// It is new, or its connection is done. `Service` treats a panic in the same way.
    Looks,
    Parked,
    Woken,
    TimedOut,
    /// It is the leader, and remains it whatever it serves, even after a panic.
    Leads,
    /// It has offered leadership, and wakes a parked thread.
    Wakes,
    /// It has offered leadership, and starts a thread.
    Starts,
    /// It could not start one.
    Withdraws,
    /// It serves alone, perhaps for ever.
    Serves,
    /// Meanwhile it starts a thread in reserve.
    Reserves,
    /// It could not start one.
    DoesWithout,
    /// It stops all threads, from code that it serves.
    Stops {
        leads: bool,
    },
    /// It notifies the waiters that it has ended.
    Ends,
}

/// A thread that waits until the others have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Waiter {
    Looks,
    Waits,
    Knows,
}

/// How far the call of `stop` has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    NotYet,
    /// The next step: wake the parked threads, wake the waiters, close the listener, wait.
    WakesParked,
    WakesWaiters,
    Closes,
    Waits(Waiter),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct World {
    state: State,
    /// Sorted, since it does not matter which thread is which.
    threads: Vec<Thread>,
    stop: Stop,
    /// 1 if one of the threads calls `stop`: it does not wait for itself.
    own: usize,
    /// Waits from the beginning, as `join` does.
    joiner: Waiter,
}

/// Whether a step happens by itself, or only if a client, a clock or the program causes it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sure,
    Perhaps,
}

/// The world after the first thread was started.
fn beginning() -> World {
    let mut state = State::default();
    assert_eq!(state.offer(), Offer::Start);
    let (stop, joiner) = (Stop::NotYet, Waiter::Looks);
    World { state, threads: vec![Thread::Looks], stop, own: 0, joiner }
}

impl World {
    fn count(&self, is: impl Fn(&Thread) -> bool) -> usize {
        self.threads.iter().filter(|thread| is(thread)).count()
    }

    /// All steps that can be taken next.
    fn steps(&self, wakes_get_lost: bool) -> Vec<(Kind, World)> {
        let mut steps = Vec::new();
        for at in 0..self.threads.len() {
            self.steps_of(at, wakes_get_lost, &mut steps);
        }
        let mut sure = |step: &dyn Fn(&mut World)| steps.push((Kind::Sure, self.after(step)));
        match self.stop {
            Stop::NotYet | Stop::Waits(Waiter::Waits | Waiter::Knows) => {}
            Stop::WakesParked => sure(&|world| {
                let parked = |thread: &&mut Thread| **thread == Thread::Parked;
                world.threads.iter_mut().filter(parked).for_each(|thread| *thread = Thread::Woken);
                world.stop = Stop::WakesWaiters;
            }),
            Stop::WakesWaiters => sure(&|world| {
                world.wake_waiters();
                world.stop = Stop::Closes;
            }),
            Stop::Closes => sure(&|world| world.stop = Stop::Waits(Waiter::Looks)),
            Stop::Waits(Waiter::Looks) => {
                sure(&|world| world.stop = Stop::Waits(waiter(world.state.has_ended(world.own))));
            }
        }
        if self.joiner == Waiter::Looks {
            sure(&|world| world.joiner = waiter(world.state.has_ended(0)));
        }
        if self.stop == Stop::NotYet {
            steps.push((Kind::Perhaps, self.after(&World::begin_to_stop)));
        }
        steps
    }

    fn steps_of(&self, at: usize, wakes_get_lost: bool, steps: &mut Vec<(Kind, World)>) {
        use Kind::{Perhaps, Sure};
        let mut step = |kind, step: &dyn Fn(&mut World)| steps.push((kind, self.after(step)));
        let becomes = |thread| move |world: &mut World| world.threads[at] = thread;
        let calls_stop = |leads| {
            move |world: &mut World| {
                world.begin_to_stop();
                world.own = 1;
                world.threads[at] = Thread::Stops { leads };
            }
        };
        match self.threads[at] {
            Thread::Looks => step(Sure, &|world| world.threads[at] = found(world.state.look(true))),
            Thread::Parked => {
                step(Perhaps, &becomes(Thread::Woken));
                step(Perhaps, &becomes(Thread::TimedOut));
            }
            Thread::Woken => step(Sure, &|world| world.threads[at] = found(world.state.wake(true))),
            Thread::TimedOut => {
                step(Sure, &|world| world.threads[at] = found(world.state.wake(false)));
            }
            Thread::Leads => {
                step(Perhaps, &|world| {
                    world.threads[at] = match world.state.offer() {
                        Offer::Over => Thread::Serves,
                        Offer::Wake => Thread::Wakes,
                        Offer::Start => Thread::Starts,
                    };
                });
                if self.state.stopping {
                    // `accept` returns once the listener is closed, or for one more client.
                    let closed = matches!(self.stop, Stop::Waits(_));
                    step(if closed { Sure } else { Perhaps }, &|world| {
                        world.state.leave();
                        world.threads[at] = Thread::Ends;
                    });
                } else {
                    step(Perhaps, &calls_stop(true));
                }
            }
            Thread::Wakes => {
                let parked = self.threads.iter().position(|&thread| thread == Thread::Parked);
                if let Some(parked) = parked.filter(|_| !wakes_get_lost) {
                    step(Sure, &|world| {
                        world.threads[at] = Thread::Serves;
                        world.threads[parked] = Thread::Woken;
                    });
                }
                // The wake-up may go to a thread that would have woken anyway.
                if parked.is_none() || wakes_get_lost || self.threads.contains(&Thread::TimedOut) {
                    step(Sure, &becomes(Thread::Serves));
                }
            }
            Thread::Starts => {
                step(Sure, &becomes(Thread::Withdraws));
                if self.threads.len() < THREADS {
                    step(Sure, &|world| {
                        world.threads[at] = Thread::Serves;
                        world.threads.push(Thread::Looks);
                    });
                }
            }
            Thread::Withdraws => step(Sure, &|world| {
                let kept = world.state.withdraw();
                world.threads[at] = if kept { Thread::Leads } else { Thread::Serves };
            }),
            Thread::Reserves => {
                step(Sure, &becomes(Thread::DoesWithout));
                if self.threads.len() < THREADS {
                    step(Sure, &|world| {
                        world.threads[at] = Thread::Serves;
                        world.threads.push(Thread::Looks);
                    });
                }
            }
            Thread::DoesWithout => step(Sure, &|world| {
                world.state.do_without();
                world.threads[at] = Thread::Serves;
            }),
            Thread::Serves => {
                step(Perhaps, &becomes(Thread::Looks));
                let mut state = self.state;
                if state.lacks_reserve() {
                    step(Perhaps, &|world| {
                        world.state = state;
                        world.threads[at] = Thread::Reserves;
                    });
                }
                if self.stop == Stop::NotYet {
                    step(Perhaps, &calls_stop(false));
                }
            }
            Thread::Stops { leads } => {
                if self.stop == Stop::Waits(Waiter::Knows) {
                    step(Sure, &becomes(if leads { Thread::Leads } else { Thread::Serves }));
                }
            }
            Thread::Ends => step(Sure, &|world| {
                world.threads.remove(at);
                world.wake_waiters();
            }),
        }
    }

    fn after(&self, step: &dyn Fn(&mut World)) -> World {
        let mut next = self.clone();
        step(&mut next);
        next.threads.sort_unstable();
        next
    }

    fn begin_to_stop(&mut self) {
        assert!(self.state.stop(), "the first time");
        self.stop = Stop::WakesParked;
    }

    fn wake_waiters(&mut self) {
        if self.joiner == Waiter::Waits {
            self.joiner = Waiter::Looks;
        }
        if self.stop == Stop::Waits(Waiter::Waits) {
            self.stop = Stop::Waits(Waiter::Looks);
        }
    }

    /// Checks what must be true at all times.
    fn check(&self) -> Result<(), &'static str> {
        use Thread::{
            DoesWithout, Ends, Leads, Parked, Reserves, Starts, Stops, TimedOut, Withdraws, Woken,
        };
        let leadership = usize::from(self.state.vacant)
            + self.count(|thread| matches!(thread, Leads | Stops { leads: true }));
        let alive = self.count(|thread| *thread != Ends)
            + self.count(|thread| matches!(thread, Starts | Withdraws | Reserves | DoesWithout));
        let parked = self.count(|thread| matches!(thread, Parked | Woken | TimedOut));
        let ended = [(self.stop == Stop::Waits(Waiter::Knows), self.own)];
        let told = ended.into_iter().chain([(self.joiner == Waiter::Knows, 0)]);
        for (holds, otherwise) in [
            (leadership <= 1, "there is more than one turn"),
            (leadership == 1 || self.state.stopping, "the turn is lost"),
            (self.state.threads == alive, "threads are counted wrongly"),
            (self.state.parked == parked, "parked threads are counted wrongly"),
            (told.into_iter().all(|(knows, own)| !knows || alive <= own), "not all have ended"),
        ] {
            if !holds {
                return Err(otherwise);
            }
        }
        Ok(())
    }

    /// Checks what must be true when nothing happens by itself any more.
    fn check_at_rest(&self) -> Result<(), &'static str> {
        if !self.state.stopping {
            return if self.state.vacant { Err("nobody takes the turn") } else { Ok(()) };
        }
        let serving = self.count(|thread| *thread == Thread::Serves);
        let stopping = self.count(|thread| matches!(thread, Thread::Stops { .. }));
        if self.threads.len() > serving + stopping {
            return Err("a thread with nothing to do stays");
        }
        let told = self.joiner == Waiter::Knows && self.stop == Stop::Waits(Waiter::Knows);
        if serving == 0 && !(self.threads.is_empty() && told) {
            return Err("somebody waits for ever");
        }
        Ok(())
    }
}

fn found(look: Look) -> Thread {
    match look {
        Look::Leader => Thread::Leads,
        Look::Park => Thread::Parked,
        Look::End => Thread::Ends,
    }
}

fn waiter(has_ended: bool) -> Waiter {
    if has_ended { Waiter::Knows } else { Waiter::Waits }
}

/// Visits every world that can be reached. Returns their number, or the way to a world that must
/// not exist.
fn walk(wakes_get_lost: bool) -> Result<usize, String> {
    let mut worlds = vec![(beginning(), 0)];
    let mut known = BTreeMap::from([(beginning(), 0)]);
    // Steps towards an end: the sure ones, and all steps once the threads must stop.
    let mut onwards = Vec::new();
    let mut at = 0;
    while at < worlds.len() {
        let world = worlds[at].0.clone();
        let steps = world.steps(wakes_get_lost);
        let at_rest = steps.iter().all(|(kind, _)| *kind == Kind::Perhaps);
        let rest = if at_rest { world.check_at_rest() } else { Ok(()) };
        world.check().and(rest).map_err(|wrong| tell(wrong, &worlds, at))?;
        for (kind, next) in steps {
            let number = match known.entry(next) {
                Entry::Occupied(entry) => *entry.get(),
                Entry::Vacant(entry) => {
                    worlds.push((entry.key().clone(), at));
                    *entry.insert(worlds.len() - 1)
                }
            };
            if kind == Kind::Sure || world.state.stopping {
                onwards.push((at, number));
            }
        }
        at += 1;
    }
    match find_circle(worlds.len(), &onwards) {
        Some(at) => Err(tell("threads go round in circles", &worlds, at)),
        None => Ok(worlds.len()),
    }
}

/// Finds a world from which the steps never come to an end.
fn find_circle(worlds: usize, steps: &[(usize, usize)]) -> Option<usize> {
    let mut before = vec![Vec::new(); worlds];
    let mut ahead = vec![0; worlds];
    for &(from, to) in steps {
        before[to].push(from);
        ahead[from] += 1;
    }
    let mut ended: VecDeque<usize> = (0..worlds).filter(|&at| ahead[at] == 0).collect();
    while let Some(at) = ended.pop_front() {
        for &from in &before[at] {
            ahead[from] -= 1;
            if ahead[from] == 0 {
                ended.push_back(from);
            }
        }
    }
    ahead.iter().position(|&ahead| ahead > 0)
}

/// Describes what is wrong, with the worlds on the way to it.
fn tell(wrong: &str, worlds: &[(World, usize)], mut at: usize) -> String {
    let mut way = vec![at];
    while at != 0 {
        at = worlds[at].1;
        way.push(at);
    }
    let mut text = format!("{wrong}:\n");
    for at in way.into_iter().rev() {
        let written = writeln!(text, "{:?}", worlds[at].0);
        assert!(written.is_ok(), "a string takes everything");
    }
    text
}

#[test]
#[allow(clippy::print_stderr)]
fn one_thread_accepts_or_is_about_to_in_whatever_order_things_happen() {
    match walk(false) {
        Ok(worlds) => {
            eprintln!("figure: taking turns, at most {THREADS} threads: {worlds} worlds");
            assert!(worlds > 10_000, "expected every order, got {worlds} worlds");
        }
        Err(wrong) => panic!("{wrong}"),
    }
}

#[test]
fn the_walk_notices_a_turn_that_nobody_comes_for() {
    let wrong = walk(true).expect_err("wakes get lost");
    assert!(wrong.starts_with("nobody takes the turn"), "{wrong}");
}
