//! The catalogue: what is run, with which numbers.

use std::time::Duration;

use anyhow::Result;

use super::{
    channels::Channels,
    comeback::Comeback,
    delivery::{Delivery, Load, SIP},
    idle::Idle,
    known::{self, Beside, Memory},
    metric::{Metric, Sample},
    own::{self, Own},
    peer::{Entrant, Kind},
    publishing::{InProcess, OverHttp},
    replay::Replay,
    rush::Rush,
    stage::Settings,
    storm::Storm,
};
use crate::crowd::Tls;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Deliver(Delivery),
    Idle(Idle),
    Storm(Storm),
    OverHttp(OverHttp),
    InProcess(InProcess),
    Channels(Channels),
    Beside(Beside),
    Memory(Memory),
    Comeback(Comeback),
    Replay(Replay),
    Own(Own),
    Rush(Rush),
}

impl Work {
    fn about(self) -> String {
        match self {
            Self::Deliver(delivery) => about(&delivery),
            Self::Idle(Idle { streams, .. }) => {
                format!("{streams} streams on which nothing happens; then each is behind once")
            }
            Self::Storm(Storm { clients, have_own, tls }) => {
                let own = if have_own { ", each with its own channel" } else { "" };
                let tls = tls.map(|Tls { is_12, resumes }| {
                    let version = if is_12 { "2" } else { "3" };
                    format!(
                        " by TLS 1.{version}{}",
                        if resumes { ", resuming sessions" } else { "" }
                    )
                });
                let tls = tls.unwrap_or_default();
                format!("{clients} clients connect at once{own}{tls}; then all leave")
            }
            Self::Rush(Rush { settled, joining, storms, per_second, bytes }) => format!(
                "{settled} clients, {per_second} x {bytes} B a second while {joining} more connect \
                 at once, {storms} times"
            ),
            Self::OverHttp(OverHttp { publishes, window }) => {
                let how = window.map_or("pipelined", |_| "each after the last one's answer");
                format!(
                    "{publishes} publishes of {SMALL} B over one HTTP connection, {how}; 1 client"
                )
            }
            Self::InProcess(InProcess { publishes, clients }) => {
                format!("{publishes} calls of publish with {SMALL} B, clients: {clients}")
            }
            Self::Channels(Channels { clients, load, churn }) => {
                let load = match load {
                    Load::Burst { events } => format!("{events} x {SMALL} B to one each"),
                    Load::Steady { per_second, seconds } => format!(
                        "{per_second} x {SMALL} B to one each and one to all a second for {seconds} s"
                    ),
                };
                let churn = match churn {
                    0 => String::new(),
                    churn => format!(", {churn} more join and {churn} leave a second"),
                };
                format!("{clients} clients, each with its own channel, {load}{churn}")
            }
            Self::Beside(Beside { known, is_full, publishes }) => {
                let full = if is_full { ", the history is used up" } else { "" };
                let used = known::USED;
                format!(
                    "{publishes} calls of publish with {SMALL} B to {used} channels with a client \
                     each, {known} more have an event{full}"
                )
            }
            Self::Memory(Memory { channels, are_listened: false }) => {
                format!("{channels} channels with an event of {} B each", known::KEPT)
            }
            Self::Memory(Memory { channels, are_listened: true }) => {
                format!("{channels} streams, each with its own channel")
            }
            Self::Replay(Replay { events, are_apart }) => {
                let of = if are_apart { "as many channels" } else { "one channel" };
                format!(
                    "a client gets {events} x {SMALL} B that are kept of {of}, while another one gets \
                     1000 a second"
                )
            }
            Self::Own(Own { streams, messages, pause }) => {
                let pause = match pause {
                    0 => "at full speed".to_owned(),
                    pause => format!("{} a second", 1000 / pause),
                };
                format!("{streams} requests, each answered by {messages} x 40 B, {pause}")
            }
            Self::Comeback(Comeback { clients, behind }) => {
                format!("{clients} clients come back at once, {behind} x {SMALL} B behind")
            }
        }
    }
}

/// One row of figures for each server.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What chooses it on the command line; several cases may share it.
    pub(crate) scenario: &'static str,
    pub(crate) about: String,
    pub(crate) work: Work,
    /// What it is about: shown as a chart, and compared.
    pub(crate) headlines: &'static [Metric],
    /// A run that takes longer is given up.
    pub(crate) time: Duration,
}

