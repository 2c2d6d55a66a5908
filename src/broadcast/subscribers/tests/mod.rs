mod beginning;
mod closing;
mod commands;
mod delivery;
mod from_log;
mod limits;
mod model;
mod overload;
mod presence;
mod steps;
mod sweep;

use crossbeam_channel::Receiver;

use super::*;
use crate::{
    broadcast::{
        arrival::{Form, Replay, Resume},
        history::HistoryLimits,
        inbox::queue::{Batch, Queue, Queued},
        local_sink::SharedCounts,
        registry::{Kind, Seat},
        stream::scripted::{
            Answer::{self, Fail, Take},
            Scripted,
        },
    },
    message::{
        channel::{Channel, ChannelTable},
        event_types::TypeId,
        frame::{Coding, Encoded},
        subscribed::Subscribed,
    },
};

pub(super) const WOULD_BLOCK: std::io::ErrorKind = std::io::ErrorKind::WouldBlock;
pub(super) const BLOCK: Answer = Fail(WOULD_BLOCK);
pub(super) const BUDGET: usize = 1000;

pub(super) struct Machine {
    pub(super) registry: Arc<Registry>,
    pub(super) subscribers: Subscribers<Scripted>,
    pub(super) start: Instant,
    pub(super) now: Now,
    /// Every second stream comes in chunks.
    pub(super) has_chunks: bool,
    /// When the clients that come now will end.
    pub(super) until: Option<Instant>,
    pub(super) channels: Arc<ChannelTable>,
}

impl Machine {
    fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut SubscriberLimits)) -> Self {
        Self::keeping(0, change)
    }

    /// The server's clients, with a history of this many events of each type.
    pub(super) fn keeping(events: usize, change: impl FnOnce(&mut SubscriberLimits)) -> Self {
        Self::keeping_channels(events, usize::MAX, change)
    }

    /// The same, with this many channels to which nobody listens.
    pub(super) fn keeping_channels(
        events: usize,
        channels: usize,
        change: impl FnOnce(&mut SubscriberLimits),
    ) -> Self {
        let mut limits = SubscriberLimits {
            mailbox_bytes: BUDGET,
            mailboxes_bytes: usize::MAX,
            stall_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            reconnect_spread: Duration::ZERO,
        };
        change(&mut limits);
        let registry = Registry::new(10_000);
        let (bytes, all_bytes) = (usize::MAX, usize::MAX);
        let history = HistoryLimits { events, bytes, all_bytes, channels };
        let history = History::new(history, "e".to_owned());
        let subscribers = Subscribers::new(Arc::clone(&registry), Arc::default(), limits, history);
        let start = Instant::now();
        let now = Now { instant: start, second: 0 };
        let channels = Arc::default();
        Self { registry, subscribers, start, now, has_chunks: false, until: None, channels }
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
            if types.is_empty() { Subscribed::all_types() } else { Subscribed::of_types(types) };
        self.arrive_as(subscribed, resume, answers)
    }

    /// A client that subscribes to this.
    pub(super) fn arrive_as(
        &mut self,
        subscribed: Subscribed,
        resume: Resume,
        answers: impl IntoIterator<Item = Answer>,
    ) -> Scripted {
        let wire = Scripted::new(answers);
        let seat = self.registry.register(Kind::Stream, subscribed, None).expect("room");
        let chunked = self.has_chunks && seat.id.0 % 2 == 1;
        wire.state().chunked = chunked;
        let coding = if chunked { Coding::Chunked } else { Coding::Plain };
        self.admit(seat, coding, resume, Via::Wire(wire.clone()));
        wire
    }

    fn admit(&mut self, mut seat: Seat, coding: Coding, resume: Resume, via: Via<Scripted>) {
        let (head, preamble) = (Vec::new(), "hello\n".to_owned());
        seat.until = self.until;
        let form = Form { coding, ..Form::default() };
        let arrival = Arrival { seat, head, preamble, form, resume, via };
        self.subscribers.admit(arrival, self.now);
    }

    pub(super) fn local(&mut self, resume: Resume) -> (Receiver<Pending>, Arc<SharedCounts>) {
        let seat = self
            .registry
            .register(Kind::Subscription, Subscribed::all_types(), None)
            .expect("room");
        let (mailbox, counts) = (seat.mailbox.clone(), Arc::<SharedCounts>::default());
        self.admit(seat, Coding::Plain, resume, Via::Local(Arc::clone(&counts)));
        (mailbox, counts)
    }

    pub(super) fn channel(&self, name: &str) -> Channel {
        self.channels.get(name, usize::MAX).expect("there is room")
    }

    pub(super) fn deliver(&mut self, batch: &[(TypeId, &str)]) {
        let batch: Vec<_> = batch.iter().map(|&(kind, text)| ("", kind, text)).collect();
        self.deliver_to(&batch);
    }

    /// Delivers events to channels; `""` is the common one.
    pub(super) fn deliver_to(&mut self, batch: &[(&str, TypeId, &str)]) {
        let (mut queue, mut taken) = (Queue::default(), Batch::default());
        for &(channel, kind, text) in batch {
            let channel = (!channel.is_empty()).then(|| self.channel(channel));
            queue.push(&mut Queued {
                channel,
                kind,
                generation: 0,
                encoded: Encoded::raw(text.as_bytes()),
            });
        }
        queue.take(usize::MAX, &mut taken);
        self.subscribers.deliver(&mut taken, batch.len(), self.now);
        assert!(taken.is_empty());
    }

    /// Sends a message to one client; clients are counted from 0 in the order they came.
    pub(super) fn send_to(&mut self, client: u64, text: &str) {
        let frame = Frame::from_block(text.as_bytes());
        self.subscribers.execute(Command::Send(ClientId(client), frame), self.now);
    }

    pub(super) fn disconnect(&mut self, client: u64) {
        self.subscribers.execute(Command::Disconnect(ClientId(client)), self.now);
    }

    /// Lets all streams catch up as far as they can, as time passes.
    pub(super) fn catch_up(&mut self) {
        while let Some(at) = self.subscribers.next_retry() {
            self.pass(at.saturating_duration_since(self.now.instant));
            self.subscribers.retry_one(self.now);
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        let second = self.now.instant.duration_since(self.start).as_secs();
        self.now.second = u32::try_from(second).expect("tests are short");
    }

    pub(super) fn sweep(&mut self) {
        for _ in 0..self.subscribers.slots() {
            self.subscribers.sweep_one(self.now);
        }
    }

    pub(super) fn disconnected(&self) -> crate::broadcast::stats::Disconnected {
        self.subscribers.stats().disconnected
    }
}

