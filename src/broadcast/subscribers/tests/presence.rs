//! When the numbers of clients are published, and what they are.

use super::super::*;
use super::{Machine, seen};
use crate::message::event_types::{EventTypes, TypeId};

/// The number of the type that tells the numbers.
const PRESENCE: TypeId = 1;

fn types() -> EventTypes {
    let types = EventTypes::default();
    types.register(&["", "presence", "c"], |_| false, false).expect("the names are good");
    types
}

impl Machine {
    fn announce(&mut self) {
        let text = self.subscribers.count_clients(&types());
        self.deliver(&[(PRESENCE, &*text)]);
    }
}

#[test]
fn the_numbers_of_clients_are_news_while_somebody_listens_and_until_they_are_told() {
    for listens_to in [&[PRESENCE][..], &[0, PRESENCE], &[]] {
        let mut machine = Machine::with(|_| {});
        assert!(!machine.subscribers.has_news(PRESENCE), "nobody is there");
        let other = machine.stream(&[2], []);
        assert!(!machine.subscribers.has_news(PRESENCE), "nobody wants to know");
        let listener = machine.stream(listens_to, []);
        assert!(machine.subscribers.has_news(PRESENCE), "{listens_to:?}");
        machine.announce();
        assert!(!machine.subscribers.has_news(PRESENCE), "they are told");
        other.state().closed = true;
        machine.sweep();
        assert!(machine.subscribers.has_news(PRESENCE), "one has left");
        machine.announce();
        let (all, named, general) = match listens_to {
            [] => (1, 0, 0),
            [_] => (0, 1, 0),
            _ => (0, 1, 1),
        };
        let data = |c| {
            let counts = [("*", all), ("c", c), ("message", general), ("presence", named)];
            let counts = counts.map(|(name, count)| (name.to_owned(), count));
            json_counts(&counts)
        };
        assert_eq!(seen(&listener), format!("hello{}{}", data(1), data(0)));
        assert_eq!(seen(&other), "hello");
        listener.state().closed = true;
        machine.sweep();
        assert!(!machine.subscribers.has_news(PRESENCE), "nobody is left");
    }
}

#[test]
fn numbers_of_clients_are_a_json_object() {
    assert_eq!(json_counts(&[]), "{}");
    let counts = [("*", 1), ("a\"b", 20)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(json_counts(&counts), r#"{"*":1,"a\"b":20}"#);
}
