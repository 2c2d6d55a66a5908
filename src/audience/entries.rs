//! Events that come out of a log which several nodes share.

use std::cmp::Reverse;

use super::{Arrival, Audience, Outlet, Returned};
use crate::{
    frame,
    groups::Event,
    journal::{Entry, EntryId, Step},
    mail::Mail,
    meter::Moment,
    queue::MAX_BATCH_BYTES,
    socket::Wire,
    stats::Disconnect,
    stream::Progress,
};

impl<W: Wire> Audience<W> {
    /// Does what the log's reader says. Events are delivered when there are enough of them for a
    /// batch, or by [`flush`](Self::flush), which must follow.
    pub(crate) fn follow(&mut self, step: Step, moment: Moment) {
        match step {
            Step::Begin { floor, is_first } => {
                self.flush(moment);
                self.history.begin_at(floor);
                if !is_first {
                    self.tell_gap(floor, moment);
                }
            }
            Step::Prime(entries) => {
                for Entry { id, event } in entries {
                    self.history.record_entry(id, event.kind, event.encoded);
                }
            }
            Step::Events(entries) => {
                let waiting: usize = self.events.iter().map(|event| event.frame.len()).sum();
                let more: usize = entries.iter().map(|entry| entry.event.encoded.len()).sum();
                if waiting + more > MAX_BATCH_BYTES.min(self.limits.mailbox_bytes / 2) {
                    self.flush(moment);
                }
                self.events.extend(entries.into_iter().map(|Entry { id, event }| Event {
                    kind: event.kind,
                    frame: self.history.record_entry(id, event.kind, event.encoded),
                }));
            }
            Step::Unknown(entry) => self.history.pass_unknown(entry),
            Step::Gap { at, told } => {
                self.flush(moment);
                self.history.break_at(at);
                if !told {
                    self.tell_gap(at, moment);
                }
            }
            Step::Reach(entry) => self.history.reach(entry),
        }
    }

    /// Delivers the events that wait.
    pub(crate) fn flush(&mut self, moment: Moment) {
        if !self.events.is_empty() {
            let mut events = std::mem::take(&mut self.events);
            self.deliver_events(&events, moment);
            events.clear();
            self.events = events;
        }
    }

    /// Gives a client back that comes with an id which what is kept here does not reach, if there
    /// is somebody to do better.
    pub(super) fn give_back(&self, mut arrival: Arrival<W>) -> Option<Arrival<W>> {
        if let Some(back) = arrival.back.take()
            && let Some(id) = &arrival.resume.last_event_id
            && let Some(lack) = self.history.lacks(&arrival.seat.subscribed, id)
        {
            // Where nobody waits for it any more, it ends with its socket.
            let _ = back.send(Returned { lack, arrival });
            return None;
        }
        Some(arrival)
    }

    /// Tells every client that events before `place` may be lost.
    fn tell_gap(&mut self, place: EntryId, moment: Moment) {
        let frame = frame::gap(&place.before().to_string(), Some(&place.to_string()));
        let mail = Mail::new(frame.clone(), &self.load);
        for (key, member) in (0..).zip(&mut self.members) {
            let Some(member) = member else { continue };
            match &mut member.outlet {
                Outlet::Stream(stream) if stream.is_caught_up() => {
                    match stream.send(frame.as_bytes(), || mail.clone(), moment) {
                        Ok(Progress::CaughtUp) => {}
                        Ok(Progress::Retry(at)) => {
                            self.stats.behind += 1;
                            self.retries.push(Reverse((at, key)));
                        }
                        Err(reason) => self.gone.push((key, reason)),
                    }
                }
                // Its mailbox is to stay empty. It comes back, and is told then.
                Outlet::Stream(stream) if stream.is_replaying() => {
                    self.gone.push((key, Disconnect::Behind));
                    continue;
                }
                Outlet::Stream(stream) => {
                    stream.mailed(frame.len());
                    self.mails.push((member.id, mail.clone()));
                }
                Outlet::Feed(feed) => {
                    feed.mailed(frame.len(), moment);
                    self.mails.push((member.id, mail.clone()));
                }
            }
            self.stats.gaps += 1;
        }
        self.registry.send(self.mails.drain(..));
        self.remove_gone();
    }
}
