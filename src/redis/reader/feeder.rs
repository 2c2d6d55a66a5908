//! Entries become events of this node, and go to the broadcaster in batches.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use crossbeam_channel::SendTimeoutError;

use super::Stop;
use crate::{
    broadcast::log::{Entry, Step},
    logs::Level,
    message::{entry_id::EntryId, event_types::TypeId},
    redis::{
        classify::{Found, classify},
        entry::{Mark, Raw},
        say,
        shared::Shared,
    },
};

/// How long the broadcaster may take no step before it is seen whether it is the end.
const SLICE: Duration = Duration::from_millis(100);
/// How often a line about entries that are no events is logged at most.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) struct Feeder {
    shared: Arc<Shared>,
    batch: Vec<Entry>,
    bytes: usize,
    /// The last entry of a type that is not registered here, and how many are: after those of the
    /// batch, only one of the two is there.
    unknown: Option<(EntryId, TypeId)>,
    /// When a line was last logged about an entry that is no event.
    logged: Option<Instant>,
    /// What is to be passed on in one piece.
    held: Option<Vec<Step>>,
}

impl Feeder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, batch: Vec::new(), bytes: 0, unknown: None, logged: None, held: None }
    }

    /// Takes the next entry; returns what one says that tells of a gap, with everything before it
    /// passed on.
    pub(super) fn take(&mut self, raw: &Raw, is_prime: bool) -> Result<Option<Mark>, Stop> {
        let counts = &self.shared.counts;
        counts.read.fetch_add(1, Relaxed);
        // Before it is seen which type it has: another may be registered meanwhile.
        let types = self.shared.input.types();
        match classify(&self.shared.input, raw) {
            Found::Event(entry) => {
                let bytes = entry.event.encoded.len();
                if self.unknown.is_some() || self.bytes + bytes > self.shared.input.batch_bytes {
                    self.flush(is_prime)?;
                }
                self.bytes += bytes;
                self.batch.push(entry);
            }
            Found::Gap(mark) => {
                self.flush(is_prime)?;
                return Ok(Some(mark));
            }
            Found::UnknownType => {
                counts.unknown_types.fetch_add(1, Relaxed);
                if !self.batch.is_empty() {
                    self.flush(is_prime)?;
                }
                self.unknown = Some((raw.id, types));
            }
            Found::Malformed(reason) => {
                counts.malformed.fetch_add(1, Relaxed);
                if self.logged.is_none_or(|logged| logged.elapsed() >= SILENCE) {
                    self.logged = Some(Instant::now());
                    say(Level::Warn, format_args!("entry {} is passed over: {reason}", raw.id));
                }
            }
        }
        Ok(None)
    }

    /// Passes on what was taken.
    pub(super) fn flush(&mut self, is_prime: bool) -> Result<(), Stop> {
        if let Some((entry, types)) = self.unknown.take() {
            return self.tell(Step::Unknown { entry, types });
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.tell(if is_prime { Step::Prime(batch) } else { Step::Events(batch) })
    }

    /// Keeps what follows, until it is released.
    pub(super) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Passes on what was held, if it was, so that no client comes in between.
    pub(super) fn release(&mut self) -> Result<(), Stop> {
        self.held.take().map_or(Ok(()), |steps| self.send(Step::All(steps)))
    }

    /// Passes a step on.
    pub(super) fn tell(&mut self, step: Step) -> Result<(), Stop> {
        match &mut self.held {
            Some(held) => {
                held.push(step);
                Ok(())
            }
            None => self.send(step),
        }
    }

    /// Waits while the broadcaster has enough to do.
    fn send(&self, mut step: Step) -> Result<(), Stop> {
        loop {
            match self.shared.input.give(step, SLICE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(_)) if self.shared.is_ended() => {
                    return Err(Stop::End);
                }
                Err(SendTimeoutError::Timeout(back)) => step = back,
                Err(SendTimeoutError::Disconnected(_)) => return Err(Stop::End),
            }
        }
    }
}
