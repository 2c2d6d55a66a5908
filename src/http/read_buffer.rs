//! A fixed buffer between a socket and the parser.

/// Bytes that were read and not yet used, in a buffer of fixed size.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// Empty while its memory is [released](Self::release).
    bytes: Vec<u8>,
    capacity: usize,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity], capacity, start: 0, end: 0 }
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Room to read into; empty only if the buffer is full of data.
    pub(super) fn space(&mut self) -> &mut [u8] {
        self.bytes.resize(self.capacity, 0);
        if self.end == self.bytes.len() {
            self.compact();
        }
        &mut self.bytes[self.end..]
    }

    /// Records that `length` bytes were read into the [`space`](Self::space).
    pub(super) fn fill(&mut self, length: usize) {
        self.end += length;
    }

    pub(super) fn consume(&mut self, length: usize) {
        self.start += length;
        if self.start == self.end {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Frees the memory if there is no data, for as long as nothing comes.
    pub(super) fn release(&mut self) {
        if self.data().is_empty() {
            self.clear();
            self.bytes = Vec::new();
        }
    }

    /// How many bytes [`push`](Self::push) takes.
    pub(super) fn room(&self) -> usize {
        self.capacity - (self.end - self.start)
    }

    /// Adds bytes that were read elsewhere.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}
