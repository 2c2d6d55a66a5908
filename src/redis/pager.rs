//! Reading the stream for clients that come back, on their own threads over a few connections.

use std::{sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex};

use super::{
    entry::Raw,
    link::{Fault, Link, left},
    say,
    shared::Shared,
    sort::{Found, sort},
};
use crate::journal::{EntryId, Item, Pace, Page};
use crate::logs::Level;

/// Connections at most.
const LINKS: usize = 4;

pub(super) struct Pager {
    shared: Arc<Shared>,
    /// Never held across a call to Redis.
    links: Mutex<Links>,
    /// Threads wait here for a connection.
    free: Condvar,
}

#[derive(Default)]
struct Links {
    /// With the replication id of the server that each leads to.
    idle: Vec<(String, Link)>,
    used: usize,
}

impl std::fmt::Debug for Pager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pager").finish_non_exhaustive()
    }
}

impl Pager {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, links: Mutex::default(), free: Condvar::new() }
    }

    pub(super) fn newest(&self, until: Instant) -> Option<EntryId> {
        self.with_link(until, |link| link.extent(&self.shared.config)).map(|extent| extent.newest)
    }

    pub(super) fn can_be_at(&self, entry: EntryId, until: Instant) -> Option<bool> {
        if entry == EntryId::ZERO {
            // The beginning of every log.
            return Some(true);
        }
        let read = |link: &mut Link| link.page(&self.shared.config, entry.before(), 1);
        let (next, extent) = self.with_link(until, read)?;
        let is_next = next.first().is_some_and(|next| next.id.is_at_or_after(entry));
        Some(is_next || extent.newest == entry || !extent.is_whole_after(entry))
    }

    pub(super) fn page(&self, after: EntryId, pace: &mut Pace) -> Option<Page> {
        let until = Instant::now() + self.shared.config.timeout;
        let count = pace.entries();
        let read = |link: &mut Link| link.page(&self.shared.config, after, count);
        let (mut found, extent) = self.with_link(until, read)?;
        let missing = (!extent.is_whole_after(after))
            .then(|| found.first().map_or(extent.newest, |raw| raw.id));
        pace.saw(Raw::largest(&found));
        let fitting = found.iter().scan(0, |bytes, raw| {
            *bytes += raw.len();
            Some(*bytes)
        });
        let fitting = fitting.take_while(|bytes| *bytes <= Pace::BYTES).count().max(1);
        let is_all = found.len() < count && found.len() <= fitting;
        // The rest is read again: each client keeps its page for as long as it takes to write it.
        found.truncate(fitting);
        let last = found.last().map_or(after, |raw| raw.id);
        let last = if is_all { last.max(extent.newest) } else { last };
        self.shared.served(last);
        let items = found.iter().filter_map(|raw| match sort(&self.shared.intake, raw) {
            Found::Event(entry) => Some(Item::Event(entry)),
            Found::Gap(_) => Some(Item::Gap(raw.id)),
            Found::UnknownType | Found::Malformed(_) => None,
        });
        Some(Page { missing, items: items.collect(), last })
    }

    /// Asks over one of the connections to the server that the reader vouches for, one that is new
    /// where there is none or it proves stale.
    fn with_link<T>(
        &self,
        until: Instant,
        ask: impl Fn(&mut Link) -> Result<T, Fault>,
    ) -> Option<T> {
        let server = self.shared.wait_vouched(until)?;
        if !self.enter(until) {
            return None;
        }
        let mut link = self.idle(&server);
        let limited = |link: &mut Link| {
            link.limit(left(until))?;
            ask(link)
        };
        let mut result = link.as_mut().map(limited);
        if !matches!(result, Some(Ok(_))) && Instant::now() < until {
            let opened = self.open(&server, until);
            result = Some(opened.and_then(|new| limited(link.insert(new))));
        }
        self.leave(link.filter(|_| matches!(result, Some(Ok(_)))).map(|link| (server, link)));
        match result? {
            Ok(answer) => Some(answer),
            Err(fault) => {
                say(Level::Warn, format_args!("cannot read for a client that came back: {fault}"));
                None
            }
        }
    }

    /// A connection to this server that nobody uses; those to others are of no use any more.
    fn idle(&self, server: &str) -> Option<Link> {
        let mut links = self.links.lock();
        links.idle.retain(|(of, _)| of == server);
        links.idle.pop().map(|(_, link)| link)
    }

    fn open(&self, server: &str, until: Instant) -> Result<Link, Fault> {
        let mut link = Link::open_within(&self.shared.config, left(until))?;
        link.limit(left(until))?;
        if link.server()? == server {
            return Ok(link);
        }
        Err(Fault::Lost("the address leads to another server".to_owned()))
    }

    /// Gives back the right to use a connection, and the connection where it is good.
    fn leave(&self, link: Option<(String, Link)>) {
        let mut links = self.links.lock();
        links.used -= 1;
        links.idle.extend(link);
        drop(links);
        self.free.notify_one();
    }

    /// Waits for the right to use a connection.
    fn enter(&self, until: Instant) -> bool {
        let mut links = self.links.lock();
        while links.used >= LINKS {
            if self.free.wait_until(&mut links, until).timed_out() {
                return false;
            }
        }
        links.used += 1;
        true
    }
}