impl Case {
    /// Whether a server can take part.
    pub(crate) fn admits(&self, entrant: &Entrant) -> bool {
        if !entrant.is_for(self.scenario) {
            return false;
        }
        if entrant.kind == Kind::Unprotected {
            return self.scenario == TLS && matches!(self.work, Work::Deliver(_) | Work::Idle(_));
        }
        if self.scenario == REDIS {
            return matches!(entrant.kind, Kind::Websse | Kind::Node);
        }
        match self.work {
            _ if entrant.kind == Kind::Node => false,
            // Where it weighs how a publish comes in: each has one delivery.
            _ if entrant.kind == Kind::Records => {
                matches!(self.work, Work::Channels(Channels { load: Load::Burst { .. }, .. }))
            }
            _ if entrant.kind == Kind::Echo => matches!(self.work, Work::OverHttp(_)),
            // That there are channels is new.
            Work::Channels(_) | Work::Storm(Storm { have_own: true, .. }) => {
                !entrant.is_another_build()
            }
            Work::OverHttp(_) => entrant.kind != Kind::Limit,
            Work::InProcess(_) | Work::Beside(_) | Work::Memory(_) | Work::Replay(_) => {
                entrant.kind == Kind::Websse
            }
            // Only the bare loop of `own.rs` knows such requests.
            Work::Deliver(_) if self.scenario == OWN => entrant.kind != Kind::Limit,
            Work::Own(_)
            | Work::Deliver(_)
            | Work::Idle(_)
            | Work::Storm(_)
            | Work::Rush(_)
            | Work::Comeback(_) => true,
        }
    }

    pub(crate) fn run(&self, entrant: &Entrant, window: usize) -> Result<Sample> {
        let settings = Settings { window, time: self.time };
        match self.work {
            Work::Deliver(delivery) => delivery.run(entrant, settings),
            Work::Idle(idle) => idle.run(entrant, settings),
            Work::Storm(storm) => storm.run(entrant, settings),
            Work::OverHttp(over_http) => over_http.run(entrant, settings),
            Work::InProcess(in_process) => in_process.run(settings),
            Work::Channels(channels) => channels.run(entrant, settings),
            Work::Beside(beside) => beside.run(settings),
            Work::Memory(memory) => memory.run(entrant, settings),
            Work::Replay(replay) => replay.run(settings),
            Work::Comeback(comeback) => comeback.run(entrant, settings),
            Work::Own(own) => own.run(entrant, settings),
            Work::Rush(rush) => rush.run(entrant, settings),
        }
    }
}

pub(crate) const SCENARIOS: &[&str] = &[
    "burst",
    "steady",
    "idle",
    "storm",
    "stuck",
    "types",
    "scaling",
    "publish",
    "channels",
    "idle-channels",
    "return",
    OWN,
    #[cfg(feature = "redis")]
    REDIS,
    #[cfg(feature = "tls")]
    TLS,
];
/// What is written for one request alone.
const OWN: &str = "own";
/// What a log costs that several nodes share.
const REDIS: &str = "redis";
/// What HTTPS costs.
pub(crate) const TLS: &str = "tls";

const SMALL: usize = 128;
const LARGE: usize = 4096;
const SPEED: &[Metric] = &[Metric::Deliveries, Metric::CpuPerDelivery];
const WAIT: &[Metric] = &[Metric::LastP50, Metric::P99, Metric::CpuPerDelivery];
const SHARE: &[Metric] = &[Metric::LastP50, Metric::P99, Metric::CpuPerDelivery, Metric::Memory];
const HOLDING: &[Metric] = &[Metric::Memory, Metric::MemoryAfter, Metric::Machine];
const JOINING: &[Metric] = &[Metric::LastHead, Metric::CpuPerConnection, Metric::CpuPerLeaving];
const SETTLED: &[Metric] = &[Metric::P50, Metric::P99, Metric::Max, Metric::LastHead];
const SPEED_TO_ONE: &[Metric] = &[Metric::Deliveries, Metric::CpuPerPublish];
const SINGLE: &[Metric] = &[Metric::LastP50, Metric::LastP99, Metric::CpuPerPublish];
const REPLAYED: &[Metric] =
    &[Metric::LastAll, Metric::CpuPerDelivery, Metric::P50, Metric::P99, Metric::Max];
