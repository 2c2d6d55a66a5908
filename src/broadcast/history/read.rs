//! What is kept for a client: from where, in which order, and whether something is missing.

use std::{cmp::Reverse, collections::BinaryHeap, hash::BuildHasher};

use super::{
    Base, Found, History, Kept, Part, Sequence, order::Order, topics::LogId, type_log::TypeLog,
};
use crate::{
    broadcast::stream::ReplayFrom,
    decimal::is_digits,
    message::{
        event_types::Types,
        subscribed::{Listened, Subscribed},
    },
};

/// At most this many events that the client did not ask for are passed over in one piece.
const PASSED_OVER: usize = 4096;
/// At most this many logs are looked at one by one for a client; if it names more, all events are,
/// in their order. The tests need few to try both.
const LOGS: usize = if cfg!(test) { 2 } else { 8192 };

/// Which events a client wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'s> {
    pub(crate) subscribed: &'s Subscribed,
    /// Of the events up to here only the last one of each log.
    pub(crate) last_until: Sequence,
}

/// Events in their order: those of one log, or those of one part of the history.
enum Source<'h> {
    Log { id: LogId, log: &'h TypeLog, at: usize },
    Order { order: &'h Order, at: usize },
}

impl History {
    /// The events that have this as their publishers' own id, the earliest first.
    fn uses(&self, id: &str) -> impl Iterator<Item = (&TypeLog, &Kept)> {
        let hash = self.hasher.hash_one(id);
        let uses = self.ids.range((hash, 0, 0)..=(hash, Sequence::MAX, LogId::MAX));
        uses.filter_map(move |&(_, sequence, log)| {
            let kept = self.kept(log, sequence)?;
            (kept.own_id() == Some(id)).then(|| (self.topics.get(log), kept))
        })
    }

    /// The first event of what a client subscribes to that has this as its publisher's own id.
    pub(super) fn first_use(&self, subscribed: &Subscribed, id: &str) -> Option<&Kept> {
        let mut uses = self.uses(id).filter(|(log, _)| subscribed.includes(log.channel, log.kind));
        uses.next().map(|(_, kept)| kept)
    }

    /// The position of a client, by the id of its last event. `None` if the position is unknown: the
    /// id is of another run, no event of what the client subscribes to ever had it, or that event is
    /// not kept any more.
    pub(crate) fn position_of(&self, subscribed: &Subscribed, id: &str) -> Option<Sequence> {
        if self.known_log().is_some() {
            return self.entry_position(subscribed, id);
        }
        let own = id.strip_prefix(&*self.epoch).and_then(|rest| rest.strip_prefix('-'));
        match own {
            Some(digits) if is_digits(digits) => {
                digits.parse().ok().filter(|&position| position <= self.newest)
            }
            _ => self.first_use(subscribed, id).map(|kept| kept.sequence),
        }
    }

    /// The position of a client that wants the last `count` events. If its types are rare among those
    /// of all channels, or if it names very many logs, it gets the ones among the last some thousand
    /// events.
    pub(crate) fn position_before_last(&self, subscribed: &Subscribed, count: usize) -> Sequence {
        if count == 0 {
            return self.newest;
        }
        let has_many = self.topics.names_more_than(LOGS, subscribed);
        let parts = self.walked(subscribed, has_many).map(|part| part.order.len());
        let logs = self.looked_at(subscribed, has_many).map(|id| self.topics.get(id).kept.len());
        if parts.chain(logs).sum::<usize>() <= count {
            return self.position_before_all(subscribed);
        }
        let is_rare =
            has_many || subscribed.channels == Listened::All && subscribed.types != Types::All;
        let looked_at = if is_rare { PASSED_OVER } else { usize::MAX };
        let passed_over = self
            .walked(subscribed, has_many)
            .filter_map(|part| part.order.backwards().nth(looked_at).map(|(sequence, _)| sequence));
        let floor = passed_over.max().unwrap_or(0);
        let mut sources: Vec<Box<dyn Iterator<Item = Sequence> + '_>> = Vec::new();
        for part in self.walked(subscribed, has_many) {
            let is_wanted = |&(_, log): &(Sequence, LogId)| self.is_wanted(subscribed, log);
            let events = part.order.backwards().take(looked_at).filter(is_wanted);
            sources.push(Box::new(events.map(|(sequence, _)| sequence)));
        }
        for log in self.looked_at(subscribed, has_many) {
            let kept = self.topics.get(log).kept.iter().rev();
            sources.push(Box::new(kept.map(|kept| kept.sequence)));
        }
        let heads = sources.iter_mut().enumerate();
        let heads = heads.filter_map(|(number, source)| Some((source.next()?, number)));
        let mut heads: BinaryHeap<(Sequence, usize)> = heads.collect();
        let mut left = count;
        while let Some((sequence, number)) = heads.pop() {
            if left == 0 {
                return sequence.max(floor);
            }
            left -= 1;
            heads.extend(sources[number].next().map(|next| (next, number)));
        }
        self.position_before_all(subscribed).max(floor)
    }

    /// The position of a client that wants all that is kept, but not before a dropped event: no client
    /// will miss that.
    pub(crate) fn position_before_all(&self, subscribed: &Subscribed) -> Sequence {
        let oldest = self.oldest(subscribed).map_or(self.newest + 1, |(oldest, _)| oldest);
        self.newest_dropped(subscribed, 0).min(oldest - 1)
    }

    /// Whether an event after `position` is not kept, of what a client subscribes to, and was dropped
    /// behind the drop of this number; 0 stands for all that was ever dropped.
    pub(crate) fn has_gap(&self, subscribed: &Subscribed, position: Sequence, drops: u64) -> bool {
        // Mostly no log has lost such an event meanwhile, and none has to be looked at.
        let newest = |part: &Part| part.drops.newest_after(drops);
        if drops > 0 && newest(&self.common).max(newest(&self.channels)) <= position {
            return self.unregistered.base_of(subscribed, drops) > position;
        }
        self.newest_dropped(subscribed, drops) > position
    }

    /// Whether the replay that began like this cannot go on, as the history has dropped what it still
    /// needs. If only the last event of a log was wanted, a later one may take its place.
    pub(crate) fn has_lost(&self, subscribed: &Subscribed, from: ReplayFrom) -> bool {
        let ReplayFrom { position, drops, last_until } = from;
        let has_gap = self.has_gap(subscribed, position, drops);
        if position >= last_until || !has_gap {
            return has_gap;
        }
        let has_lost =
            |log: &TypeLog| log.kept.is_empty() && log.last_drop > drops && log.dropped > position;
        let is_common = subscribed.channels.is_common() && subscribed.types == Types::All;
        let common = self.topics.of_common().filter(|_| is_common);
        let mut logs = common.chain(self.topics.named(subscribed)).map(|id| self.topics.get(id));
        // With all channels there are too many logs to look at each.
        subscribed.channels == Listened::All
            || self.has_gap(subscribed, last_until, drops)
            || self.unregistered.base_of(subscribed, drops) > position
            || logs.any(has_lost)
    }

    /// The newest event of what a client subscribes to that is not kept, and was dropped behind the
    /// drop of this number; 0 if there is none.
    fn newest_dropped(&self, subscribed: &Subscribed, drops: u64) -> Sequence {
        let Subscribed { channels, types } = subscribed;
        let is_later = |log: &&TypeLog| log.last_drop > drops;
        let unregistered = self.unregistered.base_of(subscribed, drops);
        if *channels == Listened::All && *types != Types::All {
            let newest = types.named().iter().map(|&kind| {
                let log = self.topics.find(None, kind).map(|id| self.topics.get(id));
                let common = log.filter(is_later).map_or(0, |log| log.dropped);
                let others = self.drops_by_type.get(&kind);
                common.max(others.map_or(0, |others| others.newest_after(drops)))
            });
            return newest.max().unwrap_or(0).max(unregistered);
        }
        let parts = self.walked(subscribed, false).map(|part| part.drops.newest_after(drops));
        let logs = self.topics.named(subscribed).map(|id| self.topics.get(id)).filter(is_later);
        let newest = parts.chain(logs.map(|log| log.dropped)).max().unwrap_or(0);
        let newest = newest.max(unregistered);
        // What is not known of channels was before the replays of today's clients.
        if drops == 0 { newest.max(self.unknown_up_to(subscribed).sequence) } else { newest }
    }

    /// Up to where it is not known what there was in the channels that a client names.
    pub(super) fn unknown_up_to(&self, subscribed: &Subscribed) -> Base {
        let Subscribed { channels, types } = subscribed;
        let unknown =
            channels.named().iter().map(|channel| match self.topics.channel(channel.number()) {
                None => self.forgotten,
                Some(known) if known.has_all(types) => Base::default(),
                Some(known) => known.base,
            });
        unknown.reduce(Base::max).unwrap_or_default()
    }

    /// The oldest event that is kept of what a client subscribes to. If its types are rare among those
    /// of all channels, or if it names very many logs, it may be another event.
    fn oldest(&self, subscribed: &Subscribed) -> Option<(Sequence, LogId)> {
        let of_part = |part: &Part| {
            let (mut next, mut passed_over) = (part.order.next(0), 0);
            while let Some((at, sequence, log)) = next {
                if self.is_wanted(subscribed, log) || passed_over == PASSED_OVER {
                    return Some((sequence, log));
                }
                passed_over += 1;
                next = part.order.next(at + 1);
            }
            None
        };
        let has_many = self.topics.names_more_than(LOGS, subscribed);
        let parts = self.walked(subscribed, has_many).filter_map(of_part);
        let logs = self
            .looked_at(subscribed, has_many)
            .filter_map(|id| self.topics.get(id).kept.front().map(|kept| (kept.sequence, id)));
        parts.chain(logs).min()
    }

    /// Its id. What a publisher called an event of another channel is not for this client.
    pub(crate) fn oldest_id(&self, subscribed: &Subscribed) -> Option<String> {
        let (sequence, log) = self.oldest(subscribed)?;
        let oldest = self.kept(log, sequence)?;
        match oldest.own_id() {
            Some(id) if self.is_wanted(subscribed, log) => Some(id.to_owned()),
            _ => self.entry_of_kept(oldest).or_else(|| self.id_of(oldest.sequence)),
        }
    }

    /// Gives `take` the events that a client wants after `position`, in their order, until it returns
    /// false, or until many were passed over. Returns the position behind them; it is the newest if
    /// no event follows.
    pub(crate) fn read<'h>(
        &'h self,
        wanted: Wanted<'_>,
        position: Sequence,
        take: &mut dyn FnMut(Found<'h>) -> bool,
    ) -> Sequence {
        let Wanted { subscribed, last_until } = wanted;
        let has_many = self.topics.names_more_than(LOGS, subscribed);
        let parts = self
            .walked(subscribed, has_many)
            .map(|Part { order, .. }| Source::Order { order, at: order.begin(position) });
        let logs = self.looked_at(subscribed, has_many).map(|id| {
            let log = self.topics.get(id);
            let last = log.begin(last_until).saturating_sub(1);
            Source::Log { id, log, at: log.begin(position).max(last) }
        });
        let mut sources: Vec<Source<'_>> = parts.chain(logs).collect();
        let heads = sources.iter_mut().enumerate();
        let heads = heads.filter_map(|(number, source)| {
            source.head().map(|(sequence, log)| Reverse((sequence, number, log)))
        });
        let mut heads: BinaryHeap<Reverse<(Sequence, usize, LogId)>> = heads.collect();
        let mut passed_over = 0;
        while let Some(Reverse((sequence, number, log))) = heads.pop() {
            let kept = sources[number].pass();
            heads.extend(
                sources[number].head().map(|(sequence, log)| Reverse((sequence, number, log))),
            );
            let events = &self.topics.get(log).kept;
            let place =
                || kept.unwrap_or_else(|| events.partition_point(|kept| kept.sequence < sequence));
            let is_last = |place: usize| {
                sequence > last_until
                    || events.get(place + 1).is_none_or(|next| next.sequence > last_until)
            };
            let place = self.is_wanted(subscribed, log).then(place).filter(|&place| is_last(place));
            let goes_on = if let Some(place) = place {
                take(Found { frame: &events[place].frame, place: (log, sequence) })
            } else {
                passed_over += 1;
                passed_over < PASSED_OVER
            };
            if !goes_on {
                break;
            }
        }
        // Everything before the next event was given out.
        heads.peek().map_or(self.newest, |Reverse((sequence, ..))| sequence - 1)
    }

    /// Whether events of a log are among what a client subscribes to.
    fn is_wanted(&self, subscribed: &Subscribed, log: LogId) -> bool {
        let TypeLog { channel, kind, .. } = self.topics.get(log);
        subscribed.includes(*channel, *kind)
    }

    /// The parts of which a client gets all logs, or all of its types; if it `has_many` logs, those in
    /// which they are.
    fn walked(&self, subscribed: &Subscribed, has_many: bool) -> impl Iterator<Item = &Part> {
        let Subscribed { channels, types } = subscribed;
        let all = *channels == Listened::All;
        let common = all || channels.is_common() && (has_many || *types == Types::All);
        let channels = all || has_many && !channels.named().is_empty();
        let common = common.then_some(&self.common);
        common.into_iter().chain(channels.then_some(&self.channels))
    }

    /// The logs that are not in these parts.
    fn looked_at<'h>(
        &'h self,
        subscribed: &'h Subscribed,
        has_many: bool,
    ) -> impl Iterator<Item = LogId> + 'h {
        let logs = (!has_many).then(|| self.topics.named(subscribed));
        logs.into_iter().flatten()
    }
}

impl Source<'_> {
    /// The next event, and its log.
    fn head(&mut self) -> Option<(Sequence, LogId)> {
        match self {
            Self::Log { id, log, at } => log.kept.get(*at).map(|kept| (kept.sequence, *id)),
            Self::Order { order, at } => {
                let (place, sequence, log) = order.next(*at)?;
                *at = place;
                Some((sequence, log))
            }
        }
    }

    /// Goes on behind the next event. Returns its place in its log, where that is known.
    fn pass(&mut self) -> Option<usize> {
        match self {
            Self::Log { at, .. } => {
                *at += 1;
                Some(*at - 1)
            }
            Self::Order { at, .. } => {
                *at += 1;
                None
            }
        }
    }
}
