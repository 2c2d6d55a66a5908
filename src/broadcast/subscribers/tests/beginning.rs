//! What a stream begins with: the response head, its first lines, a gap, what it has missed.

use proptest::{collection, prelude::*};

use super::*;

/// A client that comes back, of which each write takes what its socket says.
#[derive(Debug)]
struct Comes {
    head: usize,
    chunked: bool,
    position: usize,
    is_known: bool,
    answers: Vec<Answer>,
}

fn comes() -> impl Strategy<Value = Comes> {
    let answer = prop_oneof![
        1 => Just(Fail(std::io::ErrorKind::ConnectionReset)),
        4 => Just(BLOCK),
        2 => Just(Take(1)),
        9 => (1..400_usize).prop_map(Take),
    ];
    let answers = collection::vec(answer, 0..12);
    (0..40_usize, any::<bool>(), 0..150_usize, any::<bool>(), answers).prop_map(
        |(head, chunked, position, is_known, answers)| Comes {
            head,
            chunked,
            position,
            is_known,
            answers,
        },
    )
}

/// Each stream that is behind has one retry, and the others have none.
fn check_retries(machine: &Machine) {
    let Subscribers { table, behind, stats, .. } = &machine.subscribers;
    let mut are_behind = 0;
    for (key, subscriber) in (0..).zip(table) {
        let Some(Subscriber { sink: Sink::Stream(stream), .. }) = subscriber else { continue };
        let at = stream.retry_at();
        let is_its = |&&Reverse((due, of)): &&Reverse<(Instant, Key)>| of == key && Some(due) == at;
        let retries = behind.retries.iter().filter(is_its).count();
        assert_eq!(retries, usize::from(at.is_some()));
        are_behind += retries;
    }
    assert_eq!(stats.behind, are_behind);
}

proptest! {
    #[test]
    fn it_comes_first_and_then_each_event_once_whatever_the_socket_takes(
        kept in collection::vec(1..300_usize, 0..150),
        client in comes(),
        steps in collection::vec(0..4_u8, 0..12),
    ) {
        let Comes { head, chunked, position, is_known, answers } = client;
        let is_reset = |answer: &Answer| matches!(answer, Fail(kind) if *kind != WOULD_BLOCK);
        let fails = answers.iter().any(is_reset);
        let mut machine = Machine::keeping(1024, |limits| limits.mailbox_bytes = 1 << 30);
        let mut events: Vec<String> = Vec::new();
        let mut publish = |machine: &mut Machine, size: usize| {
            let lines = format!("data: {}\n", "x".repeat(size));
            machine.deliver(&[(0, &*lines)]);
            events.push(format!("{lines}id: e-{}\n\n", events.len() + 1));
        };
        for &size in &kept {
            publish(&mut machine, size);
        }

        let position = if is_known { position.min(kept.len()) } else { 0 };
        let id = if is_known { format!("e-{position}") } else { "unknown".to_owned() };
        let resume = Resume { last_event_id: Some(id), ..Resume::default() };
        let wire = Scripted::new(answers);
        let seat = machine.registry.register(Kind::Stream, Subscribed::all_types(), None);
        let seat = seat.expect("room");
        let id = seat.id;
        let head = "H".repeat(head);
        let arrival = Arrival {
            seat,
            head: head.clone().into_bytes(),
            preamble: "hello\n".to_owned(),
            form: Form {
                coding: if chunked { Coding::Chunked } else { Coding::Plain },
                ..Form::default()
            },
            resume,
            via: Via::Wire(wire.clone()),
        };
        machine.subscribers.admit(arrival, machine.now);
        check_retries(&machine);
        for step in steps {
            match step {
                0 => publish(&mut machine, 5),
                1 => drop(machine.subscribers.retry_one(machine.now)),
                _ => {
                    machine.pass(Duration::from_millis(3));
                    machine.sweep();
                }
            }
            check_retries(&machine);
        }
        machine.catch_up();
        check_retries(&machine);
        if machine.registry.has(id) {
            prop_assert!(wire.state().received.starts_with(head.as_bytes()));
            wire.state().received.drain(..head.len());
            wire.state().chunked = chunked;
            let received = wire.received();
            let first = format!("hello\nid: e-{position}\n");
            let mut rest = received.strip_prefix(&*first).expect("first lines");
            if !is_known {
                prop_assert!(rest.starts_with("event: stream-gap\n"));
                rest = rest.split_once("\n\n").expect("the gap's end").1;
            }
            prop_assert_eq!(rest, events[position..].concat());
        } else {
            prop_assert!(fails);
        }
        machine.disconnect(id.0);
        while machine.subscribers.drop_one() {}
        prop_assert_eq!(machine.subscribers.memory.bytes(), 0);
    }
}

#[test]
fn a_full_slice_of_what_was_missed_is_in_the_first_write() {
    let writes = [64, 65].map(|missed| {
        let mut machine = Machine::keeping(1024, |_| {});
        (0..missed).for_each(|_| machine.deliver(&[(0, "data: x\n")]));
        let resume = Resume { last_event_id: Some("e-0".to_owned()), ..Resume::default() };
        let wire = machine.arrive(&[0], resume, []);
        machine.catch_up();
        wire.state().writes
    });
    assert_eq!(writes, [1, 2]);
}
