//! The examples, each as a program of its own that is used as its first lines say.
#![cfg(unix)]
use std::{
    env,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

#[cfg(feature = "json")]
use serde_json::{Value, json};
use support::{
    Answer, Client, SOON, Scratch, eventually,
    process::{Running, shell},
    sse::Block,
};

/// An example that runs, and the address that it prints.
struct Example {
    program: Running,
    address: SocketAddr,
}

impl Example {
    /// Starts it on a free port.
    fn start(name: &str, before: &[&Path], after: &[&str]) -> Self {
        let mut command = Command::new(built().join(name));
        let mut program = Running::start(command.args(before).arg("127.0.0.1:0").args(after));
        let address = program.address();
        Self { program, address }
    }

    fn ask(&self, request: &str, rest: &str) -> Client {
        let address = self.address;
        Client::ask(address, format!("{request} HTTP/1.1\r\nHost: {address}\r\n{rest}\r\n"))
    }

    fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), "Connection: close\r\n").answer()
    }

    fn post(&self, path: &str, form: &str) -> u16 {
        let rest = format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        self.ask(&format!("POST {path}"), &rest).answer().status
    }

    fn listen(&self, target: &str) -> Client {
        let mut client = self.ask(&format!("GET {target}"), "");
        client.stream_head();
        client
    }

    /// Ends the program, and with it the stream, which need not end in good order.
    fn kill(mut self, mut client: Client) {
        self.program.child.kill().unwrap();
        client.drain(SOON);
    }
}

/// Where the examples are. `cargo test` has built them already, but not for this program alone: then
/// this builds them, with the same features, which otherwise takes a moment.
fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let program = env::current_exe().unwrap();
        let directory = program.ancestors().nth(2).unwrap();
        let profile = match directory.file_name().and_then(OsStr::to_str).unwrap() {
            "debug" => "test",
            profile => profile,
        };
        let features = [
            ("cli", cfg!(feature = "cli")),
            ("json", cfg!(feature = "json")),
            ("jwt", cfg!(feature = "jwt")),
            ("log", cfg!(feature = "log")),
            ("redis", cfg!(feature = "redis")),
            ("redis-tls", cfg!(feature = "redis-tls")),
            ("socket2", cfg!(feature = "socket2")),
        ];
        let features = features.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name);
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--examples", "--profile", profile]);
        build.arg("--target-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap());
        build.arg("--features").arg(features.collect::<Vec<_>>().join(","));
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        // What cargo tells a test; where build scripts look at it, it would have them built anew.
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_")) {
            build.env_remove(name);
        }
        build.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
        assert!(build.status().unwrap().success(), "{build:?}");
        directory.join("examples")
    };
    BUILT.get_or_init(build).clone()
}

fn data(block: Block) -> String {
    block.data.unwrap()
}

/// The number that an event counts the seconds with.
fn second(block: Block) -> u64 {
    let data = data(block);
    data.strip_prefix("second ").and_then(|number| number.parse().ok()).expect(&data)
}

#[test]
fn the_simple_one_shows_a_page_and_counts() {
    let example = Example::start("simple-websse", &[], &[]);
    assert!(example.get("/").text().contains("EventSource"));
    let mut client = example.listen("/event?event=event1");
    assert!(data(client.event()).starts_with("event "));
    assert_eq!(example.post("/send?event=event1", "data=hello"), 200);
    while data(client.event()) != "hello" {}
    example.kill(client);
}

#[test]
fn other_servers_stream_from_their_first_byte_to_the_end() {
    for name in ["embed-subscription", "embed-touche", "embed-listener"] {
        let mut example = Example::start(name, &[], &[]);
        assert_eq!(example.get("/else").status, 404, "{name}");
        // curl decodes the chunks in which some of them send.
        let url = format!(
            "curl -sN --max-time 20 -w '%{{content_type}}' http://{}/event",
            example.address
        );
        let mut listeners = [(); 2].map(|()| Running::start(&mut shell(&url)));
        for listener in &mut listeners {
            for beginning in [": websse", "retry: 3000", "id: ", "data: second ", "id: ", ""] {
                let line = listener.line();
                assert!(line.starts_with(beginning), "{name}: {line:?}, not {beginning:?}");
                assert_eq!(line.is_empty(), beginning.is_empty(), "{name}");
            }
        }
        example.program.child.kill().unwrap();
        for mut listener in listeners {
            while !listener.line().contains("text/event-stream") {}
            listener.end();
        }
    }
}

