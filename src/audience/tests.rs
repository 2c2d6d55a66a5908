use std::iter::repeat_n;

use crossbeam_channel::Receiver;

use super::*;
use crate::{
    feed::Tally,
    frame::Encoded,
    history::HistoryLimits,
    queue::{Batch, Queue, Queued},
    registry::Kind,
    scripted::{
        Answer::{self, Fail, Take},
        Scripted,
    },
    types::{Subscribed, TypeId},
};

pub(super) const BLOCK: Answer = Fail(std::io::ErrorKind::WouldBlock);
pub(super) const BUDGET: usize = 1000;

pub(super) struct Hub {
    pub(super) registry: Arc<Registry>,
    pub(super) audience: Audience<Scripted>,
    pub(super) start: Instant,
    pub(super) moment: Moment,
}

impl Hub {
    fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut AudienceLimits)) -> Self {
        Self::keeping(0, change)
    }

    /// A hub that keeps so many events of each type.
    pub(super) fn keeping(events: usize, change: impl FnOnce(&mut AudienceLimits)) -> Self {
        let mut limits = AudienceLimits {
            mailbox_bytes: BUDGET,
            mailboxes_bytes: usize::MAX,
            stall_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            reconnect_spread: Duration::ZERO,
        };
        change(&mut limits);
        let registry = Registry::new(10_000);
        let history = HistoryLimits { events, bytes: usize::MAX, all_bytes: usize::MAX };
        let history = History::new(history, "e".to_owned());
        let audience = Audience::new(Arc::clone(&registry), limits, history);
        let start = Instant::now();
        Self { registry, audience, start, moment: Moment { now: start, second: 0 } }
    }

    pub(super) fn stream(
        &mut self,
        types: &[TypeId],
        answers: impl IntoIterator<Item = Answer>,
    ) -> Scripted {
        self.returning(types, Resume::default(), answers)
    }

    pub(super) fn returning(
        &mut self,
        types: &[TypeId],
        resume: Resume,
        answers: impl IntoIterator<Item = Answer>,
    ) -> Scripted {
        self.arrive(types, resume, [Take(usize::MAX)].into_iter().chain(answers))
    }

    /// A client whose socket answers like this from its first byte on.
    pub(super) fn arrive(
        &mut self,
        types: &[TypeId],
        resume: Resume,
        answers: impl IntoIterator<Item = Answer>,
    ) -> Scripted {
        let subscribed =
            if types.is_empty() { Subscribed::All } else { Subscribed::Types(types.into()) };
        let wire = Scripted::new(answers);
        let seat = self.registry.register(Kind::Stream, subscribed, None).expect("room");
        let via = Via::Wire(wire.clone());
        self.audience.admit(
            Arrival { seat, preamble: b"hello\n".into(), resume, via, back: None },
            self.moment,
        );
        wire
    }

    pub(super) fn feed(&mut self, resume: Resume) -> (Receiver<Mail>, Arc<Tally>) {
        let seat = self.registry.register(Kind::Subscription, Subscribed::All, None).expect("room");
        let (mailbox, tally) = (seat.mailbox.clone(), Arc::<Tally>::default());
        let via = Via::Tally(Arc::clone(&tally));
        self.audience.admit(
            Arrival { seat, preamble: b"hello\n".into(), resume, via, back: None },
            self.moment,
        );
        (mailbox, tally)
    }

    pub(super) fn deliver(&mut self, batch: &[(TypeId, &str)]) {
        let (mut queue, mut taken) = (Queue::default(), Batch::default());
        for &(kind, text) in batch {
            queue.push(&mut Queued { kind, encoded: Encoded::raw(text.as_bytes()) });
        }
        queue.take(usize::MAX, &mut taken);
        self.audience.deliver(&mut taken, batch.len(), self.moment);
        assert!(taken.is_empty());
    }

    /// Sends a message to the client that came as this one, counted from 0.
    pub(super) fn send_to(&mut self, client: u64, text: &str) {
        let frame = Frame::from_bytes(text.as_bytes());
        self.audience.obey(Order::Send(ClientId(client), frame), self.moment);
    }

    pub(super) fn disconnect(&mut self, client: u64) {
        self.audience.obey(Order::Disconnect(ClientId(client)), self.moment);
    }

    /// Lets all streams catch up as far as they can, as time passes.
    pub(super) fn catch_up(&mut self) {
        while let Some(at) = self.audience.next_retry() {
            self.pass(at.saturating_duration_since(self.moment.now));
            self.audience.retry_one(self.moment);
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.moment.now += time;
        let second = self.moment.now.duration_since(self.start).as_secs();
        self.moment.second = u32::try_from(second).expect("tests are short");
    }

    pub(super) fn sweep(&mut self) {
        for _ in 0..self.audience.places() {
            self.audience.sweep_one(self.moment);
        }
    }

    pub(super) fn disconnected(&self) -> crate::stats::Disconnected {
        self.audience.stats().disconnected
    }
}

