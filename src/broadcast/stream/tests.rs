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
        let stream = Stream::new(wire.clone(), receiver, Form::default(), now);
        Self { wire, stream, mailbox, memory: MemoryInUse::default(), now }
    }

    fn deliver(&mut self, text: &str) -> Result<(), Disconnect> {
        let pending = || Pending::new(Frame::from_block(text.as_bytes()), &self.memory);
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
fn what_waits_is_counted_with_the_frames_being_written_and_without() {
    let mut bench = Bench::new([Take(3)]);
    let figures = |bench: &Bench| (bench.stream.held(), bench.stream.waiting());
    assert_eq!(figures(&bench), (0, 0));
    let [one, two, ..] = FRAMES;
    bench.deliver(one).expect("the socket is only full");
    assert_eq!(figures(&bench), (one.len(), 0), "a frame is held until it is written whole");
    bench.deliver(two).expect("the socket is only full");
    assert_eq!(figures(&bench), (one.len() + two.len(), two.len()));
    assert_eq!(bench.settle(), Ok(()));
    assert_eq!(figures(&bench), (0, 0));
}

#[test]
fn a_write_carries_at_most_65_frames_and_the_one_that_makes_it_64_kib() {
    let kib = |size: usize| size * 1024;
    for (frame, frames, writes) in [
        (10, 66, 2),
        (10, 65, 1),
        (kib(32), 6, 3),
        (kib(32) - 1, 6, 2),
        (kib(63), 6, 3),
        (kib(64), 6, 6),
    ] {
        let mut bench = Bench::new([BLOCK]);
        for _ in 0..frames {
            bench.deliver(&"x".repeat(frame)).expect("the socket is only full");
        }
        assert_eq!(bench.settle(), Ok(()));
        assert_eq!(bench.wire.state().received.len(), frame * frames);
        assert_eq!(bench.wire.state().writes, 1 + writes, "{frames} frames of {frame} bytes");
    }
}

#[test]
fn what_the_next_write_cannot_carry_waits() {
    for (frame, waiting) in [(10, 350), (8 * 1024, 92 * 8 * 1024)] {
        let mut bench = Bench::new([BLOCK, BLOCK]);
        for _ in 0..100 {
            bench.deliver(&"x".repeat(frame)).expect("the socket is only full");
        }
        bench.stream.catch_up(usize::MAX, STALL, bench.now).expect("the socket is only full");
        assert_eq!(bench.stream.waiting(), waiting, "100 frames of {frame} bytes");
    }
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
fn a_client_that_goes_on_reading_is_not_stalled_however_slowly_it_does() {
    let mut bench = Bench::new(repeat_n(Take(1), 40));
    let start = bench.now.instant;
    bench.deliver(&"x".repeat(100)).expect("the socket is only full");
    for _ in 0..15 {
        bench.now.instant += STALL / 2;
        bench.stream.catch_up(usize::MAX, STALL, bench.now).expect("it reads");
        assert_eq!(bench.stream.progress(), Some(bench.now.instant));
        // Nothing is taken for a while.
        bench.wire.state().answers.push_front(BLOCK);
        bench.now.instant += STALL / 2;
        bench.stream.catch_up(usize::MAX, STALL, bench.now).expect("it has read lately");
    }
    assert!(bench.now.instant.duration_since(start) > 10 * STALL);
}

/// Lets a stream that replays 200 KiB take this much each second; tells when it ends.
fn replay_at(bytes_a_second: usize, most: Duration) -> (Duration, Result<(), Disconnect>) {
    let mut bench = Bench::new(repeat_n(Take(bytes_a_second), 1000));
    let start = bench.now.instant;
    bench.stream.fall_behind(VecDeque::new(), 0, Some(ReplayFrom::default()), bench.now);
    let pending = |_| Pending::new(Frame::from_block(&[b'x'; 1024]), &bench.memory);
    bench.stream.refill((0..200).map(pending).collect(), 200, false);
    loop {
        bench.now.instant += Duration::from_secs(1);
        let step = bench.stream.catch_up(usize::MAX, STALL, bench.now).map(drop);
        let passed = bench.now.instant.duration_since(start);
        if step.is_err() || passed >= most {
            return (passed, step);
        }
    }
}

#[test]
fn a_replay_that_is_taken_too_slowly_is_given_up() {
    let long = 5 * STALL;
    for slow in [1, 100, 1023] {
        assert_eq!(replay_at(slow, long), (STALL, Err(Disconnect::Stalled)), "{slow} bytes/s");
    }
    for quick in [1024, 2000] {
        assert_eq!(replay_at(quick, long), (long, Ok(())), "{quick} bytes/s");
    }
}

#[test]
fn a_replay_has_to_keep_its_pace_in_each_period_and_live_events_need_not() {
    // In the first period it takes enough for many, and then hardly anything.
    let mut bench = Bench::new([Take(50 * 1024)]);
    bench.wire.state().answers.extend(repeat_n(Take(1), 1000));
    bench.stream.fall_behind(VecDeque::new(), 0, Some(ReplayFrom::default()), bench.now);
    let pending =
        || Pending::new(Frame::from_block("x".repeat(100 * 1024).as_bytes()), &bench.memory);
    bench.stream.refill([pending()].into(), 1, false);
    let step = |bench: &mut Bench, seconds| {
        bench.now.instant += Duration::from_secs(seconds);
        bench.stream.catch_up(usize::MAX, STALL, bench.now).map(drop)
    };
    assert_eq!([10, 5, 4].map(|seconds| step(&mut bench, seconds)), [Ok(()); 3]);
    assert_eq!(step(&mut bench, 1), Err(Disconnect::Stalled));

    let mut bench = Bench::new(repeat_n(Take(1), 1000));
    bench.deliver(&"x".repeat(1000)).expect("the socket is only full");
    assert!((0..100).all(|_| step(&mut bench, 1) == Ok(())));
}

#[test]
fn who_reads_has_everything_or_took_much_lately_or_had_no_time_to() {
    let enough = 64 * 1024;
    let mut bench = Bench::new([Take(enough - 1), BLOCK, Take(enough)]);
    let at = |bench: &mut Bench, millis: u32| {
        bench.now.instant += Duration::from_millis(millis.into());
        bench.now.second += millis / 1000;
        bench.stream.reads(bench.now)
    };
    assert!(at(&mut bench, 10_000), "it has everything");
    bench.deliver(&"x".repeat(4 * enough)).expect("the socket is only full");
    assert!(at(&mut bench, 0) && at(&mut bench, 999), "it hardly had the time to");
    assert!(!at(&mut bench, 1), "it took a little less than enough");
    let step = |bench: &mut Bench| bench.stream.catch_up(usize::MAX, STALL, bench.now);
    assert!(step(&mut bench).is_ok() && !at(&mut bench, 0), "the socket took nothing");
    assert!(step(&mut bench).is_ok() && at(&mut bench, 0), "it took enough just now");
    assert!(at(&mut bench, 1000), "it did in the second before this one");
    assert!(!at(&mut bench, 1000), "that is too long ago");
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
    bench.wire.state().input.extend(repeat_n(b'x', 64 * 1024));
    assert_eq!(bench.stream.poll_input(&mut buffer), Ok(()));
    bench.wire.state().input.push_back(b'x');
    assert_eq!(bench.stream.poll_input(&mut buffer), Err(Disconnect::Error));
}

#[test]
fn a_read_that_is_interrupted_is_done_again_and_an_error_ends_the_stream() {
    let mut buffer = [0; 10];
    for (kind, result) in [
        (ErrorKind::Interrupted, Ok(())),
        (ErrorKind::WouldBlock, Ok(())),
        (ErrorKind::ConnectionReset, Err(Disconnect::ClosedByPeer)),
        (ErrorKind::OutOfMemory, Err(Disconnect::Error)),
    ] {
        let mut bench = Bench::new([]);
        bench.wire.state().read_errors.push_back(kind);
        bench.wire.state().input.push_back(b'x');
        assert_eq!(bench.stream.poll_input(&mut buffer), result, "{kind:?}");
        let is_read = bench.wire.state().input.is_empty();
        assert_eq!(is_read, kind == ErrorKind::Interrupted, "{kind:?}");
    }
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
    behind.replay = Some(Replay { from: ReplayFrom::default(), taken: 0, since: start });
    for _ in 0..2 {
        assert!(behind.keeps_pace(usize::MAX, STALL, start + STALL / 2));
    }
    assert!(behind.keeps_pace(0, STALL, start + STALL), "it took a lot");
    assert!(!behind.keeps_pace(0, STALL, start + STALL * 2));
}