#[test]
fn the_bare_listener_resumes() {
    let example = Example::start("embed-listener", &[], &[]);
    let mut client = example.listen("/event");
    let first = client.event();
    let id = first.id.clone().unwrap();
    drop(client);
    let mut client = example.ask("GET /event", &format!("last-event-id: {id}\r\n"));
    client.stream_head();
    let first = second(first);
    assert_eq!([(); 3].map(|()| second(client.event())), [1, 2, 3].map(|after| first + after));
    example.kill(client);
}

#[test]
fn the_chat_passes_on_what_is_said_and_shows_it_to_who_comes_later() {
    let example = Example::start("chat", &[], &[]);
    assert!(example.get("/").text().contains("EventSource"));
    let clients = [(); 2].map(|()| example.listen("/event?event=chat&replay=50"));
    assert_eq!(example.post("/say", "name=Ann&text=%3Cscript%3E+hi"), 204);
    let without = ["", "name=Ann", "name=&text=x", "name=Ann&text=+", "name=Ann&text=%ff"];
    let long = format!("name=Ann&text={}", "x".repeat(1001));
    for form in without.into_iter().chain([long.as_str()]) {
        assert_eq!(example.post("/say", form), 422, "{form}");
    }
    assert_eq!(example.post("/say", "name=Bob&text=a%0Ab"), 204);
    let late = example.listen("/event?event=chat&replay=50");
    for mut client in clients.into_iter().chain([late]) {
        assert_eq!(data(client.event()), "Ann: <script> hi");
        assert_eq!(data(client.event()), "Bob: a\nb");
    }
}

#[test]
fn the_long_job_tells_its_progress_and_ends_its_streams_and_itself() {
    let mut example = Example::start("progress", &[], &["20"]);
    assert!(example.get("/").text().contains("<progress"));
    let query = "/event?event=progress&event=done&replay=1";
    let mut early = example.listen(query);
    let first: u32 = data(early.event()).parse().unwrap();
    for percent in first + 1..50 {
        assert_eq!(data(early.event()), percent.to_string());
    }
    let mut late = example.listen(query);
    let begun: u32 = data(late.event()).parse().unwrap();
    assert!(begun >= 49, "{begun} is older than where the job stands");
    for (mut client, next) in [(early, 50), (late, begun + 1)] {
        for percent in next..100 {
            assert_eq!(data(client.event()), percent.to_string());
        }
        let done = client.event();
        assert_eq!((done.event.as_deref(), done.data.as_deref()), (Some("done"), Some("done")));
        client.assert_stream_ends();
    }
    assert_eq!(example.program.line(), "done; 0 streams had to be cut");
    let (status, errors) = example.program.end();
    assert!(status.success() && errors.is_empty(), "{status}: {errors}");
}

#[cfg(target_os = "linux")]
#[test]
fn each_of_two_thousand_users_is_told_of_the_own_jobs_only() {
    const USERS: usize = 2000;
    let example = Example::start("jobs", &[], &["0"]);
    assert!(example.get("/").text().contains("start a job"));
    assert_eq!(example.get("/event").status, 401);
    let listen = |user| example.listen(&format!("/event?event=*&user={user}"));
    let mut clients: Vec<Client> = (0..USERS).map(listen).collect();
    for user in 0..USERS {
        assert_eq!(example.post(&format!("/start?user={user}"), ""), 202);
    }
    let news: Vec<String> = (1..=USERS / 100).map(|it| format!("{it}00 jobs are done")).collect();
    for (user, client) in clients.iter_mut().enumerate() {
        let heard =
            (0..3 + news.len()).map(|_| client.event()).map(|it| (it.event, it.data.unwrap()));
        let (jobs, said): (Vec<_>, Vec<_>) =
            heard.partition(|(event, _)| event.as_deref() == Some("job"));
        let text =
            |events: Vec<(_, String)>| events.into_iter().map(|(_, data)| data).collect::<Vec<_>>();
        // Jobs are done in the order of their requests.
        let job = user + 1;
        assert_eq!(
            text(jobs),
            ["begun", "half-done", "done"].map(|state| format!("{job} {state}"))
        );
        assert_eq!(text(said), news);
    }
    // Who comes later is shown the last ones.
    let mut late = example.listen("/event?event=job&user=7&replay=1");
    assert_eq!(late.event().data.as_deref(), Some("8 done"));
}

