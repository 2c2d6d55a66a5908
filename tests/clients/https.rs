//! The same clients over HTTPS, with a certificate of an authority of one's own: each believes it
//! once it is told by the means in the README's table, and gets nothing without.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::authority::{Authority, BOTH};
use support::{Client, Hub, SOON, Scratch, eventually};
use websse::Message;
use websse::http::{HttpServer, Request, Response};

use crate::program::{PATIENCE, Program};
use crate::table::{self, Entry, installed, readme, table_in};

const TITLES: &str = "\
| in | client over HTTPS | believes an authority of one's own by |
|---|---|---|
";
const EVENTS: usize = 20;
/// What Java takes for trusted, made by its own `keytool`.
const STORE: &str = "ca.p12";

/// A hub over HTTPS, and the files by which clients believe it.
struct Secured {
    hub: Hub,
    authority: Authority,
    files: Scratch,
}

impl Secured {
    fn start(name: &str) -> Self {
        let files = Scratch::new(name);
        let authority = Authority::new("an authority of one's own");
        let pem = authority.pem();
        let path = files.0.join("ca.pem");
        fs::write(files.0.join("ca.wgetrc"), format!("ca_certificate = {}\n", path.display()))
            .unwrap();
        fs::write(path, pem).unwrap();
        let issued = authority.issue_with(&["localhost", "127.0.0.1"], |params| {
            // OpenSSL 3 asks for it where a program is strict, as Python 3.13 is.
            params.use_authority_key_identifier_extension = true;
        });
        let page = |_: &Request| Response::html(include_str!("browser/page.html"));
        let routes = |http: HttpServer| http.get("/page", page);
        let tls = issued.server(&files.0);
        let hub = Hub::over_tls(&["message", "a"], |builder| builder, routes, tls);
        Self { hub, authority, files }
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.hub.addr().port())
    }

    /// The variable that a cell of the table tells, such as `SSL_CERT_FILE=ca.pem`.
    fn believes(&self, cell: &str) -> (String, String) {
        let (name, value) = cell.trim_matches('`').split_once('=').expect("a variable");
        let store = self.files.0.join(STORE);
        if value.contains(STORE) && !store.exists() {
            let mut keytool = Command::new("keytool");
            keytool.args(["-importcert", "-noprompt", "-storepass", "changeit", "-file"]);
            keytool.arg(self.files.0.join("ca.pem")).arg("-keystore").arg(store);
            let made = keytool.output().expect("keytool");
            assert!(made.status.success(), "{made:?}");
        }
        let folder = format!("{}/ca.", self.files.0.display());
        (name.to_owned(), value.replace("ca.", &folder))
    }

    /// A client that listens gets each event at once.
    fn is_heard_by(&self, name: &str, client: &mut Program) {
        let before = Instant::now() + PATIENCE;
        while self.hub.server.stats().streams == 0 {
            assert!(client.exit().is_none() && Instant::now() < before, "{name} does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        for number in 0..EVENTS {
            let text = format!("event {number:03} é");
            self.hub.publish(Message::new(text.clone()).event("a"));
            let end = Instant::now() + PATIENCE;
            let heard =
                |client: &Program| client.lines().iter().filter(|it| it.contains(&text)).count();
            while heard(client) == 0 {
                assert!(Instant::now() < end, "{name}: not {text}, but {:?}", client.lines());
                thread::sleep(Duration::from_millis(2));
            }
            assert_eq!(heard(client), 1, "{name}: {text}");
        }
    }
}

/// The clients of the README's table with their cells.
fn rows(text: &str) -> Vec<(&'static Entry, &str)> {
    let (begin, end) = table_in(text, TITLES);
    let rows = text[begin + TITLES.len()..end].lines().map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [language, name, how] = cells[..] else { panic!("three cells: {line}") };
        (table::of(language, name), how)
    });
    rows.collect()
}

