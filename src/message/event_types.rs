//! Event types by name and number.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    error::Error,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use parking_lot::RwLock;

use crate::{
    error::SubscribeError,
    message::{
        GENERAL, canonical, event_type::ALL, few::Few, frame, is_one_line, listening::Listening,
    },
};

/// An event type's number. That of a type that was unregistered is used again.
pub(crate) type TypeId = u32;

/// Names with a meaning of their own: `*` subscribes to all, `stream-gap` and `stream-open` are the
/// server's own events, and an `EventSource` dispatches `open` and `error` by itself (HTML
/// standard, 9.2.2).
const RESERVED: [&str; 5] = [ALL, frame::GAP, frame::OPEN, "open", "error"];

/// [`Server::register_event`](crate::Server::register_event) refuses a name.
///
/// ```
/// use websse::{RegisterError, Server};
///
/// let refused = Server::new().register_event("stream-gap");
/// assert_eq!(refused, Err(RegisterError::Reserved("stream-gap".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name contains CR, LF or NUL, which would break the stream's lines.
    LineBreak(String),
    /// `*`, `stream-gap`, `stream-open`, `open` and `error` have a meaning of their own for the server
    /// or for browsers. Use another name.
    Reserved(String),
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineBreak(name) => write!(
                f,
                "cannot register {name:?}: an event type is one line of text, without CR, LF or NUL"
            ),
            Self::Reserved(name) => {
                write!(f, "cannot register {name:?}: the name is reserved, use another")
            }
        }
    }
}

impl Error for RegisterError {}

/// The types that a client subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Types {
    All,
    /// Sorted, without duplicates.
    Named(Few<TypeId>),
}

impl Types {
    pub(crate) fn includes(&self, kind: TypeId) -> bool {
        match self {
            Self::All => true,
            Self::Named(types) => types.binary_search(&kind).is_ok(),
        }
    }

    /// The types that it names.
    pub(crate) fn named(&self) -> &[TypeId] {
        match self {
            Self::All => &[],
            Self::Named(types) => types,
        }
    }
}

/// The registered event types.
#[derive(Debug, Default)]
pub(crate) struct EventTypes {
    /// Guards the names only; nothing else is called while it is held.
    names: RwLock<Names>,
    generation: Generation,
}

#[derive(Debug, Default)]
struct Names {
    numbers: BTreeMap<Arc<str>, TypeId>,
    by_number: Vec<Number>,
    /// The numbers of which the broadcaster has nothing any more.
    free: VecDeque<TypeId>,
    /// The names that were unregistered and whose numbers no other type has yet.
    unregistered: HashMap<Arc<str>, TypeId>,
}

/// What is known of a number.
#[derive(Debug)]
struct Number {
    /// The last name that had it.
    name: Arc<str>,
    /// When it was unregistered for the last time, counted as in [`Unregister`].
    generation: usize,
}

/// A type was unregistered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unregister {
    pub(crate) kind: TypeId,
    /// How many numbers were used until then.
    pub(crate) used: TypeId,
    /// Which of all that were unregistered it is, counted from 1.
    pub(crate) generation: usize,
}

/// How often types were unregistered. A number that was looked up before must not be used after it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generation(Arc<AtomicUsize>);

