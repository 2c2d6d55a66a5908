//! A table by numbers of which those that are free again are used first.

/// A page has this many numbers.
const PAGE: usize = 64;

/// Values by their numbers, in pages of which only those in use are there. So none is looked for,
/// and what is added or removed makes no others move, as it does now and then in a map.
#[derive(Debug)]
pub(crate) struct ByNumber<T> {
    pages: Vec<Option<Box<Page<T>>>>,
    used: usize,
}

#[derive(Debug)]
struct Page<T> {
    values: [Option<T>; PAGE],
    used: usize,
}

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), used: 0 }
    }
}

/// A number's page, and its place there.
fn place(number: u32) -> (usize, usize) {
    (number as usize / PAGE, number as usize % PAGE)
}

impl<T> ByNumber<T> {
    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let (page, at) = place(number);
        self.pages.get(page)?.as_ref()?.values[at].as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (page, at) = place(number);
        self.pages.get_mut(page)?.as_mut()?.values[at].as_mut()
    }

    /// The value of a number, made if there is none.
    pub(crate) fn get_or_insert_with(&mut self, number: u32, make: impl FnOnce() -> T) -> &mut T {
        let (page, at) = place(number);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page = self.pages[page].get_or_insert_with(|| {
            self.used += 1;
            Box::new(Page { values: [const { None }; PAGE], used: 0 })
        });
        page.values[at].get_or_insert_with(|| {
            page.used += 1;
            make()
        })
    }

    /// Removes a value.
    pub(crate) fn remove(&mut self, number: u32) -> Option<T> {
        let (at_page, at) = place(number);
        let page = self.pages.get_mut(at_page)?.as_mut()?;
        let value = page.values[at].take()?;
        page.used -= 1;
        if page.used == 0 {
            self.pages[at_page] = None;
            self.used -= 1;
            if self.used == 0 {
                self.pages = Vec::new();
            }
        }
        Some(value)
    }

    #[cfg(any(feature = "outside-log", test))]
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten().flat_map(|page| page.values.iter().flatten())
    }

    #[cfg(any(feature = "outside-log", test))]
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.iter_mut().flatten().flat_map(|page| page.values.iter_mut().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_there_while_it_has_values() {
        let mut table = ByNumber::default();
        assert_eq!((table.get(7), table.values().count()), (None, 0));
        for number in (0..1000).rev() {
            *table.get_or_insert_with(number, || 0) += number;
        }
        let pages = |table: &ByNumber<u32>| table.pages.iter().flatten().count();
        assert_eq!((pages(&table), table.used), (16, 16));
        for number in 0..999 {
            assert_eq!((table.remove(number), table.remove(number)), (Some(number), None));
        }
        assert_eq!((pages(&table), table.get(999), table.values().count()), (1, Some(&999), 1));
        assert_eq!(table.get_mut(998), None);
        assert_eq!(table.remove(999), Some(999));
        assert_eq!((table.pages.capacity(), table.used), (0, 0));
        assert_eq!(table.remove(999), None);
    }
}
