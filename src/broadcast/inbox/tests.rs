//! Unit tests of the inbox.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use super::*;
use crate::{
    broadcast::client::ClientId,
    message::frame::{Encoded, Frame},
};

fn inbox(messages: usize) -> Arc<Inbox> {
    Arc::new(Inbox::new(QueueLimits { messages, bytes: 1000 }, 100))
}

fn event(bytes: usize) -> Queued {
    Queued { kind: 0, encoded: Encoded::raw(&vec![b'x'; bytes - 1]) }
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
    assert_eq!(refused, Some(PublishError::OnBroadcaster));
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
        state.accepted += 1;
        state.queue.push(&mut event(bytes));
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
    assert_eq!(refused, Err(PublishError::ShutDown));
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
        inbox.stop(Instant::now());
        assert!(!inbox.answers(soon()), "it is stopped");
        broadcaster.join().expect("it does not panic");
    }
    let inbox = inbox(1);
    assert!(!inbox.answers(soon()), "it has not begun");
    let (done, wait) = mpsc::channel::<()>();
    let hangs = start(&inbox, move |_| wait.recv());
    assert!(!inbox.answers(soon()), "it hangs");
    drop(done);
    hangs.join().expect("it does not panic").expect_err("nothing is sent");
}

#[test]
fn what_is_for_one_client_waits_among_the_events_and_takes_of_their_room() {
    let inbox = inbox(4);
    let (done, wait) = mpsc::channel::<()>();
    let broadcaster = start(&inbox, move |_| wait.recv());
    let send = || Command::Send(ClientId(0), Frame::from_bytes(&[b'x'; 60]));
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
    // Bytes count together.
    assert!(inbox.try_publish(event(950)).is_ok());
    assert!(matches!(inbox.try_publish(event(60)), Err(Refused::Full)));
    drop(done);
    broadcaster.join().expect("it does not panic").expect_err("nothing is sent");
}
