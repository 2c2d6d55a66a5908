//! The command and the README: what is printed there is what happens.
#![cfg(all(feature = "cli", unix))]
use std::{
    net::{Ipv6Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output},
};

use support::{
    Client,
    process::{RUN, Running, shell},
};

const README: &str = include_str!("../../README.md");
/// The address that the README shows; the tests use a free one.
const SHOWN: &str = "127.0.0.1:8080";
/// What a stream begins with.
const PREAMBLE: &str = ": websse\nretry: 3000\nid: 0mwscj3olj8rw-0\n";

/// The command with these arguments, on a free port.
fn running(arguments: &[&str]) -> (Running, SocketAddr) {
    let mut running = Running::start(websse().args(["--listen", "127.0.0.1:0"]).args(arguments));
    let address = running.address();
    (running, address)
}

fn websse() -> Command {
    Command::new(env!("CARGO_BIN_EXE_websse"))
}

/// The shell transcripts of the README: each command with what it prints.
fn transcripts() -> Vec<(String, String)> {
    let mut transcripts: Vec<(String, String)> = Vec::new();
    let blocks = README.split("```console\n").skip(1);
    for line in blocks.flat_map(|block| block.split("```").next().unwrap().lines()) {
        match line.strip_prefix("$ ") {
            Some(command) => transcripts.push((command.to_owned(), String::new())),
            None => transcripts.last_mut().unwrap().1.extend([line, "\n"]),
        }
    }
    transcripts
}

/// On a registry's page there is nothing beside it.
#[test]
fn the_readmes_links_work_wherever_it_is_shown() {
    let definitions = README.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    let inline = README.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let targets: Vec<&str> =
        definitions.map(|(_, to)| to).chain(inline.map(|(to, _)| to)).collect();
    assert!(targets.len() > 5, "{targets:?}");
    for to in targets {
        assert!(to.starts_with("https://"), "{to}");
        if let Some(path) = to.strip_prefix("https://docs.rs/crate/websse/latest/source/") {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            assert!(file.exists(), "{to}");
        }
    }
}

#[test]
fn the_transcripts_of_the_readme_work_as_printed() {
    let transcripts = transcripts();
    let mut transcripts = transcripts.iter().map(|(command, output)| (command.as_str(), output));
    let mut next = |beginning: &str| {
        let (command, output) = transcripts.next().expect("another transcript");
        assert!(command.starts_with(beginning), "{command}");
        (command, output)
    };

    let (run, printed) = next("cargo run --release --features cli -- ");
    let arguments = run.split_once(" -- ").unwrap().1;
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.extend(["--listen", "127.0.0.1:0"]);
    let mut hub = Running::start(websse().args(arguments));
    let first = hub.line();
    let address = first.rsplit_once("http://").unwrap().1.to_owned();
    let here = |text: &str| text.replace(SHOWN, &address);
    assert_eq!(Some(first.as_str()), here(printed).lines().next());
    hub.assert_next(here(printed).split_once('\n').unwrap().1);

    let (listen, streamed) = next("curl -N ");
    let preamble: String = streamed.split_inclusive('\n').take(3).collect();
    let mut listener = Running::start(&mut shell(&here(listen)));
    // The head and this arrive before there is any event.
    listener.assert_next(&preamble);
    let (send, answered) = next("curl -X POST ");
    let posted = shell(&here(send)).output().unwrap();
    assert!(posted.status.success(), "{posted:?}");
    let told = String::from_utf8(posted.stdout).unwrap();
    let number = told.split_once('-').map(|(_, number)| format!("{RUN}-{number}"));
    assert_eq!(number.as_ref(), Some(answered));
    listener.assert_next(&streamed[preamble.len()..]);

    assert_eq!(
        next("cargo test ").0,
        "cargo test --locked --features cli,durable,jwt,redis-tls,tls",
        "what CI runs"
    );
    for number in 2..4 {
        let (post, _) = next("curl ");
        let posted = shell(&format!("{} --fail --silent", here(post))).output().unwrap();
        assert!(posted.status.success() && posted.stdout.ends_with(b"\n"), "{posted:?}");
        for line in README.lines() {
            let beginning =
                if line == README.lines().next().unwrap() { "event: event1\n" } else { "" };
            listener.assert_next(&format!("{beginning}data: {line}\n"));
        }
        listener.assert_next(&format!("data: \nid: {RUN}-{number}\n\n"));
    }
    let (post, answered) = next("curl --json ");
    let posted = shell(&format!("{} --fail --silent", here(post))).output().unwrap();
    let told = String::from_utf8(posted.stdout).unwrap();
    let (_, number) = told.split_once('-').unwrap();
    assert_eq!(format!("{{\"id\":\"{RUN}-{number}"), *answered);
    listener.assert_next(&format!("event: event1\ndata: {{\"price\": 3}}\nid: {RUN}-4\n\n"));
    assert_eq!(next("cargo install ").0, "cargo install --locked --path . --features cli");
    let (run, printed) = next("WEBSSE_PUBLISH_TOKEN=secret cargo run ");
    let mut guarded = websse();
    guarded.env("WEBSSE_PUBLISH_TOKEN", "secret").args(["--listen", "127.0.0.1:0"]);
    assert!(run.ends_with(" -- --listen 127.0.0.1:8081"), "{run}");
    let mut guarded = Running::start(&mut guarded);
    let first = guarded.line();
    let address = first.rsplit_once("http://").unwrap().1.to_owned();
    let here = |text: &str| text.replace("127.0.0.1:8081", &address);
    assert_eq!(Some(first.as_str()), here(printed).lines().next());
    guarded.assert_next(here(printed).split_once('\n').unwrap().1);
    let (post, _) = next("curl -H 'Authorization: Bearer secret'");
    for (post, status) in [(post.to_owned(), 0), (post.replace("secret", "guess"), 22)] {
        let posted = shell(&format!("{} --fail --silent", here(&post))).output().unwrap();
        assert_eq!(posted.status.code(), Some(status), "{posted:?}");
    }

    assert!(next("cargo update ").0.ends_with("idna_adapter --precise 1.0.0"));
    assert!(transcripts.next().is_none(), "every transcript is tried here");
}

