//! Channels, and types that go.

use super::*;

fn channels() -> (Arc<ChannelTable>, [Channel; 3]) {
    let table = Arc::<ChannelTable>::default();
    let channels = ["a", "b", "c"].map(|name| table.get(name, 9).expect("room"));
    (table, channels)
}

/// To all types in this channel.
fn of(channel: &Channel) -> Subscribed {
    Subscribed { channels: Listened::new(false, vec![channel.clone()]), types: Types::All }
}

fn publish_to(history: &mut History, channel: &Channel) {
    history.record(Some(channel), 0, None, b"data: x\n");
}

#[test]
fn a_channel_is_known_while_its_clients_may_come_back() {
    let (table, [a, b, c]) = channels();
    let mut history = history(2, MUCH, MUCH);
    // Of each but the first something was dropped.
    history.enter(&a);
    for channel in [&b, &b, &b, &c, &c, &c] {
        publish_to(&mut history, channel);
    }
    let (id, left) = (history.id_of(6).expect("it is on"), of(&a));
    history.leave(&a);
    assert_eq!(history.position_of(&left, &id), Some(6));
    // The history reaches back to when its client left, and a little further.
    publish_to(&mut history, &b);
    assert!(!history.has_gap(&left, 6, 0) && !history.has_gap(&left, 0, 0));
    drop(a);
    assert_eq!(table.len(), 3, "the history knows it");
    for channel in [&b, &c, &c] {
        publish_to(&mut history, channel);
    }
    drop(left);
    assert_eq!(table.len(), 2, "it does not any more");
    let a = table.get("a", 9).expect("room");
    // Whether there was something cannot be known.
    assert!(!history.has_gap(&of(&a), 6, 0));
    assert_eq!([2, 3].map(|position| history.has_gap(&of(&b), position, 0)), [true, false]);
    assert_eq!([5, 6].map(|position| history.has_gap(&of(&c), position, 0)), [true, false]);
}

#[test]
fn what_was_forgotten_is_a_gap_and_not_a_loss() {
    let (table, [a, b, c]) = channels();
    let mut history = history(1, MUCH, MUCH);
    history.limits.channels = 1;
    publish_to(&mut history, &a);
    let position = history.newest();
    publish_to(&mut history, &a);
    // There is room for one: the others go with what is kept.
    publish_to(&mut history, &b);
    publish_to(&mut history, &c);
    assert_eq!(read(&history, &of(&a), 0), <[&str; 0]>::default());
    for again in 0..2 {
        assert!(history.has_gap(&of(&a), position, 0), "{again}");
        assert!(!history.has_gap(&of(&a), position + 2, 0), "{again}");
        // Known again or not, what it was is not.
        history.enter(&a);
    }
    assert!(!history.has_gap(&of(&c), position + 2, 0));
    assert_eq!(read(&history, &of(&c), 0).len(), 1);
    history.leave(&a);
    (history.limits.channels, _) = (0, (a, b, c));
    history.fit();
    assert_eq!((history.bytes, history.unlistened, table.len()), (0, 0, 0));
}

#[test]
fn channels_take_of_the_memory_and_give_it_back() {
    let table = Arc::<ChannelTable>::default();
    let mut history = history(MUCH, MUCH, 20_000);
    for round in 0..3 {
        for number in 0..1000 {
            let channel = table.get(&format!("{round}/{number}"), 9999).expect("room");
            publish_to(&mut history, &channel);
            assert!(history.bytes <= 20_000);
        }
        // Each takes some hundred bytes.
        assert!((20..100).contains(&table.len()), "{} are left", table.len());
        let logs = history.topics.ids().map(|id| history.topics.get(id).memory());
        let known = history.topics.unlistened().map(ChannelLogs::memory).sum::<usize>();
        assert_eq!(history.bytes, logs.sum::<usize>() + known);
    }
}

#[test]
fn of_each_log_the_last_event_is_read_and_then_all_that_follow() {
    let (_table, [a, b, _]) = channels();
    let mut history = history(MUCH, MUCH, MUCH);
    let all = Subscribed { channels: Listened::All, types: Types::Named(vec![0, 1].into()) };
    for (channel, kind) in [(None, 0), (Some(&a), 0), (Some(&a), 1), (Some(&b), 2), (Some(&a), 1)] {
        history.record(channel, kind, None, b"data: x\n");
    }
    let until = history.newest();
    history.record(None, 0, None, b"data: x\n");
    let read = |subscribed: &Subscribed, last_until, position| {
        let mut sequences = Vec::new();
        let wanted = Wanted { subscribed, last_until };
        history.read(wanted, position, &mut |found| {
            sequences.push(found.place.1);
            true
        });
        sequences
    };
    assert_eq!(read(&all, until, 0), [1, 2, 5, 6]);
    assert_eq!(read(&all, 0, 0), [1, 2, 3, 5, 6]);
    assert_eq!(read(&of(&a), until, 0), [2, 5]);
    assert_eq!(read(&of(&a), until, 2), [5]);
    assert_eq!(read(&Subscribed::all_types(), history.newest(), 0), [6]);
}