/// What an event takes of the memory of all mailboxes while one client waits for it.
pub(super) fn cost(text: &str) -> usize {
    let load = Load::default();
    let _mail = Mail::new(Frame::from_bytes(format!("{text}\n").as_bytes()), &load);
    load.bytes()
}

/// What a client received, without line feeds.
pub(super) fn seen(wire: &Scripted) -> String {
    wire.received().replace('\n', "")
}

pub(super) fn texts(mailbox: &Receiver<Mail>) -> Vec<String> {
    let text = |mail: Mail| String::from_utf8_lossy(mail.as_bytes()).replace('\n', "");
    mailbox.try_iter().map(text).collect()
}

#[test]
fn a_batch_is_one_write_with_just_the_events_a_client_wants() {
    let mut hub = Hub::new();
    let one = hub.stream(&[1], []);
    let both = hub.stream(&[1, 2], []);
    let all = hub.stream(&[], []);
    let none = hub.stream(&[3], []);
    let (mailbox, _tally) = hub.feed(Resume::default());
    hub.deliver(&[(1, "a"), (2, "b"), (1, "c"), (7, "d")]);
    assert_eq!(seen(&one), "helloac");
    assert_eq!(seen(&both), "helloabc");
    assert_eq!(seen(&all), "helloabcd");
    assert_eq!(seen(&none), "hello");
    assert_eq!(texts(&mailbox), ["hello", "a", "b", "c", "d"], "frame by frame");
    let writes = [&one, &both, &all, &none].map(|wire| wire.state().writes);
    assert_eq!(writes, [2, 2, 2, 1]);
    assert_eq!(hub.audience.stats().published, 4);
    assert_eq!(hub.audience.stats().deliveries, 2 + 3 + 4 + 4);
}

#[test]
fn a_stream_begins_with_one_write_and_a_subscription_block_by_block() {
    let mut hub = Hub::keeping(1, |_| {});
    hub.deliver(&[(1, "a"), (1, "b"), (1, "c")]);
    let behind = || Resume { last_event_id: Some("e-1".to_owned()), ..Resume::default() };
    let first = "helloid: e-1";
    let gap = "event: stream-gapdata: {\"requested\":\"e-1\",\"oldest\":\"e-3\"}";
    let stream = hub.returning(&[1], behind(), []);
    assert_eq!((seen(&stream), stream.state().writes), (format!("{first}{gap}"), 1));
    let (mailbox, _tally) = hub.feed(behind());
    assert_eq!(texts(&mailbox), [first, gap, "cid: e-3"]);
}

#[test]
fn groups_follow_their_clients_as_they_come_and_go() {
    let mut hub = Hub::new();
    let mut clients: Vec<(Scripted, &str)> = Vec::new();
    for _ in 0..3 {
        clients.push((hub.stream(&[0], []), "even "));
        clients.push((hub.stream(&[1], []), "odd "));
    }
    for gone in [0, 3, 1, 2] {
        clients.remove(gone).0.state().closed = true;
        hub.sweep();
        clients.push((hub.stream(&[0, 1], []), "even odd "));
        for (wire, _) in &clients {
            wire.state().received.clear();
        }
        hub.deliver(&[(0, "even "), (1, "odd ")]);
        for (wire, wanted) in &clients {
            assert_eq!(seen(wire), *wanted);
        }
    }
    assert_eq!(hub.registry.counts(), (6, 0));
    assert_eq!(hub.disconnected().closed_by_peer, 4);
    assert_eq!(hub.audience.stats().deliveries, 7 + 8 + 9 + 10);
}

#[test]
fn a_client_that_blocks_gets_the_rest_in_order_and_delays_nobody() {
    let mut hub = Hub::new();
    let slow = hub.stream(&[1], [Take(1), BLOCK, Take(2)]);
    let quick = hub.stream(&[1], []);
    for text in ["abc", "def", "ghi"] {
        hub.deliver(&[(1, text)]);
    }
    assert_eq!(seen(&quick), "helloabcdefghi");
    assert_eq!(seen(&slow), "helloa");
    assert_eq!(hub.audience.stats().behind, 1);
    assert!(!hub.audience.retry_one(hub.moment), "it has a nap first");
    while let Some(at) = hub.audience.next_retry() {
        hub.pass(at - hub.moment.now);
        assert!(hub.audience.retry_one(hub.moment));
    }
    assert_eq!(seen(&slow), "helloabcdefghi");
    assert_eq!(hub.audience.stats().behind, 0);
    assert_eq!(hub.audience.load.bytes(), 0);
}

