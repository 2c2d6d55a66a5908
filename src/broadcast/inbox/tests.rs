//! Unit tests of the inbox.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use super::*;
use crate::{
    broadcast::{
        arrival::{Form, Resume, Via},
        client::ClientId,
        options::Options,
        registry::{Kind, Registry},
        shared::Shared,
    },
    message::{
        Message,
        channels::Channels,
        frame::{Encoded, Frame},
        subscribed::Subscribed,
    },
};

fn inbox(messages: usize) -> Arc<Inbox> {
    Arc::new(Inbox::new(QueueLimits { messages, bytes: 1000 }, 100, Generation::default()))
}

fn event(bytes: usize) -> Queued {
    Queued { channel: None, kind: 0, generation: 0, encoded: Encoded::raw(&vec![b'x'; bytes - 1]) }
}

/// Starts the inbox with a broadcaster that runs `work`.
fn start<T: Send + 'static>(
    inbox: &Arc<Inbox>,
    work: impl FnOnce(&Inbox) -> T + Send + 'static,
) -> JoinHandle<T> {
    let shared = Arc::clone(inbox);
    let started = inbox.start(|| Ok(thread::spawn(move || work(&shared))));
    started.expect("it is new").expect("threads can be had")
}

fn take(inbox: &Inbox) -> Taken {
    let mut taken = Taken::default();
    inbox.take(Wait::No, true, &mut taken);
    taken
}

#[test]
fn the_broadcaster_itself_is_told_not_to_publish() {
    let inbox = inbox(10);
    let broadcaster = start(&inbox, |inbox| inbox.publish(event(10)).err());
    let refused = broadcaster.join().expect("it does not panic");
    assert!(matches!(refused, Some(Refused::Never(PublishError::OnBroadcaster))), "{refused:?}");
}

#[test]
fn the_queue_is_bounded_in_messages_and_in_bytes_but_one_always_fits() {
    for (messages, bytes, fits) in [(3, 10, 3), (100, 300, 3), (0, 10, 1), (100, 5000, 1)] {
        let inbox = inbox(messages);
        let (done, wait) = mpsc::channel::<()>();
        let broadcaster = start(&inbox, move |_| wait.recv());
        let accepted = (0..10).take_while(|_| inbox.try_publish(event(bytes)).is_ok());
        assert_eq!(accepted.count(), fits, "{messages} messages of {bytes} bytes");
        drop(done);
        broadcaster.join().expect("it does not panic").expect_err("nothing is sent");
    }
}

#[test]
fn a_batch_ends_before_it_is_too_large() {
    let inbox = inbox(10);
    let broadcaster = start(&inbox, |inbox| {
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 5 {
            sizes.push(take(inbox).batch.len());
        }
        sizes.retain(|&size| size > 0);
        sizes
    });
    let mut state = inbox.state.lock();
    for bytes in [40, 50, 20, 500, 10] {
        state.push(&mut event(bytes));
    }
    drop(state);
    assert_eq!(broadcaster.join().expect("it does not panic"), [2, 1, 1, 1]);
}

#[test]
fn a_publisher_that_waits_goes_on_with_room_and_ends_with_the_server() {
    let inbox = inbox(1);
    let (step, steps) = mpsc::channel::<()>();
    let broadcaster = start(&inbox, move |inbox| {
        steps.recv().expect("the first step");
        assert_eq!(take(inbox).batch.len(), 1);
        steps.recv().expect("the second step");
        inbox.stopped()
    });
    assert!(inbox.publish(event(10)).is_ok());
    let blocked = || {
        let publisher = Arc::clone(&inbox);
        let publisher = thread::spawn(move || publisher.publish(event(10)));
        while inbox.state.lock().blocked == 0 {
            thread::yield_now();
        }
        publisher
    };
    let first = blocked();
    step.send(()).expect("the broadcaster waits for it");
    assert!(first.join().expect("it does not panic").is_ok());
    let second = blocked();
    inbox.stop(Instant::now() + Duration::from_secs(5));
    let refused = second.join().expect("it does not panic");
    assert!(matches!(refused, Err(Refused::Never(PublishError::ShutDown))), "{refused:?}");
    step.send(()).expect("the broadcaster waits for it");
    assert_eq!(broadcaster.join().expect("it does not panic"), 1, "one was left in the queue");
}

