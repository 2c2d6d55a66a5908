//! Takes the broadcaster's steps in random order, and compares with a model that is simple enough
//! to be right: each client receives what the model says, byte for byte.

use proptest::prelude::*;

use super::super::*;
use super::{
    Machine,
    steps::{CHANNELS, Channels, From, Step, TYPES, Topic, steps},
};
use crate::{
    broadcast::{
        arrival::{Replay, Resume},
        hook_queue::{HookEvent, HookQueue},
        stream::scripted::{
            Answer::{self, Take},
            Scripted,
        },
    },
    message::{
        event_types::{TypeId, Types, Unregister},
        subscribed::{Listened, Subscribed},
    },
};

/// Together they are more than a slice of the history holds.
const KEPT: usize = 40;

/// What the model knows of a client.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Client {
    wire: Scripted,
    channels: Channels,
    types: Vec<TypeId>,
    /// All that it must receive, unless its stream ends early.
    expected: String,
    /// It takes everything at once, so that there is no reason to end its stream.
    takes_all: bool,
    /// How many events there were when it came.
    came: usize,
    /// It begins with events from the history, which may drop some before they are sent.
    replays: bool,
    /// What was sent to it alone during its replay, and so comes after the replay.
    to_come: String,
    /// It was disconnected.
    ended: bool,
    /// It begins with the last event of each log. A later one may take the place of one of these.
    is_each: bool,
}

impl Client {
    fn wants(&self, (channel, kind): Topic) -> bool {
        let listens = match &self.channels {
            Channels::All => true,
            Channels::Named(channels) => channels.contains(&channel),
        };
        listens && (self.types.is_empty() || self.types.contains(&kind))
    }

    /// What was dropped of channels that were forgotten may have been for it.
    fn may_doubt(&self) -> bool {
        match &self.channels {
            Channels::All => !self.types.is_empty(),
            Channels::Named(channels) => channels.iter().any(|&channel| channel > 0),
        }
    }

    fn subscribed(&self, machine: &Machine) -> Subscribed {
        let types = match &*self.types {
            [] => Types::All,
            types => Types::Named(types.to_vec().into()),
        };
        let channels = match &self.channels {
            Channels::All => Listened::All,
            Channels::Named(channels) => {
                let named = channels.iter().filter(|&&channel| channel > 0);
                let named = named.map(|&channel| machine.channel(CHANNELS[channel]));
                Listened::new(channels.contains(&0), named.collect())
            }
        };
        Subscribed { channels, types }
    }

    /// Whether it received all that it must, but for what a later event took the place of.
    fn has_all_of(&self, received: &str) -> bool {
        // The two lines at the beginning have no blank line of their own.
        let begin = self.expected.match_indices('\n').nth(1).map_or(0, |(at, _)| at + 1);
        let (begin, expected) = self.expected.split_at(begin);
        let Some(received) = received.strip_prefix(begin) else { return false };
        let mut received = received.split_inclusive("\n\n").peekable();
        for block in expected.split_inclusive("\n\n") {
            if received.next_if_eq(&block).is_none() && !self.is_each {
                return false;
            }
        }
        received.next().is_none()
    }

    /// The id that it comes back with: the last of a complete block.
    fn last_id(&self) -> Option<String> {
        let received = self.wire.received();
        let complete = &received[..received.rfind("\n\n")?];
        complete.lines().rev().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned)
    }
}

/// Every event so far, with its channel, type and frame, in the order of publishing.
#[derive(Default)]
struct Model {
    /// Channels may be forgotten although the history reaches back to their last clients.
    is_short: bool,
    events: Vec<(Topic, String)>,
    /// How many events there were when a type was last unregistered.
    unregistered: [Option<usize>; TYPES as usize],
    clients: Vec<Client>,
}