#[test]
fn a_client_over_its_budget_is_disconnected() {
    let mut hub = Hub::new();
    let stuck = hub.stream(&[1], [BLOCK]);
    let quick = hub.stream(&[1], []);
    let (mailbox, tally) = hub.feed(Resume::default());
    let text = "x".repeat(BUDGET / 2 - 1);
    // One frame being written and two in the mailbox are just within the budget.
    for _ in 0..3 {
        hub.deliver(&[(1, &text)]);
        tally.took(text.len() + 1);
    }
    hub.pass(GRACE);
    assert_eq!(hub.disconnected().behind, 0);
    hub.deliver(&[(1, &text)]);
    assert_eq!(hub.disconnected().behind, 1);
    assert_eq!(seen(&stuck), "hello");
    assert_eq!(seen(&quick).len(), 5 + 4 * text.len());
    // The subscriber took a part of what came; now it stops.
    hub.deliver(&[(1, &text)]);
    hub.pass(GRACE);
    hub.deliver(&[(1, &text)]);
    hub.deliver(&[(1, &text)]);
    assert_eq!(hub.disconnected().behind, 2);
    assert_eq!(tally.reason(), Some(Disconnect::Behind));
    assert!(mailbox.is_empty(), "what a subscription cannot have is freed");
    assert_eq!(hub.registry.counts(), (1, 0));
}

#[test]
fn over_the_limit_of_all_mailboxes_those_furthest_behind_go_first() {
    let text = "x".repeat(99);
    let mut hub = Hub::with(|limits| limits.mailboxes_bytes = 5 * cost(&text));
    let far = hub.stream(&[1], [BLOCK]);
    for _ in 0..4 {
        hub.deliver(&[(1, &text)]);
    }
    let near = hub.stream(&[2], [BLOCK]);
    hub.deliver(&[(2, &text)]);
    assert_eq!(hub.disconnected().behind, 0);
    hub.deliver(&[(2, &text)]);
    assert_eq!(hub.disconnected().behind, 1);
    assert_eq!(hub.registry.counts(), (1, 0));
    hub.pass(Duration::from_millis(1));
    while hub.audience.retry_one(hub.moment) {}
    assert_eq!(seen(&far), "hello");
    assert_eq!(seen(&near).len(), 5 + 2 * text.len());
}

#[test]
fn a_shared_frame_counts_once_however_many_wait_for_it() {
    let mut hub = Hub::with(|limits| limits.mailboxes_bytes = 10_000);
    let _stuck: Vec<Scripted> = (0..50).map(|_| hub.stream(&[1], [BLOCK])).collect();
    hub.deliver(&[(1, &"x".repeat(899))]);
    hub.deliver(&[(1, &"x".repeat(899))]);
    assert_eq!(hub.disconnected().behind, 0);
}

/// On a 32-bit host, the bytes of one event to these clients are more than `usize` can count.
#[test]
fn what_was_delivered_is_counted_beyond_4_gib() {
    const CLIENTS: u32 = 4100;
    let mut hub = Hub::with(|_| {});
    let _stuck: Vec<Scripted> = (0..CLIENTS).map(|_| hub.stream(&[1], [BLOCK])).collect();
    hub.deliver(&[(1, &"x".repeat((1 << 20) - 1))]);
    assert_eq!(hub.audience.stats().deliveries, u64::from(CLIENTS));
    assert_eq!(hub.audience.stats().bytes, u64::from(CLIENTS) << 20);
}

#[test]
fn silence_is_broken_by_a_heartbeat_for_those_who_have_everything() {
    let mut hub = Hub::new();
    let idle = hub.stream(&[1], []);
    let busy = hub.stream(&[2], []);
    let behind = hub.stream(&[3], repeat_n(BLOCK, 100));
    let (mailbox, tally) = hub.feed(Resume::default());
    let waiting = hub.feed(Resume::default()).0;
    hub.pass(Duration::from_secs(8));
    hub.deliver(&[(2, "x"), (3, "y")]);
    tally.took("hello\n\nx\ny\n".len());
    hub.pass(Duration::from_secs(14));
    hub.sweep();
    let heartbeat = |wire: &Scripted| wire.received().matches(":\n\n").count();
    assert_eq!([&idle, &busy, &behind].map(heartbeat), [1, 0, 0]);
    hub.pass(Duration::from_secs(2));
    hub.sweep();
    assert_eq!([&idle, &busy, &behind].map(heartbeat), [1, 1, 0]);
    assert_eq!(texts(&mailbox), ["hello", "x", "y", ":"]);
    assert_eq!(texts(&waiting), ["hello", "x", "y"], "it has something to read");
}