#[test]
fn sensors_are_read_by_as_many_as_the_host_can_bear() {
    let example = Example::start("sensors", &[], &[]);
    let mut client = example.listen("/event?event=*");
    let load = loop {
        let event = client.event();
        if event.event.as_deref() == Some("load") {
            break event;
        }
    };
    assert!(load.data.unwrap().parse::<f64>().unwrap() >= 0.0);
    let uptime = |block: Block| block.data.unwrap().parse::<f64>().unwrap();
    let mut chart = example.listen("/event?event=uptime&replay=60");
    // The minute that has been, and then on.
    let readings = [(); 3].map(|()| uptime(chart.event()));
    assert!(readings.is_sorted(), "{readings:?}");

    let mut crowd: Vec<_> = (0..14).map(|_| example.listen("/event?event=load")).collect();
    let mut refused = example.ask("GET /event?event=load", "");
    assert_eq!(refused.head().status, 200, "a refusal for now");
    refused.preamble();
    refused.assert_stream_ends();
    crowd.pop();
    eventually(SOON, true, || {
        let mut client = example.ask("GET /event?event=load&replay=1", "");
        client.head();
        client.preamble();
        client.item_within(SOON).is_some()
    });
    example.kill(client);
}

#[test]
fn pages_reload_when_a_file_comes_changes_or_goes() {
    let scratch = Scratch::new("reload");
    let under = |name: &str| scratch.0.join(name);
    fs::create_dir_all(under("site/deep")).unwrap();
    fs::write(under("site/index.html"), "<h1>one</h1>").unwrap();
    fs::write(under("site/a b.css"), "h1 {}").unwrap();
    fs::write(under("secret"), "secret").unwrap();
    let example = Example::start("live-reload", &[&under("site")], &[]);

    let page = example.get("/");
    assert!(page.text().starts_with("<h1>one</h1><script>"), "{page:?}");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    let sheet = example.get("/a%20b.css");
    assert_eq!((sheet.text().as_str(), sheet.status), ("h1 {}", 200));
    assert_eq!(sheet.field("content-type"), Some("text/css; charset=utf-8"));
    for outside in ["/../secret", "/%2e%2e/secret", "/deep/..%2f..%2fsecret", "//etc/passwd"] {
        assert_eq!(example.get(outside).status, 404, "{outside}");
    }

    let mut client = example.listen("/-/changes");
    let changes: [(&str, &dyn Fn()); 4] = [
        ("changed", &|| fs::write(under("site/index.html"), "<h1>another</h1>").unwrap()),
        ("came", &|| fs::write(under("site/deep/new.html"), "new").unwrap()),
        ("moved", &|| fs::rename(under("site/a b.css"), under("site/c.css")).unwrap()),
        ("gone", &|| fs::remove_file(under("site/deep/new.html")).unwrap()),
    ];
    for (what, change) in changes {
        change();
        assert_eq!(data(client.event()), "changed", "{what}");
    }
    assert!(example.get("/").text().starts_with("<h1>another</h1><script>"));
    example.kill(client);
}

#[test]
fn fragments_come_in_the_forms_of_htmx_and_of_datastar() {
    let scratch = Scratch::new("scripts");
    let scripts = scratch.0.join("scripts");
    fs::create_dir_all(&scripts).unwrap();
    fs::write(scripts.join("htmx4.js"), "// htmx").unwrap();
    fs::write(scratch.0.join("secret.js"), "secret").unwrap();
    let example = Example::start("htmx", &[], &[scripts.to_str().unwrap()]);
    assert!(example.get("/htmx4").text().contains("/scripts/htmx4.js"));
    assert_eq!(example.get("/scripts/htmx4.js").text(), "// htmx");
    assert_eq!(example.get("/scripts/..%2fsecret.js").status, 404);
    assert_eq!(example.post("/notes", "text="), 422);

    let patch = "datastar-patch-elements";
    let of_datastar = format!("/event?event={patch}&replay=1");
    let forms = [
        ("/event?replay=1", "", None, ""),
        (&*of_datastar, "Datastar-Request: true\r\n", Some(patch), "elements "),
    ];
    let early = forms.map(|(target, ..)| example.listen(target));
    assert_eq!(example.post("/notes", "text=%3Cb%3E"), 204);
    let late = forms.map(|(target, ..)| example.listen(target));
    for ((_, _, event, before), mut client) in
        forms.into_iter().cycle().zip(early.into_iter().chain(late))
    {
        let block = client.event();
        assert_eq!(block.event.as_deref(), event);
        assert_eq!(data(block), format!("{before}<ul id=\"notes\"><li>&lt;b&gt;</li></ul>"));
    }
    for (_, field, _, before) in forms {
        let mut client = example.ask("GET /report", &format!("{field}Connection: close\r\n"));
        client.head();
        for percent in (0..100).step_by(10) {
            let bar = format!("<progress max=\"100\" value=\"{percent}\"></progress>");
            assert_eq!(data(client.event()), format!("{before}<p id=\"report\">{bar}</p>"));
        }
        assert_eq!(data(client.event()), format!("{before}<p id=\"report\">All is well.</p>"));
        assert_eq!(client.event().event.as_deref(), Some("end"));
        client.assert_stream_ends();
    }
}

