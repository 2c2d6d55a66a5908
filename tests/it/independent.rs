//! The events in a socket's bytes as the crate `eventsource-stream` reads them, which is independent
//! of this project.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use eventsource_stream::EventStream;
pub(crate) use eventsource_stream::{Event, EventStreamError};
use futures::executor::block_on;
use futures::{Stream, StreamExt, stream};

use support::Client;

/// A stream whose head was read.
pub(crate) struct Reader {
    events: Pin<Box<dyn Stream<Item = Result<Event, EventStreamError<Infallible>>>>>,
    taken: Rc<RefCell<Vec<u8>>>,
}

impl Reader {
    pub(crate) fn new(mut client: Client) -> Reader {
        let taken = Rc::new(RefCell::new(Vec::new()));
        let tee = Rc::clone(&taken);
        let pieces = stream::poll_fn(move |_| {
            let piece = client.piece();
            tee.borrow_mut().extend_from_slice(&piece);
            Poll::Ready(Some(Ok(piece)))
        });
        Reader { events: Box::pin(EventStream::new(pieces)), taken }
    }

    /// The next event. Its id is the last one that came, with it or before it.
    pub(crate) fn event(&mut self) -> Event {
        block_on(self.events.next()).unwrap().unwrap()
    }

    /// The bytes that were read from the socket since this was asked last.
    pub(crate) fn taken(&mut self) -> Vec<u8> {
        self.taken.take()
    }
}

/// The events in these bytes.
pub(crate) fn events(bytes: &[u8]) -> Vec<Event> {
    let pieces = stream::iter([Ok::<_, Infallible>(bytes)]);
    block_on(EventStream::new(pieces).map(Result::unwrap).collect())
}