#[test]
fn the_sweep_finds_those_who_have_gone() {
    let mut hub = Hub::new();
    let streams: Vec<Scripted> = (0..10).map(|_| hub.stream(&[1], [])).collect();
    let (_mailbox, tally) = hub.feed(Resume::default());
    for gone in [0, 4, 9] {
        streams[gone].state().closed = true;
    }
    tally.leave();
    hub.sweep();
    assert_eq!(hub.registry.counts(), (7, 0));
    assert_eq!(hub.disconnected().closed_by_peer, 4);
    for stream in &streams {
        stream.state().closed = true;
    }
    hub.sweep();
    assert!(hub.audience.is_empty());
    assert_eq!(hub.audience.places(), 0, "an empty table takes no room");
}

#[test]
fn a_client_that_fails_while_it_catches_up_is_not_behind_any_more() {
    let mut hub = Hub::new();
    let _broken = hub.stream(&[1], [BLOCK, Fail(std::io::ErrorKind::BrokenPipe)]);
    hub.deliver(&[(1, "x")]);
    assert_eq!(hub.audience.stats().behind, 1);
    hub.pass(Duration::from_millis(1));
    assert!(hub.audience.retry_one(hub.moment));
    assert_eq!(hub.audience.stats().behind, 0);
    assert_eq!(hub.disconnected().closed_by_peer, 1);
    assert_eq!(hub.audience.next_retry(), None);
}

#[test]
fn a_client_that_fails_at_its_first_bytes_is_gone_whatever_it_has_missed() {
    let mut hub = Hub::keeping(10, |_| {});
    hub.deliver(&[(1, "x")]);
    let missed = Resume { last_event_id: Some("e-0".to_owned()), ..Resume::default() };
    hub.arrive(&[1], missed, [Fail(std::io::ErrorKind::BrokenPipe)]);
    assert_eq!(hub.disconnected().closed_by_peer, 1);
    assert!(hub.audience.is_empty());
}

#[test]
fn without_a_history_nobody_waits_for_it() {
    let mut hub = Hub::with(|_| {});
    hub.deliver(&[(1, "a")]);
    let replay = Resume { replay: 1, ..Resume::default() };
    let id = Resume { last_event_id: Some("own".to_owned()), ..Resume::default() };
    let clients = [replay, id].map(|resume| hub.returning(&[1], resume, []));
    hub.deliver(&[(1, "b")]);
    hub.catch_up();
    for client in &clients {
        assert!(seen(client).ends_with('b'), "{}", seen(client));
    }
}

#[test]
fn at_the_end_everybody_gets_what_is_left_and_has_a_moment_to_close() {
    let mut hub = Hub::new();
    let done = hub.stream(&[1], []);
    let behind = hub.stream(&[1], [BLOCK]);
    let (mailbox, tally) = hub.feed(Resume::default());
    hub.deliver(&[(1, "x")]);
    hub.audience.end_all(hub.moment);
    assert!(done.state().finished && !behind.state().finished);
    assert_eq!(tally.reason(), Some(Disconnect::Shutdown));
    assert_eq!(texts(&mailbox), ["hello", "x"], "what was sent can still be taken");
    hub.pass(Duration::from_millis(1));
    hub.audience.retry_one(hub.moment);
    done.state().closed = true;
    hub.audience.end_all(hub.moment);
    assert!(behind.state().finished);
    assert_eq!(seen(&behind), "hellox");
    assert_eq!(hub.registry.counts(), (1, 0), "one has closed, the other has not");
    hub.pass(ending::LINGER);
    hub.audience.end_all(hub.moment);
    assert!(hub.audience.is_empty());
    assert_eq!(hub.disconnected().shutdown, 3);
}

#[test]
fn who_does_not_read_at_the_end_is_cut_off_and_counted() {
    let mut hub = Hub::new();
    let _reads = hub.stream(&[1], []);
    let _stuck = hub.stream(&[1], repeat_n(BLOCK, 100));
    hub.deliver(&[(1, "x")]);
    hub.audience.end_all(hub.moment);
    assert_eq!(hub.audience.cut_all(), 1);
    assert!(hub.audience.is_empty());
    assert_eq!(hub.registry.counts(), (0, 0));
}