#[test]
fn the_broadcaster_answers_when_it_comes_for_more_and_there_is_room() {
    let come = |accept| {
        move |inbox: &Inbox| {
            let mut taken = Taken::default();
            while taken.stop.is_none() {
                inbox.take(Wait::Forever, accept, &mut taken);
                taken.batch.clear();
            }
        }
    };
    let soon = || Instant::now() + Duration::from_millis(50);
    for (accept, fill, answers) in [(true, 1, true), (false, 0, true), (false, 1, false)] {
        let inbox = inbox(1);
        let broadcaster = start(&inbox, come(accept));
        for _ in 0..fill {
            assert!(inbox.publish(event(10)).is_ok());
        }
        let until = if answers { Instant::now() + Duration::from_secs(5) } else { soon() };
        assert_eq!(inbox.answers(until), answers, "accepts: {accept}, queued: {fill}");
        let until = Instant::now() + Duration::from_secs(5);
        assert!(inbox.is_alive(until), "accepts: {accept}, queued: {fill}");
        inbox.stop(Instant::now());
        assert!(!inbox.answers(soon()) && !inbox.is_alive(soon()), "it is stopped");
        broadcaster.join().expect("it does not panic");
    }
    let inbox = inbox(1);
    assert!(!inbox.answers(soon()) && !inbox.is_alive(soon()), "it has not begun");
    let (done, wait) = mpsc::channel::<()>();
    let hangs = start(&inbox, move |_| wait.recv());
    assert!(!inbox.answers(soon()) && !inbox.is_alive(soon()), "it hangs");
    drop(done);
    hangs.join().expect("it does not panic").expect_err("nothing is sent");
}

#[test]
fn what_is_for_one_client_waits_among_the_events_and_takes_of_their_room() {
    let inbox = inbox(4);
    let (done, wait) = mpsc::channel::<()>();
    let broadcaster = start(&inbox, move |_| wait.recv());
    let send = || Command::Send(ClientId(0), Frame::from_block(&[b'x'; 60]));
    let publish = || inbox.try_publish(event(60));
    assert!(publish().is_ok() && inbox.command(send()).is_ok() && publish().is_ok());
    assert!(inbox.command(Command::Disconnect(ClientId(0))).is_ok());
    assert!(matches!(publish(), Err(Refused::Full)), "four wait already");
    assert_eq!(inbox.queued(), 4);
    let mut taken = Taken::default();
    inbox.take(Wait::No, false, &mut taken);
    assert!(taken.commands.is_empty() && !taken.drained, "nothing is taken but with the events");
    // A batch holds one event of this size.
    let mut take = || {
        inbox.take(Wait::No, true, &mut taken);
        let commands = taken.commands.drain(..).map(|(before, command)| (before, command.bytes()));
        (taken.events, commands.collect::<Vec<_>>(), taken.drained)
    };
    assert_eq!(take(), (1, vec![(1, 60)], false));
    assert_eq!(take(), (2, vec![(2, 0)], true));
    // Bytes count together, whichever were first.
    assert!(inbox.command(Command::Send(ClientId(0), Frame::from_block(&[b'x'; 600]))).is_ok());
    assert!(inbox.try_publish(event(300)).is_ok());
    assert!(matches!(inbox.try_publish(event(101)), Err(Refused::Full)));
    assert!(inbox.try_publish(event(100)).is_ok());
    (0..2).for_each(|_| inbox.take(Wait::No, true, &mut taken));
    taken.commands.clear();
    assert!(inbox.try_publish(event(950)).is_ok());
    assert!(matches!(inbox.try_publish(event(60)), Err(Refused::Full)));
    drop(done);
    broadcaster.join().expect("it does not panic").expect_err("nothing is sent");
}

fn arrival(registry: &Arc<Registry>) -> Arrival<Socket> {
    let seat = registry.register(Kind::Subscription, Subscribed::all_types(), None).expect("room");
    let (resume, via) = (Resume::default(), Via::Local(Arc::default()));
    Arrival { seat, head: Vec::new(), preamble: String::new(), form: Form::default(), resume, via }
}

/// An inbox whose broadcaster runs, and does nothing until it may end.
fn idle(messages: usize) -> (Arc<Inbox>, impl FnOnce()) {
    let inbox = inbox(messages);
    let (done, wait) = mpsc::channel::<()>();
    let broadcaster = start(&inbox, move |_| wait.recv());
    let end = move || {
        drop(done);
        broadcaster.join().expect("it does not panic").expect_err("nothing is sent");
    };
    (inbox, end)
}

