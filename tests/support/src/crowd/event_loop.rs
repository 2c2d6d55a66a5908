//! The crowd's process: all clients on one thread, with one poll and one read buffer.

use std::{
    collections::VecDeque,
    fmt::Display,
    io::{self, Write},
    ops::Range,
    process::{ExitCode, exit},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token, Waker, event::Event};

use super::{
    LIFETIME,
    client::{Client, Group, State},
    ear::Ear,
    protocol::{Command, Goal},
    report::{self, Report},
    tls::LONGEST_RECORD,
};

/// The token of new commands; a client's is its index.
const COMMANDS: Token = Token(usize::MAX);

const READ_BUFFER: usize = 64 << 10;

/// Runs until the leader closes the other end of standard input.
pub fn run<E: Ear>() -> ExitCode {
    match Crowd::<E>::new().and_then(Crowd::run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the crowd ends: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The clients of a `connect` that have not started yet.
struct Start {
    clients: Range<usize>,
    window: usize,
}

/// A `wait` that is not answered yet. Clients before `passed` are as far as they can get.
struct Wait {
    goal: Goal,
    clients: Range<usize>,
    passed: usize,
    deadline: Instant,
}

struct Crowd<E: Ear> {
    poll: Poll,
    commands: Receiver<String>,
    groups: Vec<Group<E::Wanted>>,
    clients: Vec<Client<E>>,
    figures: E::Figures,
    start: Start,
    /// Clients that connect or wait for their head.
    asking: usize,
    wait: Option<Wait>,
    /// Clients that may have something to read.
    readable: VecDeque<usize>,
    /// What was wrong first.
    trouble: String,
    /// Whether something came to a client that should not have come.
    is_faulty: bool,
    buffer: Vec<u8>,
}

impl<E: Ear> Crowd<E> {
    fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), COMMANDS)?;
        let (sender, commands) = channel();
        thread::Builder::new().name("leader".into()).spawn(move || obey(&sender, &waker))?;
        thread::Builder::new().name("lifetime".into()).spawn(|| {
            thread::sleep(LIFETIME);
            eprintln!("the crowd ends: it has lived for {LIFETIME:?}");
            exit(1);
        })?;
        Ok(Self {
            poll,
            commands,
            groups: Vec::new(),
            clients: Vec::new(),
            figures: E::Figures::default(),
            start: Start { clients: 0..0, window: 0 },
            asking: 0,
            wait: None,
            readable: VecDeque::new(),
            trouble: String::new(),
            is_faulty: false,
            buffer: vec![0; READ_BUFFER + LONGEST_RECORD],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let patience = match &self.wait {
                _ if !self.readable.is_empty() => Some(Duration::ZERO),
                wait => wait.as_ref().map(|wait| until(wait.deadline)),
            };
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token() == COMMANDS {
                    while let Ok(line) = self.commands.try_recv() {
                        let command = line.parse().map_err(io::Error::other)?;
                        self.take(command)?;
                    }
                } else {
                    self.serve(event);
                }
            }
            self.read();
            self.start_clients();
            self.answer_wait()?;
        }
    }

    fn take(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Connect { count, window, is_narrow, security, address, target } => {
                let first = self.clients.len();
                let mut add = |target: &str| {
                    let host = format!("Host: {address}\r\nAccept: text/event-stream");
                    let request = format!("GET {target} HTTP/1.1\r\n{host}\r\n\r\n");
                    self.groups.push(Group {
                        address,
                        request: request.into_bytes(),
                        wanted: E::wanted(target),
                        is_narrow,
                        security,
                        started: Instant::now(),
                    });
                    self.groups.len() - 1
                };
                let groups: Vec<usize> = match numbered(&target) {
                    None => vec![add(&target); count],
                    Some((before, number, behind)) => (number..)
                        .take(count)
                        .map(|n| format!("{before}{n}{behind}"))
                        .map(|target| add(&target))
                        .collect(),
                };
                self.clients.extend(groups.into_iter().map(Client::new));
                self.start = Start { clients: first..first + count, window };
                self.start_clients();
                answer(&self.report(first..first + count, None))
            }
            Command::Wait { goal, clients, time } => {
                let clients = self.existing(clients);
                let deadline = Instant::now() + time;
                self.wait = Some(Wait { goal, passed: clients.start, clients, deadline });
                Ok(())
            }
            Command::StopReading(clients) => self.set_stuck(clients, true),
            Command::Read(clients) => self.set_stuck(clients, false),
            Command::Sip { clients, bytes } => {
                let clients = self.existing(clients);
                for index in clients.clone() {
                    self.read_once(index, bytes.min(READ_BUFFER));
                }
                answer(&self.report(clients, None))
            }
            Command::Restart => {
                self.clients.iter_mut().for_each(|client| client.tally.restart());
                self.figures = E::Figures::default();
                answer(&self.report(0..self.clients.len(), None))
            }
            Command::Figures => answer(&self.figures),
            Command::Close(clients) => {
                let clients = self.existing(clients);
                for client in &mut self.clients[clients.clone()] {
                    self.asking -= usize::from(client.state == State::Asking);
                    client.close();
                }
                answer(&self.report(clients, None))
            }
            Command::Report { clients, open_only } => {
                let clients = self.existing(clients);
                let is_meant = |client: &&Client<E>| !open_only || client.state == State::Open;
                let meant = self.clients[clients].iter().filter(is_meant);
                answer(&report::about(meant, None, &self.trouble))
            }
        }
    }

    /// Starts as many clients as the window has room for.
    fn start_clients(&mut self) {
        while self.asking < self.start.window
            && let Some(index) = self.start.clients.next()
        {
            let client = &mut self.clients[index];
            if client.state != State::Queued {
                continue;
            }
            let group = &self.groups[client.group];
            let outcome = client.start(group, self.poll.registry(), Token(index));
            self.asking += usize::from(client.state == State::Asking);
            self.note(index, outcome);
        }
    }

    fn serve(&mut self, event: &Event) {
        let Token(index) = event.token();
        let client = &mut self.clients[index];
        if event.is_writable() {
            let was_asking = client.state == State::Asking;
            let outcome = client.write(&self.groups[client.group]);
            self.asking -= usize::from(was_asking && outcome.is_err());
            self.note(index, outcome);
        }
        let is_ending = event.is_read_closed() || event.is_error();
        self.clients[index].is_ending |= is_ending;
        if event.is_readable() || is_ending {
            self.queue(index);
        }
    }

    /// Puts a client into the queue of those that may have something to read.
    fn queue(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if !client.is_queued {
            client.is_queued = true;
            self.readable.push_back(index);
        }
    }

    /// Lets each client in the queue read once, so that none keeps the others waiting.
    fn read(&mut self) {
        for _ in 0..self.readable.len() {
            let Some(index) = self.readable.pop_front() else { return };
            self.clients[index].is_queued = false;
            if !self.clients[index].is_stuck && self.read_once(index, READ_BUFFER) {
                self.queue(index);
            }
        }
    }

    /// Lets a client read once, at most so many bytes; tells whether there may be more.
    fn read_once(&mut self, index: usize, most: usize) -> bool {
        let client = &mut self.clients[index];
        let was_asking = client.state == State::Asking;
        let group = &self.groups[client.group];
        let outcome = client.read(group, &mut self.buffer, most, &mut self.figures);
        self.asking -= usize::from(was_asking && client.state != State::Asking);
        let has_more = outcome == Ok(true);
        self.note(index, outcome.map(drop));
        has_more
    }

    fn set_stuck(&mut self, clients: Range<usize>, is_stuck: bool) -> io::Result<()> {
        let clients = self.existing(clients);
        for index in clients.clone() {
            self.clients[index].is_stuck = is_stuck;
            if !is_stuck {
                self.queue(index);
            }
        }
        answer(&self.report(clients, None))
    }

    fn note(&mut self, index: usize, outcome: Result<(), String>) {
        if let Err(trouble) = outcome {
            self.is_faulty |= self.clients[index].state == State::Faulty;
            if self.trouble.is_empty() {
                self.trouble = format!("client {index}: {}", trouble.escape_debug());
            }
        }
    }

    /// Answers a `wait` that is over.
    fn answer_wait(&mut self) -> io::Result<()> {
        let Some(wait) = &mut self.wait else { return Ok(()) };
        while wait.passed < wait.clients.end
            && report::is_through(&self.clients[wait.passed], wait.goal)
        {
            wait.passed += 1;
        }
        let is_over = wait.passed == wait.clients.end
            || self.is_faulty
            || until(wait.deadline) == Duration::ZERO;
        if let Some(Wait { goal, clients, .. }) = self.wait.take_if(|_| is_over) {
            answer(&self.report(clients, Some(goal)))?;
        }
        Ok(())
    }

    fn existing(&self, clients: Range<usize>) -> Range<usize> {
        let end = clients.end.min(self.clients.len());
        clients.start.min(end)..end
    }

    fn report(&self, clients: Range<usize>, goal: Option<Goal>) -> Report {
        report::about(self.clients[clients].iter(), goal, &self.trouble)
    }
}

/// A target with a number in braces, such as `/event?channel=c{7}`: the first client gets this number
/// there, and each of the next ones the next.
fn numbered(target: &str) -> Option<(&str, u64, &str)> {
    let (before, rest) = target.split_once('{')?;
    let (number, behind) = rest.split_once('}')?;
    Some((before, number.parse().ok()?, behind))
}

/// Hands the leader's commands to the poll, and ends the process with the leader.
fn obey(commands: &Sender<String>, waker: &Waker) {
    for line in io::stdin().lines().map_while(Result::ok) {
        if commands.send(line).is_err() || waker.wake().is_err() {
            break;
        }
    }
    exit(0);
}

fn answer(report: &impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{report}")?;
    out.flush()
}

fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
