//! Channels: for whom a message is. They are not registered: the first message or listener makes
//! one, and the last user of its handle ends it.

use std::{
    borrow::Borrow,
    cmp::Reverse,
    collections::{BinaryHeap, HashSet},
    fmt,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{
        Arc,
        atomic::{
            AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
};

use parking_lot::Mutex;

use super::MessageError;

/// A channel's number. That of a channel that has ended is used again. The common channel, which
/// always exists, has none.
pub(crate) type ChannelId = u32;

/// Stands for all channels.
pub(crate) const ALL: &str = "*";

/// A channel's name has at most this many bytes.
pub(crate) const MAX_BYTES: usize = 256;

/// Checks a channel's name: 1 to 256 bytes without control characters, and not `*`, which stands
/// for all channels.
pub(crate) fn check(name: &str) -> Result<(), MessageError> {
    let is_good = (1..=MAX_BYTES).contains(&name.len())
        && name != ALL
        && !name.chars().any(|character| character.is_control() || is_separator(character));
    if is_good { Ok(()) } else { Err(MessageError::Channel) }
}

/// Line and paragraph separator: some programs take them for line breaks.
fn is_separator(character: char) -> bool {
    matches!(character, '\u{2028}' | '\u{2029}')
}

/// A handle of a channel. The channel exists for as long as there is one.
pub(crate) struct Channel(Arc<Entry>);

struct Entry {
    number: ChannelId,
    /// The handles that there are.
    handles: AtomicU32,
    /// The clients that listen to it by its name.
    listeners: AtomicU32,
    name: Box<str>,
    table: Arc<ChannelTable>,
}

impl Channel {
    pub(crate) fn number(&self) -> ChannelId {
        self.0.number
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn listeners(&self) -> &AtomicU32 {
        &self.0.listeners
    }

    /// Another handle. While there is none, only the table's lock allows it.
    fn of(entry: &Arc<Entry>) -> Self {
        entry.handles.fetch_add(1, SeqCst);
        Self(Arc::clone(entry))
    }
}

impl Clone for Channel {
    fn clone(&self) -> Self {
        Self::of(&self.0)
    }
}

impl PartialEq for Channel {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Channel {}

impl Hash for Channel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.number.hash(state);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, SeqCst) == 1 {
            self.0.table.end(&self.0);
        }
    }
}

/// A channel in the table, found by its name.
struct ByName(Arc<Entry>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for ByName {}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // As that of the `str`.
        self.0.name.hash(state);
    }
}

/// The channels that exist.
#[derive(Debug, Default)]
pub(crate) struct ChannelTable {
    /// Guards the names. While it is held nothing else is locked, and no handle is dropped.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    names: Names,
    /// The numbers of channels that have ended. The lowest are used first, so that tables by these
    /// numbers stay short.
    free: BinaryHeap<Reverse<ChannelId>>,
    /// The highest number that was ever used.
    highest: ChannelId,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("channels", &self.names.len).finish_non_exhaustive()
    }
}

/// The channels by their names, in several sets: one that grows moves all that it has, which takes
/// long with 100,000.
#[derive(Default)]
struct Names {
    sets: [HashSet<ByName>; 32],
    hasher: RandomState,
    len: usize,
}

impl Names {
    /// Which of the sets is that of a name.
    fn set_of(&self, name: &str) -> usize {
        (self.hasher.hash_one(name) % 32) as usize
    }

    fn get(&self, name: &str) -> Option<&Arc<Entry>> {
        self.sets[self.set_of(name)].get(name).map(|ByName(entry)| entry)
    }

    fn insert(&mut self, entry: Arc<Entry>) {
        let at = self.set_of(&entry.name);
        self.len += usize::from(self.sets[at].insert(ByName(entry)));
    }

    fn remove(&mut self, name: &str) {
        let at = self.set_of(name);
        self.len -= usize::from(self.sets[at].remove(name));
        let len = self.sets[at].len();
        if len == 0 || len < self.sets[at].capacity() / 8 {
            self.sets[at].shrink_to(len * 2);
        }
    }
}

/// There are as many channels as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    pub(crate) limit: usize,
}

impl ChannelTable {
    /// The channel of this name, made if there is none and there may be another. The name is good.
    pub(crate) fn get(self: &Arc<Self>, name: &str, limit: usize) -> Result<Channel, TooMany> {
        let mut state = self.state.lock();
        if let Some(entry) = state.names.get(name) {
            // Its last handle may just have been dropped; then it does not end.
            return Ok(Channel::of(entry));
        }
        if state.names.len >= limit {
            return Err(TooMany { limit });
        }
        let number = state.free.pop().map(|Reverse(number)| number).unwrap_or_else(|| {
            state.highest += 1;
            state.highest
        });
        let (handles, listeners) = Default::default();
        let (name, table) = (Box::from(name), Arc::clone(self));
        let entry = Arc::new(Entry { number, handles, listeners, name, table });
        let channel = Channel::of(&entry);
        state.names.insert(entry);
        Ok(channel)
    }

    /// How many clients listen to a channel by its name.
    pub(crate) fn listeners(&self, name: &str) -> usize {
        let state = self.state.lock();
        state.names.get(name).map_or(0, |entry| entry.listeners.load(Relaxed) as usize)
    }

    /// How many channels there are.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().names.len
    }

    /// Ends a channel of which the last handle was dropped, unless there is one again. Of two threads
    /// that both dropped a last one, the second finds another channel of the name, or none.
    fn end(&self, entry: &Arc<Entry>) {
        let mut state = self.state.lock();
        let State { names, free, .. } = &mut *state;
        let is_it = names.get(&entry.name).is_some_and(|known| Arc::ptr_eq(known, entry));
        if !is_it || entry.handles.load(SeqCst) > 0 {
            return;
        }
        names.remove(&entry.name);
        free.push(Reverse(entry.number));
        if names.len == 0 {
            (state.free, state.highest) = Default::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_exists_while_somebody_uses_it() {
        let channels = Arc::<ChannelTable>::default();
        let get = |name| channels.get(name, 2);
        let (one, other) = (get("one").expect("room"), get("other").expect("room"));
        assert_eq!(get("one").as_ref(), Ok(&one));
        assert_eq!((one.number(), other.number()), (1, 2));
        assert_eq!(get("third"), Err(TooMany { limit: 2 }));
        drop(one);
        let third = get("third").expect("room again");
        assert_eq!((third.number(), third.name()), (1, "third"));
        assert_eq!(channels.len(), 2);
        drop((other, third));
        let state = channels.state.lock();
        assert!(state.names.sets.iter().all(|set| set.capacity() == 0));
        assert_eq!((state.free.capacity(), state.highest), (0, 0));
    }

    #[test]
    fn a_name_is_a_line_that_can_be_read() {
        for good in ["a", "user/17", "Zürich 8001", "**", &"x".repeat(256)] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        for bad in ["", "*", "a\nb", "a\rb", "a\0", "\u{85}", "a\u{2028}b", &"x".repeat(257)] {
            assert_eq!(check(bad), Err(MessageError::Channel), "{bad:?}");
        }
    }

    /// Many threads get and drop the same names.
    #[test]
    fn handles_of_one_name_at_one_time_are_of_one_channel() {
        let channels = Arc::<ChannelTable>::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..10_000 {
                        let name = ["a", "b", "c"][round % 3];
                        let one = channels.get(name, 8).expect("room");
                        let same = channels.get(name, 8).expect("room");
                        assert_eq!((&one, one.name()), (&same, name));
                    }
                });
            }
        });
        assert_eq!(channels.len(), 0);
    }
}
