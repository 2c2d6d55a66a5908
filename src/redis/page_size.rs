//! How many entries to ask Redis for at a time.

/// The number of entries to ask for, so that they fill about one page. A page is kept in memory for
/// each client that is served from the log, and the size of entries is unknown until they arrive.
#[derive(Debug)]
pub(crate) struct PageSize(usize);

impl PageSize {
    /// The most entries of a page.
    pub(crate) const MOST: usize = 128;
    /// The most bytes of a page. A single entry may be larger.
    pub(crate) const BYTES: usize = 1024 * 1024;
    const FIRST: usize = 16;

    pub(crate) fn new() -> Self {
        Self(Self::FIRST)
    }

    pub(crate) fn entries(&self) -> usize {
        self.0
    }

    /// Adjusts the number to the largest entry of a page. It falls at once, and rises to at most
    /// twice its value.
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
