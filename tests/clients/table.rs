//! Other people's clients, and the table of what each does.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::program::Program;
use crate::trial::{self, Behaviour};

/// How many clients are tried at once: they mostly wait.
const AT_ONCE: usize = 5;

/// What a client hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Events,
    Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Javascript,
    Python,
    Rust,
    Go,
    Java,
    Ruby,
    Perl,
    Php,
    Lua,
    Tcl,
    Erlang,
    Shell,
}

use Language::{Erlang, Go, Java, Javascript, Lua, Perl, Php, Python, Ruby, Rust, Shell, Tcl};

/// A client of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    language: Language,
    pub(crate) output: Output,
    /// Whether it is one of those that are tried with each change.
    pub(crate) is_of_the_dozen: bool,
    /// What it is known not to do, and why.
    note: &'static str,
}

const fn events(language: Language, name: &'static str) -> Entry {
    Entry { name, language, output: Output::Events, is_of_the_dozen: false, note: "" }
}

const fn bytes(language: Language, name: &'static str) -> Entry {
    Entry { output: Output::Bytes, ..events(language, name) }
}

impl Entry {
    const fn of_the_dozen(self) -> Entry {
        Entry { is_of_the_dozen: true, ..self }
    }

    const fn note(self, note: &'static str) -> Entry {
        Entry { note, ..self }
    }
}

