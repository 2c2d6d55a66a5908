//! A table by numbers of which those that are free again are used first.

use crate::message::few::push_to_large;

/// Values by their numbers. So none is looked for, and what is added makes no other one move, as it
/// does now and then in a map.
#[derive(Debug)]
pub(crate) struct ByNumber<T>(Vec<Option<T>>);

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> ByNumber<T> {
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        self.0.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.0.get_mut(number as usize)?.as_mut()
    }

    /// The value of a number, made if there is none.
    pub(crate) fn get_or_insert_with(&mut self, number: u32, make: impl FnOnce() -> T) -> &mut T {
        let at = number as usize;
        while self.0.len() <= at {
            push_to_large(&mut self.0, None);
        }
        self.0[at].get_or_insert_with(make)
    }

    /// Removes a value, and the table's end if it is free then.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.0.get_mut(number as usize)?.take();
        while self.0.pop_if(|last| last.is_none()).is_some() {}
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
        value
    }

    #[cfg(any(feature = "outside-log", test))]
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    #[cfg(any(feature = "outside-log", test))]
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_memory_goes_with_the_highest_number() {
        let mut table = ByNumber::default();
        assert_eq!(table.get(7), None);
        assert_eq!(table.remove(7), None);
        for number in (0..1000).rev() {
            *table.get_or_insert_with(number, || 0) += number;
        }
        assert!((1000..1260).contains(&table.0.capacity()), "{}", table.0.capacity());
        for number in 0..999 {
            assert_eq!(table.remove(number), Some(number));
        }
        assert_eq!((table.0.len(), table.get(999), table.values().count()), (1000, Some(&999), 1));
        assert_eq!(table.remove(999), Some(999));
        assert_eq!(table.0.capacity(), 0);
    }
}
