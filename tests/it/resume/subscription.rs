//! Coming back within the program.

use websse::{Frame, Subscription};

use super::{hub, hub_with};
use support::SOON;
use support::resume::{first, gap_in, parts, publish};
use support::sse::{Block, Item, Parser};

/// The blocks of a subscription up to the event with this data.
#[track_caller]
fn blocks_to(subscription: &mut Subscription, last: &str) -> Vec<Block> {
    let (mut parser, mut blocks) = (Parser::default(), Vec::new());
    loop {
        parser.feed(subscription.recv_timeout(SOON).unwrap().as_bytes());
        while let Some(item) = parser.item() {
            if let Item::Block(block) = item {
                let is_last = block.data.as_deref() == Some(last);
                blocks.push(block);
                if is_last {
                    return blocks;
                }
            }
        }
    }
}

#[test]
fn a_subscription_comes_back_likewise() {
    let hub = hub_with(|builder| builder.history_events(4));
    let start = first(&hub, "").position.unwrap();
    let run = parts(&start).0;
    publish(&hub, &[("a", "1"), ("a", "2"), ("b", "3"), ("rare", "4"), ("a", "5"), ("b", "6")]);
    let last = format!("{run}-2");
    let types = || hub.server.subscription(["a", "b"]);
    let subscriptions = [
        ("none", types().open(), &[][..]),
        ("an id", types().last_event_id(&last).open(), &["3", "5", "6"]),
        ("an id and a number", types().last_event_id(&last).replay(1).open(), &["3", "5", "6"]),
        ("a number", types().replay(2).open(), &["5", "6"]),
        ("a large number", types().replay(9).open(), &["1", "2", "3", "5", "6"]),
    ];
    publish(&hub, &[("a", "live")]);
    for (name, subscription, expected) in subscriptions {
        let blocks = blocks_to(&mut subscription.unwrap(), "live");
        let mut back = types().last_event_id(blocks[0].id.clone().unwrap()).open().unwrap();
        for (blocks, name) in [(&blocks, name), (&blocks_to(&mut back, "live"), "back")] {
            let data: Vec<_> = blocks.iter().filter_map(|block| block.data.as_deref()).collect();
            assert_eq!(data, [expected, &["live"]].concat(), "{name}");
        }
    }
    // One of `a` is dropped now.
    publish(&hub, &[("a", "8")]);
    for (id, kept) in [(&*start, &["2", "3", "5", "6", "live", "8"][..]), (r#"no"body's"#, &["2"])]
    {
        let mut subscription = types().last_event_id(id).open().unwrap();
        let blocks = blocks_to(&mut subscription, kept[kept.len() - 1]);
        assert_eq!(gap_in(&blocks[1]), (id.to_owned(), Some(last.clone())));
        let data: Vec<_> = blocks[2..].iter().filter_map(|block| block.data.as_deref()).collect();
        assert_eq!(data, kept);
    }
}

#[test]
fn a_gap_is_the_first_event_of_a_subscription_that_comes_back() {
    let hub = hub_with(|builder| builder.history_events(2));
    let position = first(&hub, "").position.unwrap();
    let run = parts(&position).0;
    let events: Vec<_> = ["1", "2", "3", "4", "5"].map(|data| ("a", data)).into();
    publish(&hub, &events);
    let oldest = format!("{run}-4");
    for id in [&*format!("{run}-1"), "of nobody", "0123456789abc-4"] {
        let back = || hub.server.subscription(["a"]).last_event_id(id).open().unwrap();
        let data = format!(r#"{{"requested":"{id}","oldest":"{oldest}"}}"#);
        let expected = [("stream-gap", &*data), ("a", "4"), ("a", "5")];
        let seen = |frame: Frame| (frame.event().to_owned(), frame.data());
        let expected = expected.map(|(kind, data)| (kind.to_owned(), data.to_owned()));

        let mut waiting = back();
        let events = [(); 3].map(|()| waiting.next_event(SOON).unwrap());
        assert_eq!(events.map(seen), expected, "after {id}");
        // Its position is told before it, and it has none of its own.
        let mut all = back();
        let frames = [(); 4].map(|()| all.recv_timeout(SOON).unwrap());
        let ids = [Some(&*position_in(id, run)), None, Some(&*oldest), Some(&*format!("{run}-5"))];
        assert_eq!(frames.each_ref().map(Frame::id), ids, "after {id}");
        let filtered: Vec<_> = back().filter(Frame::is_event).take(3).map(seen).collect();
        assert_eq!(filtered, expected, "after {id}");
    }
}

/// Where a client begins that comes back with this id: at the beginning, if it is of another run.
fn position_in(id: &str, run: &str) -> String {
    if id.starts_with(run) { id.to_owned() } else { format!("{run}-0") }
}

#[test]
fn a_subscription_with_an_empty_id_is_here_for_the_first_time() {
    let hub = hub();
    publish(&hub, &[("a", "1")]);
    // Another server's handler passes on what its client has sent.
    let mut subscription = hub.server.subscription(["a"]).last_event_id("").open().unwrap();
    publish(&hub, &[("a", "live")]);
    let blocks = blocks_to(&mut subscription, "live");
    let data: Vec<_> = blocks.iter().filter_map(|block| block.data.as_deref()).collect();
    assert_eq!(data, ["live"]);
}
