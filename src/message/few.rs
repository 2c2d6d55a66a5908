//! Lists that are short mostly, and tables that are large.

use std::{
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
};

/// A list that has one element mostly, which then takes no memory of its own.
#[derive(Clone, Debug)]
pub(crate) enum Few<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(crate) fn push(&mut self, value: T) {
        *self = match std::mem::take(self) {
            Self::Many(many) if many.is_empty() => Self::One(value),
            Self::Many(mut many) => {
                many.push(value);
                Self::Many(many)
            }
            Self::One(one) => Self::Many(vec![one, value]),
        };
    }

    /// Inserts an element at index `at`, of which there are as many at least.
    pub(crate) fn insert(&mut self, at: usize, value: T) {
        self.push(value);
        self[at..].rotate_right(1);
    }

    /// Removes the element at index `at`, and moves those behind it.
    pub(crate) fn remove(&mut self, at: usize) {
        self[at..].rotate_left(1);
        self.swap_remove(self.len() - 1);
    }

    /// Removes the element at index `at`; the last one takes its place.
    pub(crate) fn swap_remove(&mut self, at: usize) {
        match self {
            Self::Many(many) => {
                many.swap_remove(at);
                if many.len() < 2 {
                    *self = std::mem::take(many).into();
                }
            }
            Self::One(_) => *self = Self::default(),
        }
    }
}

impl<T> Default for Few<T> {
    /// An empty list.
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> From<Vec<T>> for Few<T> {
    fn from(mut many: Vec<T>) -> Self {
        match many.pop() {
            Some(one) if many.is_empty() => Self::One(one),
            last => {
                many.extend(last);
                many.shrink_to_fit();
                Self::Many(many)
            }
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => std::slice::from_mut(one),
            Self::Many(many) => many,
        }
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Few<T> {}

impl<T: Hash> Hash for Few<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

/// Appends to a table that may be large: it grows by a quarter and not to twice its size.
pub(crate) fn push_to_large<T>(table: &mut Vec<T>, value: T) {
    if table.len() == table.capacity() {
        table.reserve_exact(table.len() / 4 + 4);
    }
    table.push(value);
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn it_does_what_a_vector_does(steps in collection::vec((0..4_u8, 0..100_usize), 1..100)) {
            let (mut few, mut many) = (Few::default(), Vec::new());
            for (step, value) in steps {
                match step {
                    0 => (few.push(value), many.push(value)).0,
                    1 => {
                        let at = value % (many.len() + 1);
                        few.insert(at, value);
                        many.insert(at, value);
                    }
                    _ if many.is_empty() => {}
                    2 => {
                        let at = value % many.len();
                        few.remove(at);
                        many.remove(at);
                    }
                    _ => {
                        let at = value % many.len();
                        few.swap_remove(at);
                        many.swap_remove(at);
                    }
                }
                prop_assert_eq!(&*few, &*many);
                prop_assert_eq!(&few, &Few::from(many.clone()));
                prop_assert_eq!(matches!(few, Few::One(_)), many.len() == 1);
            }
        }
    }
}