const CAUGHT_UP: &[Metric] = &[Metric::LastAll, Metric::CpuPerConnection];
const WRITTEN: &[Metric] =
    &[Metric::Deliveries, Metric::CpuPerDelivery, Metric::FirstByte, Metric::Memory];
const ANSWERED: &[Metric] = &[Metric::Publishes, Metric::CpuPerPublish];

/// All cases, in the order of [`SCENARIOS`]. `is_quick` is for a machine that only has to show
/// that they run.
pub(crate) fn catalogue(is_quick: bool) -> Vec<Case> {
    let size = if is_quick { Size::QUICK } else { Size::FULL };
    let mut cases = Vec::new();
    let mut add = |scenario, headlines, work: Work| {
        let time = if matches!(work, Work::Idle(_)) { size.time * 3 } else { size.time };
        cases.push(Case { scenario, about: work.about(), work, headlines, time });
    };
    let steady = |per_second| Load::Steady { per_second, seconds: size.seconds };
    let burst = |events| size.burst(events);
    let clients = |clients| size.of(clients);

    let many = clients(1000);
    add("burst", SPEED, Work::Deliver(small(many, burst(1000))));
    add("steady", WAIT, Work::Deliver(small(many, steady(20))));

    let idle = Idle { streams: clients(10_000), groups: size.groups, settled: size.settled };
    add("idle", HOLDING, Work::Idle(idle));
    for have_own in [false, true] {
        add("storm", JOINING, Work::Storm(Storm { clients: clients(5000), have_own, tls: None }));
    }

    for (readers, stuck, slow, load, headlines) in [
        (500, 20, 0, burst(3000), &[Metric::Deliveries]),
        (500, 100, 0, steady(200), &[Metric::P99]),
        (900, 50, 50, steady(50), &[Metric::P99]),
    ] {
        let all_read = Delivery { bytes: LARGE, ..small(clients(readers), load) };
        let [stuck, slow] = [stuck, slow].map(clients);
        add("stuck", headlines, Work::Deliver(all_read));
        add("stuck", headlines, Work::Deliver(Delivery { stuck, slow, ..all_read }));
    }

    let types = Delivery { types: 100, ..small(many, burst(5000)) };
    add("types", SPEED, Work::Deliver(types));

    // A million deliveries at most; and at 10,000 clients a rate that two processors can bear.
    for (readers, events, per_second) in [(100, 1000, 20), (1000, 1000, 20), (10_000, 100, 5)] {
        add("scaling", SPEED, Work::Deliver(small(clients(readers), burst(events))));
        add("scaling", WAIT, Work::Deliver(small(clients(readers), steady(per_second))));
    }

    for (publishes, window) in [(10_000, Some(1)), (50_000, None)] {
        let publishes = publishes / size.divisor;
        add("publish", ANSWERED, Work::OverHttp(OverHttp { publishes, window }));
    }
    for clients in [0, 1, 100] {
        let publishes = 200_000 / size.divisor;
        add("publish", &ANSWERED[..1], Work::InProcess(InProcess { publishes, clients }));
    }

    let channels = |load| Channels { clients: clients(10_000), load, churn: 0 };
    let often = channels(steady(1000));
    let churn = 500;
    add("channels", SPEED_TO_ONE, Work::Channels(channels(burst(100_000))));
    add("channels", SINGLE, Work::Channels(often));
    add("channels", SINGLE, Work::Channels(Channels { churn, ..often }));

    let many = clients(100_000);
    let publishes = 100_000 / size.divisor;
    for (known, is_full) in [(0, false), (many, false), (many, true)] {
        let beside = Beside { known, is_full, publishes };
        add("idle-channels", &[Metric::CpuPerPublish], Work::Beside(beside));
    }
    for are_apart in [false, true] {
        let events = 100_000 / size.divisor;
        add("idle-channels", REPLAYED, Work::Replay(Replay { events, are_apart }));
    }
    let memory = |channels, are_listened| Work::Memory(Memory { channels, are_listened });
    add("idle-channels", &[Metric::ChannelMemory], memory(many, false));
    add("idle-channels", &[Metric::Memory], memory(clients(10_000), true));

    let comeback = Comeback { clients: clients(10_000), behind: 50 };
    add("return", CAUGHT_UP, Work::Comeback(comeback));

    for pause in [0, own::Beside::PAUSE] {
        let (streams, messages) = (clients(200), 500 / size.divisor);
        add(OWN, WRITTEN, Work::Own(Own { streams, messages, pause }));
    }
    // Without such requests it runs well if it does with them.
    let none = (!is_quick).then_some(0);
    for own in none.into_iter().chain([clients(100)]) {
        let readers = small(clients(1000), steady(20));
        add(OWN, &[Metric::P99], Work::Deliver(Delivery { own, ..readers }));
    }

    if cfg!(feature = "redis") {
        // One client, however small the run is; and 100,000 deliveries a second, a node's share.
        let share = small(clients(10_000), steady(10));
        add(REDIS, &[Metric::P50, Metric::P99], Work::Deliver(small(1, steady(20))));
        add(REDIS, SHARE, Work::Deliver(share));
    }

    if cfg!(feature = "tls") {
        add_tls(size, idle, &mut add);
    }
    cases
}

