//! The events of a history on disk, as lines of JSON.

use std::ffi::OsStr;

/// What is in a directory, one event a line.
#[cfg(feature = "durable")]
pub(crate) fn lines(directory: &OsStr) -> Result<String, String> {
    use serde_json::json;
    use websse::durable::{StoredEvent, stored_events};

    use crate::timestamp::rfc3339;

    let at = |error| format!("{}: {error}", directory.display());
    let events = stored_events(directory).map_err(at)?;
    let line = |StoredEvent { id, time, message, .. }| {
        let mut line = json!({
            "id": id,
            "time": rfc3339(time),
            "event": message.event_type(),
            "data": message.data(),
        });
        if let Some(channel) = message.channel_name() {
            line["channel"] = channel.into();
        }
        if let Some(retry) = message.retry_time() {
            line["retry"] = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX).into();
        }
        format!("{line}\n")
    };
    Ok(events.into_iter().map(line).collect())
}

/// Such a build reads no such directory, and says so before.
#[cfg(not(feature = "durable"))]
pub(crate) fn lines(directory: &OsStr) -> Result<String, String> {
    Err(format!("{}: needs a build with the feature durable", directory.display()))
}