#[test]
fn what_is_accepted_depends_on_the_phase_alone() {
    let registry = Registry::new(10);
    let inbox = inbox(10);
    assert_eq!(inbox.accepts(), Err(PublishError::NotRunning));
    assert_eq!(inbox.arrive(arrival(&registry)), Err(SubscribeError::ShutDown));
    assert!(!inbox.is_own_thread());
    let (told, tells) = mpsc::channel();
    let broadcaster = start(&inbox, move |inbox| {
        told.send((inbox.accepts(), inbox.is_own_thread())).expect("it is asked for");
        let mut taken = Taken::default();
        while taken.stop.is_none() {
            inbox.take(Wait::Forever, true, &mut taken);
        }
        (taken.arrivals.len(), inbox.stopped(), inbox.is_own_thread())
    });
    assert_eq!(tells.recv(), Ok((Ok(()), true)));
    assert_eq!((inbox.accepts(), inbox.is_own_thread()), (Ok(()), false));
    assert_eq!(inbox.arrive(arrival(&registry)), Ok(()));
    assert_eq!(registry.counts(), (0, 1), "of those that were refused none has a seat");
    inbox.stop(Instant::now());
    assert_eq!(inbox.accepts(), Err(PublishError::ShutDown));
    assert_eq!(broadcaster.join().expect("it does not panic"), (1, 0, false));
    assert_eq!(inbox.arrive(arrival(&registry)), Err(SubscribeError::ShutDown));
    assert_eq!(registry.counts(), (0, 0));
}

#[test]
fn the_broadcaster_waits_just_while_there_is_nothing_for_it() {
    type Put = fn(&Inbox);
    let nothing: Put = |_| {};
    let publish: Put = |inbox| assert!(inbox.try_publish(event(10)).is_ok());
    let arrive: Put = |inbox| assert!(inbox.arrive(arrival(&Registry::new(1))).is_ok());
    let stop: Put = |inbox| inbox.stop(Instant::now());
    // Whether it accepts events, and knows that it is to stop.
    for (what, put, accept, stopping, waits) in [
        ("nothing", nothing, true, false, true),
        ("an event", publish, true, false, false),
        ("an event that it does not want", publish, false, false, true),
        ("an event at the end", publish, true, true, false),
        ("a client", arrive, true, false, false),
        ("a client, while it takes no events", arrive, false, false, false),
        ("a ring", Inbox::ring, true, false, false),
        ("a ring, while it takes no events", Inbox::ring, false, false, false),
        ("the order to stop", stop, true, false, false),
        ("the order to stop, which it knows", stop, true, true, true),
    ] {
        let (inbox, end) = idle(10);
        put(&inbox);
        let until = Instant::now() + Duration::from_millis(if waits { 30 } else { 10_000 });
        let mut taken = Taken::default();
        if stopping {
            taken = Taken::stopping(until);
        }
        inbox.take(Wait::Until(until), accept, &mut taken);
        assert_eq!(Instant::now() >= until, waits, "with {what}");
        end();
    }
    // And it is woken while it waits.
    for put in [publish, arrive, Inbox::ring, stop] {
        let inbox = inbox(10);
        let until = Instant::now() + Duration::from_secs(10);
        let broadcaster = start(&inbox, move |inbox| {
            inbox.take(Wait::Until(until), true, &mut Taken::default());
            Instant::now() < until
        });
        put(&inbox);
        assert!(broadcaster.join().expect("it does not panic"), "it slept on");
    }
}

#[test]
fn what_was_taken_is_told_and_makes_room() {
    let (inbox, end) = idle(3);
    assert_eq!(inbox.batch_bytes, 100);
    let send = || Command::Send(ClientId(0), Frame::from_block(&[b'x'; 60]));
    let mut taken = Taken::default();
    inbox.take(Wait::No, true, &mut taken);
    assert!(taken.drained && !taken.emptied, "it was empty before");
    // Only what is for one client, and somebody waits for room.
    for _ in 0..3 {
        assert!(inbox.command(send()).is_ok());
    }
    assert_eq!(inbox.state.lock().command_bytes, 180);
    let waits = {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || inbox.publish(event(70)).is_ok())
    };
    while inbox.state.lock().blocked == 0 {
        thread::yield_now();
    }
    inbox.take(Wait::No, true, &mut taken);
    assert_eq!((taken.commands.len(), taken.batch.len()), (3, 0));
    assert!(waits.join().expect("it does not panic"));
    assert_eq!(inbox.state.lock().blocked, 0);
    assert_eq!(inbox.state.lock().command_bytes, 0);
    assert!(inbox.try_publish(event(70)).is_ok());
    for (events, emptied) in [(1, false), (2, true)] {
        inbox.take(Wait::No, true, &mut taken);
        assert_eq!((taken.batch.len(), taken.drained, taken.emptied), (events, emptied, emptied));
    }
    end();
}

