//! A buffer between a socket and the parser, as large as what comes needs.

/// The size that a buffer begins with: most heads fit.
const FIRST_BYTES: usize = 2 * 1024;

/// Bytes that were read and not yet used. The buffer begins small, since most connections wait, and
/// doubles with each read that fills it, up to its capacity.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// Empty until the first use, and while its memory is [released](Self::release).
    bytes: Vec<u8>,
    capacity: usize,
    start: usize,
    end: usize,
}

impl ReadBuffer {
    pub(super) fn new(capacity: usize) -> Self {
        Self { bytes: Vec::new(), capacity, start: 0, end: 0 }
    }

    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Room to read into; empty only if the buffer is full of data.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.grow();
        }
        if self.end == self.bytes.len() {
            self.compact();
        }
        &mut self.bytes[self.end..]
    }

    /// Records that `length` bytes were read into the [`space`](Self::space).
    pub(super) fn fill(&mut self, length: usize) {
        self.end += length;
        // There is likely more to read than had room.
        if self.end == self.bytes.len() {
            self.grow();
        }
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

    /// Adds bytes that were read elsewhere, for which there is [`room`](Self::room).
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.compact();
        while self.bytes.len() < self.end + bytes.len() {
            self.grow();
        }
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.fill(bytes.len());
    }

    fn grow(&mut self) {
        let size = (self.bytes.len() * 2).max(FIRST_BYTES).min(self.capacity);
        self.bytes.resize(size, 0);
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: usize = 7 * FIRST_BYTES;

    /// Reads from `bytes` as from a socket that has all of them; returns how much was read.
    fn read(buffer: &mut ReadBuffer, bytes: &[u8]) -> usize {
        let space = buffer.space();
        let length = space.len().min(bytes.len());
        space[..length].copy_from_slice(&bytes[..length]);
        buffer.fill(length);
        length
    }

    #[test]
    fn it_doubles_when_a_read_fills_it_up_to_its_capacity() {
        let mut buffer = ReadBuffer::new(CAPACITY);
        assert_eq!(buffer.bytes.capacity(), 0, "no memory before the first read");
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(2 * CAPACITY).collect();
        let mut length = 0;
        for size in [1, 1, 2, 3, 0].map(|times| times * FIRST_BYTES) {
            assert_eq!(read(&mut buffer, &bytes[length..]), size);
            length += size;
            assert_eq!(buffer.data(), &bytes[..length]);
        }
        assert_eq!((length, buffer.room()), (CAPACITY, 0));
        buffer.consume(3);
        assert_eq!(read(&mut buffer, &bytes[length..]), 3);
        assert_eq!(buffer.data(), &bytes[3..length + 3]);
    }

    #[test]
    fn small_requests_leave_it_small() {
        let mut buffer = ReadBuffer::new(CAPACITY);
        for _ in 0..100 {
            assert_eq!(read(&mut buffer, &[b'x'; FIRST_BYTES / 2]), FIRST_BYTES / 2);
            buffer.consume(FIRST_BYTES / 2);
        }
        assert_eq!(buffer.bytes.capacity(), FIRST_BYTES);
    }

    #[test]
    fn requests_sent_ahead_soon_get_all_of_it() {
        let mut buffer = ReadBuffer::new(CAPACITY);
        let bytes = vec![b'x'; 2 * CAPACITY];
        for size in [1, 2, 4, 7, 7].map(|times| times * FIRST_BYTES) {
            assert_eq!(read(&mut buffer, &bytes), size);
            buffer.consume(size);
        }
    }

    #[test]
    fn what_is_pushed_has_all_the_room_that_there_is() {
        let mut buffer = ReadBuffer::new(CAPACITY);
        assert_eq!(read(&mut buffer, b"GET"), 3);
        buffer.consume(1);
        let bytes = vec![b'x'; buffer.room()];
        assert_eq!(bytes.len(), CAPACITY - 2);
        buffer.push(&bytes);
        assert_eq!(buffer.data(), [b"ET", &bytes[..]].concat());
        assert_eq!(buffer.room(), 0);
    }

    #[test]
    fn a_capacity_below_the_first_size_is_kept() {
        let mut buffer = ReadBuffer::new(512);
        assert_eq!(read(&mut buffer, &[b'x'; 1000]), 512);
        assert_eq!(read(&mut buffer, &[b'x'; 1000]), 0);
    }

    #[test]
    fn released_memory_comes_back_with_the_next_read() {
        let mut buffer = ReadBuffer::new(CAPACITY);
        assert_eq!(read(&mut buffer, b"GET"), 3);
        buffer.release();
        assert_eq!(buffer.data(), b"GET");
        buffer.consume(3);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
        assert_eq!(read(&mut buffer, b"PUT"), 3);
        assert_eq!(buffer.data(), b"PUT");
    }
}