/// What an example answers to a POST of JSON.
#[cfg(feature = "json")]
fn post_json(example: &Example, path: &str, body: &Value) -> Client {
    let body = body.to_string();
    example.ask(&format!("POST {path}"), &format!("Content-Length: {}\r\n\r\n{body}", body.len()))
}

#[cfg(feature = "json")]
fn json_of(text: impl AsRef<[u8]>) -> Value {
    serde_json::from_slice(text.as_ref()).unwrap()
}

#[cfg(feature = "json")]
#[test]
fn the_language_model_says_word_for_word_and_stops_when_nobody_reads() {
    let mut example = Example::start("chat-completions", &[], &[]);
    let ask = |stream: bool, text: &str| {
        let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": text }] }]);
        let options = json!({ "include_usage": true });
        let body = json!({ "stream": stream, "stream_options": options, "messages": messages });
        post_json(&example, "/v1/chat/completions", &body)
    };
    let answer = json_of(ask(false, "to be").answer().body);
    assert_eq!(answer["choices"][0]["message"]["content"], "to be");
    assert_eq!(ask(false, "to fail").answer().status, 500);
    let mut client = ask(true, "to be or not");
    assert_eq!(client.head().status, 200);
    let mut said = Vec::new();
    while said.last().is_none_or(|last| last != "[DONE]") {
        said.push(data(client.event()));
    }
    let chunks: Vec<_> = said[..said.len() - 1].iter().map(json_of).collect();
    let words = chunks.iter().filter_map(|it| it["choices"][0]["delta"]["content"].as_str());
    assert_eq!(words.collect::<String>(), "to be or not");
    let [.., end, usage] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert_eq!(usage["usage"]["completion_tokens"], 4);

    let mut client = ask(true, "to fail");
    client.head();
    let said = [(); 3].map(|()| json_of(data(client.event())));
    assert_eq!(said[2]["error"]["message"], "the model has lost its thread");
    let mut client = ask(true, &"word ".repeat(1000));
    client.head();
    client.event();
    drop(client);
    assert_eq!(example.program.line(), "stopped before \"word \"");
}

#[cfg(feature = "json")]
#[test]
fn the_tools_answer_and_a_call_that_was_cut_off_is_read_on() {
    let example = Example::start("mcp", &[], &[]);
    let call = |method: &str, params: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        post_json(&example, "/mcp", &body)
    };
    let answer = call("initialize", json!({ "protocolVersion": "2025-11-25" })).answer();
    assert_eq!(answer.field("mcp-session-id").map(str::len), Some(32));
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(post_json(&example, "/mcp", &note).answer().status, 202);
    let tools = json_of(call("tools/list", json!({})).answer().body);
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 2);
    let add = json!({ "name": "add", "arguments": { "a": 1, "b": 2.5 } });
    let sum = json_of(call("tools/call", add).answer().body);
    assert_eq!(sum["result"]["content"][0]["text"], "3.5");
    assert_eq!(json_of(call("server/discover", json!({})).answer().body)["error"]["code"], -32601);

    let count =
        json!({ "name": "count", "arguments": { "to": 4 }, "_meta": { "progressToken": "p" } });
    let mut client = call("tools/call", count);
    client.head();
    let first = client.event();
    assert_eq!((first.data.as_deref(), first.retry), (Some(""), Some(500)));
    assert_eq!(json_of(client.event().data.unwrap())["params"]["progress"], 1);
    let second = client.event();
    drop(client);
    let field = format!("Last-Event-ID: {}\r\n", second.id.unwrap());
    let mut client = example.ask("GET /mcp", &field);
    client.head();
    client.event();
    for progress in 3..=4 {
        assert_eq!(json_of(data(client.event()))["params"]["progress"], progress);
    }
    let answer = json_of(data(client.event()));
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!(7), &json!("counted to 4"))
    );
    assert_eq!(example.get("/mcp").status, 405);
    assert_eq!(example.ask("GET /mcp", "Last-Event-ID: x.1\r\n").answer().status, 404);
}