/// What an event takes of the memory of all mailboxes while one client waits for it.
pub(super) fn cost(text: &str) -> usize {
    let memory = MemoryInUse::default();
    let _mail = Pending::new(Frame::from_block(format!("{text}\n").as_bytes()), &memory);
    memory.bytes()
}

/// What a client received, without line feeds.
pub(super) fn seen(wire: &Scripted) -> String {
    wire.received().replace('\n', "")
}

pub(super) fn texts(mailbox: &Receiver<Pending>) -> Vec<String> {
    let text = |pending: Pending| String::from_utf8_lossy(pending.as_bytes()).replace('\n', "");
    mailbox.try_iter().map(text).collect()
}

#[test]
fn a_batch_is_one_write_with_just_the_events_a_client_wants() {
    let mut machine = Machine::new();
    let one = machine.stream(&[1], []);
    let both = machine.stream(&[1, 2], []);
    let all = machine.stream(&[], []);
    let none = machine.stream(&[3], []);
    let (mailbox, _tally) = machine.local(Resume::default());
    machine.deliver(&[(1, "a"), (2, "b"), (1, "c"), (7, "d")]);
    assert_eq!(seen(&one), "helloac");
    assert_eq!(seen(&both), "helloabc");
    assert_eq!(seen(&all), "helloabcd");
    assert_eq!(seen(&none), "hello");
    assert_eq!(texts(&mailbox), ["hello", "a", "b", "c", "d"], "frame by frame");
    let writes = [&one, &both, &all, &none].map(|wire| wire.state().writes);
    assert_eq!(writes, [2, 2, 2, 1]);
    assert_eq!(machine.subscribers.stats().published, 4);
    assert_eq!(machine.subscribers.stats().deliveries, 2 + 3 + 4 + 4);
}

