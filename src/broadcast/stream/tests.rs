use std::iter::repeat_n;

use crossbeam_channel::{Sender, bounded, unbounded};

use super::*;
use crate::{
    broadcast::{
        mailbox::MemoryInUse,
        stream::scripted::{
            Answer::{self, Fail, Take},
            Scripted,
        },
    },
    message::frame::Frame,
};

const FRAMES: [&str; 4] = ["data: one\n\n", "data: two\n\n", "event: x\ndata: 3\n\n", ":\n\n"];
const STALL: Duration = Duration::from_secs(10);
const BLOCK: Answer = Fail(ErrorKind::WouldBlock);

/// A stream, with the broadcaster's part: what cannot be sent at once goes to the mailbox.
struct Bench {
    wire: Scripted,
    stream: Stream<Scripted>,
    mailbox: Sender<Pending>,
    memory: MemoryInUse,
    now: Now,
}

impl Bench {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let wire = Scripted::new(answers);
        let (mailbox, receiver) = bounded(0);
        let now = Now { instant: Instant::now(), second: 0 };
        let stream = Stream::new(wire.clone(), receiver, now);
        Self { wire, stream, mailbox, memory: MemoryInUse::default(), now }
    }

    fn deliver(&mut self, text: &str) -> Result<(), Disconnect> {
        let pending = || Pending::new(Frame::from_bytes(text.as_bytes()), &self.memory);
        if self.stream.is_caught_up() {
            self.stream.send(text.as_bytes(), pending, self.now).map(drop)
        } else {
            let pending = pending();
            self.fit_mailbox();
            self.mailbox.try_send(pending).expect("the stream holds the receiver");
            self.stream.added(text.len());
            Ok(())
        }
    }

    /// Returns whether the mailbox was replaced by one with room.
    fn fit_mailbox(&mut self) -> Option<bool> {
        let mut replaced = None;
        self.stream.fit_mailbox(|room| {
            replaced = Some(room);
            let (mailbox, receiver) = if room { unbounded() } else { bounded(0) };
            self.mailbox = mailbox;
            Some(receiver)
        });
        replaced
    }

    /// Retries when it is time to, until everything is sent.
    fn settle(&mut self) -> Result<(), Disconnect> {
        while let Some(at) = self.stream.retry_at() {
            self.now.instant = self.now.instant.max(at);
            self.stream.catch_up(usize::MAX, STALL, self.now)?;
        }
        Ok(())
    }

    /// Delivers all frames, with a retry after each, and settles.
    fn run(&mut self) -> Result<(), Disconnect> {
        for frame in FRAMES {
            self.deliver(frame)?;
            self.stream.catch_up(usize::MAX, STALL, self.now)?;
        }
        self.settle()
    }
}

#[test]
fn whatever_parts_a_socket_takes_the_client_receives_the_same_bytes() {
    let whole = FRAMES.concat();
    for first in 1..=whole.len() {
        for second in 1..=whole.len() {
            let mut bench = Bench::new([Take(first), BLOCK, Take(second), BLOCK]);
            assert_eq!(bench.run(), Ok(()), "{first}, {second}");
            assert_eq!(bench.wire.received(), whole, "{first}, {second}");
            assert_eq!(bench.stream.waiting(), 0);
            assert_eq!(bench.memory.bytes(), 0, "what is sent is let go");
        }
    }
}

#[test]
fn a_socket_that_blocks_at_every_byte_gets_every_byte() {
    let whole = FRAMES.concat();
    let answers = (0..whole.len()).flat_map(|_| [BLOCK, Fail(ErrorKind::Interrupted), Take(1)]);
    let mut bench = Bench::new(answers);
    assert_eq!(bench.run(), Ok(()));
    assert_eq!(bench.wire.received(), whole);
}

#[test]
fn an_error_at_any_step_ends_the_stream_with_its_reason_and_a_prefix_of_the_bytes() {
    let whole = FRAMES.concat();
    for steps in 0..whole.len() {
        for (kind, reason) in [
            (ErrorKind::BrokenPipe, Disconnect::ClosedByPeer),
            (ErrorKind::ConnectionReset, Disconnect::ClosedByPeer),
            (ErrorKind::OutOfMemory, Disconnect::Error),
        ] {
            let mut bench = Bench::new(repeat_n(Take(1), steps).chain([Fail(kind)]));
            assert_eq!(bench.run(), Err(reason), "after {steps} bytes");
            assert_eq!(bench.wire.received(), whole[..steps]);
        }
        let mut bench = Bench::new(repeat_n(Take(1), steps).chain([Take(0)]));
        assert_eq!(bench.run(), Err(Disconnect::Error), "a socket that takes nothing is broken");
    }
}

