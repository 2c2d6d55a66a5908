//! The command behind the proxies that `examples/proxies` configures, which the manual shows:
//! events come at once, streams resume, and each client has its own address.
#![cfg(all(feature = "cli", target_os = "linux"))]
use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use support::{
    SOON, Scratch, eventually,
    sse::{Block, Item, Parser},
};

/// What stands for the hub in the configurations, and for the proxy itself.
const HUB: &str = "127.0.0.1:8080";
const HOST: &str = "hub.example";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nginx,
    HaProxy,
    Caddy,
}

#[test]
#[ignore = "needs nginx, haproxy and caddy"]
fn nginx_passes_events_on_at_once() {
    story(Kind::Nginx, "tcp");
}

#[test]
#[ignore = "needs nginx, haproxy and caddy"]
fn nginx_does_so_over_a_unix_socket() {
    story(Kind::Nginx, "unix:");
}

#[test]
#[ignore = "needs nginx, haproxy and caddy"]
fn haproxy_passes_events_on_at_once() {
    story(Kind::HaProxy, "tcp");
}

#[test]
#[ignore = "needs nginx, haproxy and caddy"]
fn haproxy_does_so_over_a_unix_socket() {
    story(Kind::HaProxy, "unix@");
}

#[test]
#[ignore = "needs nginx, haproxy and caddy"]
fn caddy_passes_events_on_at_once() {
    story(Kind::Caddy, "tcp");
}

#[test]
#[ignore = "needs nginx, haproxy and caddy"]
fn caddy_does_so_over_a_unix_socket() {
    story(Kind::Caddy, "unix/");
}

/// `socket` is what the proxy puts before the path of a Unix-domain socket.
fn story(kind: Kind, socket: &str) {
    let directory = Scratch::new(&format!("{kind:?}-{}", socket.replace('/', "")));
    let path = directory.0.join("socket");
    let (listen, trusted) = match socket {
        "tcp" => ("127.0.0.1:0".to_owned(), "127.0.0.1"),
        _ => (format!("unix:{}", path.display()), "unix"),
    };
    let (hub, address) = hub(&listen, trusted);
    let behind = if socket == "tcp" { &address } else { &format!("{socket}{}", path.display()) };
    let (_proxy, port) = proxy(kind, behind, &directory.0);
    let front = Front { port };

    // Each comes while nothing follows it.
    let mut listener = front.listen("127.0.0.2", None);
    assert_eq!(listener.beginning(), "websse");
    for data in ["one", "two", "three"] {
        front.publish(data);
        assert_eq!(listener.event().data.as_deref(), Some(data));
    }
    while !matches!(listener.item(), Some(Item::Comment(_))) {}

    let last = listener.last.take();
    drop(listener);
    front.publish("missed");
    let mut listener = front.listen("127.0.0.2", last.as_deref());
    assert_eq!(listener.beginning(), "websse");
    front.publish("new");
    for data in ["missed", "new"] {
        assert_eq!(listener.event().data.as_deref(), Some(data));
    }

    // Two streams for each address, whatever a client says its own is; the first one has gone.
    let mut second = None;
    eventually(SOON, "websse".to_owned(), || {
        second.insert(front.listen("127.0.0.2", None)).beginning()
    });
    let claim = ["/event", "-H", "X-Forwarded-For: 127.0.0.9"];
    let refusal = "2 streams of yours are open already";
    assert_eq!(front.curl("127.0.0.2", &claim).beginning(), refusal);
    assert_eq!(front.listen("127.0.0.3", None).beginning(), "websse");

    for (origin, status) in [("http://hub.example", "200"), ("http://evil.example", "403")] {
        let origin = format!("Origin: {origin}");
        assert_eq!(front.status(&["/send", "-d", "data=from a page", "-H", &origin]), status);
    }
    assert_eq!(listener.event().data.as_deref(), Some("from a page"));

    // The hub goes, and comes back with nothing of what it knew.
    drop(hub);
    while listener.item().is_some() {}
    let last = listener.last.take();
    let mut again = front.listen("127.0.0.3", last.as_deref());
    if kind == Kind::Nginx {
        assert_eq!(again.beginning(), "the hub is away");
        assert_eq!(again.item(), None);
    }
    let meanwhile = match kind {
        Kind::Nginx => "502",
        Kind::HaProxy if socket != "tcp" => "503",
        // It waits.
        Kind::HaProxy | Kind::Caddy => "000",
    };
    assert_eq!(front.status(&["/healthz", "--max-time", "1"]), meanwhile);
    let listen = if socket == "tcp" { &address } else { &listen };
    let (_hub, _) = self::hub(listen, trusted);
    if meanwhile != "000" {
        again = front.listen("127.0.0.3", last.as_deref());
    }
    assert_eq!(again.beginning(), "websse");
    let gap = again.event();
    assert_eq!(gap.event.as_deref(), Some("stream-gap"));
    assert!(gap.data.unwrap().contains(&last.unwrap()));
    front.publish("after");
    assert_eq!(again.event().data.as_deref(), Some("after"));
}