/// Beside the same server without TLS where that says something.
fn add_tls(size: Size, idle: Idle, add: &mut impl FnMut(&'static str, &'static [Metric], Work)) {
    let (bytes, per_second) = (150, 20);
    let steady = Load::Steady { per_second, seconds: size.seconds };
    for readers in [500, 1000] {
        let all_read = Delivery { bytes, ..small(size.of(readers), steady) };
        add(TLS, WAIT, Work::Deliver(all_read));
    }
    add(TLS, SPEED, Work::Deliver(small(size.of(1000), size.burst(1000))));
    add(TLS, HOLDING, Work::Idle(Idle { streams: size.of(5000), ..idle }));
    let joining = size.of(2000);
    for (is_12, resumes) in [(false, false), (false, true), (true, false), (true, true)] {
        let tls = Some(Tls { is_12, resumes });
        add(TLS, JOINING, Work::Storm(Storm { clients: joining, have_own: false, tls }));
    }
    let settled = size.of(1000);
    add(TLS, SETTLED, Work::Rush(Rush { settled, joining, storms: 3, per_second, bytes }));
}

/// Events of one type to clients that all read.
fn small(readers: usize, load: Load) -> Delivery {
    Delivery { types: 1, readers, stuck: 0, slow: 0, bytes: SMALL, load, own: 0 }
}

/// How large a run is.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Clients and events are divided by it.
    divisor: u32,
    seconds: u32,
    groups: usize,
    settled: Duration,
    time: Duration,
}

impl Size {
    const FULL: Self = Self {
        divisor: 1,
        seconds: 5,
        groups: 10,
        settled: Duration::from_secs(4),
        time: Duration::from_secs(60),
    };
    const QUICK: Self = Self {
        divisor: 20,
        seconds: 1,
        groups: 2,
        settled: Duration::from_millis(300),
        time: Duration::from_secs(15),
    };

    fn of(self, clients: usize) -> usize {
        clients / self.divisor as usize
    }

    fn burst(self, events: u32) -> Load {
        Load::Burst { events: events.div_ceil(self.divisor).max(100) }
    }
}

fn about(delivery: &Delivery) -> String {
    let Delivery { types, readers, stuck, slow, bytes, load, own } = delivery;
    let some = |count: &usize, what: String| if *count > 0 { what } else { String::new() };
    let load = match load {
        Load::Burst { events } => format!("{events} x {bytes} B at full speed"),
        Load::Steady { per_second, seconds } => {
            format!("{per_second} x {bytes} B a second for {seconds} s")
        }
    };
    [
        format!("{readers} client{}", if *readers == 1 { "" } else { "s" }),
        some(&(types - 1), format!(" with 1 to 5 of {types} types")),
        format!(", {load}"),
        some(stuck, format!(", {stuck} more never read")),
        some(slow, format!(", {slow} more read {SIP} B a second")),
        some(own, format!(", {own} requests are answered by 50 x 40 B a second")),
    ]
    .concat()
}