impl Model {
    fn publish(&mut self, topics: &[Topic], machine: &mut Machine) {
        let first = self.events.len() + 1;
        let texts: Vec<String> = (first..)
            .zip(topics)
            .map(|(at, topic)| format!("event: {topic:?}\ndata: {at}\n"))
            .collect();
        let batch = topics.iter().zip(&texts);
        let batch = batch.map(|(&(channel, kind), text)| (CHANNELS[channel], kind, &**text));
        machine.deliver_to(&batch.collect::<Vec<_>>());
        for (at, (&topic, text)) in (first..).zip(topics.iter().zip(&texts)) {
            let frame = format!("{text}id: e-{at}\n\n");
            for client in &mut self.clients {
                if client.wants(topic) && !client.ended {
                    client.expected.push_str(&frame);
                }
            }
            self.events.push((topic, frame));
        }
    }

    /// The events that are kept: the last ones of each type in each channel. If there is room for few
    /// channels, only the machine knows.
    fn is_kept(&self, at: usize, machine: &Machine) -> bool {
        let topic = self.events[at].0;
        if self.unregistered[topic.1 as usize].is_some_and(|events| at < events) {
            return false;
        }
        if self.is_short && topic.0 > 0 {
            return machine.subscribers.history.has(at as u64 + 1);
        }
        self.events[at..].iter().filter(|(other, _)| *other == topic).count() <= KEPT
    }

    /// Whether it may not be known any more what a client with this position has missed in channels.
    fn may_be_forgotten(&self, position: usize, machine: &Machine) -> bool {
        let kept = |at: &usize| self.events[*at].0.0 > 0 && self.is_kept(*at, machine);
        let last = self.unregistered.iter().flatten().max();
        let is_unregistered = last.is_some_and(|last| position < *last);
        self.is_short
            || is_unregistered
            || (0..self.events.len()).find(kept).is_none_or(|oldest| position < oldest)
    }

    fn come(
        &mut self,
        (channels, types): (Channels, Vec<TypeId>),
        answers: Vec<Answer>,
        from: &From,
        machine: &mut Machine,
    ) {
        let mut client = Client {
            wire: Scripted::default(),
            channels,
            types,
            expected: String::new(),
            takes_all: answers.is_empty(),
            came: self.events.len(),
            replays: !matches!(from, From::Now),
            to_come: String::new(),
            ended: false,
            is_each: matches!(from, From::Each),
        };
        let wanted: Vec<usize> =
            (0..self.events.len()).filter(|&at| client.wants(self.events[at].0)).collect();
        let mut kept: Vec<usize> =
            wanted.iter().copied().filter(|&at| self.is_kept(at, machine)).collect();
        // Behind as many events as there are beyond the last ones.
        let before_last = |count: usize| {
            let dropped = wanted.iter().rfind(|&at| !kept.contains(at));
            let oldest = kept.first().copied().unwrap_or(self.events.len());
            let all = dropped.map_or(0, |at| at + 1).min(oldest);
            kept.len().checked_sub(count.saturating_add(1)).map_or(all, |at| kept[at] + 1)
        };
        let mut resume = Resume::default();
        let mut position = self.events.len();
        let mut missed = false;
        match from {
            From::Now => {}
            From::Last(count) => {
                resume.replay = Replay::Last(*count);
                if *count > 0 {
                    position = before_last(*count);
                }
            }
            From::Each => {
                resume.replay = Replay::Each;
                position = before_last(usize::MAX);
                let topic = |at: &usize| self.events[*at].0;
                let all = kept.clone();
                kept.retain(|at| all.iter().rfind(|other| topic(other) == topic(at)) == Some(at));
            }
            From::Client(number) => {
                let earlier = self.clients.get(number % self.clients.len().max(1));
                resume.last_event_id = earlier.and_then(Client::last_id);
                if let Some(id) = &resume.last_event_id {
                    position = id.strip_prefix("e-").expect("of this run").parse().expect("digits");
                    missed = wanted.iter().any(|at| *at >= position && !kept.contains(at));
                }
            }
            From::Unknown => {
                resume.last_event_id = Some("of another run".to_owned());
                (position, missed) = (0, true);
            }
        }
        client.wire = machine.arrive_as(
            client.subscribed(machine),
            resume.clone(),
            [Take(usize::MAX)].into_iter().chain(answers),
        );
        let begin = client.wire.received();
        // What it missed before may have been of a type with the name of one of its types.
        let last = self.unregistered.iter().flatten().max();
        let is_late = |kind: &TypeId| self.unregistered[*kind as usize].is_some();
        let is_late = client.types.iter().any(is_late) && last.is_some_and(|last| position < *last);
        if is_late || client.may_doubt() && self.may_be_forgotten(position, machine) {
            // It may be told of a gap where it has missed nothing, but not the other way round.
            missed |= resume.last_event_id.is_some() && begin.contains("event: stream-gap\n");
            let (id, _) = begin["hello\nid: e-".len()..].split_once('\n').expect("a line");
            let later: usize = id.parse().expect("digits");
            let next = kept.iter().find(|&&at| at >= position).copied();
            assert!((position..=next.unwrap_or(self.events.len())).contains(&later), "{later}");
            position = later;
        }
        client.expected = format!("hello\nid: e-{position}\n");
        if missed {
            let requested = resume.last_event_id.as_deref().unwrap_or_default();
            let oldest =
                kept.first().map_or_else(|| "null".to_owned(), |at| format!("\"e-{}\"", at + 1));
            client.expected += "event: stream-gap\n";
            let data = format!("{{\"requested\":\"{requested}\",\"oldest\":{oldest}}}");
            client.expected.extend(["data: ", &data, "\n\n"]);
        }
        for at in kept.into_iter().filter(|&at| at >= position) {
            client.expected.push_str(&self.events[at].1);
        }
        self.clients.push(client);
    }

