//! How many entries to ask Redis for at once.

/// How many entries to ask for, so that they are about a page: a page is kept for each client that is
/// served out of the log, and nobody knows how large entries are before they have come.
#[derive(Debug)]
pub(crate) struct PageSize(usize);

impl PageSize {
    /// A page has so many entries at most.
    pub(crate) const MOST: usize = 128;
    /// It has so many bytes; one entry may be more.
    pub(crate) const BYTES: usize = 1024 * 1024;
    const FIRST: usize = 16;

    pub(crate) fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(crate) fn entries(&self) -> usize {
        self.0
    }

    /// Learns from the largest entry of a page: falls at once, and rises to twice as many.
    pub(crate) fn saw(&mut self, largest: usize) {
        let fitting = Self::BYTES / largest.max(1);
        self.0 = fitting.clamp(1, (2 * self.0).min(Self::MOST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_entry_makes_pages_small_at_once() {
        let mut page_size = PageSize::new();
        for _ in 0..9 {
            page_size.saw(128);
        }
        assert_eq!(page_size.entries(), PageSize::MOST);
        page_size.saw(PageSize::BYTES / 2);
        assert_eq!(page_size.entries(), 2);
        page_size.saw(64 * PageSize::BYTES);
        assert_eq!(page_size.entries(), 1);
        page_size.saw(128);
        assert_eq!(page_size.entries(), 2);
    }
}