const ENTRIES: &[Entry] = &[
    events(Javascript, "eventsource@1"),
    events(Javascript, "eventsource@2"),
    events(Javascript, "eventsource@3"),
    events(Javascript, "eventsource@4").of_the_dozen(),
    events(Javascript, "eventsource@5"),
    events(Javascript, "undici").of_the_dozen(),
    events(Javascript, "@c4312/eventsource-umd"),
    events(Javascript, "@heroku/eventsource")
        .note("comes back twice after a reset, and has everything twice from then on"),
    events(Javascript, "@sanity/eventsource"),
    events(Javascript, "launchdarkly-eventsource")
        .note("comes back after 5 s of silence: `?heartbeat=4`"),
    events(Javascript, "extended-eventsource"),
    events(Javascript, "reconnecting-eventsource"),
    events(Javascript, "event-source-polyfill").of_the_dozen()
        .note("resumes by `?lastEventId=`, which is read"),
    events(Javascript, "eventsource-client").of_the_dozen(),
    events(Javascript, "event-source-plus")
        .note("has the last line alone of data in several lines"),
    events(Javascript, "fetch-event-source").of_the_dozen(),
    events(Javascript, "@fortaine/fetch-event-source"),
    events(Javascript, "@ai-zen/node-fetch-event-source"),
    events(Javascript, "@waylaidwanderer/fetch-event-source"),
    events(Javascript, "fetch-event-stream"),
    events(Javascript, "parse-sse"),
    events(Javascript, "@azure/core-sse"),
    bytes(Javascript, "http"),
    bytes(Javascript, "fetch").of_the_dozen(),
    bytes(Javascript, "axios"),
    bytes(Javascript, "node-fetch"),
    bytes(Javascript, "superagent")
        .note("asks for `Connection: close`, so that a cut looks like the end"),
    events(Python, "sseclient-py").of_the_dozen(),
    events(Python, "sseclient-py-urllib3"),
    events(Python, "requests-sse").of_the_dozen(),
    events(Python, "sseclient")
        .note("gives up where the server is not back at once"),
    events(Python, "stellar-base-sseclient")
        .note("gives up where the server is not back at once"),
    events(Python, "filigran-sseclient")
        .note("gives up where the server is not back at once"),
    events(Python, "launchdarkly-eventsource"),
    events(Python, "launchdarkly-eventsource-continue")
        .note("leaves `retry` alone; waits up to 30 s"),
    events(Python, "launchdarkly-eventsource-async"),
    events(Python, "httpx-sse").of_the_dozen()
        .note("gives up after 5 s of silence: `?heartbeat=4`"),
    events(Python, "httpx-sse-async")
        .note("gives up after 5 s of silence: `?heartbeat=4`"),
    events(Python, "simple-sse-client")
        .note("gives up after 5 s of silence: `?heartbeat=4`"),
    events(Python, "aiohttp-sse-client").of_the_dozen()
        .note("comes back from the end of a body only, not after a cut; aiohttp ends each response after 300 s"),
    events(Python, "aiohttp-sse-client2")
        .note("comes back from the end of a body only, not after a cut; aiohttp ends each response after 300 s"),
    events(Python, "aiosseclient")
        .note("cuts data at U+0085 and U+2028"),
    bytes(Python, "requests"),
    bytes(Python, "urllib3"),
    bytes(Python, "aiohttp")
        .note("ends each response after 300 s"),
    bytes(Python, "urllib").of_the_dozen()
        .note("asks for `Connection: close`, so that a closed connection looks like the end"),
    bytes(Python, "httpie"),
    events(Rust, "eventsource-client"),
    events(Rust, "reqwest-eventsource"),
    events(Rust, "eventsource")
        .note("has a line feed behind all data"),
    events(Rust, "sse-client")
        .note("does not undo chunks: hands out half an event; has the last line alone of data in several lines"),
    events(Rust, "reqwest-sse"),
    events(Go, "go-donovanhide"),
    bytes(Go, "go-nethttp"),
    bytes(Java, "java-httpclient"),
    bytes(Java, "java-urlconn"),
    bytes(Java, "java-okhttp")
        .note("gives up after 10 s of silence: `?heartbeat=4`"),
    bytes(Ruby, "ruby-nethttp")
        .note("repeats a request once, without an id"),
    bytes(Ruby, "ruby-faraday"),
    bytes(Ruby, "ruby-httprb")
        .note("asks for `Connection: close`, so that a closed connection looks like the end"),
    bytes(Ruby, "ruby-excon"),
    bytes(Ruby, "ruby-emhttp")
        .note("asks for `Connection: close`; ends after 10 s whatever comes"),
    bytes(Perl, "perl-aehttp")
        .note("calls itself Mozilla: `?stream-open=0` spares it the block for browsers"),
    bytes(Perl, "perl-httptiny")
        .note("repeats a request once, without an id, where it ended early"),
    bytes(Perl, "perl-lwp")
        .note("asks for `Connection: close`, so that a closed connection looks like the end"),
    bytes(Perl, "perl-mojo"),
    bytes(Perl, "perl-nahttp"),
    bytes(Php, "php-fopen")
        .note("asks for `Connection: close`, so that a cut looks like the end"),
    bytes(Php, "php-curl"),
    bytes(Php, "php-guzzle")
        .note("asks for `Connection: close`, so that a closed connection looks like the end"),
    events(Php, "php-symfony"),
    bytes(Lua, "lua-socket")
        .note("asks for `Connection: close`, and hands out 2048 bytes at a time"),
    bytes(Tcl, "tcl-http")
        .note("calls itself Mozilla: `?stream-open=0` spares it the block for browsers; HTTP/1.0, so that a cut looks like the end"),
    bytes(Tcl, "tcl-http-progress")
        .note("calls itself Mozilla: `?stream-open=0` spares it the block for browsers"),
    bytes(Erlang, "erl-httpc"),
    bytes(Shell, "curl-N").of_the_dozen(),
    bytes(Shell, "curl")
        .note("hands out 4096 bytes at a time to a pipe: `-N`"),
    bytes(Shell, "wget").of_the_dozen()
        .note("asks for the rest by `Range`, and leaves out as many bytes as it had"),
    bytes(Shell, "busybox-wget")
        .note("asks for `Connection: close`, so that a closed connection looks like the end"),
];

/// What the clients in Java need, as Debian has it.
const JARS: &str = "/usr/share/java/okhttp.jar:/usr/share/java/okio.jar";

/// Where `tests/clients/run` has installed them.
pub(crate) fn installed() -> PathBuf {
    let variable = env::var_os("WEBSSE_CLIENTS");
    variable.expect("WEBSSE_CLIENTS is not set: run tests/clients/run").into()
}

