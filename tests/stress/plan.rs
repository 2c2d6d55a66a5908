//! What is published, from its number.

pub(crate) use support::random::Random;
use websse::{EventId, Message};

/// The event types, the busiest first.
pub(crate) const TYPES: [&str; 5] = ["", "a", "b", "c", "rare"];

/// The events of a run, numbered from 1 in the order of publishing. Since nobody else publishes, an
/// event's number is the sequence in the id that the server gives it.
pub(crate) struct Plan {
    pub(crate) seed: u64,
}

impl Plan {
    fn random(&self, number: u64) -> Random {
        Random::new(self.seed, number)
    }

    /// The number of its type: four busy ones and a rare one.
    pub(crate) fn kind(&self, number: u64) -> usize {
        match self.random(number).below(100) {
            0..40 => 0,
            40..70 => 1,
            70..89 => 2,
            89..99 => 3,
            _ => 4,
        }
    }

    /// Its number, and up to 900 bytes more in up to two more lines.
    pub(crate) fn data(&self, number: u64) -> String {
        let mut random = self.random(number);
        let mut data = number.to_string();
        for _ in 0..random.below(3) {
            data.push('\n');
            data.push_str(&"é".repeat(random.below(225)));
        }
        data
    }

    /// Some have an id of their publisher.
    pub(crate) fn own_id(number: u64) -> Option<String> {
        number.is_multiple_of(7).then(|| format!("own {number}"))
    }

    pub(crate) fn message(&self, number: u64) -> Message {
        let message = Message::new(self.data(number)).event(TYPES[self.kind(number)]);
        match Plan::own_id(number) {
            Some(id) => message.id(EventId::new(id).unwrap()),
            None => message,
        }
    }
}
