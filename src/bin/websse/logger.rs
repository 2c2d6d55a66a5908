//! The log on standard error. Logging never blocks: a thread of its own writes the lines. Lines
//! that standard error does not take are dropped and counted.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, SystemTime},
};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::{config::Format, timestamp::rfc3339};

/// The most lines that may wait to be written.
const LINES: usize = 1024;
/// How long the end of the program waits for the lines that are not yet written.
const PATIENCE: Duration = Duration::from_secs(1);

static LOST: AtomicUsize = AtomicUsize::new(0);

enum Entry {
    Line(String),
    /// When the other end sees this dropped, everything before it is written.
    Flush(Sender<()>),
}

/// How lines are written.
#[derive(Clone, Copy)]
struct Style {
    format: Format,
    /// Whether lines of text have a time. What keeps the log of a service adds its own.
    has_time: bool,
}

/// Hands log lines to the thread that writes them.
struct Lines {
    style: Style,
    queue: Sender<Entry>,
}

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = self.style.line(record.level(), &record.args().to_string());
        if self.queue.try_send(Entry::Line(line)).is_err() {
            LOST.fetch_add(1, Relaxed);
        }
    }

    /// Waits until the earlier lines are written, but not for long.
    fn flush(&self) {
        let (written, wait) = bounded(0);
        if self.queue.send_timeout(Entry::Flush(written), PATIENCE).is_ok() {
            // The wait ends with a time-out, or when the other end is dropped.
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

impl Style {
    fn line(self, level: Level, text: &str) -> String {
        let level = level.as_str().to_lowercase();
        let time = rfc3339(SystemTime::now());
        match self.format {
            Format::Text if self.has_time => format!("{time} websse: {level}: {text}\n"),
            Format::Text => format!("websse: {level}: {text}\n"),
            Format::Json => {
                let line = serde_json::json!({ "time": time, "level": level, "message": text });
                format!("{line}\n")
            }
        }
    }
}

fn write(lines: &Receiver<Entry>, style: Style) {
    // If standard error is gone or its disk is full, the error cannot be reported.
    let put = |line: &str| drop(io::stderr().write_all(line.as_bytes()));
    for entry in lines {
        let waits = match entry {
            Entry::Line(line) => {
                put(&line);
                None
            }
            Entry::Flush(waits) => Some(waits),
        };
        let lost = LOST.swap(0, Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines of this log are lost: they were not read fast enough");
            put(&style.line(Level::Warn, &text));
        }
        drop(waits);
    }
}

/// Writes the log to standard error from now on.
pub(crate) fn to_stderr(format: Format, level: LevelFilter) {
    log::set_max_level(level);
    let style = Style { format, has_time: io::stderr().is_terminal() };
    let (queue, lines) = bounded(LINES);
    // Without a thread every line is lost, as without standard error. The thread ends with the
    // process.
    let writer = thread::Builder::new().name("websse-log".to_owned());
    let _ = writer.spawn(move || write(&lines, style));
    // Fails only if a logger is set already; nothing else sets one here.
    let _ = log::set_boxed_logger(Box::new(Lines { style, queue }));
}