impl Generation {
    pub(crate) fn get(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// At most this many free numbers are looked at for one that nobody listens to.
const LOOKED_AT: usize = 16;

impl EventTypes {
    /// Registers all of these names; if one is refused, none. `is_listened` tells whether a client
    /// that is still there has named the type that had this number before: then a type of another
    /// name does not get it, but one of the same name does. While there are clients of whom a hook
    /// `has_untold`, no number is used again.
    pub(crate) fn register(
        &self,
        names: &[&str],
        is_listened: impl Fn(TypeId) -> bool,
        has_untold: bool,
    ) -> Result<(), RegisterError> {
        for name in names {
            if !is_one_line(name) {
                return Err(RegisterError::LineBreak((*name).to_owned()));
            }
            if RESERVED.contains(name) {
                return Err(RegisterError::Reserved((*name).to_owned()));
            }
        }
        let Names { numbers, by_number, free, unregistered } = &mut *self.names.write();
        for name in names {
            let name = canonical(name);
            if numbers.contains_key(name) {
                continue;
            }
            if let Some((known, kind)) = unregistered.remove_entry(name)
                && is_listened(kind)
            {
                free.retain(|&free| free != kind);
                numbers.insert(known, kind);
            } else {
                let looked_at = free.iter().take(if has_untold { 0 } else { LOOKED_AT });
                let unused = looked_at.copied().position(|kind| !is_listened(kind));
                let unused = unused.and_then(|at| free.swap_remove_front(at));
                let name: Arc<str> = Arc::from(name);
                let kind = unused.unwrap_or_else(|| {
                    by_number.push(Number { name: Arc::clone(&name), generation: 0 });
                    number_after(by_number) - 1
                });
                let last = &mut by_number[kind as usize].name;
                if unregistered.get(last) == Some(&kind) {
                    unregistered.remove(last);
                }
                *last = Arc::clone(&name);
                numbers.insert(name, kind);
            }
        }
        Ok(())
    }

    /// Unregisters a name.
    pub(crate) fn unregister(&self, name: &str) -> Option<Unregister> {
        let mut names = self.names.write();
        let (name, kind) = names.numbers.remove_entry(canonical(name))?;
        names.unregistered.insert(name, kind);
        // While the lock is held: a number that is found from now on is of another generation.
        let generation = self.generation.0.fetch_add(1, SeqCst) + 1;
        names.by_number[kind as usize].generation = generation;
        Some(Unregister { kind, used: number_after(&names.by_number), generation })
    }

    /// Lets another type have this number, of which the broadcaster, which knows of this many types
    /// that were unregistered, has nothing any more.
    pub(crate) fn free(&self, kind: TypeId, known: usize, is_listened: bool) {
        let Names { numbers, by_number, free, unregistered } = &mut *self.names.write();
        let Some(Number { name, generation }) = by_number.get_mut(kind as usize) else { return };
        if numbers.get(name) == Some(&kind) || *generation > known {
            // A type of the same name has it again, or had it and was unregistered: then the
            // broadcaster will learn of it, and free the number.
            return;
        }
        // Clients that are still there are told of by its name.
        if !is_listened {
            if unregistered.get(name) == Some(&kind) {
                unregistered.remove(name);
            }
            *name = Arc::default();
        }
        free.push_back(kind);
    }

    /// Whether the number is that of a registered type.
    pub(crate) fn has(&self, kind: TypeId) -> bool {
        let names = self.names.read();
        let name = names.by_number.get(kind as usize).map(|number| &number.name);
        name.and_then(|name| names.numbers.get(name)) == Some(&kind)
    }

    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    pub(crate) fn find(&self, name: &str) -> Option<TypeId> {
        self.names.read().numbers.get(canonical(name)).copied()
    }

    /// The number of types, which is the number that the next one gets.
    #[cfg(feature = "outside-log")]
    pub(crate) fn len(&self) -> TypeId {
        number_after(&self.names.read().by_number)
    }

    /// What a client that names these types subscribes to; without a name it is the general type.
    pub(crate) fn subscribe<'n>(
        &self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<Types, SubscribeError> {
        let mut all = false;
        let mut types = Vec::new();
        for name in names {
            if name == ALL {
                all = true;
            } else {
                let kind = self.find_or_refuse(name)?;
                // They are few, and mostly in order.
                if let Err(place) = types.binary_search(&kind) {
                    types.insert(place, kind);
                }
            }
        }
        if all {
            return Ok(Types::All);
        }
        if types.is_empty() {
            types.push(self.find_or_refuse(GENERAL)?);
        }
        Ok(Types::Named(types.into()))
    }

    /// All names, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.names.read().numbers.keys().map(ToString::to_string).collect()
    }

    /// The names of what a client subscribes to, in order.
    pub(crate) fn names_of(&self, types: &Types) -> Vec<String> {
        let Types::Named(types) = types else {
            return vec![ALL.to_owned()];
        };
        self.names.read().of(types.iter().copied()).keys().map(ToString::to_string).collect()
    }

    /// Names the numbers of clients, in the order of the names. If there are more than `most` types,
    /// only those to which the most clients listen.
    pub(crate) fn count(&self, listening: &Listening, most: usize) -> Vec<(String, usize)> {
        let (all, by_number) = listening.counts();
        let names = self.names.read();
        let count = |(name, &kind): (&Arc<str>, &TypeId)| {
            (name.to_string(), by_number.get(kind as usize).copied().unwrap_or_default())
        };
        let mut by_name: Vec<(String, usize)> = if names.numbers.len() <= most {
            names.numbers.iter().map(count).collect()
        } else {
            let mut busiest = BinaryHeap::new();
            for (kind, &clients) in (0..).zip(&by_number).filter(|(_, clients)| **clients > 0) {
                busiest.push(Reverse((clients, Reverse(kind))));
                if busiest.len() > most {
                    busiest.pop();
                }
            }
            let busiest = busiest.into_iter().map(|Reverse((_, Reverse(kind)))| kind);
            names.of(busiest).iter().map(count).collect()
        };
        drop(names);
        let place = by_name.partition_point(|(name, _)| &**name < ALL);
        by_name.insert(place, (ALL.to_owned(), all));
        by_name
    }

    fn find_or_refuse(&self, name: &str) -> Result<TypeId, SubscribeError> {
        self.find(name).ok_or_else(|| SubscribeError::EventNotRegistered(name.to_owned()))
    }
}

impl Names {
    /// These types, in the order of their names.
    fn of(&self, kinds: impl Iterator<Item = TypeId>) -> BTreeMap<Arc<str>, TypeId> {
        let mut named = BTreeMap::new();
        for kind in kinds {
            named.insert(Arc::clone(&self.by_number[kind as usize].name), kind);
        }
        named
    }
}

/// The number that the next type gets.
fn number_after(numbers: &[Number]) -> TypeId {
    TypeId::try_from(numbers.len()).unwrap_or(TypeId::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::subscribed::Subscribed, *};

    #[test]
    fn names_are_registered_all_or_none() {
        let types = EventTypes::default();
        for bad in ["*", "stream-gap", "stream-open", "open", "error"] {
            let refused = Err(RegisterError::Reserved(bad.to_owned()));
            assert_eq!(types.register(&["a", bad], |_| false, false), refused);
        }
        for bad in ["a\nb", "a\rb", "a\0b"] {
            let refused = Err(RegisterError::LineBreak(bad.to_owned()));
            assert_eq!(types.register(&["a", bad], |_| false, false), refused);
        }
        assert_eq!(types.find("a"), None);
        assert_eq!(types.register(&["a", "", "a"], |_| false, false), Ok(()));
        assert_eq!(types.find(""), types.find("message"));
        assert!(types.find("a").is_some() && types.find("").is_some());
    }

    #[test]
    fn of_many_types_those_with_the_most_clients_are_counted() {
        let types = EventTypes::default();
        let names: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
        types
            .register(&names.iter().map(|name| &**name).collect::<Vec<_>>(), |_| false, false)
            .expect("good names");
        let set = |kinds: &[TypeId]| Types::Named(kinds.iter().copied().collect());
        let listening = Listening::default();
        for kinds in [&[7, 9][..], &[7, 9], &[9, 12], &[50], &[51], &[60]] {
            listening.add(&Subscribed::of_types(kinds));
        }
        listening.remove(&Subscribed::of_types(&[60]));
        let expected = [("*", 0), ("t12", 1), ("t50", 1), ("t7", 2), ("t9", 3)];
        let expected = expected.map(|(name, clients)| (name.to_owned(), clients));
        assert_eq!(types.count(&listening, 4), expected);
        assert_eq!(types.count(&listening, 100).len(), 101);
        assert_eq!(types.names_of(&set(&[9, 12, 2])), ["t12", "t2", "t9"]);
    }

    #[test]
    fn a_subscription_is_a_set() {
        let types = EventTypes::default();
        types.register(&["", "a", "b"], |_| false, false).expect("the names are good");
        let set = |names: &[&str]| types.subscribe(names.iter().copied());
        assert_eq!(set(&["a", "b", "a"]), set(&["b", "a"]));
        assert_eq!(set(&[]), set(&["message"]));
        assert_eq!(set(&["a", "*"]), Ok(Types::All));
        let unknown = Err(SubscribeError::EventNotRegistered("c".to_owned()));
        assert_eq!(set(&["*", "c"]), unknown);
    }

    #[test]
    fn a_number_is_free_when_the_broadcaster_knows_that_it_was_unregistered_again() {
        let types = EventTypes::default();
        let register = |name, is_listened| {
            types.register(&[name], |_| is_listened, false).expect("a good name");
            types.find(name)
        };
        assert_eq!(register("a", false), Some(0));
        types.unregister("a");
        assert_eq!(register("a", true), Some(0), "its listeners go on");
        types.unregister("a");
        types.free(0, 1, false);
        assert_eq!(register("b", false), Some(1), "it is not free yet");
        types.free(0, 2, false);
        assert_eq!([register("c", false), register("d", false)], [Some(0), Some(2)]);
    }

    #[test]
    fn a_name_finds_its_last_number_again_also_when_an_earlier_one_becomes_free() {
        let types = EventTypes::default();
        let register = |listened: &[TypeId]| {
            types.register(&["a"], |kind| listened.contains(&kind), false).expect("a good name");
            types.find("a")
        };
        assert_eq!(register(&[]), Some(0));
        types.unregister("a");
        assert_eq!(register(&[]), Some(1));
        types.unregister("a");
        types.free(0, 1, false);
        assert_eq!(register(&[1]), Some(1), "its listeners go on");
    }

    #[test]
    fn a_number_is_used_again_when_nobody_has_it_any_more() {
        let types = EventTypes::default();
        let register = |name, listened: &[TypeId]| {
            types.register(&[name], |kind| listened.contains(&kind), false).expect("a good name");
            types.find(name).expect("it was registered")
        };
        assert_eq!((register("a", &[]), register("b", &[])), (0, 1));
        let first = Unregister { kind: 0, used: 2, generation: 1 };
        assert_eq!((types.unregister("a"), types.unregister("a")), (Some(first), None));
        assert_eq!((types.find("a"), types.has(0), types.has(1)), (None, false, true));
        assert_eq!(register("c", &[]), 2, "the broadcaster may still have events of the first");
        types.free(0, 1, true);
        assert_eq!(register("d", &[0]), 3, "somebody still listens to the first");
        assert_eq!(types.names_of(&Types::Named(vec![0].into())), ["a"]);
        assert_eq!(register("a", &[0]), 0, "its listeners go on");
        types.unregister("a");
        types.free(0, 2, false);
        assert_eq!(register("e", &[]), 0, "nobody has it any more");
        assert_eq!(
            (types.names(), types.generation().get()),
            (["b", "c", "d", "e"].map(str::to_owned).to_vec(), 2)
        );
    }
}
