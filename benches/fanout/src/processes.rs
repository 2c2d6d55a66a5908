//! What a process and its descendants use, as `/proc` of Linux tells it. A process that has ended
//! counts for nothing: servers may start and end some as they like.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use procfs::{
    Current, Meminfo,
    process::{Process, Status, all_processes},
};
use rustix::process::{Pid, Signal, kill_process, setpriority_process};

/// A tenth of the usual share of a processor: it gets what nobody else wants.
const LAST: i32 = 10;

/// A process and all its descendants.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for stat in all_processes().into_iter().flatten().flatten().flat_map(|process| process.stat()) {
        let [process, parent] = [stat.pid, stat.ppid].map(i32::cast_unsigned);
        children.entry(parent).or_default().push(process);
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(member) = family.get(next) {
        family.extend(children.remove(member).unwrap_or_default());
        next += 1;
    }
    family
}

/// Those that have not ended.
fn running(pids: &[u32]) -> impl Iterator<Item = Process> {
    pids.iter().flat_map(|pid| Process::new(pid.cast_signed()))
}

/// Processor time used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// By all threads that run now, exactly.
    by_threads: Duration,
    /// By all there have been, in whole ticks for each process.
    in_ticks: Duration,
    ticks_lost: Duration,
}

impl Used {
    pub(crate) fn by(pids: &[u32]) -> Self {
        let time = |ticks: u64| Duration::from_millis(ticks * 1000 / procfs::ticks_per_second());
        let mut used = Self::default();
        for process in running(pids) {
            // The processor time in user and kernel mode, and that of children waited for.
            if let Ok(stat) = process.stat() {
                let ticks = stat.utime + stat.stime + (stat.cutime + stat.cstime).cast_unsigned();
                used.in_ticks += time(ticks);
            }
            used.ticks_lost += time(4);
            let threads = process.tasks().into_iter().flatten().flatten();
            for times in threads.flat_map(|thread| thread.schedstat()) {
                used.by_threads += Duration::from_nanos(times.sum_exec_runtime);
            }
        }
        used
    }

    /// What was used since `before`. The threads' own figures are exact, but those that have ended
    /// have taken theirs with them; if that is much, the ticks tell.
    pub(crate) fn since(self, before: Self) -> Duration {
        let by_threads = self.by_threads.saturating_sub(before.by_threads);
        let in_ticks = self.in_ticks.saturating_sub(before.in_ticks);
        if in_ticks > by_threads + self.ticks_lost { in_ticks } else { by_threads }
    }
}

/// The sum of what [`Status`] tells of each.
fn sum(pids: &[u32], of: impl Fn(Status) -> Option<u64>) -> u64 {
    running(pids).flat_map(|process| process.status()).filter_map(of).sum()
}

/// Resident memory in bytes, now.
pub(crate) fn resident(pids: &[u32]) -> u64 {
    sum(pids, |status| status.vmrss) * 1024
}

/// The most that each of them ever had.
pub(crate) fn peak(pids: &[u32]) -> u64 {
    sum(pids, |status| status.vmhwm) * 1024
}

pub(crate) fn threads(pids: &[u32]) -> u64 {
    sum(pids, |status| Some(status.threads))
}

/// Memory of the machine that is free, or could be at once.
pub(crate) fn available() -> u64 {
    Meminfo::current().ok().and_then(|memory| memory.mem_available).unwrap_or(0)
}

/// Bytes sent by one side of the connections of this port of IPv4 and not yet read by the other.
pub(crate) fn in_sockets(port: u16) -> u64 {
    let sockets = procfs::net::tcp().unwrap_or_default().into_iter();
    // The server's end has what is not acknowledged, the client's what is not read.
    let queues = sockets.map(|socket| match socket {
        socket if socket.local_address.port() == port => socket.tx_queue,
        socket if socket.remote_address.port() == port => socket.rx_queue,
        _ => 0,
    });
    queues.map(u64::from).sum()
}

/// What a process does that others would have to wait for, it does later.
pub(crate) fn yield_to_others(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(pid.cast_signed());
    setpriority_process(pid, LAST).context("no other priority")
}

/// Ends those of these processes that run; they were started for this run.
pub(crate) fn kill(pids: &[u32]) {
    let running = pids.iter().filter(|pid| is_running(**pid));
    for pid in running.filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        // Fails only if it has ended in between.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Whether it exists and is more than an entry that nobody has waited for.
pub(crate) fn is_running(pid: u32) -> bool {
    running(&[pid]).flat_map(|process| process.stat()).any(|stat| stat.state != 'Z')
}
