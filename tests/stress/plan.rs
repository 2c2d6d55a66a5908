//! What is random, from a seed; what is published, from its number.

use websse::{EventId, Message};

/// The event types, the busiest first.
pub(crate) const TYPES: [&str; 5] = ["", "a", "b", "c", "rare"];

/// Xorshift64*, by Vigna.
pub(crate) struct Random(u64);

impl Random {
    /// Other numbers for each `stream` of the same seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mixed =
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let mut random = Random(mixed | 1 << 63);
        // Neighbours differ only after some steps.
        for _ in 0..8 {
            random.next();
        }
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// From 0, less than `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

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