    fn unregister(&mut self, kind: TypeId, machine: &mut Machine) {
        machine.subscribers.execute(
            Command::Unregister(Unregister { kind, used: TYPES, generation: 0 }),
            machine.now,
        );
        while machine.subscribers.drop_one() {}
        self.unregistered[kind as usize] = Some(self.events.len());
    }

    /// The client of this number, with its id, unless it has gone.
    fn present(&mut self, number: usize, machine: &Machine) -> Option<(u64, &mut Client)> {
        let at = number.checked_rem(self.clients.len())?;
        let id = at as u64;
        machine.registry.has(ClientId(id)).then(|| (id, &mut self.clients[at]))
    }

    fn send_to(&mut self, number: usize, machine: &mut Machine) {
        let text = format!("data: to one, after {}\n\n", self.events.len());
        if let Some((id, client)) = self.present(number, machine) {
            let later = is_replaying(id, machine);
            let to = if later { &mut client.to_come } else { &mut client.expected };
            to.push_str(&text);
            machine.send_to(id, &text);
        }
    }

    fn disconnect(&mut self, number: usize, machine: &mut Machine) {
        if let Some((id, client)) = self.present(number, machine) {
            client.ended = true;
            machine.disconnect(id);
        }
    }

    /// What comes after a replay is due when the replay has ended.
    fn settle(&mut self, machine: &mut Machine) {
        for (id, client) in (0..).zip(&mut self.clients) {
            if !client.to_come.is_empty() && !is_replaying(id, machine) {
                client.expected.push_str(&std::mem::take(&mut client.to_come));
            }
        }
    }

    /// The hooks learn of each client once that it has come, and then once that it has gone.
    fn check_notices(&self, machine: &Machine, hook_queue: &HookQueue) {
        hook_queue.close();
        let mut told: Vec<(bool, bool)> = Vec::new();
        while let Some(event) = hook_queue.next() {
            match event {
                HookEvent::Connected(client) => {
                    assert_eq!(client.id.0, told.len() as u64);
                    told.push((true, false));
                }
                HookEvent::Disconnected(ClientId(id), _) => {
                    let told = &mut told[usize::try_from(id).expect("it is small")];
                    assert_eq!(*told, (true, false));
                    told.1 = true;
                }
            }
        }
        let is_here = |id| machine.registry.has(ClientId(id));
        let expected = (0..).zip(&self.clients).map(|(id, _)| (true, !is_here(id)));
        assert_eq!(told, expected.collect::<Vec<_>>());
    }

