//! What a restart keeps, in one process.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use support::{SOON, Scratch};
use websse::durable::{Commit, DurableConfig, stored_events};
use websse::{Builder, Channels, EventId, Message, Server, Subscription};

fn server_with(scratch: &Scratch, builder: impl FnOnce(Builder) -> Builder) -> Server {
    let config = DurableConfig::new(scratch.0.join("history")).commit(Commit::Never);
    let server = builder(Server::builder().durable(config)).build();
    server.register_events(["", "news", "rare"]).unwrap();
    server.run().unwrap();
    server
}

fn server(scratch: &Scratch) -> Server {
    server_with(scratch, |builder| builder)
}

/// The data of the next events, until there is none for a while.
fn all(mut listener: Subscription) -> Vec<String> {
    let mut heard = Vec::new();
    while let Ok(event) = listener.next_event(Duration::from_millis(300)) {
        heard.push(format!(
            "{}{}",
            if event.event() == "stream-gap" { "gap " } else { "" },
            event.data()
        ));
    }
    heard
}

#[test]
fn a_restart_is_no_gap() {
    let scratch = Scratch::new("durable-restart");
    let first = server(&scratch);
    let one = first.publish("one").unwrap();
    first.publish(Message::new("other").event("news").channel("room")).unwrap();
    let two = first.publish(Message::new("two").id(EventId::new("order-2").unwrap())).unwrap();
    first.shutdown(SOON);
    let second = server(&scratch);
    let three = second.publish("three").unwrap();
    for (id, expected) in
        [(one.id(), &["two", "three"][..]), (two.id(), &["three"]), (three.id(), &[])]
    {
        let returning = second.subscription([""]).last_event_id(id.unwrap()).open().unwrap();
        assert_eq!(all(returning), expected);
    }
    let room =
        second.subscription(["news"]).channels(Channels::new(["room"]).unwrap()).replay(9).open();
    assert_eq!(all(room.unwrap()), ["other"]);
    let ids: Vec<String> =
        stored_events(scratch.0.join("history")).unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(ids.len(), 4);
    assert_eq!((&ids[0], &*ids[2]), (&one.id().unwrap(), "order-2"));
    let mode = fs::metadata(scratch.0.join("history")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_restart_before_the_first_event_is_no_gap() {
    let scratch = Scratch::new("durable-empty");
    let first = server(&scratch);
    let mut listener = first.subscription([""]).open().unwrap();
    let position = listener.recv_timeout(SOON).unwrap().id().unwrap().to_owned();
    first.shutdown(SOON);
    let second = server(&scratch);
    second.publish("one").unwrap();
    let returning = second.subscription([""]).last_event_id(position).open().unwrap();
    assert_eq!(all(returning), ["one"]);
}

#[test]
fn many_at_once_take_no_more_of_the_disk() {
    let scratch = Scratch::new("durable-burst");
    let server = server_with(&scratch, |builder| builder.history_events(10));
    let large = "x".repeat(10_000);
    let mut most = 0;
    for number in 0..60 {
        let message = |at| Message::new(format!("{number} {at} {large}")).event("news");
        server.publish_all(&(0..100).map(message).collect::<Vec<_>>()).unwrap();
        most = most.max(server.stats().durable.unwrap().disk_bytes);
    }
    assert!(most <= 8 << 20, "{most} bytes");
}

#[test]
fn newcomers_get_the_last_values_of_before() {
    let scratch = Scratch::new("durable-each");
    let first = server(&scratch);
    for value in ["1", "2"] {
        first.publish(Message::new(value).event("news")).unwrap();
        first.publish(Message::new(value.repeat(2)).event("rare")).unwrap();
    }
    first.shutdown(SOON);
    let second = server(&scratch);
    let newcomer = second.subscription(["news", "rare"]).replay_each().open().unwrap();
    assert_eq!(all(newcomer), ["2", "22"]);
}

#[test]
fn what_was_dropped_is_a_gap_for_those_that_it_concerns_alone() {
    let scratch = Scratch::new("durable-dropped");
    let few = |builder: Builder| builder.history_events(10);
    let first = server_with(&scratch, few);
    let early = first.publish("early").unwrap().id().unwrap();
    let rare = first.publish(Message::new("rare one").event("rare")).unwrap().id().unwrap();
    let large = "x".repeat(10_000);
    for number in 0..2000 {
        first.publish(Message::new(format!("{number} {large}")).event("news")).unwrap();
    }
    let stats = first.stats().durable.unwrap();
    // It keeps 10 events of 10 kB; the least are four segments, and one that is about to go.
    assert!(stats.disk_bytes <= 6 << 20, "{stats:?}");
    assert_eq!((stats.appended, stats.refused, stats.writable), (2002, 0, true));
    first.shutdown(SOON);
    let second = server_with(&scratch, few);
    second.publish(Message::new("rare two").event("rare")).unwrap();
    second.publish("late").unwrap();
    let returning =
        |kind: &str, id: &str| all(second.subscription([kind]).last_event_id(id).open().unwrap());
    assert_eq!(returning("rare", &rare), ["rare two"]);
    assert_eq!(returning("", &early), ["late"]);
    let heard = returning("news", &rare);
    assert!(heard[0].starts_with("gap ") && heard.len() == 11, "{} events", heard.len());
}

#[test]
fn a_directory_in_use_or_of_nobody_is_refused_by_name() {
    let scratch = Scratch::new("durable-refused");
    let first = server(&scratch);
    let path = scratch.0.join("history");
    let config = DurableConfig::new(&path);
    let refused = Server::builder().durable(config).build().run().unwrap_err().to_string();
    let expected = format!("the history in {}: another process uses it", path.display());
    assert!(refused.contains(&expected), "{refused}");
    first.shutdown(SOON);
    fs::write(scratch.0.join("file"), "").unwrap();
    let config = DurableConfig::new(scratch.0.join("file"));
    let refused = Server::builder().durable(config).build().run().unwrap_err().to_string();
    assert!(refused.contains("/file: "), "{refused}");
}

#[test]
fn the_command_prints_what_is_there() {
    let scratch = Scratch::new("durable-print");
    let first = server(&scratch);
    let published = first.publish(Message::new("one\ntwo").event("news").channel("room")).unwrap();
    first.shutdown(SOON);
    let print = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
        command.args(arguments).current_dir(&scratch.0).output().unwrap()
    };
    let printed = print(&["log", "history"]);
    let line: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(line["id"], *published.id().unwrap());
    assert_eq!((&line["event"], &line["channel"]), (&"news".into(), &"room".into()));
    assert_eq!((&line["data"], &line["retry"]), (&"one\ntwo".into(), &serde_json::Value::Null));
    assert!(line["time"].as_str().unwrap().starts_with("20"), "{line}");
    for (arguments, status, told) in [
        (&["log", "nothing"][..], 1, "nothing: No such file"),
        (&["log"], 2, "log takes one directory"),
        (&["--check", "--history-commit", "5s"], 2, "only together with --history-dir"),
        (&["--check", "--history-dir", "x", "--history-commit", "often"], 2, "each nor never"),
        #[cfg(feature = "redis")]
        (&["--check", "--redis", "redis://h", "--history-dir", "x"], 2, "--history-dir x: --redis"),
    ] {
        let printed = print(arguments);
        let errors = String::from_utf8(printed.stderr).unwrap();
        assert_eq!(printed.status.code(), Some(status), "{errors}");
        assert!(errors.contains(told), "{errors}");
    }
}