#[test]
fn what_is_kept_of_a_type_that_was_unregistered_goes_in_small_pieces() {
    let (_table, [a, ..]) = channels();
    let mut history = history(MUCH, MUCH, MUCH);
    for _ in 0..100 {
        for (channel, kind) in [(None, 0), (None, 1), (Some(&a), 0), (Some(&a), 1)] {
            history.record(channel, kind, None, b"data: x\n");
        }
    }
    let (before, memory) = (history.newest(), history.bytes);
    history.unregister(1, 2);
    assert!(history.has_unregistered());
    let mut pieces = 0;
    let mut done = Vec::new();
    let kept = |history: &History| history.common.order.len() + history.channels.order.len();
    let mut left = kept(&history);
    while history.clear_some(|kind| done.push(kind)) {
        let now = kept(&history);
        assert!(left - now <= 64, "{} at once", left - now);
        left = now;
        pieces += 1;
    }
    assert_eq!((done, history.has_unregistered()), (vec![1], false));
    assert!(pieces > 3 && history.bytes < memory * 2 / 3, "{pieces}, {}", history.bytes);
    let all = Subscribed { channels: Listened::All, types: Types::All };
    assert_eq!(read(&history, &all, 0).len(), 200);
    // Clients that missed some of it learn of a gap, and no others.
    assert!(history.has_gap(&all, before - 1, 0) && !history.has_gap(&types(&[0]), 0, 0));
    // A type that has its number now may have its name too.
    assert!(
        history.has_gap(&types(&[1]), before - 1, 0) && !history.has_gap(&types(&[1]), before, 0)
    );
    assert!(history.has_gap(&types(&[2]), before - 1, 0), "so may one that came later");
    // From when it is seen on, nothing of its name is lost by others that are unregistered.
    history.see(&types(&[2]).types);
    history.record(None, 0, None, b"data: x\n");
    history.unregister(3, 4);
    assert!(
        history.has_gap(&types(&[2]), before - 1, 0) && !history.has_gap(&types(&[2]), before, 0)
    );
    history.record(None, 1, None, b"data: x\n");
    assert!(history.has_gap(&types(&[1]), before - 1, 0));
    assert_eq!(read(&history, &types(&[1]), before).len(), 1);
}

/// To all types in these three channels: more than are looked at one by one here.
fn of_three(common: bool, channels: &[Channel; 3]) -> Subscribed {
    Subscribed { channels: Listened::new(common, channels.to_vec()), types: Types::All }
}

#[test]
fn what_events_of_other_channels_are_called_is_not_told() {
    let (table, channels) = channels();
    let other = table.get("other", 9).expect("room");
    let mut history = history(MUCH, MUCH, MUCH);
    for number in 0..5000 {
        let id = EventId::new(format!("secret-{number}")).expect("a good id");
        history.record(Some(&other), 0, Some(&id), b"data: x\n");
    }
    for channel in &channels {
        publish_to(&mut history, channel);
    }
    let oldest = history.oldest_id(&of_three(false, &channels)).expect("something is kept");
    assert!(oldest.starts_with("e-"), "{oldest}");
    assert_eq!(history.oldest_id(&of(&channels[0])).as_deref(), Some("e-5001"));
}

#[test]
fn of_rare_events_no_more_than_asked_for_are_read() {
    let (table, channels) = channels();
    let other = table.get("other", 9).expect("room");
    let mut history = history(MUCH, MUCH, MUCH);
    (0..5).for_each(|_| publish(&mut history, 0, "data: common", None));
    (0..10).for_each(|_| channels.iter().for_each(|channel| publish_to(&mut history, channel)));
    (0..5000).for_each(|_| publish_to(&mut history, &other));
    let subscribed = of_three(true, &channels);
    let mut position = history.position_before_last(&subscribed, 3);
    let mut events = 0;
    while position < history.newest() {
        position = history.read(wanted(&subscribed), position, &mut |_| {
            events += 1;
            true
        });
    }
    assert!(events <= 3, "{events}");
}
