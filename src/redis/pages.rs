//! Reading the stream for clients that come back: their threads share a few connections.

use std::{sync::Arc, time::Instant};

use parking_lot::{Condvar, Mutex};

use super::{
    classify::{Found, classify},
    entry::Raw,
    link::{Fault, Link, left},
    page_size::PageSize,
    say,
    shared::Shared,
};
use crate::{broadcast::log::Entry, logs::Level, message::entry_id::EntryId};

/// A page of the log, for a client whose last event is older than the node's history.
#[derive(Debug)]
pub(super) struct Page {
    /// Set if events before the first item are lost for ever: the oldest entry that is left.
    pub(super) missing: Option<EntryId>,
    pub(super) items: Vec<Item>,
    /// Everything up to here is in the page.
    pub(super) last: EntryId,
}

#[derive(Debug)]
pub(super) enum Item {
    Event(Entry),
    /// Events before this entry may be lost.
    Gap(EntryId),
}

impl Item {
    pub(super) fn entry_id(&self) -> EntryId {
        match self {
            Self::Event(entry) => entry.id,
            Self::Gap(at) => *at,
        }
    }
}

/// At most this many connections.
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
    /// With the replication id of the server to which each leads.
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
            // Every log begins here.
            return Some(true);
        }
        let read = |link: &mut Link| link.page(&self.shared.config, entry.before(), 1);
        let (next, extent) = self.with_link(until, read)?;
        let is_next = next.first().is_some_and(|next| next.id.is_at_or_after(entry));
        Some(is_next || extent.newest == entry || !extent.is_whole_after(entry))
    }

    pub(super) fn page(&self, after: EntryId, page_size: &mut PageSize) -> Option<Page> {
        let until = Instant::now() + self.shared.config.timeout;
        let count = page_size.entries();
        let read = |link: &mut Link| link.page(&self.shared.config, after, count);
        let (mut found, extent) = self.with_link(until, read)?;
        let missing = (!extent.is_whole_after(after))
            .then(|| found.first().map_or(extent.newest, |raw| raw.id));
        page_size.saw(Raw::largest(&found));
        let fitting = found.iter().scan(0, |bytes, raw| {
            *bytes += raw.len();
            Some(*bytes)
        });
        let fitting = fitting.take_while(|bytes| *bytes <= PageSize::BYTES).count().max(1);
        let is_all = found.len() < count && found.len() <= fitting;
        // The rest is read again later: each client keeps its page in memory until it is written.
        found.truncate(fitting);
        let last = found.last().map_or(after, |raw| raw.id);
        let last = if is_all { last.max(extent.newest) } else { last };
        self.shared.served(last);
        let items = found.iter().filter_map(|raw| match classify(&self.shared.input, raw) {
            Found::Event(entry) => Some(Item::Event(entry)),
            Found::Gap(_) => Some(Item::Gap(raw.id)),
            Found::UnknownType | Found::Malformed(_) => None,
        });
        Some(Page { missing, items: items.collect(), last })
    }

    /// Asks over a connection to the server that the reader vouches for. Opens a new connection if
    /// none is idle or the idle one fails.
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
                let place = self.shared.primary.place();
                say(
                    Level::Warn,
                    format_args!("cannot read{place} for a client that came back: {fault}"),
                );
                None
            }
        }
    }

    /// Takes an idle connection to this server, and drops those to other servers.
    fn idle(&self, server: &str) -> Option<Link> {
        let mut links = self.links.lock();
        links.idle.retain(|(of, _)| of == server);
        links.idle.pop().map(|(_, link)| link)
    }

    fn open(&self, server: &str, until: Instant) -> Result<Link, Fault> {
        let mut link = Link::open_within(&self.shared, left(until))?;
        link.limit(left(until))?;
        if link.server(&self.shared.config)? == server {
            return Ok(link);
        }
        Err(Fault::Lost("the address leads to another server".to_owned()))
    }

    /// Gives back the right to use a connection, and the connection if it is good.
    fn leave(&self, link: Option<(String, Link)>) {
        let mut links = self.links.lock();
        links.used -= 1;
        links.idle.extend(link);
        drop(links);
        self.free.notify_one();
    }

    /// Waits until `until` for the right to use a connection. False if there is none by then.
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
