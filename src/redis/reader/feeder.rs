//! Turns entries into events of this node, and gives them to the broadcaster in batches.

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

/// How long to wait for room at the broadcaster before checking whether the log ends.
const SLICE: Duration = Duration::from_millis(100);
/// At most one line is logged in this time about entries that are not events.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) struct Feeder {
    shared: Arc<Shared>,
    batch: Vec<Entry>,
    bytes: usize,
    /// The last entry of a type that is not registered here, and how many types are registered. Set
    /// only while the batch is empty, which keeps the order of entries.
    unknown: Option<(EntryId, TypeId)>,
    /// When a line about an entry that is not an event was last logged.
    logged: Option<Instant>,
    /// While steps are held: those that will go to the broadcaster as one.
    held: Option<Vec<Step>>,
}

impl Feeder {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, batch: Vec::new(), bytes: 0, unknown: None, logged: None, held: None }
    }

    /// Takes the next entry. If it is a mark of a gap, passes on everything before it and returns
    /// the mark.
    pub(super) fn take(&mut self, raw: &Raw, is_prime: bool) -> Result<Option<Mark>, Stop> {
        let counts = &self.shared.counts;
        counts.read.fetch_add(1, Relaxed);
        // Read first: if the type were registered after `classify` and before the count, the count
        // would say that the entry is not of this type.
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

    /// Gives the broadcaster what was taken.
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

    /// Holds all steps from now on, until [`release`](Self::release).
    pub(super) fn hold(&mut self) {
        self.held = Some(Vec::new());
    }

    /// Gives the broadcaster the steps that were held, as one, so that no client is admitted in
    /// between.
    pub(super) fn release(&mut self) -> Result<(), Stop> {
        self.held.take().map_or(Ok(()), |steps| self.send(Step::All(steps)))
    }

    /// Gives the broadcaster a step, or holds it.
    pub(super) fn tell(&mut self, step: Step) -> Result<(), Stop> {
        match &mut self.held {
            Some(held) => {
                held.push(step);
                Ok(())
            }
            None => self.send(step),
        }
    }

    /// Gives the broadcaster a step; waits for room.
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
