//! The delivery of events as they are published.

use std::cmp::Reverse;

use super::{Audience, Outlet};
use crate::{
    frame::Frame,
    groups::{Event, Key},
    mail::Mail,
    meter::Moment,
    queue::{Batch, Head},
    socket::Wire,
    stats::Disconnect,
    stream::Progress,
};

impl<W: Wire> Audience<W> {
    /// Delivers the first `count` events of a batch: one write for each client that is caught up;
    /// for the others they go to their mailboxes.
    pub(crate) fn deliver(&mut self, batch: &mut Batch, count: usize, moment: Moment) {
        let mut events = std::mem::take(&mut self.events);
        while events.len() < count
            && let Some((Head { kind, id, .. }, lines)) = batch.pop()
        {
            events.push(Event { kind, frame: self.history.record(kind, id.as_ref(), lines) });
        }
        self.deliver_events(&events, true, moment);
        events.clear();
        self.events = events;
    }

    /// `in_history` says that those find these events there who come to them later.
    pub(super) fn deliver_events(&mut self, batch: &[Event], in_history: bool, moment: Moment) {
        self.stats.published += batch.len() as u64;
        let mut touched = std::mem::take(&mut self.touched);
        self.groups.match_batch(batch, &mut touched);
        for group in touched.drain(..) {
            let (members, matched) = self.groups.take(group);
            self.deliver_to(&members, &matched, batch, in_history, moment);
            self.groups.restore(group, members, matched);
        }
        self.touched = touched;
        self.registry.send(self.mails.drain(..));
        self.remove_gone();
        self.keep_within_memory(moment);
    }

    fn deliver_to(
        &mut self,
        keys: &[Key],
        matched: &[u32],
        batch: &[Event],
        in_history: bool,
        moment: Moment,
    ) {
        let is_short = self.is_short_of_memory();
        let frame_at = |at: u32| &batch[at as usize].frame;
        let mut joined = std::mem::take(&mut self.joined);
        let bytes = if let [only] = matched {
            frame_at(*only).as_bytes()
        } else {
            joined.clear();
            for &at in matched {
                joined.extend_from_slice(frame_at(at).as_bytes());
            }
            &joined
        };
        let mut delivered = keys.len();
        // Made only when somebody has to wait for a part of it.
        let mut shared: Option<Mail> = None;
        let load = self.load.clone();
        let mut share = || {
            let whole = || match matched {
                [only] => frame_at(*only).clone(),
                _ => Frame::from_bytes(bytes),
            };
            shared.get_or_insert_with(|| Mail::new(whole(), &load)).clone()
        };
        // One for each event: subscriptions get frames one by one.
        let mut single: Vec<Mail> = Vec::new();
        for &key in keys {
            let Some(member) = &mut self.members[key as usize] else {
                debug_assert!(false, "a group holds members only");
                continue;
            };
            let waiting = match &mut member.outlet {
                Outlet::Stream(stream) if stream.is_caught_up() => {
                    match stream.send(bytes, &mut share, moment) {
                        Ok(Progress::CaughtUp) => {}
                        Ok(Progress::Retry(at)) => {
                            self.stats.behind += 1;
                            self.retries.push(Reverse((at, key)));
                        }
                        Err(reason) => self.gone.push((key, reason)),
                    }
                    continue;
                }
                // It comes to these events in the history.
                Outlet::Stream(stream) if in_history && stream.is_replaying() => {
                    delivered -= 1;
                    continue;
                }
                Outlet::Stream(stream) => {
                    stream.fit_mailbox(|room| self.registry.replace_mailbox(member.id, room));
                    let waiting = stream.mailed(bytes.len());
                    self.mails.push((member.id, share()));
                    waiting
                }
                Outlet::Feed(feed) => {
                    if single.is_empty() {
                        let frames = matched.iter().map(|&at| frame_at(at).clone());
                        single.extend(frames.map(|frame| Mail::new(frame, &load)));
                    }
                    self.mails.extend(single.iter().map(|mail| (member.id, mail.clone())));
                    feed.mailed(bytes.len(), moment)
                }
            };
            if waiting > self.limits.mailbox_bytes
                && (is_short || !member.outlet.takes_something(moment))
            {
                self.gone.push((key, Disconnect::Behind));
            }
            self.note_waiting(key, waiting);
        }
        // Together more than a 32-bit host can count.
        let delivered = delivered as u64;
        self.stats.deliveries += delivered * matched.len() as u64;
        self.stats.bytes += delivered * bytes.len() as u64;
        self.joined = joined;
    }
}
