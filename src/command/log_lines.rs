//! The log on standard error.

use std::{
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use super::config::Format;

/// Writes log lines to standard error.
struct Stderr(Format);

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = record.level().as_str().to_lowercase();
        let line = match self.0 {
            Format::Text => format!("websse: {level}: {}\n", record.args()),
            Format::Json => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let line = serde_json::json!({
                    "time": since.as_secs_f64(),
                    "level": level,
                    "message": record.args().to_string(),
                });
                format!("{line}\n")
            }
        };
        // Where standard error is gone, or its disk full, there is nobody to tell.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

pub(crate) fn to_stderr(format: Format) {
    log::set_max_level(log::LevelFilter::Info);
    // Fails only where a logger is set already, which nobody else does here.
    let _ = log::set_boxed_logger(Box::new(Stderr(format)));
}
