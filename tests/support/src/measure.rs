//! What a process uses, as `/proc` of Linux tells it, and waiting until it is as expected.

use std::{
    fmt::Debug,
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

/// Ticks per second in `/proc/PID/stat`, the same on all common builds of Linux.
const TICKS: u64 = 100;

/// Waits until `condition` holds.
///
/// Fails after `time`.
#[track_caller]
pub fn wait_until(what: &str, time: Duration, mut condition: impl FnMut() -> bool) {
    assert!(comes_true(time, &mut condition), "expected {what} within {time:?}");
}

/// Waits until `measure` gives `expected`.
///
/// Fails after `time` with what it gave.
#[track_caller]
pub fn wait_for<T: PartialEq + Debug>(
    what: &str,
    time: Duration,
    expected: &T,
    mut measure: impl FnMut() -> T,
) {
    let mut last = None;
    let came = comes_true(time, &mut || *last.insert(measure()) == *expected);
    assert!(came, "{what}: expected {expected:?} within {time:?}, got {last:?}");
}

/// Waits until `measure` gives no more than `most`.
///
/// Fails after `time` with what it gave.
#[track_caller]
pub fn wait_for_at_most<T: PartialOrd + Debug>(
    what: &str,
    time: Duration,
    most: &T,
    mut measure: impl FnMut() -> T,
) {
    let mut last = None;
    let came = comes_true(time, &mut || *last.insert(measure()) <= *most);
    assert!(came, "{what}: expected at most {most:?} within {time:?}, got {last:?}");
}

fn comes_true(time: Duration, condition: &mut dyn FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    let mut nap = Duration::from_micros(50);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(10));
    }
}

/// Threads of this process.
pub fn own_threads() -> usize {
    threads(std::process::id())
}

pub fn threads(pid: u32) -> usize {
    entries(pid, "task")
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> usize {
    entries(pid, "fd")
}

/// Threads of this process whose names begin like this.
pub fn own_threads_named(beginning: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("this process is in /proc");
    // A thread that ends meanwhile has no name any more.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let names = names.map(|name| name.trim_end().to_owned());
    names.filter(|name| name.starts_with(beginning)).collect()
}

/// Bytes of memory that are resident, and the most that ever were.
pub fn memory(pid: u32) -> (usize, usize) {
    let status = read(pid, "status");
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
        1024 * kib.unwrap_or_else(|| panic!("expected {name} in kB, got {status}"))
    };
    (bytes("VmRSS:"), bytes("VmHWM:"))
}

/// Processor time used so far, in user and in kernel mode.
pub fn processor_time(pid: u32) -> Duration {
    let stat = read(pid, "stat");
    // The name in parentheses may hold blanks; the fields count from behind it.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: Vec<u64> = fields.split(' ').skip(11).take(2).flat_map(str::parse).collect();
    assert_eq!(ticks.len(), 2, "expected utime and stime, got {stat}");
    Duration::from_millis(ticks.iter().sum::<u64>() * (1000 / TICKS))
}

/// How often the kernel ran short of memory for all TCP buffers of the machine, since it started;
/// sockets then stand still for tenths of a second. `None` where it does not tell.
pub fn tcp_memory_pressures() -> Option<u64> {
    let netstat = fs::read_to_string("/proc/net/netstat").ok()?;
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?.split(' '), lines.next()?.split(' '));
    let (_, value) = names.zip(values).find(|(name, _)| *name == "TCPMemoryPressures")?;
    value.parse().ok()
}

fn read(pid: u32, file: &str) -> String {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

fn entries(pid: u32, folder: &str) -> usize {
    let path = format!("/proc/{pid}/{folder}");
    fs::read_dir(&path).unwrap_or_else(|error| panic!("cannot read {path}: {error}")).count()
}