pub(crate) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A program of one of the folders beside this file, which is interpreted or was built.
fn program(interpreter: &[&str], file: PathBuf, name: &str) -> Command {
    let (first, rest) = interpreter.split_first().expect("a program");
    let mut command = Command::new(first);
    command.args(rest).arg(file).arg(name);
    command
}

pub(crate) fn javascript(name: &str) -> Command {
    program(&["node"], installed().join("javascript/clients.mjs"), name)
}

/// Leaves nothing beside the script.
pub(crate) fn python(script: &str) -> Command {
    let mut command = Command::new(installed().join("python/bin/python"));
    command.arg("-B").arg(sources().join("python").join(script));
    command
}

pub(crate) fn rust(name: &str) -> Command {
    Command::new(installed().join("rust/debug").join(name))
}

/// Starts one of the table.
pub(crate) fn start(name: &str, url: &str) -> Program {
    ENTRIES.iter().find(|entry| entry.name == name).expect("an entry").start(url)
}

impl Entry {
    fn command(&self) -> Command {
        let debian = |file: &str| sources().join("debian").join(file);
        match self.language {
            Javascript => javascript(self.name),
            Python => {
                let mut command = python("clients.py");
                command.arg(self.name);
                command
            }
            Rust => rust(self.name),
            Go => {
                let mut command = Command::new(installed().join("debian/go"));
                command.arg(self.name);
                command
            }
            Java => program(&["java", "-cp", JARS], debian("Clients.java"), self.name),
            Ruby => program(&["ruby"], debian("clients.rb"), self.name),
            Perl => program(&["perl"], debian("clients.pl"), self.name),
            Php => program(&["php"], debian("clients.php"), self.name),
            Lua => program(&["lua5.4"], debian("clients.lua"), self.name),
            Tcl => program(&["tclsh"], debian("clients.tcl"), self.name),
            Erlang => program(&["escript"], debian("clients.erl"), self.name),
            Shell => program(&["sh"], debian("clients.sh"), self.name),
        }
    }

    pub(crate) fn start(&self, url: &str) -> Program {
        self.start_with(url, &[])
    }

    /// Starts it with these variables.
    pub(crate) fn start_with(&self, url: &str, variables: &[(String, String)]) -> Program {
        let mut command = self.command();
        command.arg(url).args(["message", "a", "stream-gap"]).envs(variables.iter().cloned());
        Program::start(command)
    }

    fn version(&self) -> String {
        let output = self.command().arg("--version").output().expect("a version");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The client's line of the table: what stands before its version, and behind.
    fn row(&self) -> [String; 2] {
        let seen = Behaviour::of(self);
        let rest = [
            seen.prompt,
            seen.empty,
            seen.closed,
            seen.reset,
            seen.killed,
            seen.restarted,
            seen.first,
            seen.within,
            self.note.to_owned(),
        ];
        let is_twice = rest.iter().any(|cell| cell == "twice");
        assert!(!is_twice || !self.note.is_empty(), "{} has an event twice", self.name);
        [format!("| {:?} | {} |", self.language, self.name), rest.join(" | ") + " |"]
    }
}

const TITLES: &str = "\
| in | client | version | small event | empty events | closed | reset | killed | restarted | first | within | not, and why |
|---|---|---|---|---|---|---|---|---|---|---|---|
";

pub(crate) fn readme() -> PathBuf {
    sources().join("README.md")
}

/// Where the table with these titles begins and ends in the README.
pub(crate) fn table_in(readme: &str, titles: &str) -> (usize, usize) {
    let begin = readme.find(titles).expect("the table's titles");
    let length = readme[begin..].find("\n\n").map_or(readme.len() - begin, |at| at + 1);
    (begin, begin + length)
}

/// Tries them all, some at once, and gives their rows in this order.
fn rows(entries: &[&Entry]) -> Vec<[String; 2]> {
    let next = Mutex::new(entries.iter().enumerate());
    let rows = Mutex::new(vec![Default::default(); entries.len()]);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some((index, entry)) = next.lock().unwrap().next() else { return };
                    // The others go on; what was wrong has been shown.
                    let Ok(row) = panic::catch_unwind(|| entry.row()) else { continue };
                    eprintln!("{}: {}", row[0], row[1]);
                    rows.lock().unwrap()[index] = row;
                }
            });
        }
    });
    let rows = rows.into_inner().unwrap();
    let failed = entries.iter().zip(&rows).filter(|(_, row)| row[0].is_empty());
    let failed: Vec<&str> = failed.map(|(entry, _)| entry.name).collect();
    assert!(failed.is_empty(), "these did what no client may do: {failed:?}");
    rows
}

