//! A socket for tests. It answers as scripted, and remembers what it was given.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, ErrorKind, IoSlice, Read, Write},
    rc::Rc,
};

use crate::socket::Wire;

/// How the socket answers one write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// It takes at most this many bytes.
    Take(usize),
    Fail(ErrorKind),
}

/// At the end of the script, takes everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scripted(Rc<RefCell<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) answers: VecDeque<Answer>,
    /// What the client received.
    pub(crate) received: Vec<u8>,
    /// What the client sends after its request. Then it is silent, or has closed.
    pub(crate) input: VecDeque<u8>,
    pub(crate) closed: bool,
    /// How reads fail, before there is anything of the input.
    pub(crate) read_errors: VecDeque<ErrorKind>,
    pub(crate) writes: usize,
    pub(crate) finished: bool,
    /// What is received are chunks.
    pub(crate) chunked: bool,
}

impl Scripted {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let state = State { answers: answers.into_iter().collect(), ..State::default() };
        Self(Rc::new(RefCell::new(state)))
    }

    /// The state, to look at or to change.
    pub(crate) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Whether another owner holds this socket too.
    pub(crate) fn is_shared(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    /// The text that was received; of chunks, their data.
    pub(crate) fn received(&self) -> String {
        let state = self.state();
        let text = String::from_utf8_lossy(&state.received);
        if !state.chunked {
            return text.into_owned();
        }
        let (mut data, mut rest) = (String::new(), &*text);
        while let Some((size, chunk)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
            data.push_str(&chunk[..size.min(chunk.len())]);
            let Some(end) = chunk.get(size..) else { break };
            assert!("\r\n".starts_with(end) || end.starts_with("\r\n"), "no end of a chunk: {end}");
            rest = end.get(2..).unwrap_or_default();
        }
        data
    }
}

impl Wire for Scripted {
    fn finish(&mut self) -> io::Result<()> {
        self.state().finished = true;
        Ok(())
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state();
        assert!(!state.finished, "nothing is written to a finished stream");
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        assert!(length > 0, "a write of nothing costs a call");
        state.writes += 1;
        match state.answers.pop_front().unwrap_or(Answer::Take(usize::MAX)) {
            Answer::Take(limit) => {
                let taken = limit.min(length);
                let bytes = slices.iter().flat_map(|slice| slice.iter());
                state.received.extend(bytes.take(taken));
                Ok(taken)
            }
            Answer::Fail(kind) => Err(kind.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        if let Some(kind) = state.read_errors.pop_front() {
            return Err(kind.into());
        }
        let length = state.input.len().min(buffer.len());
        if length == 0 && !state.closed {
            return Err(ErrorKind::WouldBlock.into());
        }
        for (to, byte) in buffer.iter_mut().zip(state.input.drain(..length)) {
            *to = byte;
        }
        Ok(length)
    }
}
