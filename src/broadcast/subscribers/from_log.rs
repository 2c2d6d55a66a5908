//! Events that come from a log which several nodes share.

use super::Subscribers;
use crate::{
    broadcast::{
        arrival::{Arrival, Resume, Via},
        clock::Now,
        inbox::queue::MAX_BATCH_BYTES,
        log::{Question, Step},
        stats::Disconnect,
        subscription_sets::{Event, Key},
    },
    message::{entry_id::EntryId, frame},
    socket::Wire,
};

impl<W: Wire> Subscribers<W> {
    /// Executes a step of the log's reader. Events are delivered when they fill a batch, or by
    /// [`flush`](Self::flush), which must follow.
    pub(crate) fn follow(&mut self, step: Step, now: Now) {
        match step {
            Step::Begin { floor, forgotten, is_first } => {
                self.flush(now);
                self.history.begin_at(floor);
                self.history.forget_up_to(forgotten);
                if !is_first {
                    self.tell_gap(floor, now);
                }
            }
            Step::Prime(entries) => {
                for entry in entries {
                    self.history.record_entry(entry);
                }
            }
            Step::Events(entries) => {
                let waiting: usize =
                    self.scratch.events.iter().map(|event| event.frame.len()).sum();
                let more: usize = entries.iter().map(|entry| entry.event.encoded.len()).sum();
                if waiting + more > MAX_BATCH_BYTES.min(self.limits.mailbox_bytes / 2) {
                    self.flush(now);
                }
                self.scratch.events.extend(entries.into_iter().map(|entry| {
                    let (channel, kind) = (entry.event.channel.clone(), entry.event.kind);
                    Event { channel, kind, frame: self.history.record_entry(entry) }
                }));
            }
            Step::Unknown { entry, types } => self.history.pass_unknown(entry, types),
            Step::Gap { at, told } => {
                self.flush(now);
                self.history.break_at(at);
                if !told {
                    self.tell_gap(at, now);
                }
            }
            Step::Reach(entry) => self.history.reach(entry),
            Step::All(steps) => steps.into_iter().for_each(|step| self.follow(step, now)),
        }
    }

    /// Says whether the history reaches back to the last events of clients that the log has.
    pub(crate) fn answer(&self, questions: &mut Vec<Question>) {
        for question in questions.drain(..) {
            match question {
                Question::Lacks { subscribed, last_event_id, is_checked, answer } => {
                    let lacks = self.history.lacks(&subscribed, &last_event_id, is_checked);
                    // A client that does not wait for the answer any more has gone.
                    let _ = answer.send(lacks.map_or(Ok(()), Err));
                }
                #[cfg(feature = "durable")]
                Question::Kept { entries, answer } => {
                    // Nor does the log where the server ends.
                    let _ = answer.send(self.history.kept_of(entries));
                }
            }
        }
    }

    /// Delivers the events that wait.
    pub(crate) fn flush(&mut self, now: Now) {
        if !self.scratch.events.is_empty() {
            let mut events = std::mem::take(&mut self.scratch.events);
            self.deliver_events(&events, true, now);
            events.clear();
            self.scratch.events = events;
        }
    }

    /// Whether the history no longer reaches back to the client's last event, although it did when
    /// the log handed the client over. After a failover in between, an id that the log was not asked
    /// about may be of an event that was lost.
    pub(super) fn is_overtaken(&self, arrival: &Arrival<W>) -> bool {
        let Arrival { seat, resume: Resume { last_event_id, from_log, .. }, .. } = arrival;
        let lacks =
            |id: &String| self.history.lacks(&seat.subscribed, id, from_log.is_checked()).is_some();
        from_log.is_covered && last_event_id.as_ref().is_some_and(lacks)
    }

    /// Lets go of such a client: it comes back.
    pub(super) fn refuse_overtaken(mut arrival: Arrival<W>) {
        let text = arrival.refusal("this node has gone on meanwhile");
        if let Via::Wire(wire) = &mut arrival.via
            && !arrival.resume.from_log.has_begun()
        {
            // If the socket does not take it, the client sees that the connection ends.
            let _ = wire.write(&text);
        }
    }

    /// Tells every client that events before `entry` may be lost.
    fn tell_gap(&mut self, entry: EntryId, now: Now) {
        let frame = frame::gap(&entry.before().to_string(), Some(&entry.to_string()));
        for key in 0..Key::try_from(self.table.len()).unwrap_or(Key::MAX) {
            if self.stream(key).is_some_and(|stream| stream.is_replaying()) {
                // Its replay may be of events before this entry. It comes back, and learns of the
                // gap.
                self.remove(key, Disconnect::Behind);
            } else if self.table.get(key as usize).is_some_and(Option::is_some) {
                self.say(key, &frame, now);
                self.stats.gaps += 1;
            }
        }
    }
}
