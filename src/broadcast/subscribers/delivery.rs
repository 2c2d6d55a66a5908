//! The delivery of published events.

use std::cmp::Reverse;

use super::{Sink, Subscribers};
use crate::{
    broadcast::{
        clock::Now,
        inbox::queue::{Batch, Head},
        mailbox::Pending,
        stats::Disconnect,
        stream::Progress,
        subscription_sets::{Event, Key},
    },
    message::frame::Coding,
    socket::Wire,
};

impl<W: Wire> Subscribers<W> {
    /// Delivers the first `count` events of a batch. A client that is caught up gets them by one
    /// write; for the others they go to the mailbox.
    pub(crate) fn deliver(&mut self, batch: &mut Batch, count: usize, now: Now) {
        let mut events = std::mem::take(&mut self.scratch.events);
        while events.len() < count
            && let Some((Head { channel, kind, id, .. }, lines)) = batch.pop()
        {
            let frame = self.history.record(channel.as_ref(), kind, id.as_ref(), lines);
            events.push(Event { channel, kind, frame });
        }
        let in_history = self.history.keeps_own();
        self.deliver_events(&events, in_history, now);
        events.clear();
        self.scratch.events = events;
    }

    /// `in_history`: these events are in the history, where a stream that replays comes to them.
    pub(super) fn deliver_events(&mut self, batch: &[Event], in_history: bool, now: Now) {
        self.stats.published += batch.len() as u64;
        let mut matched = std::mem::take(&mut self.scratch.matched);
        self.sets.match_batch(batch, &mut matched);
        for (set, events) in matched.iter() {
            let members = self.sets.take(set);
            self.deliver_to(&members, self.sets.coding(set), events, batch, in_history, now);
            self.sets.restore(set, members);
        }
        matched.clear();
        self.scratch.matched = matched;
        self.registry.send(self.scratch.pending.drain(..));
        self.remove_gone();
        self.keep_within_memory(now);
    }

    fn deliver_to(
        &mut self,
        keys: &[Key],
        coding: Coding,
        matched: &[u32],
        batch: &[Event],
        in_history: bool,
        now: Now,
    ) {
        let is_short = self.is_short_of_memory();
        let frame_at = |at: u32| &batch[at as usize].frame;
        let mut joined = std::mem::take(&mut self.scratch.joined);
        let bytes = if let [only] = matched {
            frame_at(*only).coded(coding)
        } else {
            joined.clear();
            for &at in matched {
                joined.extend_from_slice(frame_at(at).coded(coding));
            }
            &joined
        };
        let mut delivered = keys.len();
        // Made only if a client must wait for a part of it.
        let mut shared: Option<Pending> = None;
        let memory = self.memory.clone();
        let mut share = || {
            let whole = || match matched {
                [only] => Pending::new(frame_at(*only).clone(), &memory),
                _ => Pending::raw(bytes, &memory),
            };
            shared.get_or_insert_with(whole).clone()
        };
        // One for each event, since a subscription gets frames one by one.
        let mut single: Vec<Pending> = Vec::new();
        for &key in keys {
            let Some(subscriber) = &mut self.table[key as usize] else {
                debug_assert!(false, "a set holds clients that are here");
                continue;
            };
            let waiting = match &mut subscriber.sink {
                Sink::Stream(stream) if stream.is_caught_up() => {
                    match stream.send(bytes, &mut share, now) {
                        Ok(Progress::CaughtUp) => {}
                        Ok(Progress::Retry(at)) => {
                            self.stats.behind += 1;
                            self.behind.retries.push(Reverse((at, key)));
                        }
                        Err(reason) => self.scratch.gone.push((key, reason)),
                    }
                    continue;
                }
                // This stream comes to these events in the history.
                Sink::Stream(stream) if in_history && stream.is_replaying() => {
                    delivered -= 1;
                    continue;
                }
                Sink::Stream(stream) => {
                    stream.fit_mailbox(|room| self.registry.replace_mailbox(subscriber.id, room));
                    let waiting = stream.added(bytes.len());
                    self.scratch.pending.push((subscriber.id, share()));
                    waiting
                }
                Sink::Local(local) => {
                    if single.is_empty() {
                        let frames = matched.iter().map(|&at| frame_at(at).clone());
                        single.extend(frames.map(|frame| Pending::new(frame, &memory)));
                    }
                    self.scratch
                        .pending
                        .extend(single.iter().map(|pending| (subscriber.id, pending.clone())));
                    local.added(bytes.len(), now)
                }
            };
            if subscriber.sink.is_too_far_behind(self.limits.mailbox_bytes, is_short, now) {
                self.scratch.gone.push((key, Disconnect::Behind));
            }
            self.note_waiting(key, waiting);
        }
        // Together more than a 32-bit host can count.
        let delivered = delivered as u64;
        self.stats.deliveries += delivered * matched.len() as u64;
        self.stats.delivered_bytes += delivered * bytes.len() as u64;
        self.scratch.joined = joined;
    }
}