#[test]
fn a_stream_has_what_it_missed_with_its_first_write_and_a_subscription_block_by_block() {
    let mut machine = Machine::keeping(1, |_| {});
    machine.deliver(&[(1, "a"), (1, "b"), (1, "c")]);
    let behind = || Resume { last_event_id: Some("e-1".to_owned()), ..Resume::default() };
    let first = "helloid: e-1";
    let gap = "event: stream-gapdata: {\"requested\":\"e-1\",\"oldest\":\"e-3\"}";
    let missed = "cid: e-3";
    let stream = machine.returning(&[1], behind(), []);
    assert_eq!((seen(&stream), stream.state().writes), (format!("{first}{gap}{missed}"), 1));
    let (mailbox, _tally) = machine.local(behind());
    assert_eq!(texts(&mailbox), [first, gap, missed]);
}

#[test]
fn groups_follow_their_clients_as_they_come_and_go() {
    let mut machine = Machine::new();
    let mut clients: Vec<(Scripted, &str)> = Vec::new();
    for _ in 0..3 {
        clients.push((machine.stream(&[0], []), "even "));
        clients.push((machine.stream(&[1], []), "odd "));
    }
    for gone in [0, 3, 1, 2] {
        clients.remove(gone).0.state().closed = true;
        machine.sweep();
        clients.push((machine.stream(&[0, 1], []), "even odd "));
        for (wire, _) in &clients {
            wire.state().received.clear();
        }
        machine.deliver(&[(0, "even "), (1, "odd ")]);
        for (wire, wanted) in &clients {
            assert_eq!(seen(wire), *wanted);
        }
    }
    assert_eq!(machine.registry.counts(), (6, 0));
    assert_eq!(machine.disconnected().closed_by_peer, 4);
    assert_eq!(machine.subscribers.stats().deliveries, 7 + 8 + 9 + 10);
}

#[test]
fn a_client_that_blocks_gets_the_rest_in_order_and_delays_nobody() {
    let mut machine = Machine::new();
    let slow = machine.stream(&[1], [Take(1), BLOCK, Take(2)]);
    let quick = machine.stream(&[1], []);
    for text in ["abc", "def", "ghi"] {
        machine.deliver(&[(1, text)]);
    }
    assert_eq!(seen(&quick), "helloabcdefghi");
    assert_eq!(seen(&slow), "helloa");
    assert_eq!(machine.subscribers.stats().behind, 1);
    assert!(!machine.subscribers.retry_one(machine.now), "it has a nap first");
    while let Some(at) = machine.subscribers.next_retry() {
        machine.pass(at - machine.now.instant);
        assert!(machine.subscribers.retry_one(machine.now));
    }
    assert_eq!(seen(&slow), "helloabcdefghi");
    assert_eq!(machine.subscribers.stats().behind, 0);
    assert_eq!(machine.subscribers.memory.bytes(), 0);
}

#[test]
fn a_client_over_its_budget_is_disconnected() {
    let mut machine = Machine::new();
    let stuck = machine.stream(&[1], [BLOCK]);
    let quick = machine.stream(&[1], []);
    let (mailbox, counts) = machine.local(Resume::default());
    let text = "x".repeat(BUDGET / 2 - 1);
    // One frame being written and two in the mailbox are just within the budget.
    for _ in 0..3 {
        machine.deliver(&[(1, &text)]);
        counts.took(text.len() + 1);
    }
    machine.pass(GRACE);
    assert_eq!(machine.disconnected().behind, 0);
    machine.deliver(&[(1, &text)]);
    assert_eq!(machine.disconnected().behind, 1);
    assert_eq!(seen(&stuck), "hello");
    assert_eq!(seen(&quick).len(), 5 + 4 * text.len());
    // The subscriber took a part of what came; now it stops.
    machine.deliver(&[(1, &text)]);
    machine.pass(GRACE);
    machine.deliver(&[(1, &text)]);
    machine.deliver(&[(1, &text)]);
    assert_eq!(machine.disconnected().behind, 2);
    assert_eq!(counts.reason(), Some(Disconnect::Behind));
    assert!(mailbox.is_empty(), "what a subscription cannot have is freed");
    assert_eq!(machine.registry.counts(), (1, 0));
}