    fn check(&mut self, machine: &mut Machine) {
        // From here on all sockets take everything.
        for client in &self.clients {
            client.wire.state().answers.clear();
        }
        machine.catch_up();
        self.settle(machine);
        while machine.subscribers.drop_one() {}
        let mut connected = 0;
        for client in &self.clients {
            let received = client.wire.received();
            // The broadcaster's half of the socket is dropped with the stream.
            if client.wire.is_shared() {
                connected += 1;
                assert!(client.has_all_of(&received), "{received:?}, not {:?}", client.expected);
            } else {
                let last = self.unregistered.iter().flatten().max();
                // Where there is room for few channels, one that others leave takes the place of what
                // is kept of another.
                let of_channels = client.may_doubt() || matches!(client.channels, Channels::All);
                let overtaken = client.replays
                    && (client.came < self.events.len()
                        || self.is_short && of_channels
                        || last.is_some_and(|at| *at >= client.came));
                let left = client.wire.state().closed;
                let has_all = client.takes_all && !client.replays;
                assert!(
                    left || overtaken || !client.takes_all || client.ended,
                    "no reason to end this stream"
                );
                assert!(!client.ended || left || !has_all || received == client.expected);
                let fits = client.is_each || client.expected.starts_with(&received);
                assert!(fits, "{received:?} does not begin {:?}", client.expected);
            }
        }
        assert_eq!(machine.registry.counts(), (connected, 0));
        assert_eq!(machine.subscribers.stats().behind, 0);
        assert_eq!(machine.subscribers.memory.bytes(), 0, "nothing waits any more");
    }
}

/// Whether events come to a client by way of the history.
fn is_replaying(id: u64, machine: &mut Machine) -> bool {
    let key = machine.registry.key(ClientId(id));
    let stream = key.and_then(|key| machine.subscribers.stream(key));
    stream.is_some_and(|stream| stream.is_replaying())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_client_receives_what_the_model_says(steps in steps(), is_short: bool) {
        let channels = if is_short { 1 } else { usize::MAX };
        let mut machine = Machine::keeping_channels(KEPT, channels, |limits| {
            (limits.mailbox_bytes, limits.mailboxes_bytes) = (2000, 20_000);
        });
        machine.has_chunks = true;
        let hook_queue = Arc::<HookQueue>::default();
        machine.subscribers.tell(Arc::clone(&hook_queue));
        let mut model = Model { is_short, ..Model::default() };
        for step in steps {
            match step {
                Step::Publish(topics) => model.publish(&topics, &mut machine),
                Step::Come { channels, types, answers, from } => {
                    model.come((channels, types), answers, &from, &mut machine);
                }
                Step::Go(number) => {
                    if let Some(client) = model.clients.get(number % model.clients.len().max(1)) {
                        client.wire.state().closed = true;
                    }
                }
                Step::SendTo(number) => model.send_to(number, &mut machine),
                Step::Disconnect(number) => model.disconnect(number, &mut machine),
                Step::Pass(millis) => machine.pass(Duration::from_millis(millis)),
                Step::Retry(times) => (0..times).for_each(|_| {
                    machine.subscribers.retry_one(machine.now);
                }),
                Step::Unregister(kind) => model.unregister(kind, &mut machine),
                Step::Sweep => {
                    machine.sweep();
                    while machine.subscribers.drop_one() {}
                }
            }
            model.settle(&mut machine);
        }
        model.check(&mut machine);
        model.check_notices(&machine, &hook_queue);
    }
}