#[test]
fn a_signal_ends_it_in_good_order() {
    for signal in ["-TERM", "-INT"] {
        let (hub, address) = running(&[]);
        let mut listener = Running::start(&mut shell(&format!("curl -sN http://{address}/event")));
        listener.assert_next(PREAMBLE);
        let sent = shell(&format!("curl -s -d data=last http://{address}/send")).status().unwrap();
        assert!(sent.success());
        hub.signal(signal);
        let (status, errors) = hub.end();
        assert_eq!(status.code(), Some(0), "{errors}");
        assert!(errors.contains("shutting down") && errors.lines().count() == 1, "{errors:?}");
        listener.assert_next(&format!("data: last\nid: {RUN}-1\n\n"));
        assert_eq!(listener.end().0.code(), Some(18), "a stream is cut, as it has no end");
    }
}

#[test]
fn wrong_arguments_and_ports_in_use_are_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, clue) in [
        (&["--listen", &taken][..], taken.as_str()),
        (&["--listen", "nonsense"], "nonsense"),
        (&["--listen"], "--listen"),
        (&["--lisen", "127.0.0.1:0"], "--lisen"),
        (&["--event", "*", "--listen", "127.0.0.1:0"], "reserved"),
        (&["--event", "a\nb", "--listen", "127.0.0.1:0"], r"a\nb"),
        (&["--retry", "3"], "15s"),
        (&["surplus"], "surplus"),
    ] {
        let Output { status, stdout, stderr } = websse().args(arguments).output().unwrap();
        let errors = String::from_utf8(stderr).unwrap();
        // 2 is for what is wrong by itself.
        let expected = if clue == taken { 1 } else { 2 };
        assert_eq!(status.code(), Some(expected), "{arguments:?}");
        assert!(stdout.is_empty(), "{arguments:?}");
        assert!(errors.contains(clue) && errors.lines().count() == 1, "{arguments:?}: {errors:?}");
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_once() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    // A stack that no machine has fails once the port is bound.
    let no_thread = ["--stack-bytes", "1000000000000000000", "--listen", "127.0.0.1:0"];
    for arguments in [&["--listen", &*taken][..], &no_thread] {
        let Output { stderr, .. } = websse().args(arguments).output().unwrap();
        let errors = String::from_utf8(stderr).unwrap();
        for once in ["cannot listen on ", "127.0.0.1:"] {
            assert_eq!(errors.matches(once).count(), 1, "{arguments:?}: {errors:?}");
        }
    }
}

#[test]
fn help_and_version_are_printed() {
    for (flag, beginning) in [("--help", "Server-Sent Events"), ("--version", "websse 0.")] {
        let Output { status, stdout, .. } = websse().arg(flag).output().unwrap();
        assert!(status.success());
        let text = String::from_utf8(stdout).unwrap();
        assert!(text.starts_with(beginning) && text.lines().all(|line| line.len() <= 80), "{text}");
    }
}

/// A port that nothing listened on a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

/// Whether the command answers at an address.
#[track_caller]
fn answers(address: SocketAddr) {
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(Client::ask(address, request).answer().status, 200, "{address}");
}

#[test]
fn all_interfaces_are_listened_on_in_each_way_to_say_so() {
    let both =
        |port| [([127, 0, 0, 1], port).into(), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    for order in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"]] {
        let port = free_port();
        let [first, second] = order.map(|host| format!("{host}:{port}"));
        let mut hub = Running::start(websse().args(["--listen", &first, "--listen", &second]));
        assert_eq!(hub.address().to_string(), first);
        assert_eq!(hub.address().to_string(), second);
        both(port).into_iter().for_each(answers);
    }
    for all in [":0", "[::]:0"] {
        let mut hub = Running::start(websse().args(["--listen", all]));
        both(hub.address().port()).into_iter().for_each(answers);
    }
}

#[test]
fn several_addresses_serve_the_same_events() {
    let (mut hub, first) = running(&["--listen", "127.0.0.1:0", "--event", "a b"]);
    let second = hub.address();
    assert_eq!(hub.line(), format!("listen:   curl -N 'http://{first}/event?event=a%20b'"));
    let ask = |address: SocketAddr, request: &str| {
        Client::ask(address, format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    };
    let mut clients = [first, second].map(|address| ask(address, "GET /event?event=a%20b"));
    for client in &mut clients {
        client.stream_head();
    }
    assert_eq!(ask(second, "POST /send?event=a%20b&data=x").answer().status, 200);
    for client in &mut clients {
        assert_eq!(client.event().data.as_deref(), Some("x"));
    }
    assert_eq!(ask(first, "GET /healthz").answer().status, 200);
}