#[test]
fn who_asked_for_a_sign_waits_no_longer() {
    let (inbox, end) = idle(10);
    assert!(!inbox.answers(Instant::now() + Duration::from_millis(20)), "nobody takes anything");
    assert_eq!(inbox.state.lock().blocked, 0);
    let asks = {
        let inbox = Arc::clone(&inbox);
        thread::spawn(move || inbox.answers(Instant::now() + Duration::from_secs(10)))
    };
    while inbox.state.lock().blocked == 0 {
        thread::yield_now();
    }
    inbox.take(Wait::No, true, &mut Taken::default());
    assert!(asks.join().expect("it does not panic"));
    assert_eq!(inbox.state.lock().blocked, 0);
    end();
}

#[test]
fn those_that_come_while_an_event_waits_for_room_are_counted_as_its_listeners() {
    let options = Options { queue: QueueLimits { messages: 1, bytes: 1000 }, ..Options::default() };
    let shared = Shared::new(options);
    shared.register_types(&["a"]).expect("a good name");
    let (done, wait) = mpsc::channel::<()>();
    let hangs = start(&shared.inbox, move |_| wait.recv());
    for channel in ["", "one"] {
        let named = Channels::new([channel]).expect("a good name");
        let publish = || shared.publish(&Message::new("x").event("a").channel(channel));
        let register = || shared.register(Kind::Subscription, ["a"], &named, None);
        assert_eq!(publish().map(|it| it.listeners()), Ok(0), "there is room");
        let (listeners, _seat) = thread::scope(|scope| {
            let waits = scope.spawn(publish);
            while shared.inbox.state.lock().blocked == 0 {
                thread::yield_now();
            }
            let seat = register().expect("there is room for it");
            take(&shared.inbox);
            (waits.join().expect("it does not panic").map(|it| it.listeners()), seat)
        });
        assert_eq!(listeners, Ok(1), "{channel:?}");
        take(&shared.inbox);
    }
    drop(done);
    hangs.join().expect("it does not panic").expect_err("nothing is sent");
}

#[test]
fn what_is_left_at_the_end_is_counted() {
    let (inbox, end) = idle(10);
    let registry = Registry::new(10);
    for _ in 0..2 {
        assert!(inbox.try_publish(event(10)).is_ok());
    }
    assert!(inbox.command(Command::Disconnect(ClientId(0))).is_ok());
    assert_eq!(inbox.arrive(arrival(&registry)), Ok(()));
    assert_eq!((inbox.stopped(), inbox.queued()), (3, 0));
    assert_eq!(registry.counts(), (0, 0), "nobody will serve it");
    assert_eq!(inbox.stopped(), 0);
    end();
}

#[test]
fn a_question_is_answered_or_dropped_with_the_broadcaster() {
    let (inbox, end) = idle(10);
    let ask = || {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let (subscribed, last_event_id) = (Arc::new(Subscribed::all_types()), "e-1".to_owned());
        inbox.ask(Question::Lacks { subscribed, last_event_id, is_checked: true, answer });
        answered
    };
    let answered = ask();
    let mut taken = Taken::default();
    // Also while it takes no events, and after it was told to stop.
    inbox.take(Wait::Forever, false, &mut taken);
    #[allow(irrefutable_let_patterns, reason = "some logs ask other questions too")]
    let Question::Lacks { answer, .. } = taken.questions.remove(0) else {
        panic!("nothing else was asked")
    };
    assert!(answer.send(Ok(())).is_ok());
    assert_eq!(answered.recv(), Ok(Ok(())));
    let (left, late) = {
        let left = ask();
        inbox.stopped();
        (left, ask())
    };
    assert!(left.recv().is_err(), "it was in the inbox at the end");
    assert!(late.recv().is_err(), "there is no broadcaster any more");
    end();
}
