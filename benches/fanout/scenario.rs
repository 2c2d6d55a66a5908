//! The catalogue: what is run, with which numbers.

use std::time::Duration;

use super::{
    delivery::{Delivery, Load, SIP},
    idle::Idle,
    metric::{Metric, Sample},
    peer::{Entrant, Kind},
    publishing::{InProcess, OverHttp},
    stage::Settings,
    storm::Storm,
};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Deliver(Delivery),
    Idle(Idle),
    Storm(Storm),
    OverHttp(OverHttp),
    InProcess(InProcess),
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
        if entrant.only.as_ref().is_some_and(|only| only != self.scenario) {
            return false;
        }
        if self.scenario == REDIS {
            return matches!(entrant.kind, Kind::Websse | Kind::Node);
        }
        match self.work {
            _ if entrant.kind == Kind::Node => false,
            Work::Deliver(_) | Work::Idle(_) | Work::Storm(_) => entrant.kind != Kind::Echo,
            Work::OverHttp(_) => entrant.kind != Kind::Limit,
            Work::InProcess(_) => entrant.kind == Kind::Websse,
        }
    }

    pub(crate) fn run(&self, entrant: &Entrant, window: usize) -> Result<Sample, String> {
        let settings = Settings { window, time: self.time };
        match self.work {
            Work::Deliver(delivery) => delivery.run(entrant, settings),
            Work::Idle(idle) => idle.run(entrant, settings),
            Work::Storm(storm) => storm.run(entrant, settings),
            Work::OverHttp(over_http) => over_http.run(entrant, settings),
            Work::InProcess(in_process) => in_process.run(settings),
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
    #[cfg(feature = "redis")]
    REDIS,
];
/// What a log costs that several nodes share.
const REDIS: &str = "redis";

const SMALL: usize = 128;
const LARGE: usize = 4096;
const SPEED: &[Metric] = &[Metric::Deliveries, Metric::CpuPerDelivery];
const WAIT: &[Metric] = &[Metric::LastP50, Metric::P99, Metric::CpuPerDelivery];
const SHARE: &[Metric] = &[Metric::LastP50, Metric::P99, Metric::CpuPerDelivery, Metric::Memory];
const TAIL: &[Metric] = &[Metric::P99];

/// All cases, in the order of [`SCENARIOS`]. `is_quick` is for a machine that only has to show
/// that they run.
pub(crate) fn catalogue(is_quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let size = if is_quick { Size::QUICK } else { Size::FULL };
    let all_read = Delivery {
        types: 1,
        readers: 1000,
        stuck: 0,
        slow: 0,
        bytes: SMALL,
        load: Load::Burst { events: 1000 },
    };
    let mut deliver = |scenario, headlines, delivery: Delivery| {
        cases.push(size.delivery(scenario, headlines, delivery));
    };
    let steady = |per_second| Load::Steady { per_second, seconds: size.seconds };
    deliver("burst", SPEED, all_read);
    deliver("steady", WAIT, Delivery { load: steady(20), ..all_read });

    let large = Delivery { readers: 500, bytes: LARGE, ..all_read };
    let burst = Delivery { load: Load::Burst { events: 3000 }, ..large };
    deliver("stuck", &[Metric::Deliveries], burst);
    deliver("stuck", &[Metric::Deliveries], Delivery { stuck: 20, ..burst });
    let fast = Delivery { load: steady(200), ..large };
    deliver("stuck", TAIL, fast);
    deliver("stuck", TAIL, Delivery { stuck: 100, ..fast });
    let mixed = Delivery { readers: 900, load: steady(50), ..large };
    deliver("stuck", TAIL, mixed);
    deliver("stuck", TAIL, Delivery { stuck: 50, slow: 50, ..mixed });

    deliver(
        "types",
        SPEED,
        Delivery { types: 100, load: Load::Burst { events: 5000 }, ..all_read },
    );

    // A million deliveries at most; and at 10,000 clients a rate that two processors can bear.
    for (readers, events, per_second) in [(100, 1000, 20), (1000, 1000, 20), (10_000, 100, 5)] {
        let load = Load::Burst { events };
        deliver("scaling", SPEED, Delivery { readers, load, ..all_read });
        deliver("scaling", WAIT, Delivery { readers, load: steady(per_second), ..all_read });
    }

    // One client, however small the run is; and 100,000 deliveries a second, a node's share.
    let one = size.divisor as usize;
    for (readers, per_second, headlines) in
        [(one, 20, &[Metric::P50, Metric::P99][..]), (10_000, 10, SHARE)]
    {
        if cfg!(feature = "redis") {
            let load = steady(per_second);
            deliver(REDIS, headlines, Delivery { readers, load, ..all_read });
        }
    }

    let streams = size.clients(10_000);
    cases.push(Case {
        scenario: "idle",
        about: format!("{streams} streams on which nothing happens; then each is behind once"),
        work: Work::Idle(Idle { streams, groups: size.groups, settled: size.settled }),
        headlines: &[Metric::Memory, Metric::MemoryAfter, Metric::Machine],
        time: size.time * 3,
    });
    let clients = size.clients(5000);
    cases.push(Case {
        scenario: "storm",
        about: format!("{clients} clients connect at once"),
        work: Work::Storm(Storm { clients }),
        headlines: &[Metric::LastHead, Metric::CpuPerConnection],
        time: size.time,
    });
    size.publishing(&mut cases);
    // Stable: within a scenario the order remains.
    cases.sort_by_key(|case| SCENARIOS.iter().position(|name| *name == case.scenario));
    cases
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

    fn clients(self, clients: usize) -> usize {
        clients / self.divisor as usize
    }

    fn delivery(
        self,
        scenario: &'static str,
        headlines: &'static [Metric],
        full: Delivery,
    ) -> Case {
        let load = match full.load {
            Load::Burst { events } => {
                Load::Burst { events: events.div_ceil(self.divisor).max(100) }
            }
            steady @ Load::Steady { .. } => steady,
        };
        let [readers, stuck, slow] =
            [full.readers, full.stuck, full.slow].map(|clients| self.clients(clients));
        let delivery = Delivery { readers, stuck, slow, load, ..full };
        Case {
            scenario,
            about: about(&delivery),
            work: Work::Deliver(delivery),
            headlines,
            time: self.time,
        }
    }

    fn publishing(self, cases: &mut Vec<Case>) {
        let one_by_one = OverHttp { publishes: 10_000 / self.divisor, window: Some(1) };
        let pipelined = OverHttp { publishes: 50_000 / self.divisor, window: None };
        for (work, how) in
            [(one_by_one, "each after the last one's answer"), (pipelined, "pipelined")]
        {
            cases.push(Case {
                scenario: "publish",
                about: format!(
                    "{} publishes of {SMALL} B over one HTTP connection, {how}; 1 client",
                    work.publishes
                ),
                work: Work::OverHttp(work),
                headlines: &[Metric::Publishes, Metric::CpuPerPublish],
                time: self.time,
            });
        }
        for clients in [0, 1, 100] {
            let publishes = 200_000 / self.divisor;
            cases.push(Case {
                scenario: "publish",
                about: format!("{publishes} calls of publish with {SMALL} B, clients: {clients}"),
                work: Work::InProcess(InProcess { publishes, clients }),
                headlines: &[Metric::Publishes],
                time: self.time,
            });
        }
    }
}

fn about(delivery: &Delivery) -> String {
    let Delivery { types, readers, stuck, slow, bytes, load } = delivery;
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
    ]
    .concat()
}