#[test]
fn what_waits_goes_out_in_one_write() {
    let mut bench = Bench::new([Take(3), BLOCK]);
    for frame in FRAMES {
        bench.deliver(frame).expect("the socket is only full");
    }
    assert_eq!(bench.stream.waiting(), FRAMES[1..].concat().len());
    assert_eq!(bench.settle(), Ok(()));
    assert_eq!(bench.wire.received(), FRAMES.concat());
    assert_eq!(bench.wire.state().writes, 3, "a short one, one refused, one with all the rest");
}

#[test]
fn naps_double_up_to_fifty_milliseconds_and_begin_anew_with_progress() {
    let mut bench = Bench::new(repeat_n(BLOCK, 9).chain([Take(1)]));
    bench.deliver(FRAMES[0]).expect("the socket is only full");
    let mut naps = Vec::new();
    while let Some(at) = bench.stream.retry_at() {
        naps.push(at.duration_since(bench.now.instant).as_millis());
        bench.now.instant = at;
        bench.stream.catch_up(usize::MAX, STALL, bench.now).expect("no error is scripted");
    }
    assert_eq!(naps, [1, 2, 4, 8, 16, 32, 50, 50, 50, 1]);
}

#[test]
fn a_socket_that_takes_nothing_for_the_stall_time_out_is_given_up() {
    let mut bench = Bench::new([Take(1)].into_iter().chain(repeat_n(BLOCK, 10_000)));
    let start = bench.now.instant;
    bench.deliver(FRAMES[0]).expect("the socket is only full");
    assert_eq!(bench.settle(), Err(Disconnect::Stalled));
    let after = bench.now.instant.duration_since(start);
    assert!((STALL..STALL + LONGEST_NAP).contains(&after), "{after:?}");
}

#[test]
fn a_long_backlog_is_written_in_shares() {
    let mut bench = Bench::new([Take(1)]);
    let frame = "x".repeat(GATHER_BYTES);
    for _ in 0..10 {
        bench.deliver(&frame).expect("the socket is only full");
    }
    bench.now.instant += FIRST_NAP;
    let step = bench.stream.catch_up(2 * GATHER_BYTES, STALL, bench.now);
    assert_eq!(step, Ok(Progress::Retry(bench.now.instant)), "due again at once");
    let received = bench.wire.state().received.len();
    assert!((2 * GATHER_BYTES..4 * GATHER_BYTES).contains(&received), "{received}");
    assert_eq!(bench.settle(), Ok(()));
    assert_eq!(bench.wire.state().received.len(), 10 * GATHER_BYTES);
}

#[test]
fn input_is_dropped_until_it_is_too_much_and_its_end_ends_the_stream() {
    let mut bench = Bench::new([]);
    let mut buffer = [0; 4096];
    bench.wire.state().input.extend([b'x'; 5000]);
    assert_eq!(bench.stream.poll_input(&mut buffer), Ok(()));
    assert!(bench.wire.state().input.is_empty());
    bench.wire.state().input.extend([b'x'; 5000]);
    bench.wire.state().closed = true;
    assert_eq!(bench.stream.poll_input(&mut buffer), Err(Disconnect::ClosedByPeer));

    let mut bench = Bench::new([]);
    bench.wire.state().input.extend(repeat_n(b'x', INPUT_LIMIT));
    assert_eq!(bench.stream.poll_input(&mut buffer), Ok(()));
    bench.wire.state().input.push_back(b'x');
    assert_eq!(bench.stream.poll_input(&mut buffer), Err(Disconnect::Error));
}

#[test]
fn a_mailbox_has_room_just_while_the_stream_is_behind() {
    let mut bench = Bench::new([Take(1)]);
    assert_eq!(bench.fit_mailbox(), None, "it has everything");
    bench.deliver(FRAMES[0]).expect("the socket is only full");
    bench.deliver(FRAMES[1]).expect("the socket is only full");
    assert_eq!(bench.mailbox.capacity(), None, "it has room");
    assert_eq!(bench.fit_mailbox(), None, "something waits in it");
    assert_eq!(bench.settle(), Ok(()));
    assert_eq!(bench.fit_mailbox(), Some(false));
    assert_eq!(bench.fit_mailbox(), None, "the new one was never used");
}

#[test]
fn what_a_client_takes_of_a_replay_may_be_more_than_can_be_counted() {
    let start = Instant::now();
    let mut behind = Behind::new(Now { instant: start, second: 0 });
    behind.replay = Some(Replay { position: 0, drops: 0, taken: 0, since: start });
    for _ in 0..2 {
        assert!(behind.keeps_pace(usize::MAX, STALL, start + STALL / 2));
    }
    assert!(behind.keeps_pace(0, STALL, start + STALL), "it took a lot");
    assert!(!behind.keeps_pace(0, STALL, start + STALL * 2));
}