/// The command, and where it listens as it says.
fn hub(listen: &str, trusted: &str) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_websse"));
    command.args(["--listen", listen, "--unix-mode", "666", "--heartbeat", "1s"]);
    command.args(["--allow-host", HOST, "--trusted-proxy", trusted, "--streams-per-address", "2"]);
    let mut process = Process(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_end().rsplit(['/', ' ']).next().unwrap().to_owned();
    (process, address)
}

/// The proxy before a hub, as its example says but for addresses, and its port.
fn proxy(kind: Kind, hub: &str, directory: &Path) -> (Process, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let here = directory.display();
    let (example, bind, own) = match kind {
        Kind::Nginx => (
            include_str!("../../examples/proxies/nginx.conf"),
            "listen 80;",
            format!("listen 127.0.0.1:{port};"),
        ),
        Kind::HaProxy => (
            include_str!("../../examples/proxies/haproxy.cfg"),
            "bind :80\n",
            format!("bind 127.0.0.1:{port}\n"),
        ),
        Kind::Caddy => (
            include_str!("../../examples/proxies/Caddyfile"),
            "hub.example {",
            format!("http://hub.example:{port} {{"),
        ),
    };
    assert!(example.contains(HUB) && example.contains(bind));
    let example = example.replace(HUB, hub).replace(bind, &own);
    let (whole, program, arguments) = match kind {
        Kind::Nginx => {
            let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let paths = paths.map(|name| format!("{name}_temp_path {here}/{name};\n")).concat();
            let http = format!("access_log off;\n{paths}{example}");
            let whole = format!("daemon off;\npid {here}/pid;\nevents {{}}\nhttp {{\n{http}\n}}\n");
            (whole, "nginx", &["-e", "stderr", "-c"][..])
        }
        Kind::HaProxy => (example, "haproxy", &["-db", "-f"][..]),
        Kind::Caddy => {
            let global = "{\n\tadmin off\n\tdefault_bind 127.0.0.1\n}\n";
            let arguments = &["run", "--adapter", "caddyfile", "--config"][..];
            (format!("{global}{example}"), "caddy", arguments)
        }
    };
    let file = directory.join("configuration");
    fs::write(&file, whole).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg(&file).stdout(Stdio::null());
    command.env("XDG_DATA_HOME", directory).env("XDG_CONFIG_HOME", directory);
    let log = fs::File::create(directory.join("log")).unwrap();
    let mut process = Process(command.stderr(log).spawn().expect("the proxy is installed"));
    eventually(2 * SOON, true, || {
        let log = fs::read_to_string(directory.join("log")).unwrap();
        assert_eq!(process.0.try_wait().unwrap(), None, "it has ended: {log}");
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (process, port)
}

/// Ended in good order when dropped, with the processes it has started.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // Both fail only where it has ended.
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.0.wait();
    }
}

/// The proxy's address, as clients know it.
struct Front {
    port: u16,
}

impl Front {
    fn listen(&self, from: &str, last: Option<&str>) -> Listener {
        let last = format!("Last-Event-ID: {}", last.unwrap_or_default());
        self.curl(from, &["/event", "-H", &last])
    }

    #[track_caller]
    fn publish(&self, data: &str) {
        let data = format!("data={data}");
        assert_eq!(self.curl("127.0.0.1", &["/send", "--fail", "-d", &data]).rest(), "");
    }

    fn status(&self, arguments: &[&str]) -> String {
        let format = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        self.curl("127.0.0.1", &[arguments, &format].concat()).rest()
    }

    /// A client with an address of its own, and what else curl is to be told.
    fn curl(&self, from: &str, arguments: &[&str]) -> Listener {
        let (path, arguments) = arguments.split_first().unwrap();
        let mut command = Command::new("curl");
        command.args(["-sSN", "--noproxy", "*", "--max-time", "30", "--interface", from]);
        command.args(["-H", &format!("Host: {HOST}")]).args(arguments);
        command.arg(format!("http://127.0.0.1:{}{path}", self.port));
        let mut curl = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = curl.stdout.take().unwrap();
        Listener { _curl: Process(curl), stdout, parser: Parser::default(), last: None }
    }
}

/// A client, given up when it takes too long.
struct Listener {
    _curl: Process,
    stdout: ChildStdout,
    parser: Parser,
    /// The id of the last event.
    last: Option<String>,
}

impl Listener {
    /// None at the end of the stream.
    fn item(&mut self) -> Option<Item> {
        let mut bytes = [0; 4096];
        loop {
            if let Some(item) = self.parser.item() {
                return Some(item);
            }
            let read = self.stdout.read(&mut bytes).unwrap();
            if read == 0 {
                return None;
            }
            self.parser.feed(&bytes[..read]);
        }
    }

    /// The comment with which a stream or a refusal begins; the reconnection time follows it.
    #[track_caller]
    fn beginning(&mut self) -> String {
        match (self.item(), self.item()) {
            (Some(Item::Comment(comment)), Some(Item::Block(Block { retry: Some(_), .. }))) => {
                comment
            }
            other => panic!("expected a comment and a block with retry, got {other:?}"),
        }
    }

    #[track_caller]
    fn event(&mut self) -> Block {
        loop {
            match self.item() {
                Some(Item::Block(block)) if block.data.is_some() => {
                    self.last.clone_from(&block.id);
                    return block;
                }
                Some(_) => {}
                None => panic!("the stream has ended"),
            }
        }
    }

    fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }
}
