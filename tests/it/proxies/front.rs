//! What stands before the proxy: clients, each with an address of its own.
use std::{
    io::Read,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use support::sse::{Block, Item, Parser};

/// Ended in good order when dropped, with the processes it has started.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // Both fail only where it has ended.
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.0.wait();
    }
}

/// How long an event may take on its way through a proxy.
const AT_ONCE: Duration = Duration::from_secs(2);

/// An address of the proxy or of the hub, as clients know it.
pub(crate) struct Front {
    pub(crate) port: u16,
    /// The name in it.
    pub(crate) host: String,
}

impl Front {
    pub(crate) fn listen(&self, from: &str, last: Option<&str>) -> Listener {
        let last = format!("Last-Event-ID: {}", last.unwrap_or_default());
        self.curl(from, &["/event", "-H", &last])
    }

    #[track_caller]
    pub(crate) fn publish(&self, data: &str) {
        let data = format!("data={data}");
        let id = self.curl("127.0.0.1", &["/send", "--fail", "-d", &data]).rest();
        assert!(id.ends_with('\n'), "{id:?}");
    }

    pub(crate) fn status(&self, arguments: &[&str]) -> String {
        let format = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        self.curl("127.0.0.1", &[arguments, &format].concat()).rest()
    }

    /// How many streams the hub has.
    #[track_caller]
    pub(crate) fn streams(&self) -> u64 {
        let stats = self.curl("127.0.0.1", &["/stats"]).rest();
        let stats: Value = serde_json::from_str(&stats).unwrap_or_else(|_| panic!("{stats}"));
        stats["streams"].as_u64().unwrap()
    }

    /// A client with an address of its own, and what else curl is to be told.
    pub(crate) fn curl(&self, from: &str, arguments: &[&str]) -> Listener {
        let (path, arguments) = arguments.split_first().unwrap();
        let mut command = Command::new("curl");
        command.args(["-sSN", "--noproxy", "*", "--max-time", "30", "--interface", from]);
        command.args(["-H", &format!("Host: {}", self.host)]).args(arguments);
        command.arg(format!("http://127.0.0.1:{}{path}", self.port));
        let mut curl = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = curl.stdout.take().unwrap();
        Listener { curl: Process(curl), stdout, parser: Parser::default(), last: None }
    }
}

/// A client, given up when it takes too long.
pub(crate) struct Listener {
    curl: Process,
    stdout: ChildStdout,
    parser: Parser,
    /// The id of the last event.
    pub(crate) last: Option<String>,
}

impl Listener {
    /// None at the end of the stream.
    pub(crate) fn item(&mut self) -> Option<Item> {
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
    pub(crate) fn beginning(&mut self) -> String {
        match (self.item(), self.item()) {
            (Some(Item::Comment(comment)), Some(Item::Block(Block { retry: Some(_), .. }))) => {
                comment
            }
            other => panic!("expected a comment and a block with retry, got {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> Block {
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

    /// Publishes that, which has to come before anything follows it.
    #[track_caller]
    pub(crate) fn hears_at_once(&mut self, front: &Front, data: &str) {
        let start = Instant::now();
        front.publish(data);
        assert_eq!(self.event().data.as_deref(), Some(data));
        let took = start.elapsed();
        assert!(took < AT_ONCE, "{data} took {took:?}");
    }

    /// Whether curl saw that the stream, which has ended, was not complete.
    pub(crate) fn was_cut(&mut self) -> bool {
        !self.curl.0.wait().unwrap().success()
    }

    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        rest
    }
}