#[test]
#[ignore = "needs many languages: run tests/clients/run --all"]
fn all_clients_of_the_table_which_is_written() {
    let entries: Vec<&Entry> = ENTRIES.iter().collect();
    let mut table = TITLES.to_owned();
    for (entry, [name, seen]) in entries.iter().zip(rows(&entries)) {
        writeln!(table, "{name} {} | {seen}", entry.version()).unwrap();
    }
    let text = fs::read_to_string(readme()).unwrap();
    let (begin, end) = table_in(&text, TITLES);
    fs::write(readme(), [&text[..begin], &table, &text[end..]].concat()).unwrap();
}

/// The client in a row of a table.
#[cfg(feature = "tls")]
pub(crate) fn of(language: &str, name: &str) -> &'static Entry {
    let is_it = |entry: &&Entry| format!("{:?}", entry.language) == language && entry.name == name;
    ENTRIES.iter().find(is_it).unwrap_or_else(|| panic!("no client {name}"))
}

/// The first of this name.
fn named(language: Language, name: &str) -> &'static Entry {
    let found = ENTRIES.iter().find(|entry| entry.language == language && entry.name == name);
    found.unwrap_or_else(|| panic!("no client {name}"))
}

#[test]
#[ignore = "needs many languages: run tests/clients/run --all"]
fn all_clients_that_note_ids_of_events_lose_nothing_at_first_if_the_first_block_is_one() {
    let entries = [
        named(Javascript, "eventsource@4"),
        named(Javascript, "undici"),
        named(Javascript, "event-source-polyfill"),
        named(Javascript, "eventsource-client"),
        named(Python, "requests-sse"),
        named(Python, "launchdarkly-eventsource-continue"),
        named(Rust, "eventsource-client"),
        named(Rust, "reqwest-eventsource"),
        named(Go, "go-donovanhide"),
        named(Php, "php-symfony"),
    ];
    thread::scope(|scope| {
        for entry in entries {
            scope.spawn(|| {
                assert_eq!(trial::first(entry, "&stream-open=1"), "all", "{}", entry.name);
            });
        }
    });
}

#[test]
#[ignore = "needs many languages: run tests/clients/run --all"]
fn all_clients_that_give_up_in_silence_stay_with_frequent_heartbeats() {
    let impatient = [
        named(Python, "httpx-sse"),
        named(Javascript, "launchdarkly-eventsource"),
        named(Java, "java-okhttp"),
    ];
    thread::scope(|scope| {
        for entry in impatient {
            scope.spawn(|| {
                assert!(trial::stays_in_silence(entry, "&heartbeat=4"), "{}", entry.name);
            });
            scope.spawn(|| assert!(!trial::stays_in_silence(entry, ""), "{}", entry.name));
        }
        let httpx = impatient[0];
        scope.spawn(|| assert!(trial::is_quiet_for(httpx, 60), "{}", httpx.name));
    });
}

#[test]
#[ignore = "needs node, python3 and packages for them: run tests/clients/run"]
fn a_dozen_clients_do_what_the_table_says() {
    let entries: Vec<&Entry> = ENTRIES.iter().filter(|entry| entry.is_of_the_dozen).collect();
    assert!(entries.len() >= 12, "{} clients", entries.len());
    let text = fs::read_to_string(readme()).unwrap();
    let (begin, end) = table_in(&text, TITLES);
    for [name, seen] in rows(&entries) {
        let line = text[begin..end].lines().find_map(|line| line.strip_prefix(&name));
        let line = line.unwrap_or_else(|| panic!("not in the table: {name}"));
        let (_version, told) = line.split_once(" | ").unwrap();
        assert_eq!(seen, told, "{name}");
    }
}