#[test]
fn over_the_limit_of_all_mailboxes_those_furthest_behind_go_first() {
    let text = "x".repeat(99);
    let mut machine = Machine::with(|limits| limits.mailboxes_bytes = 5 * cost(&text));
    let far = machine.stream(&[1], [BLOCK]);
    for _ in 0..4 {
        machine.deliver(&[(1, &text)]);
    }
    let near = machine.stream(&[2], [BLOCK]);
    machine.deliver(&[(2, &text)]);
    assert_eq!(machine.disconnected().behind, 0);
    machine.deliver(&[(2, &text)]);
    assert_eq!(machine.disconnected().behind, 1);
    assert_eq!(machine.registry.counts(), (1, 0));
    machine.pass(Duration::from_millis(1));
    while machine.subscribers.retry_one(machine.now) {}
    assert_eq!(seen(&far), "hello");
    assert_eq!(seen(&near).len(), 5 + 2 * text.len());
}

#[test]
fn a_shared_frame_counts_once_however_many_wait_for_it() {
    let mut machine = Machine::with(|limits| limits.mailboxes_bytes = 10_000);
    let _stuck: Vec<Scripted> = (0..50).map(|_| machine.stream(&[1], [BLOCK])).collect();
    machine.deliver(&[(1, &"x".repeat(899))]);
    machine.deliver(&[(1, &"x".repeat(899))]);
    assert_eq!(machine.disconnected().behind, 0);
}

/// On a 32-bit host, the bytes of one event to these clients are more than `usize` can count.
#[test]
fn what_was_delivered_is_counted_beyond_4_gib() {
    const CLIENTS: u32 = 4100;
    let mut machine = Machine::with(|_| {});
    let _stuck: Vec<Scripted> = (0..CLIENTS).map(|_| machine.stream(&[1], [BLOCK])).collect();
    machine.deliver(&[(1, &"x".repeat((1 << 20) - 1))]);
    assert_eq!(machine.subscribers.stats().deliveries, u64::from(CLIENTS));
    assert_eq!(machine.subscribers.stats().delivered_bytes, u64::from(CLIENTS) << 20);
}

#[test]
fn a_client_that_fails_while_it_catches_up_is_not_behind_any_more() {
    let mut machine = Machine::new();
    let _broken = machine.stream(&[1], [BLOCK, Fail(std::io::ErrorKind::BrokenPipe)]);
    machine.deliver(&[(1, "x")]);
    assert_eq!(machine.subscribers.stats().behind, 1);
    machine.pass(Duration::from_millis(1));
    assert!(machine.subscribers.retry_one(machine.now));
    assert_eq!(machine.subscribers.stats().behind, 0);
    assert_eq!(machine.disconnected().closed_by_peer, 1);
    assert_eq!(machine.subscribers.next_retry(), None);
}

#[test]
fn a_client_that_fails_at_its_first_bytes_is_gone_whatever_it_has_missed() {
    let mut machine = Machine::keeping(10, |_| {});
    machine.deliver(&[(1, "x")]);
    let missed = Resume { last_event_id: Some("e-0".to_owned()), ..Resume::default() };
    machine.arrive(&[1], missed, [Fail(std::io::ErrorKind::BrokenPipe)]);
    assert_eq!(machine.disconnected().closed_by_peer, 1);
    assert!(machine.subscribers.is_empty());
}

#[test]
fn without_a_history_nobody_waits_for_it() {
    let mut machine = Machine::with(|_| {});
    machine.deliver(&[(1, "a")]);
    let replay = Resume { replay: Replay::Last(1), ..Resume::default() };
    let id = Resume { last_event_id: Some("own".to_owned()), ..Resume::default() };
    let clients = [replay, id].map(|resume| machine.returning(&[1], resume, []));
    machine.deliver(&[(1, "b")]);
    machine.catch_up();
    for client in &clients {
        assert!(seen(client).ends_with('b'), "{}", seen(client));
    }
}