/// One after the other: each hub has but one stream.
fn listen(is_wanted: impl Fn(&Entry) -> bool) {
    let text = fs::read_to_string(readme()).unwrap();
    for (entry, how) in rows(&text) {
        if !is_wanted(entry) {
            continue;
        }
        let secured = Secured::start(&format!("https-{}", entry.name));
        let url = secured.url("/event?event=a&replay=100");
        let told = secured.believes(how);
        secured.is_heard_by(entry.name, &mut entry.start_with(&url, &[told]));
        eventually(SOON, 0, || secured.hub.server.stats().streams);
        // Without, it ends, or tries again and again.
        let stranger = entry.start_with(&url, &[]);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(secured.hub.server.stats().streams, 0, "{} believes anybody", entry.name);
        assert_eq!(stranger.lines(), [""; 0], "{}", entry.name);
    }
}

#[test]
#[ignore = "needs node, python3 and packages for them: run tests/clients/run"]
fn a_dozen_clients_listen_over_https_and_believe_no_stranger() {
    listen(|entry| entry.is_of_the_dozen);
}

#[test]
#[ignore = "needs many languages: run tests/clients/run --all"]
fn all_clients_of_other_languages_listen_over_https_and_believe_no_stranger() {
    listen(|entry| !entry.is_of_the_dozen);
}

#[test]
#[ignore = "needs chromium: run tests/clients/run"]
fn the_browser_chromium_listens_over_https_once_the_certificate_is_let_pass() {
    let secured = Secured::start("chromium-https");
    let mut browser = Program::browser_at(&secured.url(""), "/event?event=a&replay=100");
    secured.is_heard_by("chromium", &mut browser);
}

/// Each is called with a form and the URL to post it to; by this variable it believes an authority.
const PUBLISHERS: [(&str, &[&str]); 5] = [
    ("CURL_CA_BUNDLE", &["curl", "-sSf", "-d"]),
    (
        "NODE_EXTRA_CA_CERTS",
        &[
            "node",
            "-e",
            "const [, form, url] = process.argv; const body = new URLSearchParams(form);
            fetch(url, { method: 'POST', body }).then(answer => process.exit(answer.ok ? 0 : 1))",
        ],
    ),
    (
        "REQUESTS_CA_BUNDLE",
        &[
            "python",
            "-c",
            "import requests, sys, urllib.parse
form = urllib.parse.parse_qs(sys.argv[1])
requests.post(sys.argv[2], form).raise_for_status()",
        ],
    ),
    (
        "SSL_CERT_FILE",
        &[
            "python",
            "-c",
            "import httpx, sys, urllib.parse
form = urllib.parse.parse_qs(sys.argv[1])
httpx.post(sys.argv[2], data=form).raise_for_status()",
        ],
    ),
    (
        "SSL_CERT_FILE",
        &[
            "python",
            "-c",
            "import sys, urllib.request
urllib.request.urlopen(sys.argv[2], sys.argv[1].encode())",
        ],
    ),
];

#[test]
#[ignore = "needs node, python3 and packages for them: run tests/clients/run"]
fn clients_publish_over_https_and_believe_no_stranger() {
    let secured = Secured::start("publish-https");
    let config = Arc::new(secured.authority.client(&BOTH, None));
    let mut listener = Client::try_connect_tls(secured.hub.addr(), &config, "localhost").unwrap();
    listener.send("GET /event?event=a HTTP/1.1\r\nHost: localhost\r\n\r\n");
    listener.stream_head();
    for (number, (variable, program)) in PUBLISHERS.into_iter().enumerate() {
        let publish = |believes: bool| {
            let python = installed().join("python/bin/python");
            let first =
                if program[0] == "python" { python.as_os_str() } else { program[0].as_ref() };
            let mut command = Command::new(first);
            command.args(&program[1..]);
            command.arg(format!("event=a&data=by+{number}")).arg(secured.url("/send"));
            if believes {
                command.env(variable, secured.files.0.join("ca.pem"));
            }
            command.output().unwrap()
        };
        let refused = publish(false);
        assert!(!refused.status.success(), "{program:?} believes anybody");
        let published = publish(true);
        assert!(published.status.success(), "{program:?}: {published:?}");
        assert_eq!(listener.event().data, Some(format!("by {number}")), "{program:?}");
    }
}
