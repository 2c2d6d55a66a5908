//! The leader's side of a crowd.

use std::{net::SocketAddr, ops::Range, time::Duration};

use super::{
    CROWD,
    line_child::LineChild,
    protocol::{Command, Goal, Security},
    report::Report,
};

/// A crowd in a child process, which is killed and waited for when this is dropped.
///
/// Clients are named by their index, in the order in which they connected.
#[derive(Debug)]
pub struct Crowd {
    child: LineChild,
    clients: usize,
    security: Security,
}

impl Crowd {
    /// Starts the process.
    pub fn start() -> Self {
        Self::with_ear(CROWD)
    }

    /// Starts a process whose `main` runs a crowd with an ear of its own when its first argument
    /// is `argument`.
    pub fn with_ear(argument: &str) -> Self {
        let child = LineChild::of_this_program(&[argument]);
        Self { child, clients: 0, security: Security::default() }
    }

    /// What protects the connections of the clients that connect from now on; nothing at first.
    pub fn protect(&mut self, security: Security) {
        self.security = security;
    }

    /// For `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Begins to connect `count` clients, as fast as can be, except that only `window` of them
    /// wait for their response head at a time. Returns at once, with the new clients.
    ///
    /// A target may have a number in braces, such as `/event?channel=c{7}`, and then each client has
    /// its own: the first that number, the second the next one, and so on.
    #[track_caller]
    pub fn connect(
        &mut self,
        address: SocketAddr,
        target: &str,
        count: usize,
        window: usize,
    ) -> Range<usize> {
        self.begin(count, window, false, (address, target))
    }

    /// The same with small buffers: little is on its way to a client that does not read.
    #[track_caller]
    pub fn connect_narrow(
        &mut self,
        address: SocketAddr,
        target: &str,
        count: usize,
        window: usize,
    ) -> Range<usize> {
        self.begin(count, window, true, (address, target))
    }

    #[track_caller]
    fn begin(
        &mut self,
        count: usize,
        window: usize,
        is_narrow: bool,
        (address, target): (SocketAddr, &str),
    ) -> Range<usize> {
        let (security, target) = (self.security, target.to_owned());
        self.tell(&Command::Connect { count, window, is_narrow, security, address, target });
        let first = self.clients;
        self.clients += count;
        first..self.clients
    }

    /// Connects `count` clients a hundred at a time, and waits until each has its response head.
    #[track_caller]
    pub fn join(&mut self, address: SocketAddr, target: &str, count: usize) -> Range<usize> {
        let clients = self.connect(address, target, count, 100);
        let report = self.wait_heads(&clients, Duration::from_secs(60));
        report.assert_no_trouble();
        assert_eq!(report.ok, report.clients, "expected status 200 for all, got {report}");
        clients
    }

    /// Waits until each of these clients has its response head, or cannot get it any more.
    #[track_caller]
    pub fn wait_heads(&mut self, clients: &Range<usize>, time: Duration) -> Report {
        self.wait(Goal::Head, clients, time)
    }

    /// Waits until each of these clients has `count` events, or cannot get them any more.
    #[track_caller]
    pub fn wait_events(&mut self, clients: &Range<usize>, count: u64, time: Duration) -> Report {
        self.wait(Goal::Events(count), clients, time)
    }

    /// Waits until the hub has ended each of these clients' responses.
    #[track_caller]
    pub fn wait_ended(&mut self, clients: &Range<usize>, time: Duration) -> Report {
        self.wait(Goal::End, clients, time)
    }

    /// These clients read no more; what is on its way to them stays there.
    #[track_caller]
    pub fn stop_reading(&mut self, clients: &Range<usize>) -> Report {
        self.tell(&Command::StopReading(clients.clone()))
    }

    /// These clients read again.
    #[track_caller]
    pub fn read(&mut self, clients: &Range<usize>) -> Report {
        self.tell(&Command::Read(clients.clone()))
    }

    /// These clients read once, at most so many bytes, even if they have stopped reading.
    #[track_caller]
    pub fn sip(&mut self, clients: &Range<usize>, bytes: usize) -> Report {
        self.tell(&Command::Sip { clients: clients.clone(), bytes })
    }

    /// All clients count their events anew, and figures begin anew.
    #[track_caller]
    pub fn restart(&mut self) -> Report {
        self.tell(&Command::Restart)
    }

    /// The figures of the crowd's own ear, as one line.
    pub fn figures(&mut self) -> String {
        self.child.ask(&Command::Figures.to_string())
    }

    /// These clients close their connections.
    #[track_caller]
    pub fn close(&mut self, clients: &Range<usize>) -> Report {
        self.tell(&Command::Close(clients.clone()))
    }

    #[track_caller]
    pub fn report(&mut self, clients: &Range<usize>) -> Report {
        self.tell(&Command::Report { clients: clients.clone(), open_only: false })
    }

    /// Reports about those of these clients that are connected.
    #[track_caller]
    pub fn report_open(&mut self, clients: &Range<usize>) -> Report {
        self.tell(&Command::Report { clients: clients.clone(), open_only: true })
    }

    #[track_caller]
    fn wait(&mut self, goal: Goal, clients: &Range<usize>, time: Duration) -> Report {
        self.tell(&Command::Wait { goal, clients: clients.clone(), time })
    }

    #[track_caller]
    fn tell(&mut self, command: &Command) -> Report {
        let line = self.child.ask(&command.to_string());
        line.parse().unwrap_or_else(|error| panic!("expected a report, got {error}"))
    }
}
