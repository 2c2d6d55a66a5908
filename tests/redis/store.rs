//! A redis-server of the test's own, that can be stopped and started again.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use redis::{Client, Connection, Value, cmd};
use websse::redis::RedisConfig;

use support::{SOON, eventually};

/// What is started: `WEBSSE_REDIS_SERVER`, such as that of Valkey, or the `redis-server` of the path.
pub(crate) fn program() -> PathBuf {
    env::var_os("WEBSSE_REDIS_SERVER").map_or_else(|| "redis-server".into(), PathBuf::from)
}

pub(crate) struct Store {
    dir: PathBuf,
    pub(crate) port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl Store {
    /// One that has everything on its disk that it acknowledges.
    pub(crate) fn durable() -> Self {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    pub(crate) fn with(options: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("websse-redis-{}-{number}", std::process::id());
        let dir = env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut store = Self { dir, port: 0, options, child: None };
        // Somebody else may take the port before the server does.
        while !store.starts_at(free_port()) {}
        store
    }

    /// Starts it with other options than before.
    pub(crate) fn start_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self.start();
    }

    /// Starts it where it was before, where a connection of somebody else's may be meanwhile.
    pub(crate) fn start(&mut self) {
        eventually(4 * SOON, true, || self.starts_at(self.port));
    }

    /// Whether it can listen there; waits until it answers.
    fn starts_at(&mut self, port: u16) -> bool {
        self.port = port;
        let mut child = Command::new(program())
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            // A replica need not wait for others that want the same.
            .args(["--repl-diskless-sync-delay", "0", "--dir"])
            .arg(&self.dir)
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program().display()));
        let mut has_ended = false;
        eventually(4 * SOON, true, || {
            has_ended = child.try_wait().unwrap().is_some();
            has_ended || self.answers()
        });
        self.child = (!has_ended).then_some(child);
        !has_ended
    }

    fn answers(&self) -> bool {
        let is_up = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        is_up && {
            let ping = self.connect().and_then(|mut link| cmd("PING").query::<Value>(&mut link));
            // One with a password is up as well.
            ping.map_or_else(|error| error.code() == Some("NOAUTH"), |_| true)
        }
    }

    /// Ends it by SIGKILL: what it has not written is lost.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends it a signal, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// Lets it forget everything while it is down.
    pub(crate) fn wipe(&self) {
        assert!(self.child.is_none(), "it would write it again");
        fs::remove_dir_all(&self.dir).unwrap();
        fs::create_dir_all(&self.dir).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig::new(&self.url()).unwrap()
    }

    pub(crate) fn connect(&self) -> redis::RedisResult<Connection> {
        Client::open(self.url())?.get_connection_with_timeout(SOON)
    }

    /// Runs a command, given with blanks between its arguments.
    pub(crate) fn run(&self, command: &str) -> Value {
        let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        self.run_bytes(&words)
    }

    /// What the server tells of itself by this name.
    pub(crate) fn info(&self, section: &str, name: &str) -> String {
        let Value::BulkString(text) = self.run(&format!("INFO {section}")) else {
            panic!("no text")
        };
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| *known == name).expect("it is told").1.to_owned()
    }

    pub(crate) fn run_bytes(&self, words: &[&[u8]]) -> Value {
        let mut command = redis::Cmd::new();
        for &word in words {
            command.arg(word);
        }
        command.query(&mut self.connect().unwrap()).unwrap()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub(crate) fn free_port() -> u16 {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    free.local_addr().unwrap().port()
}
