//! What a process and its descendants use, as `/proc` of Linux tells it. A process that has ended
//! counts for nothing: servers may start and end some as they like.

use std::{collections::BTreeMap, fs, process::Command, time::Duration};

/// Ticks per second in `/proc/PID/stat`, the same on all common builds of Linux.
const TICKS: u64 = 100;

/// A process and all its descendants.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in numbers("/proc") {
        if let Some(parent) = fields(process).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(member) = family.get(next) {
        family.extend(children.remove(member).unwrap_or_default());
        next += 1;
    }
    family
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
        let mut used = Self::default();
        for &pid in pids {
            // The processor time in user and kernel mode, and that of children waited for.
            let times: Option<u64> = fields(pid).and_then(|fields| {
                fields.get(11..15)?.iter().map(|time| time.parse::<u64>().ok()).sum()
            });
            used.in_ticks += Duration::from_millis(times.unwrap_or(0) * (1000 / TICKS));
            used.ticks_lost += Duration::from_millis(4 * (1000 / TICKS));
            for thread in numbers(&format!("/proc/{pid}/task")) {
                let stat = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat"));
                let nanos = stat.ok().and_then(|stat| stat.split(' ').next()?.parse().ok());
                used.by_threads += Duration::from_nanos(nanos.unwrap_or(0));
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

/// Resident memory in bytes, now.
pub(crate) fn resident(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| status(*pid, "VmRSS:")).sum()
}

/// The most that each of them ever had.
pub(crate) fn peak(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| status(*pid, "VmHWM:")).sum()
}

pub(crate) fn threads(pids: &[u32]) -> usize {
    pids.iter().map(|pid| numbers(&format!("/proc/{pid}/task")).count()).sum()
}

/// Memory of the machine that is free, or could be at once.
pub(crate) fn available() -> u64 {
    kibibytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable:")
        .unwrap_or(0)
}

/// Bytes sent by one side of the connections of this port of IPv4 and not yet read by the other.
pub(crate) fn in_sockets(port: u16) -> u64 {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let port = format!(":{port:04X}");
    let queued = table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, remote) = (fields.next()?, fields.next()?);
        let (unacknowledged, unread) = fields.nth(1)?.split_once(':')?;
        // The server's end has what is not acknowledged, the client's what is not read.
        let queue = match (local.ends_with(&port), remote.ends_with(&port)) {
            (true, _) => unacknowledged,
            (_, true) => unread,
            _ => return None,
        };
        u64::from_str_radix(queue, 16).ok()
    });
    queued.sum()
}

/// Ends these processes, which were started for this run; those that have ended already do not
/// matter.
pub(crate) fn kill(pids: &[u32]) -> Result<(), String> {
    let running = pids.iter().filter(|pid| is_running(**pid)).map(u32::to_string);
    let running: Vec<String> = running.collect();
    if running.is_empty() {
        return Ok(());
    }
    // One of them may end in between: then `kill` complains.
    let mut kill = Command::new("kill");
    match kill.arg("-KILL").args(&running).output() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("cannot end {running:?}: {error}")),
    }
}

/// Whether it exists and is more than an entry that nobody has waited for.
pub(crate) fn is_running(pid: u32) -> bool {
    fields(pid).is_some_and(|fields| fields[0] != "Z")
}

/// The fields of `stat` from the state on.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks.
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn status(pid: u32, name: &str) -> Option<u64> {
    kibibytes(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, name)
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn numbers(folder: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
